/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a connection: input in order, bounded output, timers, and an end that is recorded. */
#include "chat-server/conn.h"

#include "base/clock.h"
#include "base/log.h"
#include "chat-server/dialog.h"
#include "chat-server/dispatch.h"
#include "chat-server/leave.h"
#include "chat-server/registrar.h"
#include "chat-server/sip.h"

#include <stdlib.h>
#include <string.h>

enum {
    CONN_INPUT = SIP_MAX_MESSAGE + 64 * 1024,
    CONN_INPUT_FULL = SIP_MAX_MESSAGE,
    CONN_INPUT_KEPT = 16 * 1024,   /* a buffer that a connection may keep while nothing is in it */
    CONN_STRANGER_MAX = 24 * 1024, /* message of one who is not signed in */
};

/* ---- input ---- */

static void refuse_stream(struct conn *c, const struct err *e)
{
    conn_log(c, "chat.malformed", e->text);
    conn_end(c, "disconnect");
}

/* An answer can only be written to a request whose headers could be read. */
static void refuse_unreadable(struct conn *c, const struct err *e)
{
    struct slice text = SLICE("SIP/2.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n");

    conn_send(c, text);
    refuse_stream(c, e);
}

/* True when a message was taken from the input. */
static bool take_message(struct conn *c)
{
    const struct slice in = {c->in.p + c->in_at, c->in.n - c->in_at};
    struct sip_frame f;
    struct err e = {0};
    struct sip *m = NULL;

    if (in.n == 0 || in.n < c->in_need)
        return false;
    int r = sip_frame(in, c->signed_in ? SIP_MAX_MESSAGE : CONN_STRANGER_MAX, &f, &e);
    if (r == ERR_AGAIN) {
        /* A body that comes in small pieces is not looked at with each. */
        c->in_at += f.skip;
        c->in_need = f.head + f.body;
        return false;
    }
    if (r < 0) {
        refuse_unreadable(c, &e);
        return false;
    }
    const char *at = in.p + f.skip;
    r = sip_parse(&m, (struct slice){at, f.head}, (struct slice){at + f.head, f.body}, &e);
    c->in_at += f.skip + f.head + f.body;
    c->in_need = 0;
    if (r < 0) {
        refuse_unreadable(c, &e);
        return false;
    }
    dispatch_message(c, m);

    return true;
}

/* Frees what is used up, and counts what is not. */
static void settle_input(struct conn *c)
{
    buf_drop_front(&c->in, c->in_at);
    c->in_at = 0;
    if (c->in.n == 0 && c->in.cap > CONN_INPUT_KEPT) {
        buf_done(&c->in);
        buf_init(&c->in, CONN_INPUT);
    }
    size_t now = c->in.cap > CONN_INPUT_KEPT ? c->in.cap : 0;
    c->server->input_bytes = c->server->input_bytes - c->in_counted + now;
    c->in_counted = now;
}

static void pump(struct conn *c)
{
    /* A request answered at once comes back here through conn_next: the loop goes on with it. */
    if (c->pumping)
        return;
    c->pumping = true;
    while (!c->request && !c->end_reason && take_message(c))
        continue;
    c->pumping = false;
    settle_input(c);
    if (c->request || c->end_reason)
        return;
    /* What a client sent before it hung up still counts. */
    if (c->eof)
        conn_end(c, "disconnect");
    else if (c->stream && c->in.n < CONN_INPUT_FULL)
        stream_resume(c->stream);
}

static void on_data(void *arg, const char *bytes, size_t n)
{
    struct conn *c = arg;
    struct err e = {0};

    if (c->end_reason)
        return;
    buf_add(&c->in, bytes, n);
    if (buf_ok(&c->in, "input", &e) < 0) {
        refuse_stream(c, &e);
        return;
    }
    if (c->in.n >= CONN_INPUT_FULL)
        stream_pause(c->stream);
    pump(c);
    if (c->in_counted > 0 && c->server->input_bytes > CHAT_MAX_INPUT && !c->end_reason) {
        (void)err_set(&e, ERR_REJECTED, "too much unfinished input of all clients");
        refuse_stream(c, &e);
    }
}

static void on_end(void *arg)
{
    struct conn *c = arg;

    c->eof = true;
    pump(c);
}

static void on_closed(void *arg)
{
    struct conn *c = arg;

    c->stream = NULL;
    conn_end(c, c->end_reason ? c->end_reason : "disconnect");
}

void conn_next(struct conn *c)
{
    if (c->end_reason)
        conn_end(c, c->end_reason);
    else
        pump(c);
}

/* ---- the end ---- */

static void ended(void *arg)
{
    struct conn *c = arg;

    c->gone = true;
}

void conn_end(struct conn *c, const char *reason)
{
    if (!c->end_reason) {
        c->end_reason = reason;
        c->ended_ms = clock_mono_ms();
        if (c->stream && (!c->request || c->parked))
            stream_close(c->stream);
    }
    if (c->parked) {
        c->parked = false;
        dispatch_drop(c);
    }
    if (c->request || c->ending_started)
        return;
    c->ending_started = true;
    if (c->stream)
        stream_close(c->stream);
    registrar_end(c, c->end_reason, ended, c);
}

void conn_tick(struct conn *c, int64_t now_ms)
{
    leave_tick(c, now_ms);
    registrar_tick(c, now_ms);
    if (c->parked)
        dispatch_retry(c);
    if (c->end_reason) {
        if (c->stream && now_ms - c->ended_ms > CHAT_CLOSE_MS)
            stream_abort(c->stream);
        return;
    }
    if (!c->signed_in && !c->request && now_ms - c->opened_ms > c->server->sign_in_ms) {
        conn_log(c, "chat.idle", "nobody signed in");
        conn_end(c, "timeout");
    } else if (c->signed_in && (now_ms > c->registered_until_ms || dialog_expired(c, now_ms))) {
        conn_log(c, "chat.timeout", "the client is silent");
        conn_end(c, "timeout");
    }
}

static void conn_free(struct conn *c)
{
    dialog_free_all(c);
    c->server->input_bytes -= c->in_counted;
    c->server->held_bytes -= c->held.n;
    buf_done(&c->in);
    buf_done(&c->held);
    free(c);
}

void conn_reap(struct chat_server *s)
{
    struct conn **at = &s->conns;

    while (*at) {
        struct conn *c = *at;

        if (c->gone && !c->stream && !c->request) {
            *at = c->next;
            s->conn_count--;
            conn_free(c);
        } else {
            at = &c->next;
        }
    }
    atomic_store(&s->shown_conns, s->conn_count);
}

/* So that connections that do nothing can't keep people out: the one that has been waiting longest
 * for its sign-in goes. */
static void make_room(struct chat_server *s)
{
    struct conn *oldest = NULL;

    if (s->conn_count < s->max_conns)
        return;
    for (struct conn *c = s->conns; c; c = c->next)
        if (!c->signed_in && !c->request && !c->end_reason)
            oldest = c; /* newer ones come first in the list */
    if (oldest) {
        conn_log(oldest, "chat.idle", "nobody signed in, and its place is needed");
        conn_cut(oldest, "timeout");
    }
}

void conn_accepted(void *arg, struct stream *stream, const char *peer)
{
    static const struct stream_events events = {on_data, on_end, on_closed};
    struct chat_server *s = arg;

    make_room(s);
    bool full = s->conn_count >= s->max_conns + CHAT_SPARE_CONNS;
    struct conn *c = !full && !s->stopping ? calloc(1, sizeof *c) : NULL;
    if (!c) {
        if (chat_may_log(s))
            log_event(LOG_WARN, "chat.refused", "peer=%s connections=%zu", peer, s->conn_count);
        stream_abort(stream);
        return;
    }
    c->server = s;
    c->stream = stream;
    c->opened_ms = clock_mono_ms();
    (void)slice_copy(slice_of(peer), c->peer, sizeof c->peer);
    buf_init(&c->in, CONN_INPUT);
    buf_init(&c->held, CHAT_MAX_QUEUE);
    c->next = s->conns;
    s->conns = c;
    atomic_store(&s->shown_conns, ++s->conn_count);
    stream_start(stream, &events, c);
}
