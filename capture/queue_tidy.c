/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/queue_tidy.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/own.h"
#include "capture/last_record.h"

#include <inttypes.h>
#include <stdlib.h>

enum { PARTS = 4096, EVERY_MS = 60000, CALL_MS = 5000 };

struct queue_tidy {
    const struct kafka_target *target;
    struct staging *staging;
    int64_t next_ms[PARTS]; /* partitions above share the last place */
};

int queue_tidy_part(const struct kafka_target *t, struct staging *st, int32_t part, int64_t low,
                    int64_t *deleted_to, struct err *e)
{
    struct staging_position at = {.part = part};
    enum last_record last = LAST_NONE;
    int rc = staging_positions(st, &at, 1, e);
    if (rc < 0)
        return rc;
    int64_t limit = (low < at.pos - 1 ? low : at.pos - 1) - at.shift;
    *deleted_to = -1;
    if (limit <= 0 || !at.has_hash)
        return 0;
    rc = last_record_compare(t, &at, CALL_MS, &last, e);
    if (rc < 0)
        return rc;
    if (last != LAST_SAME)
        return err_set(e, ERR_CONFLICT,
                       "topic %s, partition %" PRId32 ": the record before offset %" PRId64
                       " is not the one captured: nothing is deleted",
                       t->topic, part, position_offset(&at));
    FAULT("tidy.before");
    rc = kafka_delete_below(t, part, limit, CALL_MS, deleted_to, e);
    FAULT("tidy.after");
    return rc;
}

int queue_tidy_new(struct queue_tidy **out, const struct kafka_target *t, struct staging *st,
                   struct err *e)
{
    struct queue_tidy *q = calloc(1, sizeof *q);
    if (!q)
        return err_memory(e, "tidying up the queue");
    q->target = t;
    q->staging = st;
    *out = q;
    return 0;
}

void queue_tidy_free(struct queue_tidy *q)
{
    free(q);
}

void queue_tidy_swept(void *queue_tidy, int32_t part, int64_t low)
{
    struct queue_tidy *q = queue_tidy;
    struct err e = {0};
    int64_t first = -1;
    int64_t *next = &q->next_ms[part < PARTS ? part : PARTS - 1];
    if (part < 0 || part >= STAGING_ARCHIVE_PART || clock_mono_ms() < *next)
        return;
    *next = clock_mono_ms() + EVERY_MS;
    if (queue_tidy_part(q->target, q->staging, part, low, &first, &e) < 0)
        log_error("queue.tidy", &e, "partition=%" PRId32, part);
    else if (first >= 0)
        log_event(LOG_INFO, "queue.tidied", "partition=%" PRId32 " first=%" PRId64, part, first);
}
