/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transaction that captures a batch. Order of locks: positions by partition, the gate when
 * there is something to report, streams by number, the tally. Deleting takes the gate first and
 * no row of a stream, so the two can't block each other.
 */
#include "mgccomp/capture_write.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "mgccomp/capture_batch.h"

#include <inttypes.h>
#include <string.h>

enum { HEADS_MAX = 100000 };

struct capture_writer {
    struct staging *st;
    struct batch b;
};

int capture_writer_new(struct capture_writer **out, struct staging *st, int64_t generation,
                       struct err *e)
{
    OWN(own_capture_writer) struct capture_writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_memory(e, "opening the capture writer");
    w->st = st;
    w->b.generation = generation;
    w->b.doc = json_doc_new();
    w->b.streams = head_cache_new(HEADS_MAX);
    w->b.values = calloc(LIST_VALUES, sizeof *w->b.values);
    if (!w->b.doc || !w->b.streams || !w->b.values)
        return err_memory(e, "opening the capture writer");
    *out = w;
    w = NULL;
    return 0;
}

void capture_writer_free(struct capture_writer *w)
{
    if (!w)
        return;
    json_doc_free(w->b.doc);
    head_cache_free(w->b.streams);
    free(w->b.values);
    free(w->b.touched);
    free(w->b.findings);
    free(w->b.presence);
    free(w);
}

void capture_writer_forget(struct capture_writer *w)
{
    head_cache_forget(w->b.streams);
}

/* The next weaker way to keep the one record that the database refused. */
static int keep_refused(struct batch *b, size_t i, const struct err *why, struct err *e)
{
    struct staged *r = &b->staged[i];
    char note[600];
    if (r->refused == REFUSED_PLACE || !r->decoded)
        return err_set(e, ERR_FAULT, "mgccomp refuses even a raw record: %s", why->text);
    r->refused++;
    int n = snprintf(note, sizeof note, "the database refused it: %s", why->text);
    for (int k = 0; k < n; k++) {
        if ((unsigned char)note[k] < 0x20 || (unsigned char)note[k] > 0x7e)
            note[k] = '?';
    }
    return arena_copy(&b->in->texts, slice_of(note), &r->note) ? 0
                                                               : err_memory(e, "keeping a record");
}

/* Halves what the database refuses until the record is found; the others go in. */
static int bisect(struct batch *b, size_t lo, size_t hi, struct err *e)
{
    struct err why = {0};
    size_t incidents = b->incidents;
    bool gate = b->t->gate;
    int rc = db_savepoint(b->t->db, e);
    if (rc < 0)
        return rc;
    rc = batch_append(b, lo, hi, &why);
    if (rc == 0)
        return db_savepoint_keep(b->t->db, e);
    if (rc != ERR_REJECTED)
        return err_set(e, rc, "%s", why.text);
    rc = db_savepoint_undo(b->t->db, e);
    if (rc < 0)
        return rc;
    batch_unjudge(b);
    b->incidents = incidents;
    b->t->gate = gate;
    if (hi - lo > 1) {
        size_t middle = lo + (hi - lo) / 2;
        rc = bisect(b, lo, middle, e);
        return rc < 0 ? rc : bisect(b, middle, hi, e);
    }
    rc = keep_refused(b, lo, &why, e);
    return rc < 0 ? rc : bisect(b, lo, hi, e);
}

/* Where a partition stands after the batch. */
struct end {
    struct staging_position *at;
    const struct staged *last; /* NULL: the batch has nothing of it */
};

static void own_ends(struct end **ends)
{
    free(*ends);
}

static int by_part(const void *a, const void *b)
{
    int32_t x = ((const struct end *)a)->at->part;
    int32_t y = ((const struct end *)b)->at->part;
    return (x > y) - (x < y);
}

static struct end *end_of(struct end *ends, size_t n, int32_t part)
{
    struct staging_position key = {.part = part};
    struct end wanted = {.at = &key};
    return bsearch(&wanted, ends, n, sizeof *ends, by_part);
}

/* Sorted by partition, which is the order they are locked in. */
static int ends_make(struct end **out, const struct batch *b, struct staging_position *positions,
                     size_t n, struct err *e)
{
    OWN(own_ends) struct end *ends = calloc(n ? n : 1, sizeof *ends);
    if (!ends)
        return err_memory(e, "capturing a batch");
    for (size_t i = 0; i < n; i++)
        ends[i].at = &positions[i];
    qsort(ends, n, sizeof *ends, by_part);
    struct end *end = NULL;
    for (size_t i = 0; i < b->n; i++) {
        const struct capture_item *m = b->staged[i].item;
        if (!end || end->at->part != m->part)
            end = end_of(ends, n, m->part);
        if (!end)
            return err_set(e, ERR_FAULT, "partition %" PRId32 " is in the batch without position",
                           m->part);
        int64_t lowest = end->last ? end->last->item->pos + 1 : end->at->pos;
        if (m->pos < lowest)
            return err_set(e, ERR_FAULT,
                           "partition %" PRId32 " gave position %" PRId64 " where %" PRId64
                           " or more was due",
                           m->part, m->pos, lowest);
        end->last = &b->staged[i];
    }
    *out = ends;
    ends = NULL;
    return 0;
}

static int move_position(const struct batch *b, const struct end *end, struct err *e)
{
    const struct staging_position *p = end->at;
    const struct slice hash = {(const char *)end->last->hash, SHA256_SIZE};
    const struct slice before = {(const char *)p->hash, SHA256_SIZE};
    const int64_t next = end->last->item->pos + 1;
    int64_t changed = 0;
    int rc;
    if (p->has_hash)
        rc = db_run(b->t->db,
                    "UPDATE position SET pos = $2, hash = $3, captured_us = $4"
                    " WHERE part = $1 AND pos = $5 AND shift = $7 AND hash = $6",
                    DB_ARGS(DB_I(p->part), DB_I(next), DB_B(hash), DB_I(b->now_us), DB_I(p->pos),
                            DB_B(before), DB_I(p->shift)),
                    &changed, e);
    else
        rc = db_run(b->t->db,
                    "INSERT INTO position (part, pos, hash, captured_us) VALUES ($1, $2, $3, $4)"
                    " ON CONFLICT (part) DO UPDATE SET pos = $2, hash = $3, captured_us = $4"
                    " WHERE position.pos = $5 AND position.shift = $6 AND position.hash IS NULL",
                    DB_ARGS(DB_I(p->part), DB_I(next), DB_B(hash), DB_I(b->now_us), DB_I(p->pos),
                            DB_I(p->shift)),
                    &changed, e);
    if (rc < 0 || changed == 1)
        return rc;
    return err_set(e, ERR_CONFLICT, "another capture moved the position of partition %" PRId32,
                   p->part);
}

static struct capture_outcome outcome(const struct batch *b)
{
    struct capture_outcome o = {.incidents = b->incidents};
    for (size_t i = 0; i < b->n; i++) {
        const struct staged *r = &b->staged[i];
        o.duplicates += r->dropped;
        o.stored += !r->dropped;
        o.exceptions += !r->dropped && r->flags & STAGING_UNREADABLE;
    }
    return o;
}

static int count(struct staging_txn *t, const struct capture_outcome *o, struct err *e)
{
    const struct {
        struct slice name;
        size_t add;
    } tallies[] = {
        {SLICE("captured"), o->stored},
        {SLICE("duplicates"), o->duplicates},
        {SLICE("exceptions"), o->exceptions},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof tallies / sizeof tallies[0]; i++) {
        if (tallies[i].add > 0)
            rc = staging_tally(t, tallies[i].name, (int64_t)tallies[i].add, e);
    }
    return rc;
}

static int transaction(struct capture_writer *w, const struct end *ends, size_t n, bool careful,
                       struct err *e)
{
    struct batch *b = &w->b;
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(w->st, &t, e);
    if (rc < 0)
        return rc;
    b->t = &t;
    b->number++;
    b->incidents = 0;
    b->now_us = clock_wall_us();
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (ends[i].last)
            rc = move_position(b, &ends[i], e);
    }
    FAULT("capture.position.after");
    if (rc == 0 && careful) /* something will be reported, after the first half's streams */
        rc = staging_lock_gate(&t, e);
    if (rc == 0)
        rc = careful ? bisect(b, 0, b->n, e) : batch_append(b, 0, b->n, e);
    if (rc == 0) {
        const struct capture_outcome o = outcome(b);
        rc = count(&t, &o, e);
    }
    FAULT("capture.commit.before");
    if (rc == 0)
        rc = staging_commit(&t, e);
    FAULT("capture.commit.after");
    return rc;
}

static int write_decoded(struct capture_writer *w, struct staging_position *positions, size_t n,
                         struct err *e)
{
    OWN(own_ends) struct end *ends = NULL;
    int rc = ends_make(&ends, &w->b, positions, n, e);
    if (rc == 0)
        rc = transaction(w, ends, n, false, e);
    if (rc == ERR_REJECTED) {
        head_cache_forget(w->b.streams);
        rc = transaction(w, ends, n, true, e);
    }
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (!ends[i].last)
            continue;
        ends[i].at->pos = ends[i].last->item->pos + 1;
        ends[i].at->has_hash = true;
        memcpy(ends[i].at->hash, ends[i].last->hash, SHA256_SIZE);
    }
    return rc;
}

static int grow(struct batch *b, size_t n, struct err *e)
{
    if (n <= b->room)
        return 0;
    free(b->touched);
    free(b->presence);
    b->room = 0;
    b->touched = calloc(n, sizeof(struct stream *));
    b->presence = calloc(n, sizeof *b->presence);
    if (!b->touched || !b->presence)
        return err_memory(e, "capturing a batch");
    b->room = n;
    return 0;
}

static int take_batch(struct batch *b, struct capture_batch *in, struct err *e)
{
    int rc = grow(b, in->n, e);
    b->in = in;
    b->staged = in->staged;
    b->n = in->n;
    for (size_t i = 0; rc == 0 && i < b->n; i++) {
        struct staged *r = &b->staged[i];
        if (!r->source.p)
            continue;
        r->decoded = head_cache_get(b->streams, r->source, r->epoch, r->subject);
        if (!r->decoded)
            rc = err_memory(e, "capturing a batch");
    }
    return rc;
}

int capture_write(struct capture_writer *w, struct capture_batch *batch,
                  struct staging_position *positions, size_t position_count,
                  struct capture_outcome *out, struct err *e)
{
    int rc = take_batch(&w->b, batch, e);
    if (rc == 0 && batch->n > 0)
        rc = write_decoded(w, positions, position_count, e);
    if (rc < 0)
        head_cache_forget(w->b.streams);
    else
        *out = outcome(&w->b);
    head_cache_trim(w->b.streams);
    return rc;
}
