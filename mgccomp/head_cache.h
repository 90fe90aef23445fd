/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The captured heads of streams, kept in memory by the one thread that captures them. Bounded: the
 * least recently used go first. What is here is a copy of table `stream`; a compare-and-swap at
 * each write tells when it is no longer true.
 */
#ifndef MGCCOMP_HEAD_CACHE_H
#define MGCCOMP_HEAD_CACHE_H

#include "base/db.h"
#include "mgccomp/chain.h"

struct stream {
    struct slice source, subject;
    int64_t epoch;
    int64_t id; /* of table stream; 0: it has no row yet */
    struct chain_head now;
    int64_t ahead; /* the lowest number kept far ahead and not reached yet; 0: none */
    /* Of the batch that is being written (capture_judge.c), and of the slice of it: */
    uint64_t batch, slice;
    size_t last;             /* 1 + index of the stream's newest item in the batch; 0: none */
    int64_t lowest;          /* not above the smallest sequence among them */
    int64_t added;           /* records of the slice */
    struct slice name;       /* the newest display name the slice tells; the batch's memory */
    struct chain_head start; /* these four: before the slice */
    int64_t start_id, start_ahead;
    size_t start_last;
    /* Private to head_cache.c: */
    struct stream *chain, *newer, *older;
    uint64_t hash, loaded; /* or about to be */
    char text[];
};

struct head_cache;
struct head_cache *head_cache_new(size_t max); /* NULL when out of memory */
void head_cache_free(struct head_cache *all);
/* The stream, made when it is not there. Valid until the next head_cache_trim. NULL: out of memory.
 */
struct stream *head_cache_get(struct head_cache *all, struct slice source, int64_t epoch,
                              struct slice subject);
/* As head_cache_get for a stream that is there; NULL: it is not. */
struct stream *head_cache_find(struct head_cache *all, struct slice source, int64_t epoch,
                               struct slice subject);
/* Must it be read from the database, because it never was since the last head_cache_forget? True
 * only the first time it is asked. */
bool head_cache_wants(struct head_cache *all, struct stream *s);
/* Reads n streams that are wanted. */
int head_cache_load(struct head_cache *all, struct db *db, struct stream *const *streams, size_t n,
                    struct err *e);
void head_cache_forget(struct head_cache *all); /* everything must be read again */
void head_cache_trim(struct head_cache *all);   /* down to max */

#endif
