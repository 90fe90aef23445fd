/* SPDX-License-Identifier: Apache-2.0 */
/* What every file of the relay does: takes turns, waits until something is told, says what is
 * wrong. */
#include "base/clock.h"
#include "base/log.h"
#include "chat-server/store/relay_inside.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

void relay_lock(struct relay *r)
{
    (void)pthread_mutex_lock(&r->mutex);
}

void relay_unlock(struct relay *r)
{
    (void)pthread_mutex_unlock(&r->mutex);
}

void relay_wait_ms(struct relay *r, pthread_cond_t *cond, int64_t ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(cond, &r->mutex, &until);
}

void relay_pause(struct relay *r, int64_t ms)
{
    int64_t start = clock_mono_ms();
    relay_lock(r);
    for (;;) {
        int64_t left = (r->stopping && ms > 50 ? 50 : ms) - (clock_mono_ms() - start);
        if (left <= 0)
            break;
        relay_wait_ms(r, &r->work, left);
    }
    relay_unlock(r);
}

bool relay_over(struct relay *r)
{
    relay_lock(r);
    bool over = r->stopping && clock_mono_ms() >= r->stop_ms;
    relay_unlock(r);
    return over;
}

void relay_problem(struct relay *r, const struct err *e)
{
    relay_lock(r);
    bool news = e ? strncmp(r->problem, e->text, sizeof r->problem - 1) != 0 : r->problem[0] != 0;
    if (news)
        (void)snprintf(r->problem, sizeof r->problem, "%.199s", e ? e->text : "");
    if (e)
        r->connected = false;
    relay_unlock(r);
    if (news && e)
        log_error("relay.problem", e, "topic=%s", r->topic);
    else if (news)
        log_event(LOG_INFO, "relay.well", "topic=%s", r->topic);
}
