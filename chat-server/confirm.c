/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events of a room are stored, confirmed and given up in one order, so that a leave is never told
 * before the post that was made earlier. Leaves wait too, for that order, and go through when the
 * time is up: nobody is kept in a room by an outage.
 */
#include "chat-server/confirm.h"

#include "base/clock.h"
#include "base/log.h"
#include "chat-server/publish_inside.h"

bool confirm_refuses(const struct chat_server *s, bool by_queue)
{
    return by_queue && s->queue && s->overdue > 0;
}

void confirm_begin(struct event *ev)
{
    struct chat_server *s = ev->server;

    ev->previous = s->last_unconfirmed;
    *(s->last_unconfirmed ? &s->last_unconfirmed->next : &s->unconfirmed) = ev;
    s->last_unconfirmed = ev;
}

void confirm_end(struct event *ev)
{
    struct chat_server *s = ev->server;

    *(ev->previous ? &ev->previous->next : &s->unconfirmed) = ev->next;
    *(ev->next ? &ev->next->previous : &s->last_unconfirmed) = ev->previous;
    if (!ev->overdue)
        return;
    s->overdue--;
    if (s->overdue == 0 && !s->stopping)
        log_event(LOG_INFO, "chat.confirmed", "source=%s", s->pool);
}

/* In the queue's thread, or at once in the writer's. */
static void told(void *arg, int class)
{
    struct event *ev = arg;

    ev->queue_class = class;
    ev->call = (struct loop_call){.fn = event_decided, .arg = ev};
    loop_call(ev->server->loop, &ev->call);
}

void confirm_stored(struct event *ev)
{
    const struct record_queue *queue = ev->server->queue;

    ev->await = (struct record_await){
        .stream = ev->stream, .sequence = ev->outcome.sequence, .done = told, .arg = ev};
    atomic_store(&ev->stored_ms, clock_mono_ms());
    queue->await(queue->arg, &ev->await);
}

static void give_up_waiting(struct event *ev)
{
    struct chat_server *s = ev->server;
    struct published p = ev->outcome;

    if (s->overdue == 0 && !s->stopping)
        log_event(LOG_WARN, "chat.unconfirmed", "source=%s hint=\"the queue does not confirm\"",
                  s->pool);
    ev->overdue = true;
    s->overdue++;
    buf_done(&ev->members); /* the writer is done with it */
    p.later = &ev->later;
    p.class = ev->job.event.kind == RECORD_LEAVE ? 0 : ERR_AGAIN;
    ev->done(ev->arg, &p);
}

/* At a stop nobody waits: the next server's relay goes on. */
static void forget(struct event *ev)
{
    const struct record_queue *queue = ev->server->queue;

    if (!queue->forget(queue->arg, &ev->await))
        return;
    ev->queue_class = ERR_RETRY;
    event_decided(ev);
}

void confirm_tick(struct chat_server *s, int64_t now_ms)
{
    struct event *next;

    /* What a handler submits meanwhile comes at the end and is not stored yet. */
    for (struct event *ev = s->unconfirmed; ev; ev = next) {
        int64_t stored_ms = atomic_load(&ev->stored_ms);
        if (stored_ms != 0 && !ev->overdue &&
            (s->stopping || now_ms - stored_ms >= s->queue_wait_ms))
            give_up_waiting(ev);
        next = ev->next;
        if (stored_ms != 0 && s->stopping)
            forget(ev);
    }
}
