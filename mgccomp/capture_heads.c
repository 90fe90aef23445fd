/* SPDX-License-Identifier: Apache-2.0 */
/* The streams that a slice touched: rows for new ones, heads moved by compare-and-swap. */
#include "mgccomp/capture_batch.h"

#include <stdlib.h>
#include <string.h>

enum { VALUES = 8, TOGETHER = LIST_VALUES / VALUES };

/* The head moves without a record when what was far ahead gets its place. */
static bool moved(const struct stream *s)
{
    return s->added > 0 || s->now.sequence != s->start.sequence;
}

/* Every capture locks them in this order: by number; those without a row yet; those of which there
 * are only duplicates last. */
static int by_lock(const void *a, const void *b)
{
    const struct stream *x = *(struct stream *const *)a;
    const struct stream *y = *(struct stream *const *)b;
    int c = moved(y) - moved(x);
    if (c == 0)
        c = (x->id == 0) - (y->id == 0);
    if (c == 0)
        c = (x->id > y->id) - (x->id < y->id);
    if (c == 0)
        c = slice_cmp(x->source, y->source);
    if (c == 0)
        c = slice_cmp(x->subject, y->subject);
    if (c == 0)
        c = (x->epoch > y->epoch) - (x->epoch < y->epoch);
    return c;
}

static struct slice hash_of(const struct chain_head *head)
{
    return (struct slice){(const char *)head->hash, SHA256_SIZE};
}

/* Fewer rows changed than there are streams: one of the heads is not where it was. Sorting the list
 * mostly gives the order of locks too; where it does not, the database ends one of two that wait
 * for each other, and that one begins anew. */
static int move_some(struct batch *b, struct stream *const *streams, size_t n, struct err *e)
{
    static const struct db_many sql = {
        "UPDATE stream SET sequence = $2, hash = $3, captured = captured + $4, last_us = $5,"
        " name = COALESCE($8, name) WHERE id = $1 AND sequence = $6 AND hash = $7",
        "UPDATE stream s SET sequence = u.sequence, hash = u.hash,"
        " captured = s.captured + u.added, last_us = u.now_us, name = COALESCE(u.name, s.name)"
        " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS u"
        " (id, sequence, hash, added, now_us, was, was_hash, name)"
        " WHERE s.id = u.id AND s.sequence = u.was AND s.hash = u.was_hash"};
    static const enum db_type types[VALUES] = {DB_INT, DB_INT, DB_BYTES, DB_INT,
                                               DB_INT, DB_INT, DB_BYTES, DB_TEXT};
    int64_t changed = 0;
    for (size_t i = 0; i < n; i++) {
        const struct stream *s = streams[i];
        const struct db_value list[VALUES] = {
            DB_I(s->id),
            DB_I(s->now.sequence),
            DB_B(hash_of(&s->now)),
            DB_I(s->added),
            DB_I(b->now_us),
            DB_I(s->start.sequence),
            DB_B(hash_of(&s->start)),
            s->name.n ? DB_T(s->name) : DB_N,
        };
        memcpy(b->values + i * VALUES, list, sizeof list);
    }
    const struct db_lists lists = {types, VALUES, b->values, n};
    int rc = db_run_many(b->t->db, &sql, &lists, &changed, e);
    if (rc < 0 || changed == (int64_t)n)
        return rc;
    return err_set(e, ERR_CONFLICT, "another capture moved a head, one of %.*s and %zu more",
                   SLICE_ARG(streams[0]->subject), n - 1);
}

static int note_id(void *arg, struct db_rows *row, struct err *e)
{
    struct batch *b = arg;
    struct stream *s = head_cache_find(b->streams, db_rows_slice(row, 0), db_rows_int(row, 1),
                                       db_rows_slice(row, 2));
    if (!s)
        return err_set(e, ERR_FAULT, "mgccomp gave a number to a stream nobody named");
    s->id = db_rows_int(row, 3);
    return 0;
}

static int insert_some(struct batch *b, struct stream *const *streams, size_t n, struct err *e)
{
#define INSERT                                                                                     \
    "INSERT INTO stream (source, epoch, subject, sequence, hash, captured, last_us, name)"
#define RETURNING                                                                                  \
    " ON CONFLICT (source, epoch, subject) DO NOTHING RETURNING source, epoch, subject, id"
    static const struct db_many sql = {
        INSERT " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)" RETURNING,
        INSERT " SELECT u.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS u" RETURNING};
    static const enum db_type types[VALUES] = {DB_TEXT,  DB_INT, DB_TEXT, DB_INT,
                                               DB_BYTES, DB_INT, DB_INT,  DB_TEXT};
    for (size_t i = 0; i < n; i++) {
        const struct stream *s = streams[i];
        const struct db_value list[VALUES] = {
            DB_T(s->source),        DB_I(s->epoch),
            DB_T(s->subject),       DB_I(s->now.sequence),
            DB_B(hash_of(&s->now)), DB_I(s->added),
            DB_I(b->now_us),        s->name.n ? DB_T(s->name) : DB_N,
        };
        memcpy(b->values + i * VALUES, list, sizeof list);
    }
    const struct db_lists lists = {types, VALUES, b->values, n};
    int rc = db_query_many(b->t->db, &sql, &lists, note_id, b, e);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (!streams[i]->id)
            return err_set(e, ERR_CONFLICT, "another capture moved the head of %.*s",
                           SLICE_ARG(streams[i]->subject));
    }
    return rc;
}

int batch_write_heads(struct batch *b, struct err *e)
{
    struct stream **touched = b->touched;
    size_t old = 0;
    size_t all = 0;
    int rc = 0;
    qsort(touched, b->touched_n, sizeof touched[0], by_lock);
    while (all < b->touched_n && moved(touched[all]))
        old += touched[all++]->id != 0;
    for (size_t i = 0; rc == 0 && i < old; i += TOGETHER)
        rc = move_some(b, touched + i, old - i < TOGETHER ? old - i : TOGETHER, e);
    for (size_t i = old; rc == 0 && i < all; i += TOGETHER)
        rc = insert_some(b, touched + i, all - i < TOGETHER ? all - i : TOGETHER, e);
    return rc;
}
