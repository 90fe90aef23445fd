/* SPDX-License-Identifier: Apache-2.0 */
/* Packing the hashes of deleted records, and the per-stream counts that go with a deletion. */
#include "retention/sweep_hashes.h"

#include "base/own.h"
#include "mgccomp/lease.h"

#include <string.h>

enum { PRUNE_ROWS = 10000 };

static int by_number(const void *a, const void *b)
{
    const struct swept_row *x = a;
    const struct swept_row *y = b;
    if (x->stream != y->stream)
        return x->stream < y->stream ? -1 : 1;
    if (x->sequence != y->sequence)
        return x->sequence < y->sequence ? -1 : 1;
    return (x->pos > y->pos) - (x->pos < y->pos);
}

/* A fork's or a repeat's hash is not the one that belongs to the number. */
static bool packs(const struct swept_row *r)
{
    return r->stream && r->sequence && !(r->flags & (STAGING_FORK | STAGING_REPEAT));
}

static int store_run(struct staging_txn *t, int64_t stream, int64_t first, const struct buf *hashes,
                     int64_t now_us, struct err *e)
{
    /* First: a buffer that got no memory at all is empty too. */
    int rc = buf_ok(hashes, "hashes of deleted records", e);
    int64_t last = first + (int64_t)(hashes->n / SHA256_SIZE) - 1;
    if (rc < 0 || hashes->n == 0)
        return rc;
    return db_run(
        t->db,
        "INSERT INTO deleted (stream, first, last, hashes, deleted_us)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (stream, first) DO NOTHING",
        DB_ARGS(DB_I(stream), DB_I(first), DB_I(last), DB_B(buf_view(hashes)), DB_I(now_us)), NULL,
        e);
}

/* rows: of one stream. */
static int pack(struct staging_txn *t, const struct swept_row *rows, size_t n, int64_t now_us,
                struct err *e)
{
    OWN(own_buf) struct buf hashes;
    int64_t first = 0;
    int64_t next = 0;
    buf_init(&hashes, n * SHA256_SIZE);
    for (size_t i = 0; i < n; i++) {
        if (!packs(&rows[i]) || (hashes.n && rows[i].sequence < next))
            continue;
        if (hashes.n && rows[i].sequence != next) {
            int rc = store_run(t, rows[i].stream, first, &hashes, now_us, e);
            if (rc < 0)
                return rc;
            buf_clear(&hashes);
        }
        if (hashes.n == 0)
            first = rows[i].sequence;
        buf_add(&hashes, rows[i].hash, SHA256_SIZE);
        next = rows[i].sequence + 1;
    }
    return n ? store_run(t, rows[0].stream, first, &hashes, now_us, e) : 0;
}

/* A roster needs who was there before the first record that is still to be archived. */
static int forget_presence(struct staging_txn *t, int64_t stream, struct err *e)
{
    return db_run(t->db,
                  "DELETE FROM presence WHERE stream = $1 AND left_at IS NOT NULL AND left_at <"
                  " COALESCE((SELECT min(m.sequence) FROM"
                  " (SELECT min(r.sequence) AS sequence FROM record r WHERE r.stream = $1"
                  " UNION ALL SELECT min(k.sequence) FROM kept k WHERE k.stream = $1) m),"
                  " 9223372036854775807)",
                  DB_ARGS(DB_I(stream)), NULL, e);
}

static int count_stream(struct staging_txn *t, int64_t stream, size_t n, struct err *e)
{
    return db_run(t->db, "UPDATE stream SET deleted = deleted + $2 WHERE id = $1",
                  DB_ARGS(DB_I(stream), DB_I((int64_t)n)), NULL, e);
}

int sweep_hashes(struct staging_txn *t, struct swept_row *rows, size_t n, int64_t now_us,
                 struct err *e)
{
    qsort(rows, n, sizeof *rows, by_number);
    for (size_t from = 0; from < n;) {
        size_t to = from;
        while (to < n && rows[to].stream == rows[from].stream)
            to++;
        int64_t stream = rows[from].stream;
        int rc = stream ? pack(t, rows + from, to - from, now_us, e) : 0;
        if (rc == 0 && stream)
            rc = count_stream(t, stream, to - from, e);
        if (rc == 0 && stream)
            rc = forget_presence(t, stream, e);
        if (rc < 0)
            return rc;
        from = to;
    }
    return 0;
}

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
                        "DELETE FROM deleted WHERE (stream, first) IN"
                        " (SELECT stream, first FROM deleted WHERE deleted_us < $1 LIMIT $2)",
                        DB_ARGS(DB_I(now - age_us), DB_I(PRUNE_ROWS)), &gone, e);
        if (rc == 0)
            rc = staging_commit(&t, e);
        if (rc < 0)
            return rc;
    } while (gone == PRUNE_ROWS);
    return 0;
}
