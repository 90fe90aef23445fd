/* SPDX-License-Identifier: Apache-2.0 */
/* Where capture stands in each partition it was given: what the next write expects to find in
 * mgccomp. */
#ifndef CAPTURE_POSITIONS_H
#define CAPTURE_POSITIONS_H

#include "mgccomp/staging.h"

struct positions {
    struct staging_position *at;
    size_t n;
};
void positions_done(struct positions *p);
/* Takes partitions on, replacing what is known of them. */
int positions_add(struct positions *p, const struct staging_position *at, size_t n, struct err *e);
void positions_drop(struct positions *p, const int32_t *parts, size_t n);

#endif
