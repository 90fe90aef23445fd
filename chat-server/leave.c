/* SPDX-License-Identifier: Apache-2.0 */
/* One room after the other; a leave that could not be recorded is tried until it is. */
#include "chat-server/leave.h"

#include "base/clock.h"
#include "chat-server/publish.h"
#include "chat-server/room.h"

static struct member *next_to_leave(const struct conn *c)
{
    struct member *m = c->joined;

    while (m && c->leaving.dialog && m->dialog != c->leaving.dialog)
        m = m->next_of_conn;

    return m;
}

static void leave_step(struct conn *c);

static void leave_decided(void *arg, const struct published *p)
{
    struct conn *c = arg;

    c->leaving.in_flight = false;
    /* ERR_REJECTED: by the store's list he is not in, so the join in doubt never was (join.c). */
    if (p->class == 0 || p->class == ERR_REJECTED) {
        room_left(next_to_leave(c));
        leave_step(c);
    } else {
        c->leaving.retry_at_ms = clock_mono_ms() + CHAT_RETRY_MS;
    }
}

/* Whoever is still in a room when the program goes gets the leave at the next start, from the
 * store's own list of participants. */
static bool may_give_up(const struct chat_server *s, int64_t now_ms)
{
    return s->lost || (s->stopping && now_ms > s->stop_by_ms);
}

static void leave_step(struct conn *c)
{
    struct leaving *l = &c->leaving;
    struct member *m = next_to_leave(c);
    struct err e = {0};

    while (m && may_give_up(c->server, clock_mono_ms())) {
        room_remove(m);
        m = next_to_leave(c);
    }
    if (!m) {
        l->active = false;
        l->done(l->arg);
        return;
    }
    if (publish_leave(m, l->reason, leave_decided, c, &e) == 0)
        l->in_flight = true;
    else
        l->retry_at_ms = clock_mono_ms() + CHAT_RETRY_MS;
}

void leave_rooms(struct conn *c, const struct dialog *d, const char *reason,
                 void (*done)(void *arg), void *arg)
{
    c->leaving =
        (struct leaving){.active = true, .dialog = d, .reason = reason, .done = done, .arg = arg};
    leave_step(c);
}

void leave_tick(struct conn *c, int64_t now_ms)
{
    if (c->leaving.active && !c->leaving.in_flight && now_ms >= c->leaving.retry_at_ms)
        leave_step(c);
}
