/* SPDX-License-Identifier: Apache-2.0 */
/* What status saw, before it is judged and printed. Private to audit/. */
#ifndef AUDIT_STATUS_LOOK_H
#define AUDIT_STATUS_LOOK_H

#include "audit/status.h"
#include "mgccomp/lease.h"

enum {
    STATUS_INSTANCES = 64,
    STATUS_INCIDENTS = 200,
    STATUS_ROOMS = 10000,
    STATUS_SOURCES = 32,
    STATUS_LOSSES = 100
};

struct seen_incident {
    int64_t id, first, last, opened_us;
    char name[48]; /* the id, or the name of one of the relay */
    char kind[24], place[1100], source[520], detail[300];
    char cited[1700], state[400], stake[240], command[240];
};

/* What people accepted as gone. */
struct seen_loss {
    int64_t id, lost, accepted_us;
    char kind[24], cited[1700], by[130], proposed_by[130], why[310];
};

struct seen_room {
    char subject[256];
    int64_t stored, captured, archived, deleted;
};

/* What its signed control totals prove. */
struct seen_source {
    char name[256];
    int64_t complete_us, totals_us, due_us;
};

/* A source whose store was restored from an older copy. */
struct seen_epoch {
    char source[256];
    int64_t epoch, since_us;
};

struct look {
    int64_t now_us;
    int64_t streams, stored; /* in the store */
    int64_t uncaptured;      /* stored, not captured */
    int64_t disagree; /* streams whose heads have one number and two hashes, or where the store
                         lacks what was captured */
    int64_t beyond;   /* captured of ended epochs, and not in the store that was restored */
    struct seen_epoch epochs[STATUS_SOURCES];
    size_t epoch_count;
    int64_t unproved; /* captured streams that no store of ours holds: their tail is not proved */
    int64_t captured, duplicates, exceptions, deleted, losses;
    int64_t kept;      /* moved aside: not to be deleted yet */
    int64_t oldest_us; /* oldest record not yet archived; 0: none */
    int64_t oldest_uncaptured_us;
    struct ledger_instance instances[STATUS_INSTANCES];
    size_t instance_count;
    struct seen_incident incidents[STATUS_INCIDENTS];
    size_t incident_count;                 /* of incidents_open */
    int64_t incidents_open, backlogs_open; /* all; of them, those that only say how long it takes */
    struct seen_loss loss[STATUS_LOSSES];
    size_t loss_count;
    struct seen_source sources[STATUS_SOURCES];
    size_t source_count;
    struct seen_room *rooms; /* room for STATUS_ROOMS, or NULL: not wanted */
    size_t room_count;
    struct lease_seen leader; /* services: the archiver */
    int64_t disk_free;        /* -1: can't be told */
    int64_t disk_hours;       /* until it is full, at the pace since the start; -1: no telling */
    char unknown[300];        /* why the verdict is UNKNOWN, or "" */
    char disagreement[300];
};

int status_look(struct look *k, const struct status_input *in, struct err *e);

#endif
