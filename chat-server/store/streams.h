/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heads of the streams a store writes, cached within limits of number and bytes, least recently
 * used out first. Each has what the open transaction made of it and what is durable; only a commit
 * carries the first over into the second. One thread at a time.
 */
#ifndef CHAT_STORE_STREAMS_H
#define CHAT_STORE_STREAMS_H

#include "base/digest.h"
#include "base/text.h"

struct stream_state {
    int64_t stream; /* the store's number; 0: no row yet */
    int64_t sequence, chat_id;
    int64_t post; /* sequence of the newest post; 0: none */
    uint8_t hash[SHA256_SIZE];
};

struct stream_head {
    struct stream_state now;     /* as the open transaction has it */
    struct stream_state durable; /* as of the last commit */
    bool touched;
    bool windowed; /* its newest keys were loaded (once.h) */
    struct stream_head *next_touched;
    struct stream_head *next;          /* same bucket */
    struct stream_head *older, *newer; /* by use */
    uint64_t hash;
    size_t key_n;
    char key[]; /* epoch, source, NUL, subject */
};

struct streams;
struct streams *streams_new(size_t max_streams, size_t max_bytes); /* NULL when out of memory */
void streams_free(struct streams *h);

/* The head of a stream, made when it is not cached (*fresh: its state must be loaded); it stays
 * until the transaction's end. NULL when out of memory. */
struct stream_head *streams_take(struct streams *h, struct slice source, int64_t epoch,
                                 struct slice subject, bool *fresh);
void streams_commit(struct streams *h);
void streams_undo(struct streams *h);  /* forgets what was made since the last commit */
void streams_clear(struct streams *h); /* everything: the durable state is no longer known */
size_t streams_count(const struct streams *h);

#endif
