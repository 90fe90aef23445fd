/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How old records are when they are captured. Of the embedded queue that is not known, since the
 * store keeps no time of its own; there capture falls behind only while mgccomp is away.
 */
#include "base/clock.h"
#include "base/log.h"
#include "capture/capture_inside.h"
#include "mgccomp/backlog.h"

enum { LOOK_MS = 5000, CALM_MS = 10000 };

void capture_note_age(struct capture *c, struct lane *lane, const struct source_batch *b)
{
    int64_t oldest_us = INT64_MAX;
    for (size_t i = 0; i < b->n; i++) {
        if (b->items[i].queued_us < oldest_us)
            oldest_us = b->items[i].queued_us;
    }
    if (b->n == 0)
        return;
    lane->age_ms = (clock_wall_us() - oldest_us) / 1000;
    c->wrote_ms = clock_mono_ms();
}

void capture_backlog(struct capture *c)
{
    struct err e = {0};
    int64_t now_ms = clock_mono_ms();
    struct backlog b = {.age_ms = -1, .bound_ms = c->o.backlog_ms};
    if (!c->o.backlog_ms || !c->o.kafka || c->away || atomic_load(&c->held) ||
        now_ms < c->backlog_ms + LOOK_MS)
        return;
    c->backlog_ms = now_ms;
    for (size_t i = 0; i < c->lanes.n; i++) {
        struct lane *lane = &c->lanes.at[i];
        if (now_ms > c->wrote_ms + CALM_MS && !lane->in_hand)
            lane->age_ms = -1; /* nothing comes: what was last read is no longer the oldest */
        if (lane->age_ms > b.age_ms)
            b.age_ms = lane->age_ms;
    }
    int rc = backlog_judge(c->o.staging, &b, &e);
    if (rc < 0 && rc != ERR_CONFLICT)
        capture_trouble(c, "capture.backlog", &e);
}
