/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sweep deletes from mgccomp what the gate lets go, in steps of at most 10,000 rows, while this
 * process leads (mgccomp/lease.h). Each step is one transaction: lock lease and gate row, read
 * requirements and incidents again, move aside what is archived and must stay, delete, pack the
 * hashes, count.
 */
#ifndef RETENTION_SWEEP_H
#define RETENTION_SWEEP_H

#include "base/wake.h"
#include "mgccomp/ledger.h"

struct sweep;
struct sweep_options {
    struct staging *staging;
    struct wake *archived; /* rung by the archiver */
    /* Called after a step with a partition's new low water; may be NULL (services: Kafka tidies
     * up). */
    void (*swept)(void *arg, int32_t part, int64_t pos);
    void *swept_arg;
};
int sweep_start(struct sweep **out, const struct sweep_options *o, struct err *e); /* a thread */
void sweep_stop(struct sweep *s);

/* One pass over all partitions and all kept records; *rows gets how many were deleted. ERR_STOPPED:
 * the handle does not lead. */
int sweep_once(struct staging *st, int64_t *rows, struct err *e);

#endif
