/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may archive and delete: one archiver for each mgccomp, while its lease lasts by the
 * database's clock. Every transaction that settles or deletes begins with lease_begin, which locks
 * the lease's row and renews it; once somebody else has taken the lease, nothing of the former
 * holder commits, however long it was frozen.
 *
 * A lease belongs to a staging handle, for all threads that use it. In the embedded set-up (SQLite)
 * the data folder's one process always has it.
 */
#ifndef MGCCOMP_LEASE_H
#define MGCCOMP_LEASE_H

#include "mgccomp/staging.h"

enum { LEASE_MS = 10000, LEASE_LONGEST_MS = 60000 };

/* Takes the lease for ms, at most LEASE_LONGEST_MS: when it has lapsed or was given back, or ends
 * later than any can (the database's clock was set back), or its holder was a process of this
 * machine that is gone, or this handle. ERR_CONFLICT: somebody else leads; the text says who. */
int lease_take(struct staging *st, int64_t ms, struct err *e);
/* As staging_begin; the commit renews the lease. ERR_STOPPED: the handle has it no more. */
int lease_begin(struct staging *st, struct staging_txn *t, struct err *e);
int lease_renew(struct staging *st, struct err *e);
/* For the next one to take at once; harmless without a lease. */
void lease_give(struct staging *st);

/* Until when (clock_mono_ms) it is ours at least: before the database's own end of it. 0: it is
 * not; INT64_MAX: for ever (embedded). Any thread. */
int64_t lease_until_ms(struct staging *st);

struct lease_seen {
    char holder[128];                /* "HOST, process 17"; "" when there never was one */
    int64_t since_us, until_us, now; /* by the database's clock; until_us 0: given back */
};
int lease_look(struct db *db, struct lease_seen *out, struct err *e);

#endif
