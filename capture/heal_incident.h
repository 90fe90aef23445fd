/* SPDX-License-Identifier: Apache-2.0 */
/* Incidents that a store may heal: which are to be asked about now, and what was answered. */
#ifndef CAPTURE_HEAL_INCIDENT_H
#define CAPTURE_HEAL_INCIDENT_H

#include "mgccomp/staging.h"

enum { HEAL_GAPS = 200, HEAL_LOGS = 64 };

/* A gap whose source is asked for it. */
struct heal_gap {
    int64_t id, epoch, first, last;
    char *source, *subject;
};
struct heal_gaps {
    struct heal_gap list[HEAL_GAPS];
    size_t n;
};
void heal_gaps_clear(struct heal_gaps *g);
/* Open gaps not asked about lately, oldest first; from now on they count as asked. A gap is left
 * alone for two seconds (a room that changes its partition heals by itself), then asked for at once
 * and at growing intervals, ten minutes at most. anew: all of them, whatever was asked before. */
int heal_gaps_due(struct staging *st, bool anew, struct heal_gaps *out, struct err *e);
/* All open gaps of a source that was not answered for, to be asked for within a round. */
int heal_gaps_of(struct staging *st, struct slice source, struct heal_gaps *out, struct err *e);
/* The store answered that it can't give first..last: said by every gap that lies within. */
int heal_gap_answered(struct staging *st, struct slice source, int64_t epoch, struct slice subject,
                      int64_t first, int64_t last, struct slice answer, struct err *e);

/* A person asks: those of the source that have no answer are due now; anew: the others too. */
int heal_gaps_again(struct staging *st, struct slice source, bool anew, struct err *e);
/* Likewise for every changed log. */
int heal_logs_again(struct staging *st, struct err *e);

/* What is open: gaps of these sources, those of them that wait for an answer, gaps of other
 * sources, changed logs. touched[i] is set where source i has a gap. */
struct heal_work {
    int64_t gaps, waiting, elsewhere, logs;
};
int heal_work_of(struct db *db, const char *const *sources, size_t n, struct heal_work *out,
                 bool *touched, struct err *e);

/* Open log-changed incidents: their partitions. */
struct heal_log {
    int64_t id;
    int32_t part;
    bool due;    /* to be looked into again; counts as asked from now on */
    bool again;  /* it was before */
    bool reread; /* the new log is read from its beginning */
};
struct heal_logs {
    struct heal_log list[HEAL_LOGS];
    size_t n;
};
/* anew: all count as asked now, without being due. */
int heal_logs_open(struct staging *st, bool anew, struct heal_logs *out, struct err *e);
int heal_log_close(struct staging *st, const struct heal_log *l, const char *how, struct err *e);
/* One transaction: the partition is read on from that offset, and its incident says so. */
int heal_reread(struct staging *st, const struct staging_position *at, int64_t offset,
                struct err *e);

#endif
