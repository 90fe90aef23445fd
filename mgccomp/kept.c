/* SPDX-License-Identifier: Apache-2.0 */
/* The table of kept records, and what keeps them. */
#include "mgccomp/kept.h"

#define COLUMNS                                                                                    \
    "generation, part, pos, stream, sequence, kind, flags, time_us, queued_us, captured_us, hash," \
    " raw, note"
#define IN_RANGE " r.generation = $1 AND r.part = $2 AND r.pos >= $3 AND r.pos <= $4"

int kept_reasons(struct staging_txn *t, bool *any, struct err *e)
{
    int64_t found = 0;
    int rc = db_int(t->db,
                    "SELECT CASE WHEN EXISTS (SELECT 1 FROM incident WHERE closed_us IS NULL)"
                    " OR EXISTS (SELECT 1 FROM batch b JOIN instance o ON o.id = b.instance"
                    " WHERE b.state <> 'verified' AND (o.required = 0 OR b.state = 'parked')"
                    " AND o.state <> 'retired')"
                    " THEN 1 ELSE 0 END",
                    DB_NO_ARGS, 0, &found, e);
    if (rc == 0)
        *any = found != 0;
    return rc;
}

int kept_move(struct staging_txn *t, const struct kept_range *range, int64_t *moved, struct err *e)
{
    return db_run(
        t->db,
        "INSERT INTO kept (" COLUMNS ") SELECT " COLUMNS " FROM record r WHERE" IN_RANGE
        " AND (" KEPT_SHUT " OR " KEPT_IN_HAND ")",
        DB_ARGS(DB_I(range->generation), DB_I(range->part), DB_I(range->first), DB_I(range->last)),
        moved, e);
}

int kept_delete(struct staging_txn *t, const struct kept_range *range, int64_t *gone, struct err *e)
{
    return db_run(
        t->db,
        "DELETE FROM kept AS r WHERE" IN_RANGE " AND NOT (" KEPT_SHUT " OR " KEPT_IN_HAND ")",
        DB_ARGS(DB_I(range->generation), DB_I(range->part), DB_I(range->first), DB_I(range->last)),
        gone, e);
}

int kept_released(struct staging_txn *t, struct err *e)
{
    int rc = staging_lock_gate(t, e);
    if (rc < 0)
        return rc;
    return db_run(t->db, "UPDATE gate SET released = released + 1 WHERE id = 1", DB_NO_ARGS, NULL,
                  e);
}

int kept_releases(struct db *db, int64_t *n, struct err *e)
{
    return db_int(db, "SELECT released FROM gate WHERE id = 1", DB_NO_ARGS, 0, n, e);
}
