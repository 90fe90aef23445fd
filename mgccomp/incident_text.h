/* SPDX-License-Identifier: Apache-2.0 */
/* What people read about an incident: where, since when, how it stands, what is at stake, and what
 * to type. One wording for `incident`, `status` and JSON. */
#ifndef MGCCOMP_INCIDENT_TEXT_H
#define MGCCOMP_INCIDENT_TEXT_H

#include "mgccomp/incident.h"

/* Has it first..last? Positions begin at 0, numbers of records at 1. */
bool incident_ranged(const struct incident *i);
/* "room#17..19", "partition 3 position 120", "batch B of adapter A". */
void incident_put_place(struct buf *b, const struct incident *i);
/* "2026-11-24T06:12:19Z (3 minutes)" */
void incident_put_time(struct buf *b, int64_t us);
const char *incident_meaning(const struct incident *i);
/* Of an open one: whether somebody is still being waited for, or it is a person's. */
void incident_put_state(struct buf *b, const struct incident *i, int64_t now_us);
/* What may be lost, and what it holds back until it closes. */
void incident_put_stake(struct buf *b, const struct incident *i);
/* The command that mends it, then what closes what nothing can mend. */
void incident_put_command(struct buf *b, const struct incident *i);

#endif
