/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of entries by age, and a hash table of chains over it. */
#include "chat-server/store/once.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    uint8_t key[ONCE_SIZE];
    struct once_place place;
    uint32_t next; /* same bucket: slot + 1; 0: none */
    bool used, loaded;
};

struct once {
    struct entry *ring;
    uint32_t *buckets; /* slot + 1 */
    size_t max, mask;
    uint64_t end; /* entries ever added; the ring holds the last `max` */
};

struct once *once_new(size_t max)
{
    size_t buckets = 16;
    while (buckets < max)
        buckets *= 2;
    struct once *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->ring = calloc(max, sizeof *w->ring);
    w->buckets = calloc(buckets, sizeof *w->buckets);
    w->max = max;
    w->mask = buckets - 1;
    if (!w->ring || !w->buckets) {
        once_free(w);
        return NULL;
    }
    return w;
}

void once_free(struct once *w)
{
    if (!w)
        return;
    free(w->ring);
    free(w->buckets);
    free(w);
}

/* Keys are digests, or random: any part of them is a hash. */
static uint32_t *bucket(const struct once *w, const uint8_t key[ONCE_SIZE])
{
    uint64_t hash;
    memcpy(&hash, key, sizeof hash);
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return &w->buckets[(hash >> 32) & w->mask];
}

bool once_find(const struct once *w, const uint8_t key[ONCE_SIZE], struct once_place *out)
{
    for (uint32_t at = *bucket(w, key); at != 0; at = w->ring[at - 1].next) {
        const struct entry *x = &w->ring[at - 1];
        if (memcmp(x->key, key, ONCE_SIZE) == 0) {
            *out = x->place;
            return true;
        }
    }
    return false;
}

static void take_out(struct once *w, size_t slot)
{
    struct entry *x = &w->ring[slot];
    if (!x->used)
        return;
    uint32_t *at = bucket(w, x->key);
    while (*at != slot + 1)
        at = &w->ring[*at - 1].next;
    *at = x->next;
    x->used = false;
}

void once_add(struct once *w, const uint8_t key[ONCE_SIZE], const struct once_place *place,
              bool loaded)
{
    struct once_place there;
    if (once_find(w, key, &there))
        return;
    size_t slot = (size_t)(w->end % w->max);
    take_out(w, slot);
    struct entry *x = &w->ring[slot];
    uint32_t *at = bucket(w, key);
    memcpy(x->key, key, ONCE_SIZE);
    x->place = *place;
    x->used = true;
    x->loaded = loaded;
    x->next = *at;
    *at = (uint32_t)slot + 1;
    w->end++;
}

uint64_t once_mark(const struct once *w)
{
    return w->end;
}

void once_undo(struct once *w, uint64_t mark)
{
    uint64_t from = w->end - mark > w->max ? w->end - w->max : mark;
    for (uint64_t i = from; i < w->end; i++) {
        size_t slot = (size_t)(i % w->max);
        if (!w->ring[slot].loaded)
            take_out(w, slot);
    }
}

void once_clear(struct once *w)
{
    memset(w->buckets, 0, (w->mask + 1) * sizeof *w->buckets);
    for (size_t i = 0; i < w->max && i < w->end; i++)
        w->ring[i].used = false;
    w->end = 0;
}
