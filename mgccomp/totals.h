/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control totals where they are captured: noted in the transaction that captures them, compared
 * with the captured heads once these had time to come. What a source's totals name and capture has
 * not is the incident `gap`, also behind the last captured record; another hash is `altered`; a
 * source whose totals are overdue is `silent`.
 */
#ifndef MGCCOMP_TOTALS_H
#define MGCCOMP_TOTALS_H

#include "base/sign.h"
#include "mgccomp/incident.h"

#define INCIDENT_SILENT "silent" /* a declared source's totals are overdue */

/* A source that is expected to write totals. */
struct totals_source {
    struct slice name;
    int64_t cadence_ms; /* 0: it promises nothing before its first totals do */
    uint8_t public_key[SIGN_KEY_SIZE];
};

/* Within capture's transaction: totals were captured as record `sequence` of a stream. raw: the
 * whole record. */
int totals_note(struct staging_txn *t, int64_t stream, int64_t sequence, struct slice raw,
                int64_t now_us, struct err *e);

struct totals_check {
    const struct totals_source *sources; /* totals of others are not judged */
    size_t n;
    int64_t now_us;
    int64_t since_us;    /* since when capture has been reading by this clock */
    int64_t patience_ms; /* how long a record may take behind the totals that name it */
    bool caught_up;      /* what is not captured is not waiting in the queue either */
};
/* Judges what waits, each in a transaction of its own, and looks for silence. *incidents: opened.
 */
int totals_run(struct staging *st, const struct totals_check *c, size_t *incidents, struct err *e);

/* What is known of a source; ERR_NOT_FOUND: no totals of it were ever verified. */
struct totals_known {
    int64_t complete_us; /* every head of its totals of that time is captured; 0: never yet */
    int64_t totals_us;   /* its newest totals */
    int64_t due_us;      /* when it promised the next; 0: it stopped in order */
};
typedef int totals_visit_fn(void *arg, struct slice source, const struct totals_known *k,
                            struct err *e);
int totals_each(struct db *db, totals_visit_fn *visit, void *arg, struct err *e);

#endif
