/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The captured heads of streams, kept in memory by the one thread that captures them. Bounded: the
 * least recently used go first. What is here is a copy of table `stream`; a compare-and-swap at
 * each write tells when it is no longer true.
 */
#ifndef MGCCOMP_STREAM_H
#define MGCCOMP_STREAM_H

#include "base/db.h"
#include "mgccomp/chain.h"

struct stream {
    struct slice source, subject;
    int64_t epoch;
    int64_t id; /* of table stream; 0: it has no row yet */
    struct chain_head now;
    /* Of the batch that is being written (capture_judge.c), and of the slice of it: */
    uint64_t batch, slice;
    size_t last;             /* 1 + index of the stream's newest item in the batch; 0: none */
    int64_t lowest;          /* not above the smallest sequence among them */
    int64_t added;           /* records of the slice */
    struct chain_head start; /* these three: before the slice */
    int64_t start_id;
    size_t start_last;
    /* Private to stream.c: */
    struct stream *chain, *newer, *older;
    uint64_t hash, loaded;
    char text[];
};

struct streams;
struct streams *streams_new(size_t max); /* NULL when out of memory */
void streams_free(struct streams *all);
/* The stream, made when it is not there. Valid until the next streams_trim. NULL: out of memory. */
struct stream *streams_get(struct streams *all, struct slice source, int64_t epoch,
                           struct slice subject);
/* Reads it from the database unless that was done since the last streams_forget. */
int streams_load(struct streams *all, struct db *db, struct stream *s, struct err *e);
void streams_forget(struct streams *all); /* everything must be read again */
void streams_trim(struct streams *all);   /* down to max */

#endif
