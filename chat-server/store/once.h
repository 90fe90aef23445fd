/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of the newest events, by which one that comes again is known: a window in memory, filled
 * from the newest rows of a stream when its head is loaded. Bounded; what is older than the window
 * is not recognised. Keys of the open transaction are in it too and go again with an undo.
 */
#ifndef CHAT_STORE_ONCE_H
#define CHAT_STORE_ONCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ONCE_SIZE = 16,         /* bytes of a key that are kept */
    ONCE_MAX = 131072,      /* keys in a store's window */
    ONCE_OF_A_STREAM = 256, /* of its newest rows, when a stream's head is loaded */
};

struct once_place {
    int64_t stream, sequence, chat_id;
};

struct once;
struct once *once_new(size_t max); /* NULL when out of memory */
void once_free(struct once *w);

bool once_find(const struct once *w, const uint8_t key[ONCE_SIZE], struct once_place *out);
/* A key that is there already stays as it is. loaded: it is durable, an undo leaves it alone. */
void once_add(struct once *w, const uint8_t key[ONCE_SIZE], const struct once_place *place,
              bool loaded);
/* Where the window ends now; what was added since then, and not loaded, is taken out again. */
uint64_t once_mark(const struct once *w);
void once_undo(struct once *w, uint64_t mark);
void once_clear(struct once *w);

#endif
