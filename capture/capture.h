/* SPDX-License-Identifier: Apache-2.0 */
/* The capture service: from the queue into mgccomp, each record once, nothing acknowledged before
 * it is durable. */
#ifndef CAPTURE_CAPTURE_H
#define CAPTURE_CAPTURE_H

#include "capture/source.h"
#include "mgccomp/totals.h"

enum { CAPTURE_MAX_WRITERS = 16 };

struct capture_options {
    struct staging *staging;
    size_t writers;        /* transactions at a time, at most CAPTURE_MAX_WRITERS; 0: 1. A partition
                            * belongs to one of them; the embedded queue has one partition. */
    size_t batch_records;  /* 0: 8,000 embedded, else 4,000 for each writer */
    size_t batch_bytes;    /* 0: 6 MiB embedded, else 3 MiB for each writer */
    int64_t backlog_ms;    /* so long may a record wait in Kafka; 0: for ever */
    struct wake *captured; /* rung after each commit (archiver); may be NULL */
    /* Whose control totals are expected; asked for every second by capture's thread, valid until
     * the next call. May be NULL: nobody's. */
    const struct totals_source *(*sources)(void *arg, size_t *n);
    void *sources_arg;
    /* Exactly one of the two: */
    const struct source_embedded_options *embedded;
    const struct kafka_target *kafka;
};

struct capture;
int capture_start(struct capture **out, const struct capture_options *o,
                  struct err *e);     /* a thread */
void capture_stop(struct capture *c); /* after the batch in hand */
/* Holds or goes on: a held capture reads nothing (tests, demonstrations, maintenance). Holding
 * waits until the batch in hand is written, at most 10 s. */
void capture_hold(struct capture *c, bool held);

struct capture_state {
    uint64_t stored, duplicates, exceptions; /* since start */
    int64_t read_to; /* embedded: the lowest of the store's positions that was never captured */
    int64_t last_commit_us;
    bool queue_reachable, staging_reachable, held;
    char problem[300]; /* "" or what is wrong */
};
void capture_state(struct capture *c, struct capture_state *out);

#endif
