/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by what makes events and sees them through: publish.c, post.c, confirm.c. */
#ifndef CHAT_PUBLISH_INSIDE_H
#define CHAT_PUBLISH_INSIDE_H

#include "base/own.h"
#include "chat-server/publish.h"
#include "chat-server/store/await.h"

#include <stdatomic.h>
#include <stdlib.h>

/* An event on its way through the writer. It owns what the job points to; the connection's own
 * texts and the room's URI stay as long as a request or a leave is in work. */
struct event {
    struct writer_job job;
    struct loop_call call;
    struct chat_server *server;
    struct buf members;
    struct published outcome;
    publish_fn *done;
    void *arg;
    /* Of a room that counts only what the queue has (confirm.c): */
    bool by_queue;
    int64_t stream;                /* the store's number */
    bool overdue;                  /* done was called with ERR_AGAIN */
    atomic_int_fast64_t stored_ms; /* since when the store has it; 0: not yet */
    struct record_await await;
    int queue_class; /* the queue's word */
    struct published_later later;
    struct event *next, *previous; /* in chat_server.unconfirmed */
};

static inline void event_free(struct event *ev)
{
    if (!ev)
        return;
    buf_done(&ev->members);
    free(ev);
}

OWN_DEFINE(event, struct event, event_free)

/* NULL: out of memory. */
struct event *event_new(struct conn *c, enum record_kind kind, struct slice subject);
/* Takes ev, success or failure. */
int event_submit(struct event *ev, publish_fn *done, void *arg, struct err *e);
/* In the loop: everything is known of it. Frees it. */
void event_decided(void *event);

#endif
