/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where capture reads from: one contract over Kafka (source_kafka.c) and the embedded queue, which
 * is the store's table read by position (source_embedded.c).
 */
#ifndef CAPTURE_SOURCE_H
#define CAPTURE_SOURCE_H

#include "base/arena.h"
#include "base/kafka.h"
#include "base/wake.h"
#include "mgccomp/capture_write.h"

struct source;

/* Called by source_poll before a partition is read and when it is taken away. */
struct source_events {
    /* Fill pos and hash of the positions whose part is set. */
    int (*assigned)(void *arg, struct staging_position *positions, size_t n, struct err *e);
    void (*revoked)(void *arg, const int32_t *parts, size_t n);
};

struct source_embedded_options {
    const char *store_url;
    struct wake *committed; /* rung by the store's writer */
};
int source_embedded_open(struct source **out, const struct source_embedded_options *o,
                         const struct source_events *events, void *arg, struct err *e);
int source_kafka_open(struct source **out, const struct kafka_target *t,
                      const struct source_events *events, void *arg, struct err *e);

const char *source_driver(const struct source *s);   /* "embedded", "kafka" */
const char *source_identity(const struct source *s); /* for staging_queue */

/* What the last ERR_FAULT of source_poll was about: the partition, and the positions that are lost
 * or not what they were. */
struct source_fault {
    int32_t part;
    int64_t first, last;
};
const struct source_fault *source_fault(const struct source *s);

/* What a poll collected. There may be several, so that one is written while the next is read; all
 * are cleared or done before their source is closed. */
struct source_batch {
    struct capture_item *items; /* n of them, room for max */
    size_t n, max;
    size_t bytes, max_bytes; /* of their records; about */
    /* What the items' bytes lie in: */
    struct kafka_message *messages;
    struct arena rows;
};
int source_batch_init(struct source_batch *b, size_t max, size_t max_bytes, struct err *e);
bool source_batch_full(const struct source_batch *b);
void source_batch_clear(struct source_batch *b); /* its items are no longer valid */
void source_batch_done(struct source_batch *b);  /* zeroed or half-made: harmless */

/* Adds what there is to the n batches, until one of them is full, waiting up to ms for the first
 * item; there may be none. A partition's items all go to one of them, to[part % n]. `revoked`, when
 * it is called by this, has taken items of those partitions out of them. ERR_FAULT: the log is not
 * the one captured before (part and offsets in the text and in source_fault); told once, and
 * nothing is added; the partition delivers nothing from then on, the others do. ERR_RETRY:
 * the queue can't be reached. After any error what is in the batches is good. */
int source_poll(struct source *s, struct source_batch *const *to, size_t n, int64_t ms,
                struct err *e);
/* Reads on from that position: after a lost compare-and-swap or a failed write. */
int source_seek(struct source *s, const struct staging_position *position, struct err *e);
/* False when the partition stands still, or is not assigned. */
bool source_reads(const struct source *s, int32_t part);
/* While the database is away: keeps membership, delivers nothing. */
int source_pause(struct source *s, bool paused, struct err *e);
void source_close(struct source *s); /* NULL allowed */

static inline void own_source(struct source **s)
{
    source_close(*s);
}

#endif
