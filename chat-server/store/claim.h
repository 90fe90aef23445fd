/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose turn it is to write: the sources a connection has claimed, and the session it writes for.
 * PostgreSQL: a lock of the connection for each source. SQLite: one writing handle a file, by a
 * lock file beside it (two writing connections are what SQLite's write-ahead log bears least). A
 * session that shares its source with others holds no lock but its lease, by the database's clock.
 */
#ifndef CHAT_STORE_CLAIM_H
#define CHAT_STORE_CLAIM_H

#include "base/db.h"

enum { CLAIMS_MAX = 16 };

struct claims {
    int lock_fd; /* SQLite; -1: not held */
    char *sources[CLAIMS_MAX];
    int64_t epochs[CLAIMS_MAX]; /* of records of each that bring none */
    size_t count;
    char *session_source, *session; /* NULL: none was begun */
    int64_t lease_ms;               /* above 0: the session shares its source (share.c) */
};

/* ERR_CONFLICT: another connection writes. Claiming again is success. */
int claims_add(struct claims *c, struct db *db, const char *url, struct slice source,
               struct err *e);
bool claims_has(const struct claims *c, struct slice source);
/* The source must be there. */
int64_t claims_epoch(const struct claims *c, struct slice source);
void claims_set_epoch(struct claims *c, struct slice source, int64_t epoch);
/* Takes note of the session whose right to write claims_check asks for. */
int claims_set_session(struct claims *c, struct slice source, struct slice session, struct err *e);
void claims_forget_session(struct claims *c);
/* Notes a source without locking it, for a session that shares it. */
int claims_note(struct claims *c, struct slice source, struct err *e);
/* The first statement of a writing transaction: locks the writer's row, which also waits for a
 * commit of our own former connection, and compares. ERR_STOPPED: another session took over, or
 * has closed ours. A lease is renewed by it. */
int claims_check(const struct claims *c, struct db *db, struct err *e);
void claims_done(struct claims *c);

#endif
