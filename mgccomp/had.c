/* SPDX-License-Identifier: Apache-2.0 */
/* The table `had`. Rows are many only for a while after a restore; without any, a cut asks once. */
#include "mgccomp/had.h"

#include "base/own.h"

#include <inttypes.h>

enum { PASS_ROWS = 10000 }; /* in one transaction, as the sweep */

int had_add(struct staging_txn *t, int64_t instance, const uint8_t hash[SHA256_SIZE], bool proved,
            struct err *e)
{
    return db_run(t->db,
                  "INSERT INTO had (instance, hash, copies, proved) VALUES ($1, $2, 1, $3)"
                  " ON CONFLICT (instance, hash) DO UPDATE SET copies = had.copies + 1,"
                  " proved = CASE WHEN excluded.proved = 0 THEN 0 ELSE had.proved END",
                  DB_ARGS(DB_I(instance), DB_B(((struct slice){(const char *)hash, SHA256_SIZE})),
                          DB_I(proved ? 1 : 0)),
                  NULL, e);
}

int had_trust(struct staging_txn *t, int64_t instance, const uint8_t hash[SHA256_SIZE],
              struct err *e)
{
    return db_run(t->db,
                  "INSERT INTO had (instance, hash, copies, proved) VALUES ($1, $2, 1, 1)"
                  " ON CONFLICT (instance, hash) DO NOTHING",
                  DB_ARGS(DB_I(instance), DB_B(((struct slice){(const char *)hash, SHA256_SIZE}))),
                  NULL, e);
}

#define CUT_BY_OTHER(table)                                                                        \
    "SELECT r.hash FROM " table " r JOIN cursor o ON o.instance = $2"                              \
    " AND o.generation = r.generation AND o.part = r.part AND r.pos < o.pos"                       \
    " LEFT JOIN cursor c ON c.instance = $1 AND c.generation = r.generation AND c.part = r.part"   \
    " WHERE r.pos >= COALESCE(c.pos, 0)"

int had_trust_staged(struct staging_txn *t, int64_t instance, int64_t other, struct err *e)
{
    return db_run(t->db,
                  "INSERT INTO had (instance, hash, copies, proved) SELECT $1, d.hash, 1, 1"
                  " FROM (" CUT_BY_OTHER("record") " UNION " CUT_BY_OTHER(
                      "kept") ") d WHERE 1 = 1 ON CONFLICT (instance, hash) DO NOTHING",
                  DB_ARGS(DB_I(instance), DB_I(other)), NULL, e);
}

int had_number(struct staging_txn *t, int64_t instance, int64_t number, struct err *e)
{
    return db_run(t->db,
                  "UPDATE instance SET batches = $2, failures = 0, last_error = NULL"
                  " WHERE id = $1 AND batches < $2",
                  DB_ARGS(DB_I(instance), DB_I(number)), NULL, e);
}

int had_adopt(struct staging_txn *t, const struct had_batch *b, struct err *e)
{
    int64_t now = 0;
    int rc = db_now_us(t->db, &now, e);
    return rc < 0
               ? rc
               : db_run(t->db,
                        "INSERT INTO batch (id, instance, number, purpose, state, stem, cut_us,"
                        " records, bytes, digest, format, roster, attempts, changed_us)"
                        " VALUES ($1, $2, $3, 'adopted', 'verified', $4, $5, $6, $7, $8, 1, $9, 0,"
                        " $10)",
                        DB_ARGS(DB_T(slice_of(b->id)), DB_I(b->instance), DB_I(b->number),
                                DB_T(slice_of(b->stem)), DB_I(b->cut_us), DB_I(b->records),
                                DB_I(b->bytes),
                                DB_B(((struct slice){(const char *)b->digest, SHA256_SIZE})),
                                DB_B(SLICE(LEDGER_NO_ROSTER)), DB_I(now)),
                        NULL, e);
}

int had_adopted(struct db *db, int64_t instance, int64_t number, bool *yes, struct err *e)
{
    int64_t n = 0;
    int rc = db_int(db, "SELECT count(*) FROM batch WHERE instance = $1 AND number = $2",
                    DB_ARGS(DB_I(instance), DB_I(number)), 0, &n, e);
    *yes = n != 0;
    return rc;
}

int had_left(struct db *db, int64_t instance, int64_t *records, struct err *e)
{
    return db_int(db,
                  "SELECT CAST(COALESCE(sum(copies), 0) AS bigint) FROM had WHERE instance = $1",
                  DB_ARGS(DB_I(instance)), 0, records, e);
}

/* $1 to $4: a range; $5: the instance. */
#define ROWS_OF(table)                                                                             \
    "SELECT pos, stream, hash FROM " table                                                         \
    " WHERE generation = $1 AND part = $2 AND pos >= $3 AND pos < $4"
#define ROWS     "(" ROWS_OF("record") " UNION ALL " ROWS_OF("kept") ") r"
#define HAD      "EXISTS (SELECT 1 FROM had h WHERE h.instance = $5 AND h.hash = r.hash)"
#define RANGE(r) DB_I((r)->generation), DB_I((r)->part), DB_I((r)->from), DB_I((r)->to)
#define THESE    " WHERE instance = $5 AND hash IN (SELECT r.hash FROM " ROWS ")"

/* The position of the first row that a statement finds, or where the range ends. */
static int first_row(struct db *db, const char *sql, const struct ledger_range *r, int64_t last,
                     int64_t *pos, struct err *e)
{
    *pos = r->to;
    int rc = db_int(db, sql, DB_ARGS(RANGE(r), DB_I(last)), 0, pos, e);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

/* All rows of the range are archived by now. */
static int count_passed(struct staging_txn *t, int64_t instance, const struct ledger_range *r,
                        bool *proved, struct err *e)
{
    int64_t rows = 0;
    int64_t listed = 0;
    int rc = db_int(t->db, "SELECT count(*) FROM " ROWS, DB_ARGS(RANGE(r)), 0, &rows, e);
    if (rc < 0 || rows == 0)
        return rc;
    rc = db_run(t->db,
                "INSERT INTO archived (instance, stream, records)"
                " SELECT $5, COALESCE(r.stream, 0), count(*) FROM " ROWS
                " GROUP BY COALESCE(r.stream, 0) ON CONFLICT (instance, stream)"
                " DO UPDATE SET records = archived.records + excluded.records",
                DB_ARGS(RANGE(r), DB_I(instance)), NULL, e);
    if (rc == 0)
        rc = db_run(t->db, "UPDATE instance SET archived = archived + $2 WHERE id = $1",
                    DB_ARGS(DB_I(instance), DB_I(rows)), NULL, e);
    if (rc == 0)
        rc = db_int(t->db, "SELECT count(*) FROM had" THESE " AND proved = 0",
                    DB_ARGS(RANGE(r), DB_I(instance)), 0, &listed, e);
    *proved = listed == 0;
    if (rc == 0)
        rc = db_run(t->db, "UPDATE had SET copies = copies - 1" THESE,
                    DB_ARGS(RANGE(r), DB_I(instance)), NULL, e);
    if (rc == 0)
        rc = db_run(t->db, "DELETE FROM had" THESE " AND copies <= 0",
                    DB_ARGS(RANGE(r), DB_I(instance)), NULL, e);
    return rc;
}

int had_pass(struct staging_txn *t, int64_t instance, struct ledger_range *r, bool *proved,
             struct err *e)
{
    struct ledger_range leading = *r;
    *proved = true;
    int rc = first_row(t->db, "SELECT r.pos FROM " ROWS " ORDER BY r.pos LIMIT 1 OFFSET $5", r,
                       PASS_ROWS, &leading.to, e);
    const int64_t page = leading.to;
    if (rc == 0)
        rc = first_row(t->db, "SELECT r.pos FROM " ROWS " WHERE NOT " HAD " ORDER BY r.pos LIMIT 1",
                       &leading, instance, &leading.to, e);
    if (rc == 0)
        rc = count_passed(t, instance, &leading, proved, e);
    if (rc < 0)
        return rc;
    r->from = leading.to;
    if (leading.to == page) {
        r->to = page; /* the rest at the next cut */
        return 0;
    }
    return first_row(t->db, "SELECT r.pos FROM " ROWS " WHERE " HAD " ORDER BY r.pos LIMIT 1", r,
                     instance, &r->to, e);
}
