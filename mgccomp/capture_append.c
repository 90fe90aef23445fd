/* SPDX-License-Identifier: Apache-2.0 */
/* A judged slice into the tables: heads, incidents, presence, records in bulk. */
#include "mgccomp/capture_batch.h"
#include "mgccomp/gap.h"
#include "mgccomp/incident.h"
#include "mgccomp/presence.h"
#include "mgccomp/totals.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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
        int rc = strcmp(f->kind, INCIDENT_GAP) == 0 ? gap_open(b->t, &incident, f->stream->epoch,
                                                               f->stream->now.sequence, &opened, e)
                                                    : incident_open(b->t, &incident, &opened, e);
        if (rc < 0)
            return rc;
        b->incidents += opened;
    }
    return 0;
}

static bool moves_presence(const struct staged *r)
{
    const int64_t aside = STAGING_FORK | STAGING_REPEAT | STAGING_UNREADABLE | STAGING_AHEAD;
    return (!r->dropped || r->placed) && r->sequenced && staged_stream(r) && !(r->flags & aside) &&
           (r->kind == RECORD_JOIN || r->kind == RECORD_LEAVE) &&
           r->sequence <= r->decoded->now.sequence; /* not far ahead */
}

static int write_presence(struct batch *b, size_t lo, size_t hi, struct err *e)
{
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
        rc = batch_write_heads(b, e);
    if (rc == 0)
        rc = batch_write_ahead(b, e);
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
