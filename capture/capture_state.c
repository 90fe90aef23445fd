/* SPDX-License-Identifier: Apache-2.0 */
/* What status shows of capture, and its log lines: one when a trouble begins, one a minute while it
 * lasts (texts of libraries differ from try to try), one at its end. */
#include "base/clock.h"
#include "base/log.h"
#include "capture/capture_inside.h"

#include <stdio.h>

enum { TELL_AGAIN_MS = 60000 };

void capture_trouble(struct capture *c, const char *event, const struct err *e)
{
    (void)pthread_mutex_lock(&c->lock);
    (void)snprintf(c->state.problem, sizeof c->state.problem, "%.299s", e->text);
    const unsigned long long stored = c->state.stored;
    (void)pthread_mutex_unlock(&c->lock);
    int64_t now_ms = clock_mono_ms();
    if (c->told == e->class && now_ms - c->told_ms < TELL_AGAIN_MS)
        return;
    c->told = e->class;
    c->told_ms = now_ms;
    log_error(event, e, "records=%llu", stored);
}

void capture_well(struct capture *c)
{
    (void)pthread_mutex_lock(&c->lock);
    c->state.queue_reachable = true;
    c->state.staging_reachable = true;
    (void)snprintf(c->state.problem, sizeof c->state.problem, "%s", c->fault);
    const unsigned long long stored = c->state.stored;
    (void)pthread_mutex_unlock(&c->lock);
    backoff_reset(&c->backoff);
    if (!c->told)
        return;
    c->told = 0;
    log_event(LOG_INFO, "capture.well", "records=%llu", stored);
}

void capture_count(struct capture *c, const struct capture_outcome *out)
{
    (void)pthread_mutex_lock(&c->lock);
    c->state.stored += out->stored;
    c->state.duplicates += out->duplicates;
    c->state.exceptions += out->exceptions;
    c->state.last_commit_us = clock_wall_us();
    (void)pthread_mutex_unlock(&c->lock);
}

void capture_read_to(struct capture *c)
{
    if (!c->o.embedded || c->positions.n == 0)
        return;
    const struct staging_position *p = &c->positions.at[0];
    (void)pthread_mutex_lock(&c->lock);
    if (p->pos - p->shift > c->state.read_to)
        c->state.read_to = p->pos - p->shift;
    (void)pthread_mutex_unlock(&c->lock);
}

void capture_state(struct capture *c, struct capture_state *out)
{
    (void)pthread_mutex_lock(&c->lock);
    *out = c->state;
    (void)pthread_mutex_unlock(&c->lock);
    out->held = atomic_load(&c->held);
}
