/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a batch can't be had or can't be written. There is one way on: forget what is in memory, ask
 * mgccomp where it stands, read on from there. Until it answers the queue is polled, so that
 * membership is kept, but delivers nothing.
 */
#include "base/log.h"
#include "base/own.h"
#include "capture/capture_inside.h"
#include "mgccomp/incident.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* A pause between tries that ends early when the service is to stop. */
static void back_off(struct capture *c)
{
    struct pollfd p = {.fd = c->bell.fd, .events = POLLIN};
    if (poll(&p, 1, (int)backoff_next(&c->backoff)) > 0)
        (void)wake_wait(&c->bell, 0);
}

static int read_on(struct capture *c, struct err *e)
{
    int rc = staging_positions(c->o.staging, c->positions.at, c->positions.n, e);
    for (size_t i = 0; rc == 0 && i < c->positions.n; i++)
        rc = source_seek(c->source, &c->positions.at[i], e);
    return rc;
}

static void find_the_way(struct capture *c)
{
    struct err e = {0};
    lanes_forget(c);
    int rc = read_on(c, &e);
    c->away = rc < 0;
    if (rc == 0)
        return;
    (void)pthread_mutex_lock(&c->lock);
    c->state.staging_reachable = false;
    (void)pthread_mutex_unlock(&c->lock);
    capture_trouble(c, "capture.staging", &e);
}

void capture_write_failed(struct capture *c, int class, const struct err *e)
{
    if (class != ERR_CONFLICT && class != ERR_DOUBT) {
        capture_trouble(c, "capture.write", e);
        (void)pthread_mutex_lock(&c->lock);
        c->state.staging_reachable = class != ERR_RETRY;
        (void)pthread_mutex_unlock(&c->lock);
        c->away = true;
        c->failing = class != ERR_RETRY;
        return;
    }
    find_the_way(c);
}

void capture_idle(struct capture *c)
{
    if (!c->away) {
        if (!c->failing && !atomic_load(&c->held))
            capture_well(c);
        return;
    }
    back_off(c);
    find_the_way(c);
}

void capture_follow_pause(struct capture *c)
{
    struct err e = {0};
    bool held = atomic_load(&c->held);
    if (held)
        capture_write_all(c);
    bool wanted = c->away || held;
    if (wanted != c->paused && source_pause(c->source, wanted, &e) < 0)
        capture_trouble(c, "capture.pause", &e);
    else
        c->paused = wanted;
    (void)pthread_mutex_lock(&c->lock);
    if (c->resting != (held && c->paused)) {
        c->resting = held && c->paused;
        (void)pthread_cond_broadcast(&c->turned);
    }
    (void)pthread_mutex_unlock(&c->lock);
}

static int open_incident(struct capture *c, const struct source_fault *f, const char *detail,
                         struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    char object[32];
    (void)snprintf(object, sizeof object, "partition %" PRId32, f->part);
    const struct incident i = {.kind = INCIDENT_LOG_CHANGED,
                               .object = slice_of(object),
                               .part = f->part,
                               .first = f->first,
                               .last = f->last,
                               .detail = slice_of(detail)};
    int rc = staging_begin(c->o.staging, &t, e);
    if (rc == 0)
        rc = incident_open(&t, &i, NULL, e);
    return rc < 0 ? rc : staging_commit(&t, e);
}

static void log_changed(struct capture *c, const struct err *e)
{
    struct err why = {0};
    (void)snprintf(c->fault, sizeof c->fault, "%.299s", e->text);
    log_error("capture.log-changed", e, "partition=%" PRId32, source_fault(c->source)->part);
    while (open_incident(c, source_fault(c->source), e->text, &why) < 0 &&
           !atomic_load(&c->stopping))
        back_off(c);
}

void capture_poll_failed(struct capture *c, int class, const struct err *e)
{
    if (class == ERR_FAULT && c->source) {
        log_changed(c, e);
        return;
    }
    (void)pthread_mutex_lock(&c->lock);
    c->state.queue_reachable = false;
    (void)pthread_mutex_unlock(&c->lock);
    capture_trouble(c, "capture.queue", e);
    back_off(c);
}
