/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to base/db*.c (and its test): what the two databases implement beneath base/db.h. db.c
 * keeps the state both share (transaction, open rows, statements by address), so that a misuse
 * fails alike on both.
 */
#ifndef BASE_DB_DRIVER_H
#define BASE_DB_DRIVER_H

#include "base/db.h"

enum {
    DB_MAX_ARGS = 32,
    DB_MAX_STATEMENTS = 256,
    DB_MAX_COLUMNS = 64,
    DB_MAX_VALUE = 1 << 29, /* bytes of one value */
};

/* Behind the text that a table or column is not there. */
#define DB_ABSENT_ADVICE ". The database is damaged or was changed by hand: restore it from a copy"

/* Prepared once, found again by the address of its text. Drivers put this first in theirs. */
struct db_statement {
    const char *sql; /* the address */
    char *text;      /* a copy, so that a text changed under its address is noticed */
};

struct db_cache {
    struct db_statement *slots[2 * DB_MAX_STATEMENTS];
    size_t n;
};

struct db_driver {
    const char *begin;
    const char *begin_read;
    size_t statement_size;
    void (*close)(struct db *db);
    int (*patience)(struct db *db, int64_t ms, struct err *e); /* NULL: nothing to wait for */
    int (*script)(struct db *db, const char *sql, struct err *e);
    int (*commit)(struct db *db, struct err *e);
    void (*rollback)(struct db *db);
    /* Makes st ready for these arguments; called each time, cheap when it is. */
    int (*prepare)(struct db *db, struct db_statement *st, const struct db_value *args, size_t n,
                   struct err *e);
    int (*run)(struct db *db, struct db_statement *st, const struct db_value *args, size_t n,
               int64_t *changed, struct err *e);
    /* NULL: as run and query, one list after the other. */
    int (*run_all)(struct db *db, const char *sql, const struct db_lists *lists, int64_t *changed,
                   struct err *e);
    int (*query_all)(struct db *db, const char *sql, const struct db_lists *lists, struct err *e);
    int (*query)(struct db *db, struct db_statement *st, const struct db_value *args, size_t n,
                 struct db_rows *r, struct err *e);
    void (*drop)(struct db *db, struct db_statement *st); /* its driver part */
    int (*next)(struct db_rows *r, struct err *e);
    void (*end)(struct db_rows *r);
    bool (*is_null)(const struct db_rows *r, int column);
    int64_t (*get_int)(const struct db_rows *r, int column);
    struct slice (*get_slice)(const struct db_rows *r, int column);
    int (*copy_begin)(struct db_copy *c, const char *table, const char *columns, struct err *e);
    int (*copy_row)(struct db_copy *c, const struct db_value *values, struct err *e);
    int (*copy_end)(struct db_copy *c, struct err *e);
    void (*copy_abort)(struct db_copy *c);
    int (*lock)(struct db *db, int64_t key, const char *name, struct err *e);
    int (*now_us)(struct db *db, int64_t *us, struct err *e);
};

struct db {
    const struct db_driver *driver;
    enum db_kind kind;
    int flags;
    bool broken;
    bool in_txn;
    bool failed; /* a statement of the transaction failed: only undo and rollback are left */
    struct db_rows *rows; /* open, or NULL */
    struct db_copy *copy; /* open, or NULL */
    struct db_cache cache;
    char name[160]; /* for error texts; no password in it */
};

struct db_rows {
    struct db *db;
    bool ended;
    void *state; /* PGresult of the row, sqlite3_stmt */
};

struct db_copy {
    struct db *db;
    size_t n;
    enum db_type types[DB_MAX_COLUMNS];
    void *state; /* sqlite3_stmt */
    size_t used;
    char *out; /* PostgreSQL's buffer */
};

int db_pg_open(struct db **out, const char *url, int flags, struct err *e);
int db_sqlite_open(struct db **out, const char *path, int flags, struct err *e);

/* The one mapping of each database's codes to classes. sqlstate: 5 characters, or "" when there is
 * none, as with a lost connection. */
int db_pg_class(const char *sqlstate);
int db_sqlite_class(int extended_code);

/* The number that stands for a name among PostgreSQL's advisory locks. */
int64_t db_lock_key(struct slice name);

#endif
