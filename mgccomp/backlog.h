/* SPDX-License-Identifier: Apache-2.0 */
/* The incident `backlog`: records wait longer than they should, for an adapter or, in the queue,
 * for capture. It shuts nothing, and closes by itself. */
#ifndef MGCCOMP_BACKLOG_H
#define MGCCOMP_BACKLOG_H

#include "mgccomp/incident.h"

/* When the oldest record was captured that the instance has not archived, apart from what is
 * parked, which has an incident of its own; 0: there is none. */
int backlog_oldest(struct db *db, int64_t instance, int64_t *captured_us, struct err *e);

struct backlog {
    struct slice instance; /* absent: capture */
    int64_t age_ms;        /* of the oldest record, beyond what is usual; below 0: none waits */
    int64_t bound_ms;
};
/* Opens it beyond the bound and closes it below half of that, so that it does not come and go. */
int backlog_judge(struct staging *st, const struct backlog *b, struct err *e);
/* Within t: the instance waits for nothing any more. */
int backlog_close(struct staging_txn *t, struct slice instance, const char *how, struct err *e);

#endif
