/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Epochs of a source. A store that was restored from an older copy would give out numbers again
 * that other records have; in a new epoch every room begins at 1. Epoch-start records, a stream of
 * their own, name the heads that this copy knows.
 */
#ifndef CHAT_STORE_EPOCH_H
#define CHAT_STORE_EPOCH_H

#include "chat-server/store/store.h"

/* 1 when nothing was ever restored. */
int store_epoch(struct store *s, struct slice source, int64_t *epoch, struct err *e);
/* Sources that were restored. */
struct store_epoch {
    struct slice source, note;
    int64_t epoch, since_us;
};
typedef int store_epoch_fn(void *arg, const struct store_epoch *p, struct err *e);
int store_epochs(struct store *s, store_epoch_fn *visit, void *arg, struct err *e);
typedef int store_source_fn(void *arg, struct slice source, struct err *e);
int store_sources(struct store *s, store_source_fn *visit, void *arg, struct err *e);
/* The stored head's sequence; 0: the store does not know the stream. */
int store_head(struct store *s, struct slice source, int64_t epoch, struct slice subject,
               int64_t *sequence, struct err *e);
/* The hash stored under a number. ERR_NOT_FOUND. */
int store_hash_at(struct store *s, struct slice source, int64_t epoch, struct slice subject,
                  int64_t sequence, uint8_t hash[SHA256_SIZE], struct err *e);

struct store_restore {
    struct slice source;
    struct slice note;      /* why, in a person's words */
    int64_t captured_epoch; /* the highest that is known of the source elsewhere; 0: none */
};
/* Claims the source (ERR_CONFLICT: somebody writes it) and begins its next epoch, above all that
 * are known, in one transaction with the first epoch-start record; further parts of its list
 * follow. Repeated, it begins another one. */
int store_restored(struct store *s, const struct store_restore *r, int64_t *epoch, struct err *e);

#endif
