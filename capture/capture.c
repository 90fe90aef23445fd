/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The capture service's loop: batches from the queue, decoded, and handed to the threads that write
 * each in one transaction into mgccomp (capture_writing.c), while the next are read here. Nothing
 * is told to the queue; where capture stands is what mgccomp says. What goes wrong ends in reading
 * on from there (capture_trouble.c).
 */
#include "capture/capture.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "capture/capture_inside.h"

#include <errno.h>
#include <time.h>

/* Doubled where one writes: SQLite rewrites a page of record's second index for each room of a
 * batch, so that the rate falls by the rooms in it once each fills pages of its own. */
enum {
    BATCH_RECORDS = 4000,
    BATCH_BYTES = 3 * 1024 * 1024,
    POLL_MS = 200,
    BUSY_MS = 5,
    HOLD_S = 10
};

static int assigned(void *arg, struct staging_position *positions, size_t n, struct err *e)
{
    struct capture *c = arg;
    capture_write_wait(c);
    int rc = staging_positions(c->o.staging, positions, n, e);
    if (rc == 0)
        rc = positions_add(&c->positions, positions, n, e);
    capture_read_to(c);
    if (rc == 0)
        log_event(LOG_INFO, "capture.assigned", "partitions=%zu", n);
    return rc;
}

static void revoked(void *arg, const int32_t *parts, size_t n)
{
    struct capture *c = arg;
    capture_write_wait(c);
    positions_drop(&c->positions, parts, n);
    c->failing = false;
    for (size_t i = 0; i < c->lanes.n; i++) /* its items may have moved */
        capture_batch_clear(lane_load(&c->lanes.at[i])->decoded);
    lanes_forget(c);
    log_event(LOG_INFO, "capture.revoked", "partitions=%zu", n);
}

static int open_source(struct capture *c, struct err *e)
{
    static const struct source_events events = {assigned, revoked};
    if (c->source)
        return 0;
    return c->o.kafka ? source_kafka_open(&c->source, c->o.kafka, &events, c, e)
                      : source_embedded_open(&c->source, c->o.embedded, &events, c, e);
}

/* The queue first: which log it is decides whether mgccomp belongs to it. */
static int open_all(struct capture *c, struct err *e)
{
    int64_t generation = 0;
    if (c->source && c->open)
        return 0;
    int rc = open_source(c, e);
    if (rc == 0)
        rc = staging_queue(c->o.staging, slice_of(source_driver(c->source)),
                           slice_of(source_identity(c->source)), &generation, e);
    if (rc == 0)
        rc = lanes_open(c, generation, e);
    c->open = rc == 0;
    return rc;
}

void capture_reopen(struct capture *c)
{
    capture_drop(c);
    source_close(c->source);
    c->source = NULL;
    c->open = false;
    c->positions.n = 0;
    c->paused = false;
    c->fault[0] = '\0';
    lanes_forget(c);
}

static int decode(struct capture *c, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < c->lanes.n; i++) {
        struct load *l = lane_load(&c->lanes.at[i]);
        rc = capture_decode(l->decoded, l->read.items, l->read.n, e);
    }
    return rc;
}

/* Reads and decodes while other batches are being written, which makes batches the larger the more
 * waits. False: there was trouble. */
static bool read_more(struct capture *c)
{
    struct source_batch *to[CAPTURE_MAX_WRITERS];
    struct err e = {0};
    struct err why = {0};
    for (size_t i = 0; i < c->lanes.n; i++)
        to[i] = &lane_load(&c->lanes.at[i])->read;
    int rc = source_poll(c->source, to, c->lanes.n, capture_writes(c) ? BUSY_MS : POLL_MS, &e);
    int decoded = decode(c, &why);
    if (decoded < 0) {
        capture_drop(c);
        capture_write_failed(c, decoded, &why);
    }
    if (rc < 0)
        capture_poll_failed(c, rc, &e);
    return rc == 0 && decoded == 0;
}

static bool nothing_to_do(const struct capture *c)
{
    for (size_t i = 0; i < c->lanes.n; i++) {
        const struct lane *lane = &c->lanes.at[i];
        if (lane->loads[lane->turn].read.n > 0)
            return false;
    }
    return !capture_writes(c);
}

static void turn(struct capture *c)
{
    struct err e = {0};
    int rc = open_all(c, &e);
    if (rc < 0) {
        capture_poll_failed(c, rc, &e);
        return;
    }
    capture_follow_pause(c);
    if (read_more(c)) {
        if (nothing_to_do(c))
            capture_idle(c);
        capture_totals(c);
        capture_backlog(c);
    }
    capture_heal_turn(c);
    capture_hand_over(c);
}

static void *run(void *arg)
{
    struct capture *c = arg;
    while (!atomic_load(&c->stopping))
        turn(c);
    capture_write_all(c);
    return NULL;
}

static void capture_free(struct capture *c)
{
    lanes_end(c);
    source_close(c->source);
    capture_heal_free(c->heal);
    positions_done(&c->positions);
    (void)pthread_cond_destroy(&c->turned);
    (void)pthread_mutex_destroy(&c->lock);
    wake_done(&c->bell);
    free(c);
}

static void own_capture(struct capture **c)
{
    if (*c)
        capture_free(*c);
}

static size_t writers(const struct capture_options *o)
{
    if (o->writers == 0)
        return 1;
    return o->writers < CAPTURE_MAX_WRITERS ? o->writers : CAPTURE_MAX_WRITERS;
}

int capture_start(struct capture **out, const struct capture_options *o, struct err *e)
{
    OWN(own_capture) struct capture *c = calloc(1, sizeof *c);
    pthread_condattr_t monotonic;
    if (!c)
        return err_memory(e, "starting capture");
    c->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&c->turned, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    c->bell.fd = -1;
    c->o = *o;
    c->since_us = clock_wall_us();
    const size_t share = o->embedded ? 2 : 1;
    c->o.batch_records = o->batch_records ? o->batch_records : share * BATCH_RECORDS;
    c->o.batch_bytes = o->batch_bytes ? o->batch_bytes : share * BATCH_BYTES;
    c->state.staging_reachable = true;
    backoff_init(&c->backoff, 100, 10000);
    c->heal = capture_heal_new();
    if (!c->heal || !wake_init(&c->bell))
        return err_memory(e, "starting capture");
    int rc = lanes_start(c, o->kafka ? writers(o) : 1, e);
    if (rc < 0)
        return rc;
    /* What is away may come; what is set up wrongly stays so. */
    rc = open_all(c, e);
    if (rc < 0 && rc != ERR_RETRY && rc != ERR_DOUBT)
        return err_wrap(e, "capture");
    if (pthread_create(&c->thread, NULL, run, c) != 0)
        return err_memory(e, "starting capture's thread");
    *out = c;
    c = NULL;
    return 0;
}

void capture_stop(struct capture *c)
{
    if (!c)
        return;
    atomic_store(&c->stopping, true);
    wake_ring(&c->bell);
    (void)pthread_join(c->thread, NULL);
    capture_free(c);
}

void capture_hold(struct capture *c, bool held)
{
    struct timespec until;
    atomic_store(&c->held, held);
    wake_ring(&c->bell);
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += HOLD_S;
    (void)pthread_mutex_lock(&c->lock);
    while (held && !c->resting && pthread_cond_timedwait(&c->turned, &c->lock, &until) != ETIMEDOUT)
        ;
    (void)pthread_mutex_unlock(&c->lock);
}
