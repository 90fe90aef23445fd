/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop (libuv; loop.c and stream.c alone use it): a TCP listener, byte streams, one tick,
 * calls handed in by other threads, and blocking work done beside the loop. Everything runs in the
 * thread of loop_run except what is marked.
 */
#ifndef CHAT_LOOP_H
#define CHAT_LOOP_H

#include "base/err.h"
#include "base/text.h"

struct loop;
struct stream;

typedef void loop_fn(void *arg);

int loop_new(struct loop **out, struct err *e);
/* Returns once loop_quit was called and every stream is closed and all work is done. */
void loop_run(struct loop *l);
void loop_quit(struct loop *l); /* closes listener and tick */
void loop_free(struct loop *l); /* after loop_run, or when it never ran */

/* accepted gets a stream that is not yet reading; it must call stream_start or stream_abort. */
typedef void loop_accept_fn(void *arg, struct stream *s, const char *peer);
int loop_listen(struct loop *l, const char *host, uint16_t port, loop_accept_fn *accepted,
                void *arg, uint16_t *bound, struct err *e);
void loop_unlisten(struct loop *l);
int loop_tick(struct loop *l, uint64_t every_ms, loop_fn *tick, void *arg, struct err *e);

/* Any thread: runs c->fn(c->arg) in the loop, in the order of the calls. The caller owns c until
 * then. Must not be called after loop_run returned. */
struct loop_call {
    loop_fn *fn;
    void *arg;
    struct loop_call *next;
};
void loop_call(struct loop *l, struct loop_call *c);

/* work(arg) in another thread, then after(arg) in the loop. */
int loop_work(struct loop *l, loop_fn *work, loop_fn *after, void *arg, struct err *e);

struct stream_events {
    void (*data)(void *arg, const char *bytes, size_t n);
    void (*end)(void *arg);    /* the peer sends nothing more, or the connection broke; once */
    void (*closed)(void *arg); /* the stream is gone; once, the last */
};
void stream_start(struct stream *s, const struct stream_events *events, void *arg);
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);
/* Keeps a copy, sent when this turn of the loop ends. Returns the bytes now waiting, SIZE_MAX when
 * it could not be kept. */
size_t stream_write(struct stream *s, struct slice bytes);
/* Bytes that the network has not taken yet: of one stream; of all together. */
size_t stream_waiting(const struct stream *s);
size_t loop_waiting(const struct loop *l);
/* No more events but `closed`: sends what waits, then closes. A peer that neither reads nor closes
 * keeps it open until stream_abort. */
void stream_close(struct stream *s);
void stream_abort(struct stream *s); /* closes now */

#endif
