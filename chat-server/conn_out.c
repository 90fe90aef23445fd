/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection sends, the limits on what waits for slow clients, each and all together, and
 * the cut that ends one which is beyond them. */
#include "base/clock.h"
#include "base/log.h"
#include "chat-server/conn.h"

/* A hostile client must not fill the disk with lines about it. */
bool chat_may_log(struct chat_server *s)
{
    int64_t now = clock_mono_ms();

    if (now - s->log_since_ms >= 1000) {
        if (s->log_hushed > 0)
            log_event(LOG_WARN, "chat.hushed", "lines=%zu", s->log_hushed);
        s->log_since_ms = now;
        s->log_lines = 0;
        s->log_hushed = 0;
    }
    if (s->log_lines >= CHAT_LOG_LINES) {
        s->log_hushed++;
        return false;
    }
    s->log_lines++;

    return true;
}

void conn_log(const struct conn *c, const char *event, const char *reason)
{
    char quoted[LOG_TEXT_SIZE];

    if (chat_may_log(c->server))
        log_event(LOG_WARN, event, "peer=%s reason=%s", c->peer,
                  log_text(quoted, slice_of(reason)));
}

void conn_cut(struct conn *c, const char *reason)
{
    if (!c->end_reason) {
        c->end_reason = reason;
        c->ended_ms = clock_mono_ms();
    }
    if (c->stream)
        stream_abort(c->stream);
}

/* Called in the midst of telling a room: a cut changes no list of rooms or connections, the end
 * begins when the stream reports that it is closed. */
static void cut_slow(struct conn *c, const char *why)
{
    if (c->end_reason)
        return;
    conn_log(c, "chat.slow", why);
    conn_cut(c, "disconnect");
}

/* The client that most waits for gives way. */
static void relieve(struct chat_server *s)
{
    while (loop_waiting(s->loop) > CHAT_MAX_OUTPUT) {
        struct conn *worst = NULL;

        for (struct conn *c = s->conns; c; c = c->next)
            if (c->stream && (!worst || stream_waiting(c->stream) > stream_waiting(worst->stream)))
                worst = c;
        if (!worst || stream_waiting(worst->stream) == 0)
            return;
        cut_slow(worst, "too much waits for slow clients, for this one most");
        stream_abort(worst->stream);
    }
}

void conn_send(struct conn *c, struct slice message)
{
    if (!c->stream)
        return;
    if (stream_write(c->stream, message) > CHAT_MAX_QUEUE)
        cut_slow(c, "takes its messages too slowly");
    if (loop_waiting(c->server->loop) > CHAT_MAX_OUTPUT)
        relieve(c->server);
}

void conn_notify(struct conn *c, struct slice message)
{
    struct chat_server *s = c->server;

    if (!c->holding) {
        conn_send(c, message);
        return;
    }
    size_t before = c->held.n;
    buf_slice(&c->held, message);
    s->held_bytes += c->held.n - before;
    if (c->held.failed || s->held_bytes > CHAT_MAX_HELD)
        cut_slow(c, "too much waits for a reply");
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
    c->server->held_bytes -= c->held.n;
    if (c->held.n > 0 && !c->held.failed && !c->end_reason)
        conn_send(c, buf_view(&c->held));
    buf_done(&c->held);
    buf_init(&c->held, CHAT_MAX_QUEUE);
}
