/* SPDX-License-Identifier: Apache-2.0 */
/* Starting and stopping the relay, what the writer tells it, and what others may ask it. */
#include "base/clock.h"
#include "base/own.h"
#include "chat-server/store/relay.h"
#include "chat-server/store/relay_heal.h"
#include "chat-server/store/relay_inside.h"

#include <string.h>

enum { STOP_MS = 10000 };

static void relay_free(struct relay *r)
{
    if (!r)
        return;
    /* Reports of what is purged come while it closes, and touch streams. */
    kafka_producer_close(r->producer);
    outbox_free(r->outbox);
    json_doc_free(r->json);
    relay_heal_free(r->heal);
    store_close(r->store);
    free(r->store_url);
    free(r->brokers);
    free(r->topic);
    free(r->source);
    (void)pthread_cond_destroy(&r->work);
    (void)pthread_cond_destroy(&r->progress);
    (void)pthread_mutex_destroy(&r->mutex);
    free(r);
}

OWN_DEFINE(relay, struct relay, relay_free)

static void init_locks(struct relay *r)
{
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&r->mutex, NULL);
    (void)pthread_cond_init(&r->work, &attr);
    (void)pthread_cond_init(&r->progress, &attr);
    (void)pthread_condattr_destroy(&attr);
    for (int i = 0; i < RELAY_PARTITIONS; i++)
        r->parts[i] = (struct relay_part){.last_offset = -1, .noted_offset = -1, .fell_from = -1};
    backoff_init(&r->backoff, 100, 5000);
}

static int fill(struct relay *r, const struct relay_options *o, struct err *e)
{
    r->store_url = slice_dup(slice_of(o->store_url));
    r->brokers = slice_dup(slice_of(o->kafka.brokers));
    r->topic = slice_dup(slice_of(o->kafka.topic));
    r->source = slice_dup(o->source);
    r->json = json_doc_new();
    r->heal = relay_heal_new();
    r->outbox = outbox_new(o->window_bytes ? o->window_bytes : RELAY_WINDOW, RELAY_STREAMS);
    if (!r->store_url || !r->brokers || !r->topic || !r->source || !r->outbox || !r->json ||
        !r->heal)
        return err_memory(e, "starting the relay");
    r->target = o->kafka;
    r->target.brokers = r->brokers;
    r->target.topic = r->topic;
    return 0;
}

int relay_start(struct relay **out, const struct relay_options *o, struct err *e)
{
    struct relay *fresh = calloc(1, sizeof *fresh);
    if (!fresh)
        return err_memory(e, "starting the relay");
    init_locks(fresh);
    OWN(own_relay) struct relay *r = fresh;
    int rc = fill(r, o, e);
    if (rc == 0)
        rc = relay_open_store(r, e);
    /* A lock of the source is waited for: a killed process's goes when the server notices. */
    if (rc < 0 && rc != ERR_CONFLICT)
        return rc;
    if (rc < 0)
        relay_problem(r, e);
    /* A topic that is set up wrongly stops the start; brokers that are away do not. */
    rc = relay_check_topic(r, e);
    if (rc < 0 && rc != ERR_RETRY)
        return rc;
    if (rc < 0)
        relay_problem(r, e);
    if (pthread_create(&r->thread, NULL, relay_run, r) != 0)
        return err_set(e, ERR_RETRY, "no thread for the relay");
    *out = r;
    r = NULL;
    return 0;
}

void relay_stop(struct relay *r)
{
    if (!r)
        return;
    relay_lock(r);
    r->stopping = true;
    r->stop_ms = clock_mono_ms() + STOP_MS;
    (void)pthread_cond_broadcast(&r->work);
    relay_unlock(r);
    (void)pthread_join(r->thread, NULL);
    relay_free(r);
}

void relay_stored(void *relay, struct slice subject, const struct store_result *result)
{
    struct relay *r = relay;
    relay_lock(r);
    struct outbox_stream *st = outbox_take(r->outbox, result->stream, subject);
    if (st)
        outbox_stored(r->outbox, st, result->sequence, result->record, clock_wall_us());
    else
        r->rescan = true;
    (void)pthread_cond_signal(&r->work);
    relay_unlock(r);
}

struct goal {
    int64_t id, head;
};
struct goals {
    struct goal *list;
    size_t n, cap;
    bool failed;
};

static void add_goal(void *arg, struct outbox_stream *st)
{
    struct goals *g = arg;
    if (st->confirmed >= st->head || g->failed)
        return;
    if (g->n == g->cap) {
        size_t cap = g->cap ? 2 * g->cap : 64;
        struct goal *list = realloc(g->list, cap * sizeof *list);
        if (!list) {
            g->failed = true;
            return;
        }
        g->list = list;
        g->cap = cap;
    }
    g->list[g->n++] = (struct goal){st->id, st->head};
}

static bool reached(const struct relay *r, const struct goal *g)
{
    const struct outbox_stream *st = outbox_find(r->outbox, g->id);
    return !st || st->confirmed >= g->head;
}

/* Under the mutex: there may be records in the store that the outbox does not know of. */
static bool unread(const struct relay *r)
{
    return !r->scanned || r->rescan || r->scanning;
}

int relay_wait(struct relay *r, int64_t ms, struct err *e)
{
    int64_t until = clock_mono_ms() + ms;
    struct goals goals = {0};
    relay_lock(r);
    while (unread(r) && clock_mono_ms() < until)
        relay_wait_ms(r, &r->progress, 20);
    bool late = unread(r);
    outbox_each(r->outbox, add_goal, &goals);
    for (size_t i = 0; i < goals.n && !late;) {
        int64_t left = until - clock_mono_ms();
        if (reached(r, &goals.list[i]))
            i++;
        else if (left <= 0)
            late = true;
        else
            relay_wait_ms(r, &r->progress, left < 100 ? left : 100);
    }
    relay_unlock(r);
    free(goals.list);
    if (goals.failed)
        return err_memory(e, "waiting for the queue");
    return late ? err_set(e, ERR_AGAIN, "the queue has not confirmed everything yet") : 0;
}

uint64_t relay_unconfirmed(struct relay *r)
{
    relay_lock(r);
    uint64_t n = outbox_unconfirmed(r->outbox);
    relay_unlock(r);
    return n;
}

void relay_state(struct relay *r, struct relay_state *out)
{
    struct outbox_sum sum;
    relay_lock(r);
    outbox_sum(r->outbox, &sum);
    *out = (struct relay_state){
        .unconfirmed = sum.unconfirmed,
        .oldest_us = sum.oldest_us,
        .connected = r->connected,
        .parked = r->parked,
    };
    memcpy(out->problem, r->problem, sizeof out->problem);
    if (!r->scanned && !out->problem[0])
        (void)snprintf(out->problem, sizeof out->problem, "the backlog is still being read");
    relay_unlock(r);
}
