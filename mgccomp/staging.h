/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The staging database mgccomp: one writing handle that all threads of a process share. Each change
 * is one transaction; the handle is locked from begin to commit or abort and reconnects only at
 * begin.
 */
#ifndef MGCCOMP_STAGING_H
#define MGCCOMP_STAGING_H

#include "base/db.h"
#include "mgccomp/chain.h"
#include "mgccomp/record.h"

#include <stdatomic.h>

enum staging_flag {
    STAGING_LATE = 1,       /* filled a gap */
    STAGING_UNPROVABLE = 2, /* came without sequence */
    STAGING_UNREADABLE = 4, /* kept raw */
    STAGING_FORK = 8,       /* same number, other bytes */
    STAGING_REPEAT = 16,    /* at or below the head, no longer known */
    STAGING_AHEAD = 32,     /* far ahead of its stream when it came; not told to adapters */
};
/* What was captured from archives after a restore (audit/reconcile.h). The queue's own partitions
 * lie below it. */
enum { STAGING_ARCHIVE_PART = 1000 };

struct staging;

/* Opens and migrates. Any thread may use the handle. */
int staging_open(struct staging **out, const char *url, struct err *e);
void staging_close(struct staging *st);
const char *staging_url(const struct staging *st);

/* A transaction. Declare OWN(own_staging_txn) struct staging_txn t = {0}; it aborts unless
 * committed. */
struct staging_txn {
    struct staging *st;
    struct db *db;
    bool gate;              /* staging_lock_gate was done */
    int64_t leads_until_ms; /* of lease_begin: what its commit makes true; 0: nothing */
};
int staging_begin(struct staging *st, struct staging_txn *t, struct err *e);
int staging_commit(struct staging_txn *t, struct err *e); /* as db_commit; ends t either way */
void staging_abort(struct staging_txn *t);                /* zeroed or ended: does nothing */
static inline void own_staging_txn(struct staging_txn *t)
{
    staging_abort(t);
}

/* A further connection for reading, to be closed with db_close. */
int staging_reader(struct staging *st, struct db **out, struct err *e);

/* What mgccomp/lease.c keeps with the handle. */
enum { STAGING_LEASE_HOLDER = 192 };
struct staging_lease {
    bool alone;                         /* SQLite: nobody else can lead */
    char process[STAGING_LEASE_HOLDER]; /* this and what follows: within a transaction only */
    int64_t term, ms;
    _Atomic int64_t until_ms; /* clock_mono_ms; 0: not held */
};
struct staging_lease *staging_lease(struct staging *st);

/* Locks the gate row for the rest of t: whatever forbids a deletion and whoever deletes does this.
 */
int staging_lock_gate(struct staging_txn *t, struct err *e);

/* Adds to a durable count within t: "captured", "duplicates", "exceptions", "deleted", ... */
int staging_tally(struct staging_txn *t, struct slice name, int64_t add, struct err *e);
int staging_tally_get(struct db *db, struct slice name, int64_t *out, struct err *e);

/* ---- positions (capture) ---- */
struct staging_position {
    int32_t part;
    int64_t pos; /* next position to capture; 0 and no hash for a partition never seen */
    /* pos - shift is the queue's own offset. 0 until the log is read again from an earlier offset,
     * or was made anew: positions only rise. */
    int64_t shift;
    bool has_hash;             /* false too after staging_reread: there is nothing to compare */
    uint8_t hash[SHA256_SIZE]; /* of the record at pos - 1 */
};
/* Fills pos and hash of the n entries whose part is set. */
int staging_positions(struct staging *st, struct staging_position *positions, size_t n,
                      struct err *e);
/* From now on the queue's offset is the next to be read in that partition, at the same position;
 * at: as read. ERR_CONFLICT: another capture moved it. */
int staging_reread(struct staging_txn *t, const struct staging_position *at, int64_t offset,
                   struct err *e);
/* Remembers which log this is, the first time; afterwards ERR_CONFLICT when driver or identity
 * (Kafka cluster id and topic; embedded: the store's path) differ. */
int staging_queue(struct staging *st, struct slice driver, struct slice identity,
                  int64_t *generation, struct err *e);

#endif
