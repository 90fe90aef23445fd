/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Incidents: what is wrong with the record, by name, with where, since when and what it holds back.
 * An open one shuts deletion for its room (without a room: its source; without a source: its
 * partition), never delivery. A "backlog" shuts nothing.
 */
#ifndef MGCCOMP_INCIDENT_H
#define MGCCOMP_INCIDENT_H

#include "base/app.h"
#include "mgccomp/staging.h"

/* Kinds, as stored and shown. */
#define INCIDENT_GAP         "gap"     /* first..last are missing */
#define INCIDENT_ALTERED     "altered" /* record first has another hash than record last says */
#define INCIDENT_FORK        "fork"    /* two records of one number */
#define INCIDENT_REPEAT      "repeat"  /* an old number came again, its hash no longer known */
#define INCIDENT_FAR_AHEAD   "far-ahead"
#define INCIDENT_LOG_CHANGED "log-changed" /* the queue is not the log that was captured before */
#define INCIDENT_UNREADABLE  "unreadable"
#define INCIDENT_PARKED      "parked"  /* a batch that an adapter can't deliver */
#define INCIDENT_DAMAGED     "damaged" /* a parked batch that was not read back as delivered */
#define INCIDENT_BACKLOG     "backlog" /* records wait too long; shuts nothing: backlog.h */
#define INCIDENT_OPTIONS     "options" /* a batch was tried with others; closed when it is opened */
#define INCIDENT_RESTORED    "restored" /* an older copy was reconciled; closed when it is opened */

enum { INCIDENT_WAIT_MS = 30000 }; /* a store may take so long to answer for a gap */

struct incident {
    int64_t id;
    const char *elsewhere; /* its name, when it is not of mgccomp but of the relay, in the store */
    const char *kind;
    struct slice object; /* two incidents of the same kind and object are one */
    int64_t stream;      /* 0: none */
    struct slice source, subject;
    int64_t part;        /* -1: none */
    int64_t first, last; /* sequences, or offsets where part is the place; 0: none */
    struct slice batch, instance;
    int64_t opened_us, closed_us;
    struct slice closed_how, detail;
    int64_t waits_us;    /* of a gap: until when its source's store is waited for */
    struct slice answer; /* what that store, or the queue, said */
    /* Accepting it: who proposed it when and why, who accepted it and why. */
    int64_t proposed_us; /* 0: nobody */
    struct slice proposed_by, proposed_why, accepted_by, accepted_why;
    int64_t lost; /* records that count as lost by its having been accepted */
};

/* Opens within t (locks the gate row first); *opened tells whether it was new. */
int incident_open(struct staging_txn *t, const struct incident *i, bool *opened, struct err *e);
/* Closes the open incident of kind and object within t (locks the gate row first) and sends what it
 * kept through the gate again; nothing to close is success. */
int incident_close(struct staging_txn *t, const char *kind, struct slice object, const char *how,
                   struct err *e);
/* The same of what was opened for that batch: that it is parked, or damaged. */
int incident_close_batch(struct staging_txn *t, struct slice batch, const char *how, struct err *e);
/* Visits the open ones (all: closed too), oldest first. */
typedef int incident_visit_fn(void *arg, const struct incident *i, struct err *e);
int incident_each(struct db *db, bool all, incident_visit_fn *visit, void *arg, struct err *e);

/* Since when people have accepted that this record never comes; 0: they have not. */
int incident_given_up(struct db *db, struct slice source, int64_t epoch, struct slice subject,
                      int64_t sequence, int64_t *since_us, struct err *e);

/* Incidents that do not lie in mgccomp, for list and show. each may be NULL: there are none. */
struct incident_others {
    int (*each)(void *arg, struct db *staging, bool all, incident_visit_fn *visit, void *visit_arg,
                struct err *e);
    void *arg;
};

/* `holdfast incident list [--all] [--json]`, `show ID`, `retry ID`, `accept ID --reason TEXT`, over
 * an open staging handle. accept: the second person's call closes it. retry: parked, damaged = the
 * batch is tried again; gap, log-changed = capture asks again; others say what closes them. */
int incident_list_command(struct app_io *io, struct staging *st,
                          const struct incident_others *others, int argc, char **argv);
int incident_show_command(struct app_io *io, struct staging *st,
                          const struct incident_others *others, int argc, char **argv);
int incident_retry_command(struct app_io *io, struct staging *st, int argc, char **argv);
int incident_accept_command(struct app_io *io, struct staging *st, int argc, char **argv);

#endif
