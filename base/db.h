/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One small contract over PostgreSQL (libpq) and SQLite, so that a statement is written once.
 * Values are never pasted into SQL. Parameters are $1, $2, ... in both; a statement's text must be
 * a constant that lives for ever, since prepared statements are kept by its address.
 *
 * Types that cross: 64-bit integers (PostgreSQL bigint, SQLite INTEGER), text, bytes (bytea, BLOB),
 * NULL. No other column types are used by our schemas.
 *
 * Text must be UTF-8 without NUL in both (ERR_REJECTED before the database sees it). In both a
 * failed statement spoils its transaction: what follows is ERR_FAULT until db_savepoint_undo or
 * db_rollback.
 *
 * A handle is for one thread at a time. Nothing here reconnects or retries: the owner of a
 * transaction decides. After ERR_RETRY from a broken connection db_broken() is true and only
 * db_close helps.
 */
#ifndef BASE_DB_H
#define BASE_DB_H

#include "base/err.h"
#include "base/text.h"

enum db_kind { DB_SQLITE, DB_POSTGRES };

struct db;

/* url: "sqlite:/path/file.db" or a libpq URI "postgresql://...". flags below.
 * SQLite is opened with WAL, synchronous=FULL, foreign_keys on, trusted_schema off; a new file has
 * mode 0600. ERR_NOT_FOUND: no such file, and no DB_CREATE. ERR_CONFIG: no such database or login.
 * PostgreSQL: synchronous_commit at least on. */
enum { DB_READ_ONLY = 1, DB_CREATE = 2 };
int db_open(struct db **out, const char *url, int flags, struct err *e);
void db_close(struct db *db); /* NULL allowed; rolls back */
enum db_kind db_kind(const struct db *db);
/* PostgreSQL: how long a call waits for the server, 60 s unless set; after that the connection is
 * broken (ERR_RETRY, of a commit ERR_DOUBT). A lock is waited for half as long. */
int db_patience(struct db *db, int64_t ms, struct err *e);
bool db_broken(const struct db *db);

enum db_type { DB_NULL, DB_INT, DB_TEXT, DB_BYTES };
struct db_value {
    enum db_type type;
    int64_t i;
    struct slice s;
};
#define DB_I(v) ((struct db_value){.type = DB_INT, .i = (v)})
#define DB_T(v) ((struct db_value){.type = DB_TEXT, .s = (v)})
#define DB_B(v) ((struct db_value){.type = DB_BYTES, .s = (v)})
#define DB_N    ((struct db_value){.type = DB_NULL})
#define DB_ARGS(...)                                                                               \
    (const struct db_value[]){__VA_ARGS__},                                                        \
        sizeof((const struct db_value[]){__VA_ARGS__}) / sizeof(struct db_value)
#define DB_NO_ARGS NULL, 0

/* SQLite: BEGIN IMMEDIATE (waits for a writer up to the busy time-out, 10 s). */
int db_begin(struct db *db, struct err *e);
/* A read-only snapshot of several statements. */
int db_begin_read(struct db *db, struct err *e);
/* ERR_DOUBT when the connection broke before the answer came: it may or may not be committed. After
 * any other error it is rolled back. */
int db_commit(struct db *db, struct err *e);
void db_rollback(struct db *db); /* harmless outside a transaction */
/* Nested undo within a transaction, for one row that the database may refuse. */
int db_savepoint(struct db *db, struct err *e);
int db_savepoint_undo(struct db *db, struct err *e); /* back to it, and forgets it */
int db_savepoint_keep(struct db *db, struct err *e);

/* Runs a statement that returns no rows. changed (may be NULL) gets the number of rows touched.
 * ERR_CONFLICT: a unique key was violated. ERR_REJECTED: the data was refused otherwise (range,
 * encoding, size). ERR_RETRY: connection, disk, lock time-out, serialisation. */
int db_run(struct db *db, const char *sql, const struct db_value *args, size_t n, int64_t *changed,
           struct err *e);
/* Several statements separated by ';' without parameters: for schemas. */
int db_script(struct db *db, const char *sql, struct err *e);

/* Rows. Values are valid until the next db_rows_next or free. In PostgreSQL rows come one at a time
 * (single-row mode), so a large result does not grow memory; other statements on the same handle
 * must wait until the rows are freed or db_rows_next returned 0 or an error (ERR_FAULT otherwise).
 * Columns must be bigint, integer, smallint, boolean, text or bytea: cast others (sum of bigint is
 * numeric). */
struct db_rows;
int db_query(struct db *db, const char *sql, const struct db_value *args, size_t n,
             struct db_rows **out, struct err *e);
int db_rows_next(struct db_rows *r, struct err *e); /* 1: a row; 0: the end; <0: error */
bool db_rows_null(const struct db_rows *r, int column);
int64_t db_rows_int(const struct db_rows *r, int column);
struct slice db_rows_slice(const struct db_rows *r, int column); /* text or bytes */
void db_rows_free(struct db_rows *r); /* NULL allowed; reads the rest away */

/* db_query and the first db_rows_next in one: 1: a row; 0: there is none; <0: error. */
int db_first(struct db *db, const char *sql, const struct db_value *args, size_t n,
             struct db_rows **out, struct err *e);

/* One row with one integer: for counts and look-ups. ERR_NOT_FOUND when there is no row; NULL gives
 * `when_null`. */
int db_int(struct db *db, const char *sql, const struct db_value *args, size_t n, int64_t when_null,
           int64_t *out, struct err *e);

/* One statement for many lists of values, within a transaction. SQLite runs `each` for one list
 * after the other. PostgreSQL runs `all` once, with an array (bigint[], text[], bytea[]) for each
 * column of the lists, as in
 *   UPDATE t SET v = u.v FROM unnest($1, $2) AS u (k, v) WHERE t.k = u.k
 * and plans it anew each time, since the size of lists and tables decides which way is good. Both
 * texts must come to the same whatever the order of the lists. */
struct db_many {
    const char *each, *all;
};
struct db_lists {
    const enum db_type *types; /* n of them */
    size_t n;
    const struct db_value *values; /* count * n, list by list */
    size_t count;
};
/* changed (may be NULL): rows touched in all. */
int db_run_many(struct db *db, const struct db_many *sql, const struct db_lists *lists,
                int64_t *changed, struct err *e);
/* Calls visit for each row, in no order; it may not use the handle and stops by returning < 0. */
typedef int db_row_fn(void *arg, struct db_rows *row, struct err *e);
int db_query_many(struct db *db, const struct db_many *sql, const struct db_lists *lists,
                  db_row_fn *visit, void *arg, struct err *e);

/* Bulk append: binary COPY in PostgreSQL, one prepared INSERT in SQLite. Columns "a, b, c". Between
 * begin and end nothing else may run on the handle. types: one for each column. After an error of
 * row or end the transaction must be rolled back. */
struct db_copy;
int db_copy_begin(struct db *db, const char *table, const char *columns, const enum db_type *types,
                  size_t n, struct db_copy **out, struct err *e);
int db_copy_row(struct db_copy *c, const struct db_value *values, struct err *e);
int db_copy_end(struct db_copy *c, struct err *e); /* flushes and frees c, success or failure */
void db_copy_abort(struct db_copy *c);             /* frees; NULL allowed */

/* A named exclusive lock held by this connection until it closes (PostgreSQL: session advisory lock
 * of a 64-bit hash of the name). SQLite: always succeeds, the data folder's lock stands for it.
 * ERR_CONFLICT when another connection has it. */
int db_lock(struct db *db, struct slice name, struct err *e);

/* Microseconds since 1970 by the database's clock (SQLite: this machine's). */
int db_now_us(struct db *db, int64_t *us, struct err *e);

/* Schema versions: steps[i] brings version i to i+1 (constant scripts, one for each kind of
 * database); runs the missing ones, each in a transaction. ERR_CONFIG when the database is newer
 * than the program, or its tables were made by steps of other texts. A read-only handle runs none:
 * ERR_CONFIG when some are missing, ERR_NOT_FOUND when there is no schema yet. `part` names the
 * schema ("store", "mgccomp"): several may share a database. */
struct db_step {
    const char *sqlite;
    const char *postgres;
};
int db_migrate(struct db *db, const char *part, const struct db_step *steps, size_t n,
               struct err *e);

static inline void own_db(struct db **db)
{
    db_close(*db);
}
static inline void own_db_rows(struct db_rows **r)
{
    db_rows_free(*r);
}
/* OWN(own_db_rollback) struct db *txn = db: rolls back unless cleared after the commit. */
static inline void own_db_rollback(struct db **db)
{
    if (*db)
        db_rollback(*db);
}

#endif
