/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who was in a room from which record to which: intervals made from join and leave records as they
 * are captured. A leave without a join gives an interval from 0: the person was there before.
 */
#ifndef MGCCOMP_PRESENCE_H
#define MGCCOMP_PRESENCE_H

#include "base/db.h"

struct presence_event {
    int64_t stream, sequence, time_us;
    bool join; /* else leave */
    bool late; /* sequence lies below others already seen */
    struct slice participant, endpoint, name;
};

/* Applies events within the open transaction. Those that are not late ascend by sequence within
 * their stream. */
int presence_write(struct db *db, const struct presence_event *events, size_t n, struct err *e);

#endif
