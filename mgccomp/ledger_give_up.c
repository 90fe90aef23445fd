/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A parked batch that people give up: its adapter will never have it. It must be read back
 * elsewhere, and does not count as read back by this one, whatever the module can.
 */
#include "base/own.h"
#include "mgccomp/ledger.h"
#include "mgccomp/ledger_private.h"

#include <inttypes.h>

struct parked {
    int64_t instance, records;
    bool required;
    char name[64];
};

static int find_parked(struct db *db, struct slice batch, struct parked *out, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc =
        db_first(db,
                 "SELECT b.instance, b.records, i.required, i.name FROM batch b JOIN instance i"
                 " ON i.id = b.instance WHERE b.id = $1 AND b.state = 'parked'",
                 DB_ARGS(DB_T(batch)), &r, e);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(e, ERR_CONFLICT, "batch %.*s is not parked: it is being tried again",
                       SLICE_ARG(batch));
    *out = (struct parked){.instance = db_rows_int(r, 0),
                           .records = db_rows_int(r, 1),
                           .required = db_rows_int(r, 2) != 0};
    ledger_text(out->name, sizeof out->name, db_rows_slice(r, 3));
    return 0;
}

/* Each range of the batch must lie in verified batches of one other required adapter that reads
 * back in full, from before the range on. */
static int held_elsewhere(struct db *db, struct slice batch, const struct parked *p, struct err *e)
{
    static const char lacking[] =
        "SELECT count(*) FROM batch_range g WHERE g.batch = $1 AND NOT EXISTS (SELECT 1"
        " FROM instance i JOIN cursor c ON c.instance = i.id AND c.generation = g.generation"
        " AND c.part = g.part WHERE i.id <> $2 AND i.required = 1 AND i.state <> 'retired'"
        " AND i.readback = $3 AND c.pos >= g.to_pos AND c.full_from <= g.from_pos"
        " AND NOT EXISTS (SELECT 1 FROM batch_range h WHERE h.batch IN (SELECT b.id FROM batch b"
        " WHERE b.instance = i.id AND b.state <> 'verified') AND h.generation = g.generation"
        " AND h.part = g.part AND h.from_pos < g.to_pos AND h.to_pos > g.from_pos))";
    int64_t n = 0;
    int rc = db_int(db, lacking,
                    DB_ARGS(DB_T(batch), DB_I(p->instance), DB_I(LEDGER_READBACK_FULL)), 0, &n, e);
    if (rc < 0 || n == 0)
        return rc;
    return err_set(e, ERR_CONFLICT,
                   "no other required adapter has delivered these records and read all of them"
                   " back: they can't be given up for %s. See 'holdfast adapter list'",
                   p->name);
}

#define ENDS_AT                                                                                    \
    "(SELECT r.to_pos FROM batch_range r WHERE r.batch = $1 AND r.generation = cursor.generation"  \
    " AND r.part = cursor.part)"

int ledger_give_up(struct staging_txn *t, struct slice batch, struct err *e)
{
    struct parked p;
    int rc = find_parked(t->db, batch, &p, e);
    if (rc == 0 && p.required)
        rc = held_elsewhere(t->db, batch, &p, e);
    if (rc == 0)
        rc = db_run(t->db,
                    "UPDATE cursor SET full_from = " ENDS_AT
                    " WHERE instance = $2 AND full_from < " ENDS_AT,
                    DB_ARGS(DB_T(batch), DB_I(p.instance)), NULL, e);
    if (rc == 0)
        rc = db_run(t->db,
                    "UPDATE batch SET state = 'verified', purpose = 'given-up', roster = $2"
                    " WHERE id = $1",
                    DB_ARGS(DB_T(batch), DB_B(SLICE(LEDGER_NO_ROSTER))), NULL, e);
    return rc == 0 ? ledger_missed(t, p.instance, p.records, e) : rc;
}
