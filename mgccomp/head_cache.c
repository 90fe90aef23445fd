/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table of streams with a list by last use. */
#include "mgccomp/head_cache.h"

#include "base/own.h"

#include <string.h>

enum { BUCKETS = 1 << 16 };

struct head_cache {
    struct stream *buckets[BUCKETS];
    struct stream *newest, *oldest;
    size_t n, max;
    uint64_t seed;  /* so that nobody can choose subjects that collide */
    uint64_t valid; /* heads loaded under an earlier number must be read again */
};

struct head_cache *head_cache_new(size_t max)
{
    struct head_cache *all = calloc(1, sizeof *all);
    if (!all)
        return NULL;
    all->max = max;
    all->valid = 1;
    random_bytes(&all->seed, sizeof all->seed);
    return all;
}

static void unlist(struct head_cache *all, struct stream *s)
{
    if (s->newer)
        s->newer->older = s->older;
    else
        all->newest = s->older;
    if (s->older)
        s->older->newer = s->newer;
    else
        all->oldest = s->newer;
    s->newer = s->older = NULL;
}

static void list_newest(struct head_cache *all, struct stream *s)
{
    s->older = all->newest;
    s->newer = NULL;
    if (all->newest)
        all->newest->newer = s;
    else
        all->oldest = s;
    all->newest = s;
}

static void drop(struct head_cache *all, struct stream *s)
{
    struct stream **p = &all->buckets[s->hash % BUCKETS];
    while (*p != s)
        p = &(*p)->chain;
    *p = s->chain;
    unlist(all, s);
    free(s);
    all->n--;
}

void head_cache_trim(struct head_cache *all)
{
    while (all->n > all->max)
        drop(all, all->oldest);
}

void head_cache_free(struct head_cache *all)
{
    if (!all)
        return;
    all->max = 0;
    head_cache_trim(all);
    free(all);
}

void head_cache_forget(struct head_cache *all)
{
    all->valid++;
}

static uint64_t mix(uint64_t x, struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        x = (x ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return x ^ x >> 29;
}

static uint64_t hash_of(const struct head_cache *all, struct slice source, int64_t epoch,
                        struct slice subject)
{
    uint64_t x = mix(all->seed ^ (uint64_t)epoch, subject);
    x = mix(x * 0x9e3779b97f4a7c15u, source);
    return x ^ x >> 32;
}

static struct stream *make(struct head_cache *all, struct slice source, int64_t epoch,
                           struct slice subject, uint64_t hash)
{
    struct stream *s = calloc(1, sizeof *s + source.n + subject.n);
    if (!s)
        return NULL;
    memcpy(s->text, source.p, source.n);
    memcpy(s->text + source.n, subject.p, subject.n);
    s->source = (struct slice){s->text, source.n};
    s->subject = (struct slice){s->text + source.n, subject.n};
    s->epoch = epoch;
    s->hash = hash;
    s->chain = all->buckets[hash % BUCKETS];
    all->buckets[hash % BUCKETS] = s;
    list_newest(all, s);
    all->n++;
    return s;
}

struct stream *head_cache_get(struct head_cache *all, struct slice source, int64_t epoch,
                              struct slice subject)
{
    uint64_t hash = hash_of(all, source, epoch, subject);
    struct stream *s = all->buckets[hash % BUCKETS];
    while (s && !(s->hash == hash && s->epoch == epoch && slice_eq(s->subject, subject) &&
                  slice_eq(s->source, source)))
        s = s->chain;
    if (!s)
        return make(all, source, epoch, subject, hash);
    if (s != all->newest) {
        unlist(all, s);
        list_newest(all, s);
    }
    return s;
}

int head_cache_load(struct head_cache *all, struct db *db, struct stream *s, struct err *e)
{
    if (s->loaded == all->valid)
        return 0;
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db,
                      "SELECT id, sequence, hash FROM stream"
                      " WHERE source = $1 AND epoch = $2 AND subject = $3",
                      DB_ARGS(DB_T(s->source), DB_I(s->epoch), DB_T(s->subject)), &r, e);
    if (rc < 0)
        return rc;
    rc = db_rows_next(r, e);
    if (rc < 0)
        return rc;
    s->id = 0;
    s->now = (struct chain_head){0};
    if (rc == 1) {
        struct slice hash = db_rows_slice(r, 2);
        if (hash.n != SHA256_SIZE)
            return err_set(e, ERR_FAULT, "mgccomp: the head of %.*s is damaged",
                           SLICE_ARG(s->subject));
        s->id = db_rows_int(r, 0);
        s->now.sequence = db_rows_int(r, 1);
        memcpy(s->now.hash, hash.p, SHA256_SIZE);
    }
    s->loaded = all->valid;
    return 0;
}
