/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The relaying thread: what is stored goes to the queue, each stream in order. It sends from memory
 * what it was told of, and reads from the store by key range what it was not. What to do after a
 * bad report is relay_repair.c.
 */
#include "chat-server/store/relay.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "chat-server/store/relay_heal.h"
#include "chat-server/store/relay_inside.h"

enum {
    BURST = 64,   /* records of one stream before the next one's turn */
    TURNS = 1000, /* streams looked at before reports are polled again */
    QUIET_MS = 5000,
};

struct range {
    struct relay *r;
    struct outbox_stream *st;
    int64_t time_us; /* of the first row, which is not younger than the others */
};

static void range_time(struct range *g, struct slice raw)
{
    struct record record;
    if (g->time_us || record_decode(g->r->json, raw, &record, NULL) < 0)
        return;
    g->time_us = record.time_us;
    relay_lock(g->r);
    if (g->st->behind_us == 0)
        g->st->behind_us = record.time_us;
    relay_unlock(g->r);
}

static int send_range_row(void *arg, const struct store_row *row, struct err *e)
{
    struct range *g = arg;
    if (row->sequence != g->st->sent + 1)
        return err_set(e, ERR_NOT_FOUND, "record %lld is not in the store",
                       (long long)g->st->sent + 1);
    range_time(g, row->raw);
    struct outbox_record record = {
        .sequence = row->sequence, .stored_us = g->time_us, .bytes = row->raw};
    return relay_send(g->r, g->st, &record, e);
}

/* A row that is not there any more is named; capture finds the gap it leaves. */
static int send_range(struct relay *r, struct outbox_stream *st, int64_t last, struct err *e)
{
    struct range g = {.r = r, .st = st};
    int64_t first = st->sent + 1;
    int rc = store_read_stream(r->store, st->id, first, last, RELAY_ROWS, send_range_row, &g, e);
    bool missing = rc == ERR_NOT_FOUND || (rc == 0 && st->sent < first);
    if (!missing)
        return rc;
    /* Only what comes next is parked, so that its order among those in flight is kept. */
    if (st->confirmed < st->sent)
        return err_set(e, ERR_AGAIN, "waiting for what is in flight");
    return relay_park(r, st, st->sent + 1, "the store does not hold it", e);
}

/* Sends some of one stream. ERR_AGAIN: no room now. */
static int send_some(struct relay *r, struct outbox_stream *st, struct err *e)
{
    if (st->confirmed == OUTBOX_UNKNOWN) {
        int64_t relayed = 0;
        int rc = store_relayed(r->store, st->id, &relayed, e);
        if (rc < 0)
            return rc;
        relay_lock(r);
        outbox_found(r->outbox, st, relayed > st->head ? relayed : st->head, relayed);
        relay_unlock(r);
    }
    for (int i = 0; i < BURST; i++) {
        relay_lock(r);
        const struct outbox_record *record = outbox_peek(r->outbox, st, st->sent + 1);
        int64_t last = st->first ? st->first->sequence - 1 : st->head;
        bool more = st->sent < st->head;
        relay_unlock(r);
        if (!more)
            return 0;
        int rc = record ? relay_send(r, st, record, e) : send_range(r, st, last, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void refused_here(struct relay *r, struct outbox_stream *st, const struct err *e)
{
    if (e->class == ERR_REJECTED && st->suspect_until <= st->sent)
        st->suspect_until = st->sent + 1;
    r->failed = true;
    relay_problem(r, e);
}

/* Each stream with something to send gets a turn. False: nothing could be sent. */
static bool feed(struct relay *r)
{
    size_t before = r->in_flight;
    for (int turn = 0; turn < TURNS && !r->failed; turn++) {
        struct err e = {0};
        relay_lock(r);
        struct outbox_stream *st = outbox_next(r->outbox);
        relay_unlock(r);
        if (!st)
            break;
        int rc = send_some(r, st, &e);
        relay_lock(r);
        outbox_wait(r->outbox, st);
        relay_unlock(r);
        if (store_broken(r->store)) {
            relay_problem(r, &e);
            break;
        }
        if (rc < 0 && rc != ERR_AGAIN)
            refused_here(r, st, &e);
    }
    return r->in_flight > before;
}

static void tell_progress(struct relay *r)
{
    int64_t now = clock_mono_ms();
    if (r->progressed) {
        r->progressed = false;
        r->quiet_ms = now;
        backoff_reset(&r->backoff);
        relay_lock(r);
        (void)pthread_cond_broadcast(&r->progress);
        relay_unlock(r);
        relay_problem(r, NULL);
    } else if (r->in_flight > 0 && now - r->quiet_ms > QUIET_MS) {
        struct err e = {0};
        (void)err_set(&e, ERR_RETRY, "the brokers of topic %s do not confirm", r->topic);
        relay_problem(r, &e);
    }
}

/* Nothing in flight: wait to be told. Something in flight: the producer tells. */
static void rest(struct relay *r, bool sent)
{
    if (r->in_flight > 0) {
        kafka_producer_poll(r->producer, sent ? 0 : 5);
        return;
    }
    relay_lock(r);
    if (!r->stopping && !outbox_has_waiting(r->outbox))
        relay_wait_ms(r, &r->work, 50);
    relay_unlock(r);
}

static bool finished(struct relay *r)
{
    struct outbox_sum sum;
    relay_lock(r);
    bool stopping = r->stopping;
    if (stopping)
        outbox_sum(r->outbox, &sum);
    bool end = stopping && ((r->scanned && sum.unconfirmed == 0) || clock_mono_ms() >= r->stop_ms);
    relay_unlock(r);
    return end;
}

void *relay_run(void *arg)
{
    struct relay *r = arg;
    while (!finished(r)) {
        struct err e = {0};
        int rc = relay_connect(r, &e);
        if (rc < 0) {
            relay_problem(r, &e);
            relay_pause(r, backoff_next(&r->backoff));
            continue;
        }
        bool sent = feed(r);
        kafka_producer_poll(r->producer, 0);
        if (r->failed || kafka_producer_fatal(r->producer))
            relay_repair(r);
        relay_await_turn(r);
        tell_progress(r);
        relay_note(r, false);
        if (r->producer)
            relay_heal_turn(r);
        if (r->producer)
            rest(r, sent);
    }
    relay_note(r, true);
    return NULL;
}
