/* SPDX-License-Identifier: Apache-2.0 */
/* From an event to its record, and from the record to the people: the only way into the store. */
#include "chat-server/publish.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/own.h"
#include "chat-server/room.h"

#include <stdlib.h>
#include <string.h>

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
};

static void event_free(struct event *ev)
{
    if (!ev)
        return;
    buf_done(&ev->members);
    free(ev);
}

OWN_DEFINE(event, struct event, event_free)

/* ---- record -> store ---- */

static void decided_in_loop(void *arg)
{
    OWN(own_event) struct event *ev = arg;

    ev->server->in_flight--;
    if (ev->outcome.class == ERR_STOPPED)
        chat_lost(ev->server);
    ev->done(ev->arg, &ev->outcome);
}

static void decided(struct writer_job *job, const struct store_result *r)
{
    struct event *ev = job->arg;

    ev->outcome.class = r->class;
    ev->outcome.sequence = r->sequence;
    ev->outcome.chat_id = r->chat_id;
    if (r->class != 0)
        log_event(LOG_WARN, "chat.unrecorded", "kind=%s class=%s", record_type(job->event.kind),
                  err_class_name(r->class));
    ev->call = (struct loop_call){.fn = decided_in_loop, .arg = ev};
    loop_call(ev->server->loop, &ev->call);
}

static struct event *event_new(struct conn *c, enum record_kind kind, struct slice subject)
{
    struct event *ev = calloc(1, sizeof *ev);

    if (!ev)
        return NULL;
    ev->server = c->server;
    ev->outcome.time_us = clock_wall_us();
    ev->job.event = (struct store_event){.source = slice_of(c->server->pool),
                                         .subject = subject,
                                         .kind = kind,
                                         .time_us = ev->outcome.time_us};
    /* By its key the writer finds out whether an event is on record when a commit's answer was
     * lost. */
    ev->job.event.has_once = true;
    random_bytes(ev->job.event.once, sizeof ev->job.event.once);
    buf_init(&ev->members, RECORD_MAX_BYTES);
    json_put_string(&ev->members, "participant", slice_of(c->user));
    json_put_string(&ev->members, "name", slice_of(c->name));
    json_put_string(&ev->members, "endpoint", slice_of(c->endpoint));

    return ev;
}

static void event_presence(struct event *ev, struct conn *c, enum store_presence presence)
{
    struct store_event *s = &ev->job.event;

    json_put_string(&ev->members, "session", slice_of(c->server->session));
    s->presence = presence;
    s->session = slice_of(c->server->session);
    s->participant = slice_of(c->user);
    s->endpoint = slice_of(c->endpoint);
    s->name = slice_of(c->name);
}

/* Takes ev, success or failure. */
static int event_submit(struct event *event, publish_fn *done, void *arg, struct err *e)
{
    OWN(own_event) struct event *ev = event;

    if (!ev)
        return err_memory(e, "event");
    int r = buf_ok(&ev->members, "record", e);
    if (r < 0)
        return r;
    if (ev->server->lost)
        return err_set(e, ERR_STOPPED, "another server writes this source");
    ev->done = done;
    ev->arg = arg;
    ev->job.event.members = buf_view(&ev->members);
    ev->job.done = decided;
    ev->job.arg = ev;
    /* Counted first: the answer may be on its way before submit returns. */
    ev->server->in_flight++;
    r = writer_submit(ev->server->writer, &ev->job, e);
    if (r < 0) {
        ev->server->in_flight--;
        return r;
    }
    ev = NULL;

    return 0;
}

/* ---- kinds ---- */

int publish_join(struct conn *c, struct slice room, struct slice name, publish_fn *done, void *arg,
                 struct err *e)
{
    struct event *ev = event_new(c, RECORD_JOIN, room);

    if (ev) {
        event_presence(ev, c, STORE_PRESENCE_JOIN);
        json_put_string(&ev->members, "room", name);
    }

    return event_submit(ev, done, arg, e);
}

int publish_leave(const struct member *m, const char *reason, publish_fn *done, void *arg,
                  struct err *e)
{
    struct conn *c = m->conn;
    struct event *ev = event_new(c, RECORD_LEAVE, slice_of(m->room->uri));

    if (ev) {
        event_presence(ev, c, STORE_PRESENCE_LEAVE);
        json_put_string(&ev->members, "reason", slice_of(reason));
        memcpy(ev->job.event.once, m->leave_once, sizeof m->leave_once);
    }

    return event_submit(ev, done, arg, e);
}

int publish_read(struct conn *c, struct slice room, const struct publish_range *ranges, size_t n,
                 int64_t count, publish_fn *done, void *arg, struct err *e)
{
    struct event *ev = event_new(c, RECORD_READ, room);

    if (ev) {
        json_put_string(&ev->members, "what", SLICE("history"));
        json_key(&ev->members, "ranges");
        buf_char(&ev->members, '[');
        for (size_t i = 0; i < n; i++)
            buf_format(&ev->members, i ? ",[%lld,%lld]" : "[%lld,%lld]", (long long)ranges[i].first,
                       (long long)ranges[i].last);
        buf_char(&ev->members, ']');
        json_put_i64(&ev->members, "count", count);
    }

    return event_submit(ev, done, arg, e);
}

int publish_sign(struct conn *c, enum record_kind kind, const char *reason, publish_fn *done,
                 void *arg, struct err *e)
{
    struct event *ev = event_new(c, kind, slice_of(c->server->session));

    if (ev && reason)
        json_put_string(&ev->members, "reason", slice_of(reason));
    if (ev && kind == RECORD_SIGN_OUT)
        memcpy(ev->job.event.once, c->sign_out_once, sizeof c->sign_out_once);

    return event_submit(ev, done, arg, e);
}

/* ---- a post: event, record, store, answer, fan-out ---- */

static void add_part(struct sha256 *h, struct slice part)
{
    uint64_t n = part.n;

    sha256_add(h, &n, sizeof n);
    sha256_add(h, part.p, part.n);
}

/* What makes the same request the same. Envelope numbers alone would not do: two clients that
 * start in one second count alike, and a client's counters begin again. */
static bool once_key(const struct request *q, uint8_t out[SHA256_SIZE])
{
    struct sha256 *h = sha256_new();
    uint8_t body[SHA256_SIZE];

    if (!h)
        return false;
    sha256(sip_body(q->sip).p, sip_body(q->sip).n, body);
    add_part(h, slice_of(q->conn->user));
    add_part(h, slice_of(q->conn->endpoint));
    add_part(h, sip_call_id(q->sip));
    add_part(h, q->x.envid);
    add_part(h, q->x.seqid);
    add_part(h, (struct slice){(const char *)body, sizeof body});
    sha256_end(h, out);
    sha256_free(h);

    return true;
}

static void post_decided(void *arg, const struct published *p)
{
    struct request *q = arg;
    struct member *m = room_member(q->conn, slice_of(q->x.rooms[0]));

    if (p->class == ERR_DOUBT || p->class == ERR_STOPPED) {
        /* It may be on record: neither yes nor no would be true. */
        conn_cut(q->conn, "disconnect");
        request_end(q);
        return;
    }
    if (p->class != 0) {
        request_finish(q, 503);
        return;
    }
    FAULT("chat.answer.before");
    request_answer(q, 200, "");
    FAULT("chat.answer.after");
    atomic_fetch_add(&q->server->shown_posts, 1);
    if (m)
        room_tell_message(m->room, &(struct xccos_message){.room = slice_of(m->room->uri),
                                                           .author = slice_of(q->conn->user),
                                                           .author_name = slice_of(q->conn->name),
                                                           .text = q->x.text,
                                                           .time_us = p->time_us,
                                                           .chat_id = p->chat_id,
                                                           .sequence = p->sequence});
    request_end(q);
}

static int submit_post(struct request *q, struct err *e)
{
    OWN(own_event) struct event *ev = event_new(q->conn, RECORD_POST, slice_of(q->x.rooms[0]));

    if (!ev || !once_key(q, ev->job.event.once))
        return err_memory(e, "post");
    ev->job.event.numbered = true;
    json_put_string(&ev->members, "text", q->x.text.p ? q->x.text : SLICE(""));
    struct event *ready = ev;
    ev = NULL;

    return event_submit(ready, post_decided, q, e);
}

static size_t characters(struct slice text)
{
    size_t n = 0;

    for (size_t i = 0; i < text.n; i++)
        n += ((unsigned char)text.p[i] & 0xc0) != 0x80;

    return n;
}

void publish_post(struct request *q)
{
    struct err e = {0};

    if (characters(q->x.text) > XCCOS_MAX_TEXT)
        request_finish(q, 413);
    else if (chat_refuses(q->server) || submit_post(q, &e) < 0)
        request_finish(q, 503);
}
