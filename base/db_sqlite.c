/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/db.h on SQLite: one connection to one file in WAL mode, synced at every commit. The only
 * file on sqlite3.
 */
#include "base/clock.h"
#include "base/db_driver.h"
#include "base/file.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>

enum { BUSY_MS = 10000 };

struct lite {
    struct db base;
    sqlite3 *h;
};

struct lite_statement {
    struct db_statement base;
    sqlite3_stmt *stmt;
    int index[DB_MAX_ARGS]; /* of parameter $1, $2, ... */
};

static struct lite *lite_of(struct db *db)
{
    return (struct lite *)db;
}

static sqlite3_stmt *stmt_of(struct db_statement *st)
{
    return ((struct lite_statement *)st)->stmt;
}

int db_sqlite_class(int code)
{
    switch (code) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
        return ERR_CONFLICT;
    default:
        break;
    }
    switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
        return ERR_REJECTED;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
    case SQLITE_INTERRUPT:
    case SQLITE_ABORT:
    case SQLITE_SCHEMA:
        return ERR_RETRY;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ERR_CONFIG;
    default: /* SQLITE_ERROR among them: no such table, a wrong statement */
        return ERR_FAULT;
    }
}

static int failed(struct lite *l, struct err *e)
{
    const char *text = sqlite3_errmsg(l->h);
    bool absent =
        strncmp(text, "no such table", 13) == 0 || strncmp(text, "no such column", 14) == 0;
    return err_set(e, db_sqlite_class(sqlite3_extended_errcode(l->h)), "%s: %s%s", l->base.name,
                   text, absent ? DB_ABSENT_ADVICE : "");
}

/* SQLite rolls back by itself on some errors (disk full, out of memory); what follows must not run
 * outside the transaction it was meant for. */
static int still_inside(struct lite *l, struct err *e)
{
    if (l->base.in_txn && sqlite3_get_autocommit(l->h))
        return err_set(e, ERR_RETRY, "%s: the transaction was rolled back", l->base.name);
    return 0;
}

static int lite_script(struct db *db, const char *sql, struct err *e)
{
    struct lite *l = lite_of(db);
    int rc = still_inside(l, e);
    if (rc < 0)
        return rc;
    return sqlite3_exec(l->h, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : failed(l, e);
}

static int lite_commit(struct db *db, struct err *e)
{
    return lite_script(db, "COMMIT", e);
}

static void lite_rollback(struct db *db)
{
    struct lite *l = lite_of(db);
    if (!sqlite3_get_autocommit(l->h) &&
        sqlite3_exec(l->h, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK &&
        !sqlite3_get_autocommit(l->h))
        db->broken = true;
}

static void lite_close(struct db *db)
{
    (void)sqlite3_close_v2(lite_of(db)->h);
    free(db);
}

static void lite_drop(struct db *db, struct db_statement *st)
{
    (void)db;
    (void)sqlite3_finalize(stmt_of(st));
}

static int lite_prepare(struct db *db, struct db_statement *statement, const struct db_value *args,
                        size_t n, struct err *e)
{
    struct lite *l = lite_of(db);
    struct lite_statement *st = (struct lite_statement *)statement;
    (void)args;
    int rc = still_inside(l, e);
    if (rc < 0)
        return rc;
    if (!st->stmt) {
        if (sqlite3_prepare_v3(l->h, st->base.text, -1, SQLITE_PREPARE_PERSISTENT, &st->stmt,
                               NULL) != SQLITE_OK)
            return failed(l, e);
        for (size_t i = 0; i < DB_MAX_ARGS; i++) {
            char name[8];
            (void)snprintf(name, sizeof name, "$%zu", i + 1);
            st->index[i] = sqlite3_bind_parameter_index(st->stmt, name);
        }
    }
    if (!st->stmt || sqlite3_bind_parameter_count(st->stmt) != (int)n)
        return err_set(e, ERR_FAULT, "%s: %zu parameters given to a statement with another number",
                       db->name, n);
    return 0;
}

static int bind_one(sqlite3_stmt *stmt, int index, const struct db_value *v,
                    sqlite3_destructor_type keep)
{
    const char *p = v->s.p ? v->s.p : "";
    switch (v->type) {
    case DB_INT:
        return sqlite3_bind_int64(stmt, index, v->i);
    case DB_TEXT:
        return sqlite3_bind_text64(stmt, index, p, v->s.n, keep, SQLITE_UTF8);
    case DB_BYTES:
        return sqlite3_bind_blob64(stmt, index, p, v->s.n, keep);
    case DB_NULL:
        break;
    }
    return sqlite3_bind_null(stmt, index);
}

/* keep: SQLITE_STATIC while the values outlive the run, SQLITE_TRANSIENT for rows read later. */
static int bind(struct lite *l, struct db_statement *statement, const struct db_value *args,
                size_t n, sqlite3_destructor_type keep, struct err *e)
{
    struct lite_statement *st = (struct lite_statement *)statement;
    for (size_t i = 0; i < n; i++) {
        if (bind_one(st->stmt, st->index[i], &args[i], keep) != SQLITE_OK)
            return failed(l, e);
    }
    return 0;
}

static int run_to_end(struct lite *l, sqlite3_stmt *stmt, struct err *e)
{
    int code;
    do {
        code = sqlite3_step(stmt);
    } while (code == SQLITE_ROW);
    int rc = code == SQLITE_DONE ? 0 : failed(l, e);
    (void)sqlite3_reset(stmt);
    return rc;
}

static int lite_run(struct db *db, struct db_statement *st, const struct db_value *args, size_t n,
                    int64_t *changed, struct err *e)
{
    struct lite *l = lite_of(db);
    int before = sqlite3_total_changes(l->h);
    int rc = bind(l, st, args, n, SQLITE_STATIC, e);
    if (rc == 0)
        rc = run_to_end(l, stmt_of(st), e);
    (void)sqlite3_clear_bindings(stmt_of(st));
    if (rc < 0)
        return rc;
    /* changes() alone keeps the number of an earlier statement when this one changes nothing. */
    *changed = sqlite3_total_changes(l->h) == before ? 0 : sqlite3_changes64(l->h);
    return 0;
}

static int lite_query(struct db *db, struct db_statement *st, const struct db_value *args, size_t n,
                      struct db_rows *r, struct err *e)
{
    int rc = bind(lite_of(db), st, args, n, SQLITE_TRANSIENT, e);
    if (rc < 0)
        return rc;
    r->state = stmt_of(st);
    return 0;
}

static int lite_next(struct db_rows *r, struct err *e)
{
    switch (sqlite3_step(r->state)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        return 0;
    default:
        return failed(lite_of(r->db), e);
    }
}

static void lite_end(struct db_rows *r)
{
    (void)sqlite3_reset(r->state);
    (void)sqlite3_clear_bindings(r->state);
}

static bool lite_is_null(const struct db_rows *r, int column)
{
    return sqlite3_column_type(r->state, column) == SQLITE_NULL;
}

static int64_t lite_get_int(const struct db_rows *r, int column)
{
    return sqlite3_column_type(r->state, column) == SQLITE_INTEGER
               ? sqlite3_column_int64(r->state, column)
               : 0;
}

static struct slice lite_get_slice(const struct db_rows *r, int column)
{
    const char *p = sqlite3_column_type(r->state, column) == SQLITE_BLOB
                        ? sqlite3_column_blob(r->state, column)
                        : (const char *)sqlite3_column_text(r->state, column);
    return (struct slice){p ? p : "", (size_t)sqlite3_column_bytes(r->state, column)};
}

static int lite_copy_begin(struct db_copy *c, const char *table, const char *columns, struct err *e)
{
    struct lite *l = lite_of(c->db);
    OWN(own_buf) struct buf sql;
    buf_init(&sql, 4096);
    buf_format(&sql, "INSERT INTO %s (%s) VALUES (", table, columns);
    for (size_t i = 0; i < c->n; i++)
        buf_text(&sql, i == 0 ? "?" : ", ?");
    buf_text(&sql, ")");
    int rc = buf_ok(&sql, "statement", e);
    if (rc == 0)
        rc = still_inside(l, e);
    if (rc < 0)
        return rc;
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(l->h, sql.p, (int)sql.n, &stmt, NULL) != SQLITE_OK)
        return failed(l, e);
    c->state = stmt;
    return 0;
}

static int lite_copy_row(struct db_copy *c, const struct db_value *v, struct err *e)
{
    struct lite *l = lite_of(c->db);
    int rc = still_inside(l, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < c->n; i++) {
        if (bind_one(c->state, (int)i + 1, &v[i], SQLITE_STATIC) != SQLITE_OK)
            return failed(l, e);
    }
    return run_to_end(l, c->state, e);
}

static void lite_copy_abort(struct db_copy *c)
{
    (void)sqlite3_finalize(c->state);
    c->state = NULL;
}

static int lite_copy_end(struct db_copy *c, struct err *e)
{
    lite_copy_abort(c);
    return still_inside(lite_of(c->db), e);
}

static int lite_lock(struct db *db, int64_t key, const char *name, struct err *e)
{
    (void)db;
    (void)key;
    (void)name;
    (void)e;
    return 0;
}

static int lite_now_us(struct db *db, int64_t *us, struct err *e)
{
    (void)db;
    (void)e;
    *us = clock_wall_us();
    return 0;
}

static const struct db_driver lite_driver = {
    .begin = "BEGIN IMMEDIATE",
    .begin_read = "BEGIN",
    .statement_size = sizeof(struct lite_statement),
    .close = lite_close,
    .script = lite_script,
    .commit = lite_commit,
    .rollback = lite_rollback,
    .prepare = lite_prepare,
    .run = lite_run,
    .query = lite_query,
    .drop = lite_drop,
    .next = lite_next,
    .end = lite_end,
    .is_null = lite_is_null,
    .get_int = lite_get_int,
    .get_slice = lite_get_slice,
    .copy_begin = lite_copy_begin,
    .copy_row = lite_copy_row,
    .copy_end = lite_copy_end,
    .copy_abort = lite_copy_abort,
    .lock = lite_lock,
    .now_us = lite_now_us,
};

/* The file is made here and not by SQLite: private from its first moment, its name durable. */
static int create_file(const char *path, struct err *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? 0 : err_errno(e, ERR_RETRY, "create %s", path);
    (void)close(fd);
    const char *slash = strrchr(path, '/');
    if (!slash)
        return file_sync_dir(".", e);
    OWN(own_mem) char *dir = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    return dir ? file_sync_dir(dir, e) : err_memory(e, "creating a database");
}

static int wal_mode(struct lite *l, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(l->h, "PRAGMA journal_mode = WAL", -1, &stmt, NULL) != SQLITE_OK)
        return failed(l, e);
    int code = sqlite3_step(stmt);
    const unsigned char *mode = code == SQLITE_ROW ? sqlite3_column_text(stmt, 0) : NULL;
    bool wal = mode && strcmp((const char *)mode, "wal") == 0;
    int rc = code == SQLITE_ROW ? 0 : failed(l, e);
    (void)sqlite3_finalize(stmt);
    if (rc == 0 && !wal)
        rc = err_set(e, ERR_CONFIG, "%s: this file system can't hold a database in WAL mode",
                     l->base.name);
    return rc;
}

/* What a killed process had written and not yet synced looks committed to the next one, which would
 * answer for it. So everything found is made durable before anything is read. */
static int sync_found(struct lite *l, struct err *e)
{
    int code = sqlite3_wal_checkpoint_v2(l->h, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    /* Busy: another connection is at it, or has been. */
    return code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY ? 0 : failed(l, e);
}

static int session_settings(struct lite *l, struct err *e)
{
    static const char both[] = "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;"
                               "PRAGMA cell_size_check = ON; PRAGMA synchronous = FULL;"
                               "PRAGMA journal_size_limit = 167772160";
    (void)sqlite3_busy_timeout(l->h, BUSY_MS);
    (void)sqlite3_db_config(l->h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    int rc = 0;
    if (l->base.flags & DB_READ_ONLY)
        rc = lite_script(&l->base, "PRAGMA query_only = ON", e);
    else
        rc = wal_mode(l, e);
    if (rc == 0)
        rc = lite_script(&l->base, both, e);
    return rc < 0 || l->base.flags & DB_READ_ONLY ? rc : sync_found(l, e);
}

int db_sqlite_open(struct db **out, const char *path, int flags, struct err *e)
{
    int mode = flags & DB_READ_ONLY ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    if (flags & DB_CREATE) {
        int rc = create_file(path, e);
        if (rc < 0)
            return rc;
    } else if (access(path, F_OK) != 0 && errno == ENOENT) {
        return err_set(e, ERR_NOT_FOUND, "there is no database %s", path);
    }
    OWN(own_db) struct db *db = calloc(1, sizeof(struct lite));
    if (!db)
        return err_memory(e, "opening a database");
    struct lite *l = lite_of(db);
    db->driver = &lite_driver;
    db->kind = DB_SQLITE;
    db->flags = flags;
    (void)snprintf(db->name, sizeof db->name, "%s", path);
    int code =
        sqlite3_open_v2(path, &l->h, mode | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (code != SQLITE_OK)
        return err_set(e, db_sqlite_class(code), "open %s: %s", path, sqlite3_errstr(code));
    int rc = session_settings(l, e);
    if (rc < 0)
        return rc;
    *out = db;
    db = NULL;
    return 0;
}
