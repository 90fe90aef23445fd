/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of doubling size, newest first. */
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

enum {
    FIRST_BLOCK = 16 * 1024,
    LARGEST_BLOCK = 1024 * 1024,
    PIECE_MAX = 1024 * 1024 * 1024,
    ALIGNMENT = 16
};

struct arena_block {
    struct arena_block *older;
    size_t size;
    size_t used;
    _Alignas(ALIGNMENT) char bytes[];
};

void arena_init(struct arena *a, size_t keep)
{
    *a = (struct arena){.keep = keep};
}

void arena_done(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *older = a->blocks->older;
        free(a->blocks);
        a->blocks = older;
    }
}

void arena_reset(struct arena *a)
{
    struct arena_block *kept = NULL;
    while (a->blocks) {
        struct arena_block *b = a->blocks;
        a->blocks = b->older;
        if (b->size <= a->keep && (!kept || b->size > kept->size)) {
            struct arena_block *spare = kept;
            kept = b;
            b = spare;
        }
        free(b);
    }
    if (kept) {
        kept->older = NULL;
        kept->used = 0;
    }
    a->blocks = kept;
}

static bool add_block(struct arena *a, size_t n)
{
    size_t size = FIRST_BLOCK;
    if (a->blocks)
        size = a->blocks->size < LARGEST_BLOCK / 2 ? a->blocks->size * 2 : LARGEST_BLOCK;
    if (size < n)
        size = n;
    struct arena_block *b = malloc(sizeof *b + size);
    if (!b)
        return false;
    b->older = a->blocks;
    b->size = size;
    b->used = 0;
    a->blocks = b;
    return true;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n > PIECE_MAX)
        return NULL;
    n = (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct arena_block *b = a->blocks;
    if (!b || b->size - b->used < n) {
        if (!add_block(a, n))
            return NULL;
        b = a->blocks;
    }
    void *p = b->bytes + b->used;
    b->used += n;
    return p;
}

bool arena_copy(struct arena *a, struct slice s, struct slice *out)
{
    char *p = s.n < SIZE_MAX ? arena_alloc(a, s.n + 1) : NULL;
    if (!p)
        return false;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    *out = (struct slice){p, s.n};
    return true;
}
