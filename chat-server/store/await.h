/* SPDX-License-Identifier: Apache-2.0 */
/* Somebody who waits for the queue's word on one record that is stored: what the chat server asks
 * and the relay answers, so that neither knows the other. */
#ifndef CHAT_STORE_AWAIT_H
#define CHAT_STORE_AWAIT_H

#include <stdbool.h>
#include <stdint.h>

/* The asker's, who keeps it until done was called or forget returned true. */
struct record_await {
    int64_t stream, sequence; /* as in struct store_result */
    /* 0: the queue has it. ERR_REJECTED: it refuses it for good. ERR_RETRY: that can't be told. In
     * some thread; must be brief. */
    void (*done)(void *arg, int class);
    void *arg;
    struct record_await *next; /* the queue's */
};

struct record_queue {
    /* Any thread. May call done before it returns. */
    void (*await)(void *arg, struct record_await *a);
    /* True: done will not be called. False: it was, or is about to be. */
    bool (*forget)(void *arg, struct record_await *a);
    void *arg;
};

#endif
