/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table of streams with a list by last use. */
#include "mgccomp/head_cache.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1 << 16, TOGETHER = 512 };

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

/* Eight bytes at a time: each record is looked up. */
static uint64_t mix(uint64_t x, struct slice s)
{
    x ^= s.n;
    for (size_t i = 0; i < s.n; i += sizeof(uint64_t)) {
        uint64_t eight = 0;
        memcpy(&eight, s.p + i, s.n - i < sizeof eight ? s.n - i : sizeof eight);
        x = (x ^ eight) * 0x9fb21c651e98df25u;
        x ^= x >> 32;
    }
    return x;
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

static struct stream *find(struct head_cache *all, struct slice source, int64_t epoch,
                           struct slice subject, uint64_t hash)
{
    struct stream *s = all->buckets[hash % BUCKETS];
    while (s && !(s->hash == hash && s->epoch == epoch && slice_eq(s->subject, subject) &&
                  slice_eq(s->source, source)))
        s = s->chain;
    return s;
}

struct stream *head_cache_find(struct head_cache *all, struct slice source, int64_t epoch,
                               struct slice subject)
{
    return find(all, source, epoch, subject, hash_of(all, source, epoch, subject));
}

struct stream *head_cache_get(struct head_cache *all, struct slice source, int64_t epoch,
                              struct slice subject)
{
    uint64_t hash = hash_of(all, source, epoch, subject);
    struct stream *s = find(all, source, epoch, subject, hash);
    if (!s)
        return make(all, source, epoch, subject, hash);
    if (s != all->newest) {
        unlist(all, s);
        list_newest(all, s);
    }
    return s;
}

bool head_cache_wants(struct head_cache *all, struct stream *s)
{
    bool wanted = s->loaded != all->valid;
    s->loaded = all->valid;
    return wanted;
}

static int note_head(void *arg, struct db_rows *row, struct err *e)
{
    struct stream *s =
        head_cache_find(arg, db_rows_slice(row, 0), db_rows_int(row, 1), db_rows_slice(row, 2));
    struct slice hash = db_rows_slice(row, 5);
    if (!s || hash.n != SHA256_SIZE)
        return err_set(e, ERR_FAULT, "mgccomp: the head of %.*s is damaged",
                       SLICE_ARG(db_rows_slice(row, 2)));
    s->id = db_rows_int(row, 3);
    s->now.sequence = db_rows_int(row, 4);
    memcpy(s->now.hash, hash.p, SHA256_SIZE);
    s->ahead = db_rows_int(row, 6);
    return 0;
}

static int load_some(struct head_cache *all, struct db *db, struct stream *const *streams, size_t n,
                     struct err *e)
{
    static const struct db_many sql = {
        "SELECT source, epoch, subject, id, sequence, hash, ahead FROM stream"
        " WHERE source = $1 AND epoch = $2 AND subject = $3",
        "SELECT s.source, s.epoch, s.subject, s.id, s.sequence, s.hash, s.ahead"
        " FROM unnest($1, $2, $3) AS u (source, epoch, subject) JOIN stream s"
        " ON s.source = u.source AND s.epoch = u.epoch AND s.subject = u.subject"};
    static const enum db_type types[] = {DB_TEXT, DB_INT, DB_TEXT};
    struct db_value values[TOGETHER][3];
    for (size_t i = 0; i < n; i++) {
        struct stream *s = streams[i];
        const struct db_value list[] = {DB_T(s->source), DB_I(s->epoch), DB_T(s->subject)};
        memcpy(values[i], list, sizeof list);
        s->id = 0;
        s->now = (struct chain_head){0};
        s->ahead = 0;
    }
    const struct db_lists lists = {types, 3, values[0], n};
    return db_query_many(db, &sql, &lists, note_head, all, e);
}

int head_cache_load(struct head_cache *all, struct db *db, struct stream *const *streams, size_t n,
                    struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i += TOGETHER)
        rc = load_some(all, db, streams + i, n - i < TOGETHER ? n - i : TOGETHER, e);
    for (size_t i = 0; rc < 0 && i < n; i++)
        streams[i]->loaded = 0;
    return rc;
}
