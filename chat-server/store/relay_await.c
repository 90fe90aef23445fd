/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling those who wait that the queue has their record. What the relay confirmed itself it knows
 * from memory; of a stream it holds nothing of, the store's own note decides. Those who came first
 * are told first, so that a stream's records are told in order.
 */
#include "base/clock.h"
#include "base/log.h"
#include "chat-server/store/relay_inside.h"

enum { ASK_MS = 50 };

void relay_await(void *relay, struct record_await *a)
{
    struct relay *r = relay;
    relay_lock(r);
    a->next = NULL;
    *(r->awaits_last ? &r->awaits_last->next : &r->awaits) = a;
    r->awaits_last = a;
    r->awaits_fresh = true;
    (void)pthread_cond_signal(&r->work);
    relay_unlock(r);
}

/* Under the mutex. Only if it still waits for a record up to `sequence`: one that was forgotten may
 * have another in its place in memory. */
static bool take_out(struct relay *r, const struct record_await *a, int64_t stream,
                     int64_t sequence)
{
    struct record_await *before = NULL;
    struct record_await *x = r->awaits;
    while (x && x != a) {
        before = x;
        x = x->next;
    }
    if (!x || x->stream != stream || x->sequence > sequence)
        return false;
    *(before ? &before->next : &r->awaits) = x->next;
    if (r->awaits_last == x)
        r->awaits_last = before;
    return true;
}

bool relay_forget(void *relay, struct record_await *a)
{
    struct relay *r = relay;
    relay_lock(r);
    bool waited = take_out(r, a, a->stream, a->sequence);
    relay_unlock(r);
    return waited;
}

/* Under the mutex. */
static int64_t confirmed_of(const struct relay *r, const struct record_await *a)
{
    const struct outbox_stream *st = outbox_find(r->outbox, a->stream);
    return st ? st->confirmed : OUTBOX_UNKNOWN;
}

/* One that waits for a stream whose state is not in memory; it may be forgotten any time. */
struct unknown {
    struct record_await *a; /* NULL: none */
    int64_t stream, sequence;
};

/* Takes out those whose record is confirmed. */
static struct record_await *take_ready(struct relay *r, struct unknown *unknown)
{
    struct record_await *ready = NULL;
    struct record_await **end = &ready;
    struct record_await **at = &r->awaits;
    *unknown = (struct unknown){.a = NULL};
    relay_lock(r);
    r->awaits_last = NULL;
    while (*at) {
        struct record_await *a = *at;
        int64_t confirmed = confirmed_of(r, a);
        if (confirmed == OUTBOX_UNKNOWN && !unknown->a)
            *unknown = (struct unknown){a, a->stream, a->sequence};
        if (confirmed < a->sequence) {
            r->awaits_last = a;
            at = &a->next;
            continue;
        }
        *at = a->next;
        a->next = NULL;
        *end = a;
        end = &a->next;
    }
    r->awaits_fresh = unknown->a != NULL;
    relay_unlock(r);
    return ready;
}

/* A record that was passed over counts as confirmed for the order of its stream, not for those who
 * wait for it. */
static void tell(struct relay *r, struct record_await *a)
{
    struct err e = {0};
    bool parked = false;
    int class = 0;
    if (r->parked > 0)
        class = store_is_parked(r->store, a->stream, a->sequence, &parked, &e);
    if (class < 0) {
        log_error("relay.await", &e, "topic=%s", r->topic);
        class = ERR_RETRY;
    }
    a->done(a->arg, parked ? ERR_REJECTED : class);
}

/* One at a time: such streams are rare, they have nothing that is still to be sent. */
static void ask_store(struct relay *r, const struct unknown *u)
{
    struct err e = {0};
    int64_t relayed = 0;
    int64_t now = clock_mono_ms();
    if (now - r->asked_ms < ASK_MS)
        return;
    r->asked_ms = now;
    if (store_relayed(r->store, u->stream, &relayed, &e) < 0 || relayed < u->sequence)
        return;
    r->asked_ms = 0; /* there may be more */
    relay_lock(r);
    bool waited = take_out(r, u->a, u->stream, relayed);
    relay_unlock(r);
    if (waited)
        tell(r, u->a);
}

void relay_await_turn(struct relay *r)
{
    struct unknown unknown;
    relay_lock(r);
    bool due = r->awaits && (r->awaits_fresh || r->progressed);
    relay_unlock(r);
    if (!due || !r->store)
        return;
    struct record_await *ready = take_ready(r, &unknown);
    while (ready) {
        struct record_await *a = ready;
        ready = a->next;
        tell(r, a);
    }
    if (unknown.a)
        ask_store(r, &unknown);
}
