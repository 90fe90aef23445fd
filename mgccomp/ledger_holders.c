/* SPDX-License-Identifier: Apache-2.0 */
/* How far the instances are in a partition, and the low water that follows from it. */
#include "base/own.h"
#include "mgccomp/ledger.h"
#include "mgccomp/ledger_private.h"

static int read_holders(struct db *db, const char *sql, int64_t generation, int32_t part,
                        struct ledger_holder out[LEDGER_MAX_INSTANCES], size_t *n, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    size_t count = 0;
    int rc = db_query(db, sql, DB_ARGS(DB_I(generation), DB_I(part)), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        if (count == LEDGER_MAX_INSTANCES)
            return err_set(e, ERR_FAULT, "over %d adapters", LEDGER_MAX_INSTANCES);
        struct ledger_holder *h = &out[count++];
        h->instance = db_rows_int(r, 0);
        ledger_text(h->name, sizeof h->name, db_rows_slice(r, 1));
        h->readback = (int32_t)db_rows_int(r, 2);
        h->pos = db_rows_int(r, 3);
        h->full_from = db_rows_int(r, 4);
    }
    if (rc == 0)
        *n = count;
    return rc;
}

#define CURSOR_OF(column)                                                                          \
    "(SELECT c." column " FROM cursor c WHERE c.instance = i.id AND c.generation = $1"             \
    " AND c.part = $2)"

int ledger_holders(struct db *db, int64_t generation, int32_t part,
                   struct ledger_holder out[LEDGER_MAX_INSTANCES], size_t *n, struct err *e)
{
    static const char sql[] =
        "SELECT i.id, i.name, i.readback, COALESCE("
        "(SELECT min(r.from_pos) FROM batch b JOIN batch_range r ON r.batch = b.id"
        " WHERE b.instance = i.id AND b.state <> 'verified' AND b.state <> 'parked'"
        " AND r.generation = $1 AND r.part = $2)," CURSOR_OF(
            "pos") ", 0),"
                   " COALESCE(" CURSOR_OF("full_from") ", 0)"
                                                       " FROM instance i WHERE i.required = 1 AND "
                                                       "i.state <> 'retired' ORDER BY i.name";
    return read_holders(db, sql, generation, part, out, n, e);
}

int ledger_optional(struct db *db, int64_t generation, int32_t part,
                    struct ledger_holder out[LEDGER_MAX_INSTANCES], size_t *n, struct err *e)
{
    static const char sql[] = "SELECT i.id, i.name, i.readback, COALESCE(" CURSOR_OF(
        "pos") ", 0),"
               " COALESCE(" CURSOR_OF("full_from") ", 0)"
                                                   " FROM instance i WHERE i.required = 0 AND "
                                                   "i.state <> 'retired' ORDER BY i.name";
    return read_holders(db, sql, generation, part, out, n, e);
}

int ledger_missed(struct staging_txn *t, int64_t instance, int64_t records, struct err *e)
{
    return db_run(t->db, "UPDATE instance SET missed = missed + $2 WHERE id = $1",
                  DB_ARGS(DB_I(instance), DB_I(records)), NULL, e);
}
