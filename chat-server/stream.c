/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte streams on libuv. What is written in one turn of the loop is collected and sent with one
 * call before the loop waits again: a burst costs a client one wake-up, not one a message.
 */
#include "chat-server/loop_inside.h"

#include <stdlib.h>
#include <string.h>

enum {
    COLLECT_BYTES = 32 * 1024, /* sent without waiting for the turn's end */
    KEEP_BYTES = 16 * 1024,    /* of buffer, between turns */
    MAX_COLLECTED = 8 * 1024 * 1024,
};

struct write {
    uv_write_t request;
    char *bytes;
};

void stream_init(struct stream *s, struct loop *l)
{
    s->loop = l;
    s->tcp.data = s;
}

/* ---- what waits ---- */

static void count(struct stream *s)
{
    const uv_stream_t *h = (const uv_stream_t *)&s->tcp;
    bool over = uv_is_closing((const uv_handle_t *)h);
    size_t now = over ? 0 : s->out.n + uv_stream_get_write_queue_size(h);

    s->loop->waiting = s->loop->waiting - s->counted + now;
    s->counted = now;
}

static void collect(struct stream *s)
{
    struct loop *l = s->loop;

    if (s->at)
        return;
    s->next = l->collecting;
    if (s->next)
        s->next->at = &s->next;
    l->collecting = s;
    s->at = &l->collecting;
}

static void collect_no_more(struct stream *s)
{
    if (!s->at)
        return;
    *s->at = s->next;
    if (s->next)
        s->next->at = s->at;
    s->at = NULL;
}

/* ---- reading ---- */

static void on_closed(uv_handle_t *h)
{
    struct stream *s = h->data;

    if (s->events.closed)
        s->events.closed(s->arg);
    buf_done(&s->out);
    free(s);
}

void stream_abort(struct stream *s)
{
    if (uv_is_closing((uv_handle_t *)&s->tcp))
        return;
    uv_close((uv_handle_t *)&s->tcp, on_closed);
    collect_no_more(s);
    count(s);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *out)
{
    /* One read is used up before the next begins, all in the loop's one thread. */
    static _Thread_local char space[64 * 1024];

    (void)h;
    (void)suggested;
    *out = uv_buf_init(space, sizeof space);
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *b)
{
    struct stream *s = h->data;

    if (n > 0) {
        if (!s->closing)
            s->events.data(s->arg, b->base, (size_t)n);
        return;
    }
    if (n == 0)
        return;
    s->ended = true;
    stream_pause(s);
    if (!s->closing)
        s->events.end(s->arg);
    else if (s->shut)
        stream_abort(s);
}

void stream_pause(struct stream *s)
{
    if (s->reading)
        (void)uv_read_stop((uv_stream_t *)&s->tcp);
    s->reading = false;
}

void stream_resume(struct stream *s)
{
    if (s->reading || s->ended || uv_is_closing((uv_handle_t *)&s->tcp))
        return;
    s->reading = uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read) == 0;
}

void stream_start(struct stream *s, const struct stream_events *events, void *arg)
{
    s->events = *events;
    s->arg = arg;
    stream_resume(s);
}

/* ---- writing ---- */

static void on_written(uv_write_t *request, int status)
{
    struct write *w = request->data;
    struct stream *s = (struct stream *)request->handle->data;

    (void)status; /* a broken connection also ends the reading side, which tells */
    free(w->bytes);
    free(w);
    count(s);
}

/* What the network does not take at once is kept until it does. */
static void send_collected(struct stream *s)
{
    uv_stream_t *h = (uv_stream_t *)&s->tcp;
    uv_buf_t b = uv_buf_init(s->out.p, (unsigned)s->out.n);

    collect_no_more(s);
    if (s->out.n == 0)
        return;
    int sent = uv_try_write(h, &b, 1);
    if (sent >= 0 && (size_t)sent == s->out.n) {
        if (s->out.cap > KEEP_BYTES)
            buf_done(&s->out);
        else
            buf_clear(&s->out);
        return;
    }
    struct write *w = calloc(1, sizeof *w);
    if (!w) {
        stream_abort(s);
        return;
    }
    size_t n = s->out.n;
    size_t from = sent > 0 ? (size_t)sent : 0;
    w->request.data = w;
    w->bytes = buf_detach(&s->out, NULL);
    b = uv_buf_init(w->bytes + from, (unsigned)(n - from));
    if (uv_write(&w->request, h, &b, 1, on_written) < 0) {
        free(w->bytes);
        free(w);
    }
}

void stream_send_collected(struct loop *l)
{
    while (l->collecting) {
        struct stream *s = l->collecting;

        send_collected(s);
        count(s);
    }
}

size_t stream_waiting(const struct stream *s)
{
    return s->counted;
}

size_t loop_waiting(const struct loop *l)
{
    return l->waiting;
}

size_t stream_write(struct stream *s, struct slice bytes)
{
    if (s->closing || uv_is_closing((uv_handle_t *)&s->tcp))
        return SIZE_MAX;
    s->out.max = MAX_COLLECTED;
    buf_slice(&s->out, bytes);
    if (s->out.failed)
        return SIZE_MAX;
    collect(s);
    if (s->out.n >= COLLECT_BYTES)
        send_collected(s);
    count(s);

    return s->counted;
}

/* ---- the end ---- */

static void on_shutdown(uv_shutdown_t *request, int status)
{
    struct stream *s = request->data;

    s->shut = true;
    if (status < 0 || s->ended)
        stream_abort(s);
}

void stream_close(struct stream *s)
{
    if (s->closing)
        return;
    send_collected(s);
    count(s);
    s->closing = true;
    s->shutdown.data = s;
    if (uv_shutdown(&s->shutdown, (uv_stream_t *)&s->tcp, on_shutdown) < 0) {
        stream_abort(s);
        return;
    }
    /* Closing with unread bytes would reset the connection and lose the last answer on its way. */
    stream_resume(s);
}
