/* SPDX-License-Identifier: Apache-2.0 */
/* From what happened to its record: the only way into the store. */
#include "chat-server/publish.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/own.h"
#include "chat-server/confirm.h"
#include "chat-server/lookup.h"
#include "chat-server/publish_inside.h"
#include "chat-server/room.h"

#include <stdlib.h>
#include <string.h>

/* ---- record -> store ---- */

void event_decided(void *arg)
{
    OWN(own_event) struct event *ev = arg;
    bool overdue = ev->overdue;

    ev->server->in_flight--;
    if (ev->outcome.class == ERR_STOPPED)
        chat_lost(ev->server);
    /* A leave counts all the same: nobody is kept in a room. */
    if (ev->outcome.class == 0 && ev->queue_class != 0 && ev->job.event.kind != RECORD_LEAVE)
        ev->outcome.class = ERR_AGAIN;
    if (ev->by_queue)
        confirm_end(ev);
    if (!overdue)
        ev->done(ev->arg, &ev->outcome);
    else if (ev->later.fn)
        ev->later.fn(ev->later.arg, &ev->outcome);
}

static void decided(struct writer_job *job, const struct store_result *r)
{
    struct event *ev = job->arg;

    ev->outcome.class = r->class;
    ev->outcome.sequence = r->sequence;
    ev->outcome.chat_id = r->chat_id;
    ev->stream = r->stream;
    if (r->class != 0)
        log_event(LOG_WARN, "chat.unrecorded", "kind=%s class=%s", record_type(job->event.kind),
                  err_class_name(r->class));
    if (r->class == 0 && ev->by_queue) {
        confirm_stored(ev);
        return;
    }
    ev->call = (struct loop_call){.fn = event_decided, .arg = ev};
    loop_call(ev->server->loop, &ev->call);
}

struct event *event_new(struct conn *c, enum record_kind kind, struct slice subject)
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

int event_submit(struct event *event, publish_fn *done, void *arg, struct err *e)
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
    if (ev->by_queue)
        confirm_begin(ev);
    r = writer_submit(ev->server->writer, &ev->job, e);
    if (r < 0) {
        ev->server->in_flight--;
        if (ev->by_queue)
            confirm_end(ev);
        return r;
    }
    ev = NULL;

    return 0;
}

/* ---- kinds ---- */

static bool counts_by_queue(const struct conn *c, bool by_queue)
{
    return by_queue && c->server->queue;
}

int publish_join(struct conn *c, const struct lookup_room *room, publish_fn *done, void *arg,
                 struct err *e)
{
    struct event *ev = event_new(c, RECORD_JOIN, slice_of(room->uri));

    if (ev) {
        ev->by_queue = counts_by_queue(c, room->by_queue);
        event_presence(ev, c, STORE_PRESENCE_JOIN);
        json_put_string(&ev->members, "room", slice_of(room->name));
    }

    return event_submit(ev, done, arg, e);
}

int publish_unjoin(struct conn *c, struct slice room, publish_fn *done, void *arg, struct err *e)
{
    struct event *ev = event_new(c, RECORD_LEAVE, room);

    if (ev) {
        event_presence(ev, c, STORE_PRESENCE_LEAVE);
        json_put_string(&ev->members, "reason", SLICE("not-confirmed"));
    }

    return event_submit(ev, done, arg, e);
}

int publish_leave(const struct member *m, const char *reason, publish_fn *done, void *arg,
                  struct err *e)
{
    struct conn *c = m->conn;
    struct event *ev = event_new(c, RECORD_LEAVE, slice_of(m->room->uri));

    if (ev) {
        ev->by_queue = counts_by_queue(c, m->room->by_queue);
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
    const struct member *m = room_member(c, room);

    if (ev) {
        ev->by_queue = counts_by_queue(c, m && m->room->by_queue);
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
