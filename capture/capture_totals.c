/* SPDX-License-Identifier: Apache-2.0 */
/* Once in a while the captured heads are compared with what the sources' control totals say. */
#include "base/clock.h"
#include "base/log.h"
#include "capture/capture_inside.h"

enum { LOOK_MS = 1000, CALM_MS = 5000, PATIENCE_MS = 30000, JUMP_MS = 2000 };

/* While batches are full there is more in the queue, and what is missing or silent may be there. */
static bool caught_up(struct capture *c, int64_t now_ms)
{
    bool busy = atomic_load(&c->held);
    for (size_t i = 0; i < c->lanes.n; i++) {
        const struct source_batch *b = &lane_load(&c->lanes.at[i])->read;
        busy = busy || b->n >= (b->max + 1) / 2 || b->bytes >= b->max_bytes / 2;
    }
    if (busy)
        c->busy_ms = now_ms;
    return now_ms >= c->busy_ms + CALM_MS;
}

/* What was promised, or noted, by the clock as it was says nothing by the clock as it is: the
 * sources get the time again to tell what they hold. */
static bool clock_steady(struct capture *c, int64_t now_us, int64_t now_ms)
{
    const int64_t wall_us = now_us - now_ms * 1000;
    const int64_t by_us = wall_us - c->wall_us;
    if (c->wall_us && (by_us > JUMP_MS * 1000 || by_us < -JUMP_MS * 1000)) {
        c->jumped_ms = now_ms;
        c->since_us = now_us;
        log_event(LOG_WARN, "clock.jumped", "by_s=%lld", (long long)(by_us / 1000000));
    }
    c->wall_us = wall_us;
    return !c->jumped_ms || now_ms >= c->jumped_ms + PATIENCE_MS;
}

void capture_totals(struct capture *c)
{
    struct err e = {0};
    size_t incidents = 0;
    int64_t now_ms = clock_mono_ms();
    bool calm = caught_up(c, now_ms);
    if (c->away || now_ms < c->totals_ms + LOOK_MS)
        return;
    c->totals_ms = now_ms;
    const int64_t now_us = clock_wall_us();
    const bool steady = clock_steady(c, now_us, now_ms);
    size_t n = 0;
    const struct totals_source *sources = c->o.sources ? c->o.sources(c->o.sources_arg, &n) : NULL;
    const struct totals_check check = {.sources = sources,
                                       .n = n,
                                       .now_us = now_us,
                                       .since_us = c->since_us,
                                       .patience_ms = PATIENCE_MS,
                                       .caught_up = calm && steady};
    int rc = totals_run(c->o.staging, &check, &incidents, &e);
    if (rc < 0 && rc != ERR_CONFLICT)
        capture_trouble(c, "capture.totals", &e);
    if (incidents > 0)
        log_event(LOG_WARN, "capture.totals", "incidents=%zu", incidents);
}
