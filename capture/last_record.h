/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a Kafka log is the one captured before: the record before the position tells. */
#ifndef CAPTURE_LAST_RECORD_H
#define CAPTURE_LAST_RECORD_H

#include "base/kafka.h"
#include "mgccomp/staging.h"

enum last_record {
    LAST_NONE,   /* nothing was captured yet, or the log is read again: nothing to compare */
    LAST_SAME,   /* it is the one captured */
    LAST_OTHER,  /* another record lies there */
    LAST_ABSENT, /* no record lies there: tidied up, cut, or another log */
};
int last_record_compare(const struct kafka_target *t, const struct staging_position *at, int64_t ms,
                        enum last_record *out, struct err *e);

/* The queue's own number of the position. */
static inline int64_t position_offset(const struct staging_position *at)
{
    return at->pos - at->shift;
}

#endif
