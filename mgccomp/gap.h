/* SPDX-License-Identifier: Apache-2.0 */
/* Open gaps of captured streams: a late record closes, shortens or splits the incident. */
#ifndef MGCCOMP_GAP_H
#define MGCCOMP_GAP_H

#include "mgccomp/staging.h"

enum { GAP_OBJECT_SIZE = 48 };
/* The incident's object: what a gap of this stream beginning there is known by. */
void gap_object(int64_t stream, int64_t first, char out[GAP_OBJECT_SIZE]);

/* Takes sequence out of the open gap that holds it. *filled is false when there is none. */
int gap_fill(struct staging_txn *t, int64_t stream, int64_t sequence, bool *filled, struct err *e);

#endif
