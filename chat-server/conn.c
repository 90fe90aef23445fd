/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a connection: input in order, bounded output, timers, and an end that is recorded. */
#include "chat-server/conn.h"

#include "base/clock.h"
#include "base/log.h"
#include "chat-server/dialog.h"
#include "chat-server/dispatch.h"
#include "chat-server/registrar.h"
#include "chat-server/room.h"
#include "chat-server/sip.h"

#include <stdlib.h>
#include <string.h>

enum { CONN_INPUT = SIP_MAX_MESSAGE + 64 * 1024, CONN_INPUT_FULL = SIP_MAX_MESSAGE };

static void log_conn(const struct conn *c, const char *event, const char *reason)
{
    char quoted[LOG_TEXT_SIZE];

    log_event(LOG_WARN, event, "peer=%s reason=%s", c->peer, log_text(quoted, slice_of(reason)));
}

/* ---- output ---- */

void conn_send(struct conn *c, struct slice message)
{
    if (!c->stream)
        return;
    size_t waiting = stream_write(c->stream, message);
    if (waiting > CHAT_MAX_QUEUE && !c->end_reason) {
        log_conn(c, "chat.slow", "takes its messages too slowly");
        conn_cut(c, "disconnect");
    }
}

void conn_notify(struct conn *c, struct slice message)
{
    if (!c->holding) {
        conn_send(c, message);
        return;
    }
    buf_slice(&c->held, message);
    if (c->held.failed && !c->end_reason) {
        log_conn(c, "chat.slow", "too much waits for a reply");
        conn_cut(c, "disconnect");
    }
}

void conn_hold(struct conn *c)
{
    c->holding = true;
}

void conn_release(struct conn *c)
{
    if (!c->holding)
        return;
    c->holding = false;
    if (c->held.n > 0 && !c->held.failed)
        conn_send(c, buf_view(&c->held));
    buf_done(&c->held);
    buf_init(&c->held, CHAT_MAX_QUEUE);
}

/* ---- input ---- */

static void refuse_stream(struct conn *c, const struct err *e)
{
    log_conn(c, "chat.malformed", e->text);
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
    struct sip_frame f;
    struct err e = {0};
    struct sip *m = NULL;

    int r = sip_frame(buf_view(&c->in), SIP_MAX_MESSAGE, &f, &e);
    if (r == ERR_AGAIN) {
        buf_drop_front(&c->in, f.skip);
        return false;
    }
    if (r < 0) {
        refuse_unreadable(c, &e);
        return false;
    }
    const char *at = c->in.p + f.skip;
    r = sip_parse(&m, (struct slice){at, f.head}, (struct slice){at + f.head, f.body}, &e);
    buf_drop_front(&c->in, f.skip + f.head + f.body);
    if (r < 0) {
        refuse_unreadable(c, &e);
        return false;
    }
    dispatch_message(c, m);

    return true;
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

    buf_add(&c->in, bytes, n);
    if (c->in.failed) {
        struct err e = {0};

        (void)buf_ok(&c->in, "input", &e);
        refuse_stream(c, &e);
        return;
    }
    if (c->in.n >= CONN_INPUT_FULL)
        stream_pause(c->stream);
    pump(c);
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
    if (!c->end_reason)
        conn_end(c, "disconnect");
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

void conn_cut(struct conn *c, const char *reason)
{
    if (c->stream)
        stream_abort(c->stream);
    conn_end(c, reason);
}

void conn_tick(struct conn *c, int64_t now_ms)
{
    room_leave_tick(c, now_ms);
    registrar_tick(c, now_ms);
    if (c->parked)
        dispatch_retry(c);
    if (c->end_reason) {
        if (c->stream && now_ms - c->ended_ms > CHAT_CLOSE_MS)
            stream_abort(c->stream);
        return;
    }
    if (!c->signed_in && !c->request && now_ms - c->opened_ms > c->server->sign_in_ms) {
        log_conn(c, "chat.idle", "nobody signed in");
        conn_end(c, "timeout");
    } else if (c->signed_in && (now_ms > c->registered_until_ms || dialog_expired(c, now_ms))) {
        log_conn(c, "chat.timeout", "the client is silent");
        conn_end(c, "timeout");
    }
}

static void conn_free(struct conn *c)
{
    dialog_free_all(c);
    buf_done(&c->in);
    buf_done(&c->held);
    xml_doc_free(c->xml);
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

void conn_accepted(void *arg, struct stream *stream, const char *peer)
{
    static const struct stream_events events = {on_data, on_end, on_closed};
    struct chat_server *s = arg;

    struct conn *c = s->conn_count < CHAT_MAX_CONNS && !s->stopping ? calloc(1, sizeof *c) : NULL;
    struct xml_doc *xml = c ? xml_doc_new() : NULL;
    if (!xml) {
        log_event(LOG_WARN, "chat.refused", "peer=%s connections=%zu", peer, s->conn_count);
        free(c);
        stream_abort(stream);
        return;
    }
    c->server = s;
    c->stream = stream;
    c->xml = xml;
    c->opened_ms = clock_mono_ms();
    (void)slice_copy(slice_of(peer), c->peer, sizeof c->peer);
    buf_init(&c->in, CONN_INPUT);
    buf_init(&c->held, CHAT_MAX_QUEUE);
    c->next = s->conns;
    s->conns = c;
    atomic_store(&s->shown_conns, ++s->conn_count);
    stream_start(stream, &events, c);
}
