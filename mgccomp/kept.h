/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kept records: every required instance is past them, and they are not to be deleted yet because an
 * open incident shuts their place, or they are in a batch that is parked, or an instance that is
 * not required has them in hand. They lie in a table of their own, so that what is behind them can
 * go.
 *
 * All functions work within a transaction that has locked the gate; whatever ends a reason to keep
 * locks it too, so a reason read in t lasts until t ends.
 */
#ifndef MGCCOMP_KEPT_H
#define MGCCOMP_KEPT_H

#include "mgccomp/staging.h"

/* Of the row that a statement calls r, 1 or 0: is its place shut by an open incident; is it in a
 * batch that is not verified. Both are asked for ten thousand rows at a time: they are put so that
 * indexes answer them, however long the ledger and the list of incidents are. */
#define KEPT_SHUT_BY(place)                                                                        \
    "EXISTS (SELECT 1 FROM incident i WHERE i.closed_us IS NULL AND i.kind <> 'backlog'"           \
    " AND " place ")"
#define KEPT_SHUT_ROOM KEPT_SHUT_BY("i.stream = r.stream")
#define KEPT_SHUT_SOURCE                                                                           \
    KEPT_SHUT_BY("i.stream IS NULL AND i.source ="                                                 \
                 " (SELECT s.source FROM stream s WHERE s.id = r.stream)")
#define KEPT_SHUT_PART KEPT_SHUT_BY("i.stream IS NULL AND i.source IS NULL AND i.part = r.part")
#define KEPT_SHUT      "(" KEPT_SHUT_ROOM " OR " KEPT_SHUT_SOURCE " OR " KEPT_SHUT_PART ")"
#define KEPT_IN_HAND                                                                               \
    "(EXISTS (SELECT 1 FROM batch_range g WHERE g.batch IN (SELECT b.id FROM batch b"              \
    " JOIN instance o ON o.id = b.instance WHERE b.state <> 'verified' AND o.state <> 'retired')"  \
    " AND g.generation = r.generation AND g.part = r.part AND g.from_pos <= r.pos"                 \
    " AND g.to_pos > r.pos))"

/* A stretch of a partition: first <= pos <= last. */
struct kept_range {
    int64_t generation;
    int32_t part;
    int64_t first, last;
};
/* Is there anything at all that KEPT_SHUT or KEPT_IN_HAND could be true for? */
int kept_reasons(struct staging_txn *t, bool *any, struct err *e);
/* Moves the range's staged rows that there is a reason to keep; *moved of them. */
int kept_move(struct staging_txn *t, const struct kept_range *range, int64_t *moved, struct err *e);
/* Deletes the range's kept rows that there is no reason to keep any more. */
int kept_delete(struct staging_txn *t, const struct kept_range *range, int64_t *gone,
                struct err *e);

/* A reason to keep has ended: the sweep looks at all kept records again. Locks the gate. */
int kept_released(struct staging_txn *t, struct err *e);
/* How often that was so. */
int kept_releases(struct db *db, int64_t *n, struct err *e);

#endif
