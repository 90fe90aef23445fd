/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store keeps about the queue's log, as rows: the last offset confirmed in each partition,
 * and when one fell, which says that the log was cut or made anew. A source's relay writes them.
 */
#ifndef CHAT_STORE_HEAL_STORE_H
#define CHAT_STORE_HEAL_STORE_H

#include "chat-server/store/store.h"

int store_set_queue_end(struct store *s, struct slice source, int32_t part, int64_t offset,
                        struct err *e);
typedef int store_queue_end_fn(void *arg, int32_t part, int64_t offset, struct err *e);
int store_queue_ends(struct store *s, struct slice source, store_queue_end_fn *visit, void *arg,
                     struct err *e);

/* An incident of the relay: open until what the log lost was sent again. */
struct store_log_change {
    int64_t id, opened_us, closed_us; /* closed 0: open */
    int32_t part;
    int64_t before, after; /* the offset fell from, to */
    struct slice source;
};
/* Once for each partition; within the caller's transaction. */
int store_log_change_open(struct store *s, struct slice source, int32_t part, int64_t before,
                          int64_t after, struct err *e);
/* Closes those opened until then; *left gets how many stay open. */
int store_log_change_close(struct store *s, struct slice source, int64_t until_us, const char *how,
                           int64_t *left, struct err *e);
typedef int store_log_change_fn(void *arg, const struct store_log_change *c, struct err *e);
int store_log_changes(struct store *s, bool all, store_log_change_fn *visit, void *arg,
                      struct err *e);

/* The store's number of a stream. ERR_NOT_FOUND. */
int store_find_stream(struct store *s, struct slice source, int64_t epoch, struct slice subject,
                      int64_t *stream, struct err *e);
/* SQLite: the lowest position of a stream's records first..last. ERR_NOT_FOUND: none is held. */
int store_first_pos(struct store *s, int64_t stream, int64_t first, int64_t last, int64_t *pos,
                    struct err *e);

#endif
