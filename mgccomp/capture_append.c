/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A judged slice into the tables: heads by compare-and-swap, incidents, presence, records in bulk.
 */
#include "mgccomp/capture_batch.h"
#include "mgccomp/gap.h"
#include "mgccomp/incident.h"
#include "mgccomp/presence.h"
#include "mgccomp/totals.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TOGETHER = 128, MOVE_VALUES = 8 };

/* As the sweep locks them; those without a row yet, which only another capture can meet, last. */
static int by_lock(const void *a, const void *b)
{
    const struct stream *x = *(struct stream *const *)a;
    const struct stream *y = *(struct stream *const *)b;
    int c = (x->id == 0) - (y->id == 0);
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

static int lost_head(const struct stream *s, struct err *e)
{
    return err_set(e, ERR_CONFLICT, "another capture moved the head of %.*s",
                   SLICE_ARG(s->subject));
}

static int insert_stream(struct batch *b, struct stream *s, struct err *e)
{
    const struct slice hash = {(const char *)s->now.hash, SHA256_SIZE};
    int64_t id = 0;
    int rc = db_int(b->t->db,
                    "INSERT INTO stream (source, epoch, subject, sequence, hash, captured,"
                    " deleted, last_us, name) VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8)"
                    " ON CONFLICT (source, epoch, subject) DO NOTHING RETURNING id",
                    DB_ARGS(DB_T(s->source), DB_I(s->epoch), DB_T(s->subject),
                            DB_I(s->now.sequence), DB_B(hash), DB_I(s->added), DB_I(b->now_us),
                            s->name.n ? DB_T(s->name) : DB_N),
                    0, &id, e);
    if (rc == ERR_NOT_FOUND)
        return lost_head(s, e);
    if (rc == 0)
        s->id = id;
    return rc;
}

/* Heads on their way into the database. By compare-and-swap: no row changed means that the head is
 * not where it was. */
struct moves {
    struct db_value args[TOGETHER][MOVE_VALUES];
    const struct stream *streams[TOGETHER];
    size_t n;
};

static int send_moves(struct batch *b, struct moves *m, struct err *e)
{
    int64_t changed[TOGETHER] = {0};
    size_t n = m->n;
    m->n = 0;
    int rc = db_run_each(b->t->db,
                         "UPDATE stream SET sequence = $2, hash = $3, captured = captured + $4,"
                         " last_us = $5, name = COALESCE($8, name)"
                         " WHERE id = $1 AND sequence = $6 AND hash = $7",
                         m->args[0], MOVE_VALUES, n, changed, e);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (changed[i] != 1)
            rc = lost_head(m->streams[i], e);
    }
    return rc;
}

static int move_stream(struct batch *b, struct moves *m, const struct stream *s, struct err *e)
{
    const struct db_value args[MOVE_VALUES] = {
        DB_I(s->id),
        DB_I(s->now.sequence),
        DB_B(((struct slice){(const char *)s->now.hash, SHA256_SIZE})),
        DB_I(s->added),
        DB_I(b->now_us),
        DB_I(s->start.sequence),
        DB_B(((struct slice){(const char *)s->start.hash, SHA256_SIZE})),
        s->name.n ? DB_T(s->name) : DB_N,
    };
    memcpy(m->args[m->n], args, sizeof args);
    m->streams[m->n++] = s;
    return m->n < TOGETHER ? 0 : send_moves(b, m, e);
}

static int write_streams(struct batch *b, struct err *e)
{
    struct moves moves = {.n = 0};
    size_t i = 0;
    int rc = 0;
    qsort(b->touched, b->touched_n, sizeof b->touched[0], by_lock);
    for (; rc == 0 && i < b->touched_n && b->touched[i]->id; i++) {
        if (b->touched[i]->added > 0) /* not duplicates only */
            rc = move_stream(b, &moves, b->touched[i], e);
    }
    if (rc == 0)
        rc = send_moves(b, &moves, e);
    for (; rc == 0 && i < b->touched_n; i++) {
        if (b->touched[i]->added > 0)
            rc = insert_stream(b, b->touched[i], e);
    }
    return rc;
}

static void describe(const struct batch *b, const struct finding *f, char object[64],
                     char detail[256])
{
    const struct staged *r = &b->staged[f->item];
    const struct capture_item *m = r->item;
    int64_t stream = f->stream ? f->stream->id : 0;
    if (strcmp(f->kind, INCIDENT_UNREADABLE) == 0) {
        (void)snprintf(object, 64, "%" PRId32 "/%" PRId64, m->part, m->pos);
        (void)snprintf(detail, 256, "partition %" PRId32 " position %" PRId64 ": %.*s", m->part,
                       m->pos, r->note.n < 160 ? (int)r->note.n : 160, r->note.p);
        return;
    }
    gap_object(stream, f->first, object);
    (void)snprintf(detail, 256,
                   "seen with record %" PRId64 " at partition %" PRId32 " position %" PRId64,
                   r->sequence, m->part, m->pos);
}

static int write_findings(struct batch *b, struct err *e)
{
    for (size_t i = 0; i < b->findings_n; i++) {
        const struct finding *f = &b->findings[i];
        char object[64];
        char detail[256];
        bool opened = false;
        if (!f->kind)
            continue;
        describe(b, f, object, detail);
        struct incident incident = {.kind = f->kind,
                                    .object = slice_of(object),
                                    .part = b->staged[f->item].item->part,
                                    .first = f->first,
                                    .last = f->last,
                                    .opened_us = b->now_us,
                                    .detail = slice_of(detail)};
        if (f->stream) {
            incident.stream = f->stream->id;
            incident.source = f->stream->source;
            incident.subject = f->stream->subject;
        }
        if (strcmp(f->kind, INCIDENT_UNREADABLE) != 0)
            incident.part = -1; /* first and last are sequences */
        int rc = incident_open(b->t, &incident, &opened, e);
        if (rc < 0)
            return rc;
        b->incidents += opened;
    }
    return 0;
}

static bool moves_presence(const struct staged *r)
{
    const int64_t aside = STAGING_FORK | STAGING_REPEAT | STAGING_UNREADABLE;
    return !r->dropped && r->sequenced && staged_stream(r) && !(r->flags & aside) &&
           (r->kind == RECORD_JOIN || r->kind == RECORD_LEAVE) &&
           r->sequence <= r->decoded->now.sequence; /* not far ahead */
}

static int write_presence(struct batch *b, size_t lo, size_t hi, struct err *e)
{
    if (b->presence_room < b->room) {
        free(b->presence);
        b->presence_room = 0;
        b->presence = calloc(b->room, sizeof *b->presence);
        if (!b->presence)
            return err_memory(e, "noting who is in which room");
        b->presence_room = b->room;
    }
    size_t n = 0;
    for (size_t i = lo; i < hi; i++) {
        const struct staged *r = &b->staged[i];
        if (moves_presence(r))
            b->presence[n++] = (struct presence_event){
                r->decoded->id,          r->sequence,    r->time_us,  r->kind == RECORD_JOIN,
                r->flags & STAGING_LATE, r->participant, r->endpoint, r->name};
    }
    return presence_write(b->t->db, b->presence, n, e);
}

static int copy_record(struct db_copy *c, const struct batch *b, const struct staged *r,
                       struct err *e)
{
    const struct stream *s = staged_stream(r);
    const struct capture_item *m = r->item;
    const struct db_value row[] = {
        DB_I(b->generation),
        DB_I(m->part),
        DB_I(m->pos),
        s ? DB_I(s->id) : DB_N,
        s && r->sequenced ? DB_I(r->sequence) : DB_N,
        DB_I(s ? (int64_t)r->kind : (int64_t)RECORD_OTHER),
        DB_I(r->flags),
        DB_I(s ? r->time_us : m->queued_us),
        DB_I(m->queued_us),
        DB_I(b->now_us),
        DB_B(((struct slice){(const char *)r->hash, SHA256_SIZE})),
        DB_B(m->raw.p ? m->raw : SLICE("")),
        r->note.p ? DB_T(r->note) : DB_N,
    };
    return db_copy_row(c, row, e);
}

static int copy_records(const struct batch *b, size_t lo, size_t hi, struct err *e)
{
    static const enum db_type types[] = {DB_INT, DB_INT, DB_INT, DB_INT,   DB_INT,   DB_INT, DB_INT,
                                         DB_INT, DB_INT, DB_INT, DB_BYTES, DB_BYTES, DB_TEXT};
    struct db_copy *c = NULL;
    int rc = db_copy_begin(b->t->db, "record",
                           "generation, part, pos, stream, sequence, kind, flags, time_us,"
                           " queued_us, captured_us, hash, raw, note",
                           types, sizeof types / sizeof types[0], &c, e);
    if (rc < 0)
        return rc;
    for (size_t i = lo; i < hi; i++) {
        if (b->staged[i].dropped)
            continue;
        rc = copy_record(c, b, &b->staged[i], e);
        if (rc < 0) {
            db_copy_abort(c);
            return rc;
        }
    }
    return db_copy_end(c, e);
}

/* A unique key of records or presence that is there already is no lost race, which the position's
 * compare-and-swap would have shown: reading the positions again would not help. */
static int no_race(int rc, struct err *e)
{
    if (rc != ERR_CONFLICT)
        return rc;
    if (e)
        e->class = ERR_FAULT;
    (void)err_wrap(e, "mgccomp holds rows of positions that are not captured yet");
    return ERR_FAULT;
}

/* What a source says of its heads is compared later (totals.c); the record itself may be archived
 * and deleted before that. */
static int note_totals(const struct batch *b, size_t lo, size_t hi, struct err *e)
{
    int rc = 0;
    for (size_t i = lo; rc == 0 && i < hi; i++) {
        const struct staged *r = &b->staged[i];
        if (r->kind == RECORD_TOTALS && r->sequenced && !r->refused && !r->dropped)
            rc = totals_note(b->t, r->decoded->id, r->sequence, r->item->raw, b->now_us, e);
    }
    return rc;
}

int batch_append(struct batch *b, size_t lo, size_t hi, struct err *e)
{
    int rc = batch_judge(b, lo, hi, e);
    if (rc == 0 && b->findings_n > 0)
        rc = staging_lock_gate(b->t, e);
    if (rc == 0)
        rc = write_streams(b, e);
    if (rc == 0)
        rc = write_findings(b, e);
    if (rc == 0)
        rc = no_race(write_presence(b, lo, hi, e), e);
    if (rc == 0)
        rc = no_race(copy_records(b, lo, hi, e), e);
    if (rc == 0)
        rc = note_totals(b, lo, hi, e);
    return rc;
}
