/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by loop.c and stream.c alone, the only files on libuv. */
#ifndef CHAT_LOOP_INSIDE_H
#define CHAT_LOOP_INSIDE_H

#include "base/buf.h"
#include "chat-server/loop.h"

#include <pthread.h>
#include <uv.h>

struct loop {
    uv_loop_t uv;
    uv_tcp_t listener;
    uv_timer_t timer;
    uv_async_t async;
    uv_prepare_t prepare; /* before the loop waits: sends what was collected */
    bool listening, ticking, quitting;
    loop_accept_fn *accepted;
    void *accepted_arg;
    loop_fn *tick;
    void *tick_arg;
    pthread_mutex_t lock; /* guards the calls */
    struct loop_call *first, *last;
    struct stream *collecting; /* streams with something in `out` */
    size_t waiting;            /* sum of the streams' `counted` */
};

struct stream {
    uv_tcp_t tcp;
    uv_shutdown_t shutdown;
    struct loop *loop;
    struct stream_events events;
    void *arg;
    bool reading, ended, closing, shut;
    struct buf out;      /* collected, not yet sent */
    size_t counted;      /* bytes waiting, as counted in the loop */
    struct stream *next; /* in loop.collecting, when at is not NULL */
    struct stream **at;
};

void stream_init(struct stream *s, struct loop *l);
void stream_send_collected(struct loop *l);

#endif
