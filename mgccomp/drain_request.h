/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "Cut whatever there is, do not wait for an interval": a wish with an end, kept in mgccomp because
 * the command and the archiver may be two processes. A command that dies leaves a wish that lapses.
 */
#ifndef MGCCOMP_DRAIN_REQUEST_H
#define MGCCOMP_DRAIN_REQUEST_H

#include "mgccomp/staging.h"

int drain_request(struct staging *st, int64_t until_us, struct err *e);
/* Whether one stands at that time. */
int drain_requested(struct db *db, int64_t now_us, bool *out, struct err *e);

#endif
