/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both databases share: choosing the driver, the rules of transactions and open rows, the
 * cache of statements, checks of values, and what is made of the rest (db_int).
 */
#include "base/db.h"

#include "base/db_driver.h"
#include "base/digest.h"
#include "base/fault.h"
#include "base/own.h"

#include <inttypes.h>
#include <string.h>

int db_open(struct db **out, const char *url, int flags, struct err *e)
{
    if (strncmp(url, "sqlite:", 7) == 0)
        return db_sqlite_open(out, url + 7, flags, e);
    if (strncmp(url, "postgresql://", 13) == 0 || strncmp(url, "postgres://", 11) == 0)
        return db_pg_open(out, url, flags, e);
    return err_set(e, ERR_CONFIG,
                   "database address is neither sqlite:/path/file.db nor postgresql://...");
}

void db_close(struct db *db)
{
    if (!db)
        return;
    db_rollback(db);
    for (size_t i = 0; i < sizeof db->cache.slots / sizeof db->cache.slots[0]; i++) {
        struct db_statement *st = db->cache.slots[i];
        if (!st)
            continue;
        db->driver->drop(db, st);
        free(st->text);
        free(st);
    }
    db->driver->close(db);
}

enum db_kind db_kind(const struct db *db)
{
    return db->kind;
}

int db_patience(struct db *db, int64_t ms, struct err *e)
{
    return db->driver->patience ? db->driver->patience(db, ms, e) : 0;
}

bool db_broken(const struct db *db)
{
    return db->broken;
}

static int usable(struct db *db, struct err *e)
{
    if (db->broken)
        return err_set(e, ERR_RETRY, "%s: the connection is broken", db->name);
    if (db->rows || db->copy)
        return err_set(e, ERR_FAULT, "%s: used while rows or a copy are open", db->name);
    if (db->failed)
        return err_set(e, ERR_FAULT, "%s: used after a statement of the transaction had failed",
                       db->name);
    return 0;
}

/* A failed statement spoils its transaction in PostgreSQL; SQLite is made to behave the same, or
 * half a transaction could be committed by a caller that was only tried on the other. */
static int spoil(struct db *db, int rc)
{
    if (rc < 0 && db->in_txn)
        db->failed = true;
    return rc;
}

static int begin(struct db *db, const char *sql, struct err *e)
{
    int rc = usable(db, e);
    if (rc < 0)
        return rc;
    if (db->in_txn)
        return err_set(e, ERR_FAULT, "%s: begin inside a transaction", db->name);
    rc = db->driver->script(db, sql, e);
    if (rc < 0)
        return rc;
    db->in_txn = true;
    return 0;
}

int db_begin(struct db *db, struct err *e)
{
    return begin(db, db->flags & DB_READ_ONLY ? db->driver->begin_read : db->driver->begin, e);
}

int db_begin_read(struct db *db, struct err *e)
{
    return begin(db, db->driver->begin_read, e);
}

int db_commit(struct db *db, struct err *e)
{
    int rc = usable(db, e);
    if (rc == 0 && !db->in_txn)
        rc = err_set(e, ERR_FAULT, "%s: commit outside a transaction", db->name);
    if (rc < 0) {
        db_rollback(db);
        return rc;
    }
    rc = db->driver->commit(db, e);
    if (rc == 0 && FAULT_FAILS("db.commit.lost")) {
        db->broken = true;
        rc = err_set(e, ERR_DOUBT, "%s: the answer to a commit was lost", db->name);
    }
    if (rc < 0) {
        db_rollback(db);
        return rc;
    }
    db->in_txn = false;
    return 0;
}

void db_rollback(struct db *db)
{
    if (db->rows && !db->rows->ended) {
        db->driver->end(db->rows);
        db->rows->ended = true;
    }
    db->rows = NULL;
    if (db->copy)
        db->driver->copy_abort(db->copy);
    db->copy = NULL;
    if (db->in_txn && !db->broken)
        db->driver->rollback(db);
    db->in_txn = false;
    db->failed = false;
}

static int in_transaction(struct db *db, struct err *e)
{
    if (!db->in_txn)
        return err_set(e, ERR_FAULT, "%s: savepoint outside a transaction", db->name);
    return 0;
}

int db_savepoint(struct db *db, struct err *e)
{
    int rc = usable(db, e);
    if (rc == 0)
        rc = in_transaction(db, e);
    if (rc == 0)
        rc = db->driver->script(db, "SAVEPOINT row_point", e);
    return spoil(db, rc);
}

int db_savepoint_undo(struct db *db, struct err *e)
{
    db->failed = false;
    int rc = usable(db, e);
    if (rc == 0)
        rc = in_transaction(db, e);
    if (rc == 0)
        rc = db->driver->script(db, "ROLLBACK TO row_point; RELEASE row_point", e);
    return spoil(db, rc);
}

int db_savepoint_keep(struct db *db, struct err *e)
{
    int rc = usable(db, e);
    if (rc == 0)
        rc = in_transaction(db, e);
    if (rc == 0)
        rc = db->driver->script(db, "RELEASE row_point", e);
    return spoil(db, rc);
}

static size_t slot_of(const char *sql)
{
    uint64_t h = (uint64_t)(uintptr_t)sql * 0x9e3779b97f4a7c15u;
    return (size_t)(h >> 40) % (2 * DB_MAX_STATEMENTS);
}

static int statement(struct db *db, const char *sql, struct db_statement **out, struct err *e)
{
    size_t i = slot_of(sql);
    while (db->cache.slots[i] && db->cache.slots[i]->sql != sql)
        i = (i + 1) % (2 * DB_MAX_STATEMENTS);
    struct db_statement *st = db->cache.slots[i];
    if (st && strcmp(st->text, sql) != 0)
        return err_set(e, ERR_FAULT, "%s: a statement's text changed under its address", db->name);
    if (st) {
        *out = st;
        return 0;
    }
    if (db->cache.n == DB_MAX_STATEMENTS)
        return err_set(e, ERR_FAULT, "%s: over %d different statements", db->name,
                       DB_MAX_STATEMENTS);
    OWN(own_mem) char *text = strdup(sql);
    st = calloc(1, db->driver->statement_size);
    if (!text || !st) {
        free(st);
        return err_memory(e, "preparing a statement");
    }
    st->sql = sql;
    st->text = text;
    text = NULL;
    db->cache.slots[i] = st;
    db->cache.n++;
    *out = st;
    return 0;
}

/* PostgreSQL refuses such texts and the whole transaction with them; SQLite would store them. */
static int check_values(const struct db *db, const struct db_value *v, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (v[i].type != DB_TEXT && v[i].type != DB_BYTES)
            continue;
        if (v[i].s.n > DB_MAX_VALUE)
            return err_set(e, ERR_REJECTED, "%s: value %zu is over %d bytes", db->name, i + 1,
                           DB_MAX_VALUE);
        if (v[i].type == DB_BYTES || v[i].s.n == 0)
            continue;
        if (memchr(v[i].s.p, 0, v[i].s.n))
            return err_set(e, ERR_REJECTED, "%s: text value %zu holds a NUL", db->name, i + 1);
        if (!utf8_valid(v[i].s))
            return err_set(e, ERR_REJECTED, "%s: text value %zu is not UTF-8", db->name, i + 1);
    }
    return 0;
}

static int ready(struct db *db, const char *sql, const struct db_value *args, size_t n,
                 struct db_statement **st, struct err *e)
{
    int rc = usable(db, e);
    if (rc == 0 && n > DB_MAX_ARGS)
        rc = err_set(e, ERR_FAULT, "%s: over %d parameters", db->name, DB_MAX_ARGS);
    if (rc == 0)
        rc = check_values(db, args, n, e);
    if (rc == 0)
        rc = statement(db, sql, st, e);
    if (rc == 0)
        rc = db->driver->prepare(db, *st, args, n, e);
    return rc;
}

int db_run(struct db *db, const char *sql, const struct db_value *args, size_t n, int64_t *changed,
           struct err *e)
{
    struct db_statement *st = NULL;
    int64_t rows = 0;
    int rc = ready(db, sql, args, n, &st, e);
    if (rc == 0)
        rc = db->driver->run(db, st, args, n, &rows, e);
    if (rc < 0)
        return spoil(db, rc);
    if (changed)
        *changed = rows;
    return 0;
}

int db_script(struct db *db, const char *sql, struct err *e)
{
    int rc = usable(db, e);
    if (rc == 0)
        rc = db->driver->script(db, sql, e);
    return spoil(db, rc);
}

int db_query(struct db *db, const char *sql, const struct db_value *args, size_t n,
             struct db_rows **out, struct err *e)
{
    struct db_statement *st = NULL;
    int rc = ready(db, sql, args, n, &st, e);
    if (rc < 0)
        return spoil(db, rc);
    OWN(own_mem) struct db_rows *r = calloc(1, sizeof *r);
    if (!r)
        return spoil(db, err_memory(e, "asking for rows"));
    r->db = db;
    rc = db->driver->query(db, st, args, n, r, e);
    if (rc < 0)
        return spoil(db, rc);
    db->rows = r;
    *out = r;
    r = NULL;
    return 0;
}

static void rows_end(struct db_rows *r)
{
    if (r->ended)
        return;
    r->db->driver->end(r);
    r->ended = true;
    r->db->rows = NULL;
}

int db_rows_next(struct db_rows *r, struct err *e)
{
    if (r->ended)
        return 0;
    int rc = r->db->driver->next(r, e);
    if (rc != 1)
        rows_end(r);
    return spoil(r->db, rc);
}

bool db_rows_null(const struct db_rows *r, int column)
{
    return r->ended || r->db->driver->is_null(r, column);
}

int64_t db_rows_int(const struct db_rows *r, int column)
{
    return db_rows_null(r, column) ? 0 : r->db->driver->get_int(r, column);
}

struct slice db_rows_slice(const struct db_rows *r, int column)
{
    if (db_rows_null(r, column))
        return (struct slice){NULL, 0};
    return r->db->driver->get_slice(r, column);
}

void db_rows_free(struct db_rows *r)
{
    if (!r)
        return;
    rows_end(r);
    free(r);
}

int db_first(struct db *db, const char *sql, const struct db_value *args, size_t n,
             struct db_rows **out, struct err *e)
{
    int rc = db_query(db, sql, args, n, out, e);
    return rc == 0 ? db_rows_next(*out, e) : rc;
}

int db_int(struct db *db, const char *sql, const struct db_value *args, size_t n, int64_t when_null,
           int64_t *out, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_first(db, sql, args, n, &r, e);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(e, ERR_NOT_FOUND, "%s: no such row", db->name);
    int64_t value = db_rows_null(r, 0) ? when_null : db_rows_int(r, 0);
    rc = db_rows_next(r, e);
    if (rc < 0)
        return rc;
    *out = value;
    return 0;
}

static int check_lists(struct db *db, const struct db_lists *l, struct err *e)
{
    int rc = usable(db, e);
    if (rc == 0 && !db->in_txn)
        rc = err_set(e, ERR_FAULT, "%s: lists of values outside a transaction", db->name);
    if (rc == 0 && l->n > DB_MAX_ARGS)
        rc = err_set(e, ERR_FAULT, "%s: over %d parameters", db->name, DB_MAX_ARGS);
    for (size_t i = 0; rc == 0 && i < l->n * l->count; i++) {
        if (l->values[i].type != l->types[i % l->n] && l->values[i].type != DB_NULL)
            rc = err_set(e, ERR_FAULT, "%s: value %zu of a list has another type", db->name,
                         i % l->n + 1);
    }
    return rc < 0 ? rc : check_values(db, l->values, l->n * l->count, e);
}

static int run_in_turn(struct db *db, const char *sql, const struct db_lists *l, int64_t *changed,
                       struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < l->count; i++) {
        int64_t rows = 0;
        rc = db_run(db, sql, l->values + i * l->n, l->n, &rows, e);
        *changed += rows;
    }
    return rc;
}

int db_run_many(struct db *db, const struct db_many *sql, const struct db_lists *lists,
                int64_t *changed, struct err *e)
{
    int64_t rows = 0;
    int rc = check_lists(db, lists, e);
    if (rc == 0 && lists->count > 0)
        rc = db->driver->run_all ? db->driver->run_all(db, sql->all, lists, &rows, e)
                                 : run_in_turn(db, sql->each, lists, &rows, e);
    if (rc < 0)
        return spoil(db, rc);
    if (changed)
        *changed = rows;
    return 0;
}

static int visit_rows(struct db_rows *rows, db_row_fn *visit, void *arg, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = rows;
    int rc = db_rows_next(r, e);
    while (rc == 1) {
        rc = visit(arg, r, e);
        if (rc == 0)
            rc = db_rows_next(r, e);
    }
    return rc;
}

static int query_all(struct db *db, const char *sql, const struct db_lists *l, struct db_rows **out,
                     struct err *e)
{
    OWN(own_mem) struct db_rows *r = calloc(1, sizeof *r);
    if (!r)
        return err_memory(e, "asking for rows");
    r->db = db;
    int rc = db->driver->query_all(db, sql, l, e);
    if (rc < 0)
        return rc;
    db->rows = r;
    *out = r;
    r = NULL;
    return 0;
}

int db_query_many(struct db *db, const struct db_many *sql, const struct db_lists *lists,
                  db_row_fn *visit, void *arg, struct err *e)
{
    struct db_rows *r = NULL;
    int rc = check_lists(db, lists, e);
    if (rc == 0 && lists->count > 0 && db->driver->query_all) {
        rc = query_all(db, sql->all, lists, &r, e);
        if (rc == 0)
            rc = visit_rows(r, visit, arg, e);
        return spoil(db, rc);
    }
    for (size_t i = 0; rc == 0 && i < lists->count; i++) {
        rc = db_query(db, sql->each, lists->values + i * lists->n, lists->n, &r, e);
        if (rc == 0)
            rc = visit_rows(r, visit, arg, e);
    }
    return spoil(db, rc);
}

/* Names are the program's own; this keeps it so. */
static bool plain_names(const char *text)
{
    return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_, ")] == 0;
}

int db_copy_begin(struct db *db, const char *table, const char *columns, const enum db_type *types,
                  size_t n, struct db_copy **out, struct err *e)
{
    int rc = usable(db, e);
    if (rc < 0)
        return rc;
    if (n == 0 || n > DB_MAX_COLUMNS || !plain_names(table) || !plain_names(columns))
        return err_set(e, ERR_FAULT, "%s: copy into %.40s is not possible", db->name, table);
    OWN(own_mem) struct db_copy *c = calloc(1, sizeof *c);
    if (!c)
        return err_memory(e, "copying rows");
    c->db = db;
    c->n = n;
    for (size_t i = 0; i < n; i++)
        c->types[i] = types[i];
    rc = db->driver->copy_begin(c, table, columns, e);
    if (rc < 0)
        return spoil(db, rc);
    db->copy = c;
    *out = c;
    c = NULL;
    return 0;
}

int db_copy_row(struct db_copy *c, const struct db_value *values, struct err *e)
{
    struct db *db = c->db;
    if (db->copy != c)
        return err_set(e, ERR_FAULT, "%s: copy used after its transaction's end", db->name);
    int rc = check_values(db, values, c->n, e);
    for (size_t i = 0; rc == 0 && i < c->n; i++) {
        if (values[i].type != c->types[i] && values[i].type != DB_NULL)
            rc = err_set(e, ERR_FAULT, "%s: copy's value %zu has another type", db->name, i + 1);
    }
    if (rc == 0)
        rc = db->driver->copy_row(c, values, e);
    return spoil(db, rc);
}

int db_copy_end(struct db_copy *c, struct err *e)
{
    struct db *db = c->db;
    OWN(own_mem) struct db_copy *gone = c;
    (void)gone;
    if (db->copy != c)
        return err_set(e, ERR_FAULT, "%s: copy used after its transaction's end", db->name);
    db->copy = NULL;
    if (db->failed) {
        db->driver->copy_abort(c);
        return err_set(e, ERR_FAULT, "%s: copy ended after one of its rows had failed", db->name);
    }
    return spoil(db, db->driver->copy_end(c, e));
}

void db_copy_abort(struct db_copy *c)
{
    if (!c)
        return;
    if (c->db->copy == c) {
        c->db->copy = NULL;
        c->db->driver->copy_abort(c);
        (void)spoil(c->db, ERR_STOPPED);
    }
    free(c);
}

int64_t db_lock_key(struct slice name)
{
    uint8_t digest[SHA256_SIZE];
    uint64_t key = 0;
    sha256(name.p ? name.p : "", name.n, digest);
    for (int i = 0; i < 8; i++)
        key = key << 8 | digest[i];
    int64_t out;
    memcpy(&out, &key, sizeof out);
    return out;
}

int db_lock(struct db *db, struct slice name, struct err *e)
{
    char shown[64];
    (void)snprintf(shown, sizeof shown, "%.*s", SLICE_ARG(name));
    int rc = usable(db, e);
    return rc < 0 ? rc : db->driver->lock(db, db_lock_key(name), shown, e);
}

int db_now_us(struct db *db, int64_t *us, struct err *e)
{
    int rc = usable(db, e);
    return rc < 0 ? rc : db->driver->now_us(db, us, e);
}
