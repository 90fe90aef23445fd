/* SPDX-License-Identifier: Apache-2.0 */
/* From the queue's bytes to what judging and the table need; what can't be read stays raw. */
#include "mgccomp/capture_batch.h"

#include "base/own.h"

#include <string.h>

static int grow(struct batch *b, size_t n, struct err *e)
{
    if (n <= b->room)
        return 0;
    free(b->staged);
    free(b->touched);
    b->room = 0;
    b->staged = calloc(n, sizeof *b->staged);
    b->touched = calloc(n, sizeof(struct stream *));
    if (!b->staged || !b->touched)
        return err_memory(e, "decoding a batch");
    b->room = n;
    return 0;
}

static int keep_texts(struct batch *b, struct staged *s, const struct record *r, struct err *e)
{
    if (r->room.n && !arena_copy(&b->texts, r->room, &s->room))
        return err_memory(e, "decoding a batch");
    if (r->kind != RECORD_JOIN && r->kind != RECORD_LEAVE)
        return 0;
    s->endpoint = SLICE("");
    if (arena_copy(&b->texts, r->participant, &s->participant) &&
        (!r->endpoint.p || arena_copy(&b->texts, r->endpoint, &s->endpoint)) &&
        (!r->name.p || arena_copy(&b->texts, r->name, &s->name)))
        return 0;
    return err_memory(e, "decoding a batch");
}

/* The note says what is wrong with the record, not what is in it. */
static int keep_raw(struct batch *b, struct staged *s, const struct err *why, struct err *e)
{
    s->time_us = s->item->queued_us;
    s->kind = RECORD_OTHER;
    sha256(s->item->raw.p ? s->item->raw.p : "", s->item->raw.n, s->hash);
    return arena_copy(&b->texts, slice_of(why->text), &s->note) ? 0
                                                                : err_memory(e, "decoding a batch");
}

static int decode_one(struct batch *b, struct staged *s, struct err *e)
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
    memcpy(s->hash, r.hash, SHA256_SIZE);
    memcpy(s->previous, r.previous, SHA256_SIZE);
    s->decoded = head_cache_get(b->streams, r.source, r.sequenced ? r.epoch : 0, r.subject);
    if (!s->decoded)
        return err_memory(e, "decoding a batch");
    return keep_texts(b, s, &r, e);
}

int batch_decode(struct batch *b, const struct capture_item *items, size_t n, struct err *e)
{
    arena_reset(&b->texts);
    b->n = 0;
    int rc = grow(b, n, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        b->staged[i] = (struct staged){.item = &items[i]};
        rc = decode_one(b, &b->staged[i], e);
        if (rc < 0)
            return rc;
    }
    b->n = n;
    return 0;
}
