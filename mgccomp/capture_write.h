/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a batch from the queue becomes staged records: it is decoded; then one transaction whose
 * first statement is the compare-and-swap of the position, then heads checked in sorted order, then
 * a bulk append. Decoding needs no database and no writer, so that another thread may do it
 * meanwhile.
 */
#ifndef MGCCOMP_CAPTURE_WRITE_H
#define MGCCOMP_CAPTURE_WRITE_H

#include "mgccomp/staging.h"

/* One message of the queue; borrowed. Items of one partition are in offset order. */
struct capture_item {
    int32_t part;
    int64_t pos;
    int64_t queued_us;
    struct slice raw;
};

/* Decoded items. */
struct capture_batch;
int capture_batch_new(struct capture_batch **out, struct err *e);
void capture_batch_free(struct capture_batch *b); /* NULL allowed */
void capture_batch_clear(struct capture_batch *b);
/* Decodes those of the n items that b does not hold yet. Items and their bytes must stay where they
 * are until b is written or cleared. */
int capture_decode(struct capture_batch *b, const struct capture_item *items, size_t n,
                   struct err *e);

/* Cached heads; one for each capturing thread. */
struct capture_writer;
int capture_writer_new(struct capture_writer **out, struct staging *st, int64_t generation,
                       struct err *e);
void capture_writer_free(struct capture_writer *w);
void capture_writer_forget(struct capture_writer *w); /* drops cached heads: rebalance, lost race */

struct capture_outcome {
    size_t stored;     /* rows appended, exceptions included */
    size_t duplicates; /* dropped: same stream, sequence and SHA-256 */
    size_t exceptions;
    size_t incidents; /* opened */
};
/* Writes a batch (of one or more partitions) durably, or nothing. positions[]: the expected
 * positions of the partitions in the batch; on success they are moved to behind the last item, with
 * its hash. ERR_CONFLICT: another capture moved a position; heads were forgotten, read positions
 * again and seek. Data that the database refuses is bisected down to the record, which becomes an
 * exception. */
int capture_write(struct capture_writer *w, struct capture_batch *batch,
                  struct staging_position *positions, size_t position_count,
                  struct capture_outcome *out, struct err *e);

static inline void own_capture_batch(struct capture_batch **b)
{
    capture_batch_free(*b);
}

static inline void own_capture_writer(struct capture_writer **w)
{
    capture_writer_free(*w);
}

#endif
