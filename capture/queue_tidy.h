/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kafka keeps every record until we say so: behind the sweep the log is deleted up to what is
 * archived and deleted from mgccomp, never the record before the position, which is read and
 * compared first: a log made anew is left alone.
 */
#ifndef CAPTURE_QUEUE_TIDY_H
#define CAPTURE_QUEUE_TIDY_H

#include "base/kafka.h"
#include "mgccomp/staging.h"

/* Deletes what lies below min(low, position - 1) of the partition. *deleted_to gets the log's first
 * offset, or -1 when there was nothing to delete. ERR_CONFLICT: the log is not the one captured. */
int queue_tidy_part(const struct kafka_target *t, struct staging *st, int32_t part, int64_t low,
                    int64_t *deleted_to, struct err *e);

/* For sweep_options.swept: once a minute for each partition. What fails is tried at a later sweep.
 */
struct queue_tidy;
int queue_tidy_new(struct queue_tidy **out, const struct kafka_target *t, struct staging *st,
                   struct err *e);
void queue_tidy_free(struct queue_tidy *q); /* NULL allowed; the target must outlive it */
void queue_tidy_swept(void *queue_tidy, int32_t part, int64_t low);

#endif
