/* SPDX-License-Identifier: Apache-2.0 */
/* From the queue's bytes to what judging and the table need; what can't be read stays raw. */
#include "mgccomp/capture_batch.h"

#include "base/own.h"

#include <string.h>

enum { TEXTS_KEEP = 256 * 1024 };

int capture_batch_new(struct capture_batch **out, struct err *e)
{
    OWN(own_capture_batch) struct capture_batch *b = calloc(1, sizeof *b);
    if (!b)
        return err_memory(e, "opening a batch");
    arena_init(&b->texts, TEXTS_KEEP);
    b->doc = json_doc_new();
    if (!b->doc)
        return err_memory(e, "opening a batch");
    *out = b;
    b = NULL;
    return 0;
}

void capture_batch_free(struct capture_batch *b)
{
    if (!b)
        return;
    arena_done(&b->texts);
    json_doc_free(b->doc);
    free(b->staged);
    free(b);
}

void capture_batch_clear(struct capture_batch *b)
{
    arena_reset(&b->texts);
    b->n = 0;
}

static int grow(struct capture_batch *b, size_t n, struct err *e)
{
    if (n <= b->room)
        return 0;
    size_t room = n < 2 * b->room ? 2 * b->room : n;
    struct staged *more = realloc(b->staged, room * sizeof *more);
    if (!more)
        return err_memory(e, "decoding a batch");
    b->staged = more;
    b->room = room;
    return 0;
}

/* Most texts lie in the record's own bytes, which outlive the batch; what was escaped there lies in
 * the document, which the next record takes. */
static bool keep(struct capture_batch *b, const struct staged *s, struct slice text,
                 struct slice *out)
{
    const struct slice raw = s->item->raw;
    if (raw.p <= text.p && text.p + text.n <= raw.p + raw.n) {
        *out = text;
        return true;
    }
    return arena_copy(&b->texts, text, out);
}

static int keep_texts(struct capture_batch *b, struct staged *s, const struct record *r,
                      struct err *e)
{
    if (!keep(b, s, r->source, &s->source) || !keep(b, s, r->subject, &s->subject) ||
        (r->room.n && !keep(b, s, r->room, &s->room)))
        return err_memory(e, "decoding a batch");
    if (r->kind != RECORD_JOIN && r->kind != RECORD_LEAVE)
        return 0;
    s->endpoint = SLICE("");
    if (keep(b, s, r->participant, &s->participant) &&
        (!r->endpoint.p || keep(b, s, r->endpoint, &s->endpoint)) &&
        (!r->name.p || keep(b, s, r->name, &s->name)))
        return 0;
    return err_memory(e, "decoding a batch");
}

/* The note says what is wrong with the record, not what is in it. */
static int keep_raw(struct capture_batch *b, struct staged *s, const struct err *why, struct err *e)
{
    s->time_us = s->item->queued_us;
    s->kind = RECORD_OTHER;
    sha256(s->item->raw.p ? s->item->raw.p : "", s->item->raw.n, s->hash);
    return arena_copy(&b->texts, slice_of(why->text), &s->note) ? 0
                                                                : err_memory(e, "decoding a batch");
}

static int decode_one(struct capture_batch *b, struct staged *s, struct err *e)
{
    struct record r;
    struct err why = {0};
    int rc = record_decode(b->doc, s->item->raw, &r, &why);
    if (rc == ERR_REJECTED)
        return keep_raw(b, s, &why, e);
    if (rc < 0)
        return err_set(e, why.class, "decode: %s", why.text);

    s->kind = r.kind;
    s->time_us = r.time_us;
    s->sequenced = r.sequenced;
    s->sequence = r.sequence;
    s->epoch = r.sequenced ? r.epoch : 0;
    memcpy(s->hash, r.hash, SHA256_SIZE);
    memcpy(s->previous, r.previous, SHA256_SIZE);
    return keep_texts(b, s, &r, e);
}

int capture_decode(struct capture_batch *b, const struct capture_item *items, size_t n,
                   struct err *e)
{
    int rc = grow(b, n, e);
    while (rc == 0 && b->n < n) {
        b->staged[b->n] = (struct staged){.item = &items[b->n]};
        rc = decode_one(b, &b->staged[b->n], e);
        b->n += rc == 0;
    }
    return rc;
}
