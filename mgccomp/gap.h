/* SPDX-License-Identifier: Apache-2.0 */
/* Open gaps of captured streams: a late record closes, shortens or splits the incident. */
#ifndef MGCCOMP_GAP_H
#define MGCCOMP_GAP_H

#include "mgccomp/incident.h"

enum { GAP_OBJECT_SIZE = 48, GAP_TAIL_OBJECT_SIZE = 80 };
/* The incident's object: what a gap of this stream beginning there is known by. */
void gap_object(int64_t stream, int64_t first, char out[GAP_OBJECT_SIZE]);

/* The same of what control totals name behind the stream's last record (totals.c). */
void gap_tail_object(int64_t epoch, struct slice source, struct slice subject,
                     char out[GAP_TAIL_OBJECT_SIZE]);

/* Opens a gap in a captured stream, whose head is behind it. What the totals missed of it already
 * becomes it, with all that was done about that; what people accepted as lost stays accepted. */
int gap_open(struct staging_txn *t, const struct incident *i, int64_t epoch, int64_t head,
             bool *opened, struct err *e);
/* How many of first..last people have accepted as lost. tail: the stream's gap_tail_object. */
int gap_accepted(struct db *db, int64_t stream, const char *tail, int64_t first, int64_t last,
                 int64_t *n, struct err *e);

/* Takes sequence out of the open gap that holds it. *filled is false when there is none. */
int gap_fill(struct staging_txn *t, int64_t stream, int64_t sequence, bool *filled, struct err *e);

#endif
