/* SPDX-License-Identifier: Apache-2.0 */
/* A table of streams by number, each with its part of the window. */
#include "chat-server/store/outbox.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 16384, RECORD_OVERHEAD = 64 };

struct outbox {
    struct outbox_stream *buckets[BUCKETS];
    struct outbox_stream *first_waiting, *last_waiting;
    size_t count, max;
    size_t bytes, max_bytes; /* of the window */
    uint64_t unconfirmed;
};

struct outbox *outbox_new(size_t window_bytes, size_t max_streams)
{
    struct outbox *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->max = max_streams;
    o->max_bytes = window_bytes;
    return o;
}

static size_t bucket_of(int64_t id)
{
    return (size_t)((uint64_t)id * UINT64_C(0x9e3779b97f4a7c15) >> 50) % BUCKETS;
}

static void drop_first(struct outbox *o, struct outbox_stream *st)
{
    struct outbox_record *r = st->first;
    st->first = r->next;
    if (!st->first)
        st->last = NULL;
    o->bytes -= r->bytes.n + RECORD_OVERHEAD;
    free(r);
}

static void stream_free(struct outbox *o, struct outbox_stream *st)
{
    while (st->first)
        drop_first(o, st);
    free(st);
}

void outbox_free(struct outbox *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (o->buckets[i]) {
            struct outbox_stream *st = o->buckets[i];
            o->buckets[i] = st->next;
            stream_free(o, st);
        }
    }
    free(o);
}

struct outbox_stream *outbox_find(const struct outbox *o, int64_t id)
{
    struct outbox_stream *st = o->buckets[bucket_of(id)];
    while (st && st->id != id)
        st = st->next;
    return st;
}

struct outbox_stream *outbox_take(struct outbox *o, int64_t id, struct slice subject)
{
    struct outbox_stream *st = outbox_find(o, id);
    if (st || o->count >= o->max)
        return st;
    st = calloc(1, sizeof *st + subject.n + 1);
    if (!st)
        return NULL;
    st->id = id;
    st->confirmed = OUTBOX_UNKNOWN;
    st->partition = -1;
    st->subject_n = subject.n;
    memcpy(st->subject, subject.p, subject.n);
    st->next = o->buckets[bucket_of(id)];
    o->buckets[bucket_of(id)] = st;
    o->count++;
    return st;
}

static bool has_room(const struct outbox *o, size_t n)
{
    return o->bytes + n + RECORD_OVERHEAD <= o->max_bytes;
}

static void append(struct outbox *o, struct outbox_stream *st, int64_t sequence,
                   struct slice record, int64_t now_us)
{
    struct outbox_record *r = malloc(sizeof *r + record.n);
    if (!r)
        return;
    *r = (struct outbox_record){.sequence = sequence, .stored_us = now_us};
    r->bytes = (struct slice){(char *)(r + 1), record.n};
    memcpy(r + 1, record.p, record.n);
    *(st->last ? &st->last->next : &st->first) = r;
    st->last = r;
    o->bytes += record.n + RECORD_OVERHEAD;
}

static uint64_t unconfirmed_of(const struct outbox_stream *st)
{
    int64_t confirmed = st->confirmed;
    if (confirmed == OUTBOX_UNKNOWN)
        confirmed = st->told ? st->told - 1 : st->head;
    return confirmed < st->head ? (uint64_t)(st->head - confirmed) : 0;
}

void outbox_stored(struct outbox *o, struct outbox_stream *st, int64_t sequence,
                   struct slice record, int64_t now_us)
{
    if (sequence <= st->head)
        return;
    if (st->behind_us == 0)
        st->behind_us = now_us;
    o->unconfirmed -= unconfirmed_of(st);
    st->head = sequence;
    if (st->told == 0)
        st->told = sequence;
    o->unconfirmed += unconfirmed_of(st);
    if (record.p && has_room(o, record.n))
        append(o, st, sequence, record, now_us);
    outbox_wait(o, st);
}

void outbox_found(struct outbox *o, struct outbox_stream *st, int64_t head, int64_t confirmed)
{
    o->unconfirmed -= unconfirmed_of(st);
    if (head > st->head)
        st->head = head;
    if (st->confirmed == OUTBOX_UNKNOWN) {
        st->confirmed = confirmed;
        st->noted = confirmed;
        st->sent = confirmed;
    }
    o->unconfirmed += unconfirmed_of(st);
    outbox_wait(o, st);
}

struct outbox_stream *outbox_next(struct outbox *o)
{
    struct outbox_stream *st = o->first_waiting;
    if (!st)
        return NULL;
    o->first_waiting = st->next_waiting;
    if (!o->first_waiting)
        o->last_waiting = NULL;
    st->next_waiting = NULL;
    st->waiting = false;
    return st;
}

void outbox_wait(struct outbox *o, struct outbox_stream *st)
{
    if (st->waiting || (st->confirmed != OUTBOX_UNKNOWN && st->sent >= st->head))
        return;
    st->waiting = true;
    *(o->last_waiting ? &o->last_waiting->next_waiting : &o->first_waiting) = st;
    o->last_waiting = st;
}

const struct outbox_record *outbox_peek(struct outbox *o, struct outbox_stream *st,
                                        int64_t sequence)
{
    while (st->first && st->first->sequence < sequence)
        drop_first(o, st);
    return st->first && st->first->sequence == sequence ? st->first : NULL;
}

void outbox_sent(struct outbox *o, struct outbox_stream *st, int64_t sequence)
{
    st->sent = sequence;
    while (st->first && st->first->sequence <= sequence)
        drop_first(o, st);
}

void outbox_confirmed(struct outbox *o, struct outbox_stream *st, int64_t sequence,
                      int64_t stored_us)
{
    if (sequence != st->confirmed + 1)
        return;
    if (sequence > st->sent)
        outbox_sent(o, st, sequence);
    o->unconfirmed -= unconfirmed_of(st);
    st->confirmed = sequence;
    o->unconfirmed += unconfirmed_of(st);
    st->refusals = 0;
    if (sequence >= st->head)
        st->behind_us = 0;
    else if (stored_us)
        st->behind_us = stored_us;
    outbox_wait(o, st);
}

uint64_t outbox_unconfirmed(const struct outbox *o)
{
    return o->unconfirmed;
}

bool outbox_has_waiting(const struct outbox *o)
{
    return o->first_waiting != NULL;
}

void outbox_each(const struct outbox *o, void (*visit)(void *arg, struct outbox_stream *st),
                 void *arg)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        struct outbox_stream *st = o->buckets[i];
        while (st) {
            struct outbox_stream *next = st->next;
            visit(arg, st);
            st = next;
        }
    }
}

static void rewind_stream(void *arg, struct outbox_stream *st)
{
    struct outbox *o = arg;
    if (st->confirmed == OUTBOX_UNKNOWN)
        return;
    st->sent = st->confirmed;
    outbox_wait(o, st);
}

void outbox_rewind(struct outbox *o)
{
    outbox_each(o, rewind_stream, o);
}

bool outbox_full(const struct outbox *o)
{
    return o->count > o->max / 2;
}

static bool idle(const struct outbox_stream *st)
{
    return !st->waiting && !st->dirty && st->in_flight == 0 && st->confirmed == st->head &&
           st->noted == st->confirmed;
}

void outbox_trim(struct outbox *o)
{
    for (size_t i = 0; i < BUCKETS && outbox_full(o); i++) {
        struct outbox_stream **at = &o->buckets[i];
        while (*at) {
            struct outbox_stream *st = *at;
            if (!idle(st)) {
                at = &st->next;
                continue;
            }
            *at = st->next;
            stream_free(o, st);
            o->count--;
        }
    }
}

static void add_up(void *arg, struct outbox_stream *st)
{
    struct outbox_sum *sum = arg;
    if (unconfirmed_of(st) == 0)
        return;
    sum->unconfirmed += unconfirmed_of(st);
    if (st->behind_us && (sum->oldest_us == 0 || st->behind_us < sum->oldest_us))
        sum->oldest_us = st->behind_us;
}

void outbox_sum(const struct outbox *o, struct outbox_sum *out)
{
    *out = (struct outbox_sum){0};
    outbox_each(o, add_up, out);
}
