/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slice of a batch against the captured heads: what goes on the chain, what is a duplicate, and
 * what is wrong and becomes a finding. Everything but a duplicate is kept.
 */
#include "mgccomp/capture_batch.h"
#include "mgccomp/gap.h"
#include "mgccomp/incident.h"

#include <stdlib.h>
#include <string.h>

int batch_find(struct batch *b, const char *kind, size_t item, int64_t first, int64_t last,
               struct err *e)
{
    if (b->findings_n == b->findings_room) {
        size_t room = b->findings_room ? 2 * b->findings_room : 16;
        struct finding *more = realloc(b->findings, room * sizeof *more);
        if (!more)
            return err_memory(e, "judging a batch");
        b->findings = more;
        b->findings_room = room;
    }
    b->findings[b->findings_n++] = (struct finding){.kind = kind,
                                                    .stream = staged_stream(&b->staged[item]),
                                                    .item = item,
                                                    .first = first,
                                                    .last = last};
    return 0;
}

static void touch(struct batch *b, struct stream *s)
{
    if (s->batch != b->number) {
        s->batch = b->number;
        s->last = 0;
        s->lowest = INT64_MAX;
    }
    if (s->slice == b->slice)
        return;
    s->slice = b->slice;
    s->start = s->now;
    s->start_id = s->id;
    s->start_last = s->last;
    s->start_ahead = s->ahead;
    s->added = 0;
    s->name = (struct slice){0};
    b->touched[b->touched_n++] = s;
}

void batch_unjudge(struct batch *b)
{
    for (size_t i = 0; i < b->touched_n; i++) {
        struct stream *s = b->touched[i];
        s->now = s->start;
        s->id = s->start_id;
        s->last = s->start_last;
        s->ahead = s->start_ahead;
        s->slice = 0;
    }
    b->touched_n = 0;
}

static void advance(struct stream *s, const struct staged *r)
{
    s->now.sequence = r->sequence;
    memcpy(s->now.hash, r->hash, SHA256_SIZE);
}

/* A gap that opened in this very slice is no row yet. */
static int fill_found_gap(struct batch *b, const struct stream *s, int64_t sequence, bool *filled,
                          struct err *e)
{
    for (size_t i = 0; i < b->findings_n; i++) {
        struct finding *f = &b->findings[i];
        if (!f->kind || strcmp(f->kind, INCIDENT_GAP) != 0 || f->stream != s ||
            f->first > sequence || f->last < sequence)
            continue;
        *filled = true;
        int64_t last = f->last;
        if (f->first == f->last) {
            f->kind = NULL;
        } else if (f->first == sequence) {
            f->first++;
        } else {
            f->last = sequence - 1;
            return sequence < last ? batch_find(b, INCIDENT_GAP, f->item, sequence + 1, last, e)
                                   : 0;
        }
        return 0;
    }
    return 0;
}

static int fill_gap(struct batch *b, size_t item, bool *filled, struct err *e)
{
    const struct staged *r = &b->staged[item];
    const struct stream *s = r->decoded;
    int rc = fill_found_gap(b, s, r->sequence, filled, e);
    if (rc == 0 && !*filled && s->id)
        rc = gap_fill(b->t, s->id, r->sequence, filled, e);
    return rc == 0 && *filled ? batch_check_links(b, item, e) : rc;
}

static int late_or_repeat(struct batch *b, size_t item, struct err *e)
{
    struct staged *r = &b->staged[item];
    bool filled = false;
    int rc = fill_gap(b, item, &filled, e);
    r->flags |= filled ? STAGING_LATE : STAGING_REPEAT;
    if (rc < 0 || filled)
        return rc;
    return batch_find(b, INCIDENT_REPEAT, item, r->sequence, r->sequence, e);
}

/* At or below the head, or far ahead of it: the chain alone can't tell. */
static int look_up(struct batch *b, size_t item, bool far, struct err *e)
{
    struct staged *r = &b->staged[item];
    enum known known = KNOWN_NOT;
    bool filled = false;
    int rc = batch_known(b, r->decoded, r->sequence, r->hash, &known, e);
    if (rc < 0)
        return rc;
    if (known == KNOWN_SAME) {
        /* It was far ahead once, and a gap has been opened over it since. */
        r->dropped = true;
        rc = far ? 0 : fill_gap(b, item, &filled, e);
        r->placed = filled;
        return rc;
    }
    if (known == KNOWN_OTHER) {
        r->flags |= STAGING_FORK;
        return batch_find(b, INCIDENT_FORK, item, r->sequence, r->sequence, e);
    }
    if (far)
        return batch_far(b, item, e);
    return late_or_repeat(b, item, e);
}

static int judge_sequenced(struct batch *b, size_t item, struct err *e)
{
    struct staged *r = &b->staged[item];
    struct stream *s = r->decoded;
    int64_t head = s->now.sequence;
    enum chain_verdict verdict = chain_judge(&s->now, r->sequence, r->previous);
    int rc = 0;
    if (s->ahead && r->sequence >= s->ahead && verdict != CHAIN_FAR && verdict != CHAIN_OLD)
        rc = batch_reach(b, item, e);
    if (rc < 0)
        return rc;
    switch (verdict) {
    case CHAIN_NEXT:
        advance(s, r);
        return 0;
    case CHAIN_ALTERED:
        rc = batch_find(b, INCIDENT_ALTERED, item, head, r->sequence, e);
        advance(s, r);
        return rc;
    case CHAIN_GAP:
        rc = batch_find(b, INCIDENT_GAP, item, head + 1, r->sequence - 1, e);
        advance(s, r);
        return rc;
    case CHAIN_FAR:
        return look_up(b, item, true, e);
    case CHAIN_OLD:
        return look_up(b, item, false, e);
    }
    return err_set(e, ERR_FAULT, "a record's place in its chain can't be judged");
}

static int judge_one(struct batch *b, size_t item, struct err *e)
{
    struct staged *r = &b->staged[item];
    struct stream *s = staged_stream(r);
    r->dropped = r->placed = false;
    r->flags = !s || r->refused ? STAGING_UNREADABLE : 0;
    if (r->flags) {
        int rc = batch_find(b, INCIDENT_UNREADABLE, item, r->item->pos, r->item->pos, e);
        if (rc < 0 || !s)
            return rc;
    }
    int rc = 0;
    touch(b, s);
    if (!r->sequenced)
        r->flags |= STAGING_UNPROVABLE;
    else
        rc = judge_sequenced(b, item, e);
    if (rc < 0 || r->dropped)
        return rc;
    r->before = s->last;
    s->last = item + 1;
    s->added++;
    if (r->room.n && !r->refused && !(r->flags & (STAGING_LATE | STAGING_FORK | STAGING_REPEAT)))
        s->name = r->room;
    if (r->sequenced && r->sequence < s->lowest)
        s->lowest = r->sequence;
    return 0;
}

/* What mgccomp knows of the slice's streams, in one go. */
static int load_heads(struct batch *b, size_t lo, size_t hi, struct err *e)
{
    size_t n = 0;
    for (size_t i = lo; i < hi; i++) {
        struct stream *s = staged_stream(&b->staged[i]);
        if (s && head_cache_wants(b->streams, s))
            b->touched[n++] = s;
    }
    return head_cache_load(b->streams, b->t->db, b->touched, n, e);
}

int batch_judge(struct batch *b, size_t lo, size_t hi, struct err *e)
{
    b->slice++;
    b->touched_n = 0;
    b->findings_n = 0;
    int rc = load_heads(b, lo, hi, e);
    for (size_t i = lo; rc == 0 && i < hi; i++)
        rc = judge_one(b, i, e);
    return rc;
}
