/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the sweep: what stays of deleted records. Their hashes, packed for each stream and
 * contiguous range, counts, and the intervals of presence that nobody needs any more. */
#ifndef RETENTION_SWEEP_HASHES_H
#define RETENTION_SWEEP_HASHES_H

#include "mgccomp/staging.h"

struct swept_row {
    int64_t pos, stream, sequence, flags; /* stream, sequence 0: none */
    uint8_t hash[SHA256_SIZE];
};

/* Within t, after the rows were deleted. Sorts rows. */
int sweep_hashes(struct staging_txn *t, struct swept_row *rows, size_t n, int64_t now_us,
                 struct err *e);
/* Forgets hashes of records deleted longer ago, except what signed totals have still to confirm. */
int sweep_prune(struct staging *st, int64_t age_us, struct err *e);

#endif
