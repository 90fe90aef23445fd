/* SPDX-License-Identifier: Apache-2.0 */
/* Private to base/db_pg*.c, the pair of files on libpq. */
#ifndef BASE_DB_PG_H
#define BASE_DB_PG_H

#include "base/db_driver.h"

#include <libpq-fe.h>

struct pg {
    struct db base;
    PGconn *conn;
    unsigned numbers; /* of prepared statements */
    int64_t patience_ms;
    bool silent; /* broken, since it was silent for longer than that */
};

static inline struct pg *pg_of(struct db *db)
{
    return (struct pg *)db;
}

static inline void own_result(PGresult **r)
{
    PQclear(*r);
}

enum { OID_BYTEA = 17, OID_INT8 = 20, OID_TEXT = 25 };

extern const struct db_driver pg_driver;

int pg_script(struct db *db, const char *sql, struct err *e);
bool pg_succeeded(const PGresult *r);
/* Says what went wrong, and marks a broken connection. r may be NULL. */
int pg_failed(struct pg *pg, const PGresult *r, struct err *e);
Oid pg_oid_of(enum db_type type);
int pg_row_by_row(struct pg *pg, struct err *e); /* of the query that was just sent */

/* base/db_pg_wait.c: what waits for the server, until its patience ends. */
int pg_patience(struct db *db, int64_t ms, struct err *e);
/* As PQgetResult. NULL also when the connection broke. */
PGresult *pg_result(struct pg *pg);
/* The last result of what PQsend... was called for, as PQexec has it. NULL: it was not sent, or
 * there was no answer in time. */
PGresult *pg_last(struct pg *pg, int sent);
/* Everything that was put is with the system. */
int pg_flush(struct pg *pg, struct err *e);

/* base/db_pg_lists.c */
int pg_run_all(struct db *db, const char *sql, const struct db_lists *lists, int64_t *changed,
               struct err *e);
int pg_query_all(struct db *db, const char *sql, const struct db_lists *lists, struct err *e);
/* What libpq says on one line: its texts end in newlines and may have several. */
void pg_one_line(const char *text, char *out, size_t size);

#endif
