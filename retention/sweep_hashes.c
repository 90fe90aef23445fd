/* SPDX-License-Identifier: Apache-2.0 */
/* Packing the hashes of deleted records, and the per-stream counts that go with a deletion. */
#include "retention/sweep_hashes.h"

#include "base/own.h"
#include "mgccomp/lease.h"

#include <string.h>

enum {
    PRUNE_ROWS = 10000,
    TOGETHER = 1024, /* lists of one statement */
    RUN_VALUES = 5,
    STREAM_VALUES = 2,
};

/* What the deleted rows come to, written in few statements. */
struct remains {
    struct staging_txn *t;
    int64_t now_us;
    char *hashes; /* of all rows, in their order; runs point into it */
    size_t used;
    struct db_value runs[TOGETHER][RUN_VALUES], streams[TOGETHER][STREAM_VALUES];
    size_t run_count, stream_count;
};

static void remains_free(struct remains *r)
{
    if (r)
        free(r->hashes);
    free(r);
}
OWN_DEFINE(remains, struct remains, remains_free)

static int by_number(const void *a, const void *b)
{
    const struct swept_row *x = a;
    const struct swept_row *y = b;
    if (x->stream != y->stream)
        return x->stream < y->stream ? -1 : 1;
    if (x->sequence != y->sequence)
        return x->sequence < y->sequence ? -1 : 1;
    /* Of two the chain's own comes first, whose hash is kept. */
    if ((x->flags ^ y->flags) & STAGING_AHEAD)
        return x->flags & STAGING_AHEAD ? 1 : -1;
    return (x->pos > y->pos) - (x->pos < y->pos);
}

/* A fork's or a repeat's hash is not the one that belongs to the number. */
static bool packs(const struct swept_row *r)
{
    return r->stream && r->sequence && !(r->flags & (STAGING_FORK | STAGING_REPEAT));
}

static int write_runs(struct remains *r, struct err *e)
{
    static const struct db_many sql = {
        "INSERT INTO deleted (stream, first, last, hashes, deleted_us)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (stream, first) DO NOTHING",
        "INSERT INTO deleted (stream, first, last, hashes, deleted_us)"
        " SELECT u.* FROM unnest($1, $2, $3, $4, $5) AS u ON CONFLICT (stream, first) DO NOTHING"};
    static const enum db_type types[RUN_VALUES] = {DB_INT, DB_INT, DB_INT, DB_BYTES, DB_INT};
    const struct db_lists lists = {types, RUN_VALUES, r->runs[0], r->run_count};
    r->run_count = 0;
    return db_run_many(r->t->db, &sql, &lists, NULL, e);
}

static int add_run(struct remains *r, int64_t stream, int64_t first, int64_t last, size_t from,
                   struct err *e)
{
    const struct db_value list[RUN_VALUES] = {
        DB_I(stream), DB_I(first), DB_I(last),
        DB_B(((struct slice){r->hashes + from, r->used - from})), DB_I(r->now_us)};
    memcpy(r->runs[r->run_count++], list, sizeof list);
    return r->run_count == TOGETHER ? write_runs(r, e) : 0;
}

/* rows: of one stream. */
static int pack(struct remains *r, const struct swept_row *rows, size_t n, struct err *e)
{
    size_t from = r->used;
    int64_t first = 0;
    int64_t next = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        bool any = r->used > from;
        if (!packs(&rows[i]) || (any && rows[i].sequence < next))
            continue;
        if (any && rows[i].sequence != next) {
            rc = add_run(r, rows[i].stream, first, next - 1, from, e);
            from = r->used;
            any = false;
        }
        if (!any)
            first = rows[i].sequence;
        memcpy(r->hashes + r->used, rows[i].hash, SHA256_SIZE);
        r->used += SHA256_SIZE;
        next = rows[i].sequence + 1;
    }
    if (rc == 0 && r->used > from)
        rc = add_run(r, rows[0].stream, first, next - 1, from, e);
    return rc;
}

static int count_streams(struct remains *r, const struct db_lists *lists, struct err *e)
{
#define ADDED " ON CONFLICT (stream) DO UPDATE SET records = swept.records + excluded.records"
    static const struct db_many sql = {
        "INSERT INTO swept (stream, records) VALUES ($1, $2)" ADDED,
        "INSERT INTO swept (stream, records) SELECT u.* FROM unnest($1, $2) AS u" ADDED};
    return db_run_many(r->t->db, &sql, lists, NULL, e);
}

/* A roster needs who was there before the first record that is still to be archived. */
static int forget_presence(struct remains *r, const struct db_lists *lists, struct err *e)
{
#define OLD(stream)                                                                                \
    " AND left_at IS NOT NULL AND left_at < COALESCE((SELECT min(m.sequence) FROM"                 \
    " (SELECT min(r.sequence) AS sequence FROM record r WHERE r.stream = " stream                  \
    " UNION ALL SELECT min(k.sequence) FROM kept k WHERE k.stream = " stream ") m),"               \
    " 9223372036854775807)"
    static const struct db_many sql = {
        "DELETE FROM presence WHERE stream = $1 AND $2 > 0" OLD("$1"),
        "DELETE FROM presence p USING unnest($1, $2) AS u (stream, records)"
        " WHERE p.stream = u.stream" OLD("u.stream")};
    return db_run_many(r->t->db, &sql, lists, NULL, e);
}

static int write_streams(struct remains *r, struct err *e)
{
    static const enum db_type types[STREAM_VALUES] = {DB_INT, DB_INT};
    const struct db_lists lists = {types, STREAM_VALUES, r->streams[0], r->stream_count};
    int rc = count_streams(r, &lists, e);
    if (rc == 0)
        rc = forget_presence(r, &lists, e);
    r->stream_count = 0;
    return rc;
}

static int add_stream(struct remains *r, int64_t stream, size_t rows, struct err *e)
{
    const struct db_value list[STREAM_VALUES] = {DB_I(stream), DB_I((int64_t)rows)};
    memcpy(r->streams[r->stream_count++], list, sizeof list);
    return r->stream_count == TOGETHER ? write_streams(r, e) : 0;
}

int sweep_hashes(struct staging_txn *t, struct swept_row *rows, size_t n, int64_t now_us,
                 struct err *e)
{
    OWN(own_remains) struct remains *r = calloc(1, sizeof *r);
    int rc = 0;
    if (r)
        r->hashes = malloc(n * SHA256_SIZE + 1);
    if (!r || !r->hashes)
        return err_memory(e, "hashes of deleted records");
    r->t = t;
    r->now_us = now_us;
    qsort(rows, n, sizeof *rows, by_number);
    for (size_t from = 0; rc == 0 && from < n;) {
        size_t to = from;
        while (to < n && rows[to].stream == rows[from].stream)
            to++;
        if (rows[from].stream)
            rc = pack(r, rows + from, to - from, e);
        if (rc == 0 && rows[from].stream)
            rc = add_stream(r, rows[from].stream, to - from, e);
        from = to;
    }
    if (rc == 0)
        rc = write_runs(r, e);
    return rc == 0 ? write_streams(r, e) : rc;
}

/* The source signs totals, and is not complete to a time behind the deletion; nor did it stop in
 * order with all of it there. */
#define UNCONFIRMED                                                                                \
    "EXISTS (SELECT 1 FROM stream s JOIN source o ON o.name = s.source WHERE s.id = d.stream"      \
    " AND o.complete_us < d.deleted_us AND (o.due_us <> 0 OR o.complete_us < o.totals_us))"

int sweep_prune(struct staging *st, int64_t age_us, struct err *e)
{
    int64_t gone = 0;
    do {
        OWN(own_staging_txn) struct staging_txn t = {0};
        int64_t now = 0;
        int rc = lease_begin(st, &t, e);
        if (rc == 0)
            rc = db_now_us(t.db, &now, e);
        if (rc == 0)
            rc = db_run(t.db,
                        "DELETE FROM deleted WHERE (stream, first) IN (SELECT d.stream, d.first"
                        " FROM deleted d WHERE d.deleted_us < $1 AND NOT " UNCONFIRMED
                        " ORDER BY d.deleted_us LIMIT $2)",
                        DB_ARGS(DB_I(now - age_us), DB_I(PRUNE_ROWS)), &gone, e);
        if (rc == 0)
            rc = staging_commit(&t, e);
        if (rc < 0)
            return rc;
    } while (gone == PRUNE_ROWS);
    return 0;
}
