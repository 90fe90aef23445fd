/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is given out in pieces and taken back all at once: for trees of parsed documents.
 * A reset keeps one block of at most `keep` bytes, so that one big document does not pin its
 * memory.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/text.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t keep;
};

void arena_init(struct arena *a, size_t keep); /* allocates nothing */
void arena_done(struct arena *a);
void arena_reset(struct arena *a);            /* everything given out is gone */
void *arena_alloc(struct arena *a, size_t n); /* aligned for any type; NULL when out of memory
                                               or over 1 GiB */
/* A copy of s followed by a NUL; false when out of memory. */
bool arena_copy(struct arena *a, struct slice s, struct slice *out);

#endif
