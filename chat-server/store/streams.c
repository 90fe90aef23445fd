/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table with chains and a list by last use. */
#include "chat-server/store/streams.h"

#include <stdlib.h>
#include <string.h>

struct streams {
    struct stream_head **buckets;
    size_t mask;
    struct stream_head *oldest, *newest;
    struct stream_head *touched;
    size_t count, bytes;
    size_t max_count, max_bytes;
};

static size_t size_of(const struct stream_head *x)
{
    return sizeof *x + x->key_n;
}

struct streams *streams_new(size_t max_streams, size_t max_bytes)
{
    size_t buckets = 1024;
    while (buckets < max_streams)
        buckets *= 2;
    struct streams *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->buckets = calloc(buckets, sizeof(struct stream_head *));
    if (!h->buckets) {
        free(h);
        return NULL;
    }
    h->mask = buckets - 1;
    h->max_count = max_streams;
    h->max_bytes = max_bytes;
    return h;
}

/* FNV-1a. Subjects come from people, so chains are also bounded by the cache's size. */
static uint64_t mix(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * UINT64_C(1099511628211);
    return hash;
}

static uint64_t hash_of(struct slice source, int64_t epoch, struct slice subject)
{
    uint64_t hash = mix(UINT64_C(14695981039346656037), &epoch, sizeof epoch);
    hash = mix(hash, source.p, source.n);
    hash = mix(hash, "", 1);
    hash = mix(hash, subject.p, subject.n);
    return hash ^ hash >> 32;
}

static bool has_key(const struct stream_head *x, struct slice source, int64_t epoch,
                    struct slice subject)
{
    const char *p = x->key;
    if (x->key_n != sizeof epoch + source.n + 1 + subject.n)
        return false;
    return memcmp(p, &epoch, sizeof epoch) == 0 &&
           memcmp(p + sizeof epoch, source.p, source.n) == 0 && p[sizeof epoch + source.n] == 0 &&
           memcmp(p + sizeof epoch + source.n + 1, subject.p, subject.n) == 0;
}

static void list_take_out(struct streams *h, struct stream_head *x)
{
    *(x->older ? &x->older->newer : &h->oldest) = x->newer;
    *(x->newer ? &x->newer->older : &h->newest) = x->older;
}

static void list_put_newest(struct streams *h, struct stream_head *x)
{
    x->older = h->newest;
    x->newer = NULL;
    *(h->newest ? &h->newest->newer : &h->oldest) = x;
    h->newest = x;
}

static void forget(struct streams *h, struct stream_head *x)
{
    struct stream_head **at = &h->buckets[x->hash & h->mask];
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    list_take_out(h, x);
    h->count--;
    h->bytes -= size_of(x);
    free(x);
}

/* Heads of the open transaction stay whatever the limits say: a group is bounded itself. */
static void make_room(struct streams *h, size_t bytes)
{
    struct stream_head *x = h->oldest;
    while (x && (h->count >= h->max_count || h->bytes + bytes > h->max_bytes)) {
        struct stream_head *newer = x->newer;
        if (!x->touched)
            forget(h, x);
        x = newer;
    }
}

static void touch(struct streams *h, struct stream_head *x)
{
    if (x->touched)
        return;
    x->touched = true;
    x->next_touched = h->touched;
    h->touched = x;
}

struct stream_head *streams_take(struct streams *h, struct slice source, int64_t epoch,
                                 struct slice subject, bool *fresh)
{
    uint64_t hash = hash_of(source, epoch, subject);
    for (struct stream_head *x = h->buckets[hash & h->mask]; x; x = x->next) {
        if (x->hash == hash && has_key(x, source, epoch, subject)) {
            list_take_out(h, x);
            list_put_newest(h, x);
            touch(h, x);
            *fresh = false;
            return x;
        }
    }

    size_t key_n = sizeof epoch + source.n + 1 + subject.n;
    make_room(h, sizeof(struct stream_head) + key_n);
    struct stream_head *x = calloc(1, sizeof *x + key_n);
    if (!x)
        return NULL;
    x->hash = hash;
    x->key_n = key_n;
    memcpy(x->key, &epoch, sizeof epoch);
    memcpy(x->key + sizeof epoch, source.p, source.n);
    memcpy(x->key + sizeof epoch + source.n + 1, subject.p, subject.n);
    x->next = h->buckets[hash & h->mask];
    h->buckets[hash & h->mask] = x;
    list_put_newest(h, x);
    touch(h, x);
    h->count++;
    h->bytes += size_of(x);
    *fresh = true;
    return x;
}

static struct stream_head *pop_touched(struct streams *h)
{
    struct stream_head *x = h->touched;
    if (x) {
        h->touched = x->next_touched;
        x->next_touched = NULL;
        x->touched = false;
    }
    return x;
}

void streams_commit(struct streams *h)
{
    for (struct stream_head *x = pop_touched(h); x; x = pop_touched(h))
        x->durable = x->now;
}

void streams_undo(struct streams *h)
{
    for (struct stream_head *x = pop_touched(h); x; x = pop_touched(h)) {
        if (x->durable.stream == 0)
            forget(h, x);
        else
            x->now = x->durable;
    }
}

void streams_clear(struct streams *h)
{
    h->touched = NULL;
    while (h->oldest)
        forget(h, h->oldest);
}

void streams_free(struct streams *h)
{
    if (!h)
        return;
    streams_clear(h);
    free(h->buckets);
    free(h);
}

size_t streams_count(const struct streams *h)
{
    return h->count;
}
