/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/db.h, the same cases on SQLite and on a private PostgreSQL, and the tables of error classes.
 */
#include "base/clock.h"
#include "base/db.h"
#include "base/db_driver.h"
#include "base/own.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

static const char *scratch;
static const char *postgres;
static int cases;

struct place {
    enum db_kind kind;
    char url[512];
    struct db *db;
    struct err e;
};

static struct db *open_at(const struct place *p, int flags)
{
    struct db *db = NULL;
    struct err e = {0};
    if (db_open(&db, p->url, flags, &e) < 0)
        fail_msg("open: %s", e.text);
    return db;
}

static void ok(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s: %s", err_class_name(rc), e->text);
}

/* Every case gets a database of its own: a file, or a schema on the search path. */
static int set_up(void **state)
{
    struct place *p = *state;
    int number = ++cases;
    if (p->kind == DB_SQLITE) {
        (void)snprintf(p->url, sizeof p->url, "sqlite:%s/case%d.db", scratch, number);
    } else {
        char sql[64];
        (void)snprintf(p->url, sizeof p->url, "%s", postgres);
        p->db = open_at(p, 0);
        (void)snprintf(sql, sizeof sql, "DROP SCHEMA IF EXISTS c%d CASCADE; CREATE SCHEMA c%d",
                       number, number);
        ok(db_script(p->db, sql, &p->e), &p->e);
        db_close(p->db);
        (void)snprintf(p->url, sizeof p->url, "%s&options=-csearch_path%%3Dc%d", postgres, number);
    }
    p->db = open_at(p, DB_CREATE);
    const char *table = p->kind == DB_SQLITE
                            ? "CREATE TABLE t (k INTEGER PRIMARY KEY, i INTEGER, s TEXT, b BLOB,"
                              " u TEXT UNIQUE, CHECK (i <> 13)) STRICT"
                            : "CREATE TABLE t (k bigint PRIMARY KEY, i bigint, s text, b bytea,"
                              " u text UNIQUE, CHECK (i <> 13))";
    ok(db_script(p->db, table, &p->e), &p->e);
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    db_close(p->db);
    p->db = NULL;
    return 0;
}

static const char insert[] = "INSERT INTO t (k, i, s, b, u) VALUES ($1, $2, $3, $4, $5)";

static int put(struct place *p, int64_t k, struct db_value i, struct db_value s, struct db_value b)
{
    return db_run(p->db, insert, DB_ARGS(DB_I(k), i, s, b, DB_N), NULL, &p->e);
}

static int64_t count(struct place *p)
{
    int64_t n = -1;
    ok(db_int(p->db, "SELECT count(*) FROM t", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    return n;
}

static void types_keep_their_values(void **state)
{
    struct place *p = *state;
    static const char bytes[] = {0, 1, '\\', '\'', (char)0xff, 0, 'x'};
    struct slice raw = {bytes, sizeof bytes};
    struct slice text = SLICE("z\xc3\xbcrich \xf0\x9f\x98\x80 'quoted' $1 \\");
    int64_t changed = 0;
    ok(db_run(p->db, insert,
              DB_ARGS(DB_I(INT64_MIN), DB_I(INT64_MAX), DB_T(text), DB_B(raw), DB_T(SLICE(""))),
              &changed, &p->e),
       &p->e);
    assert_int_equal(changed, 1);
    ok(put(p, INT64_MAX, DB_N, DB_N, DB_N), &p->e);
    ok(put(p, 0, DB_I(-1), DB_T(((struct slice){NULL, 0})), DB_B(((struct slice){NULL, 0}))),
       &p->e);

    OWN(own_db_rows) struct db_rows *r = NULL;
    ok(db_query(p->db, "SELECT k, i, s, b, u FROM t ORDER BY k", DB_NO_ARGS, &r, &p->e), &p->e);
    assert_int_equal(db_rows_next(r, &p->e), 1);
    assert_true(db_rows_int(r, 0) == INT64_MIN);
    assert_true(db_rows_int(r, 1) == INT64_MAX);
    assert_true(slice_eq(db_rows_slice(r, 2), text));
    assert_true(slice_eq(db_rows_slice(r, 3), raw));
    assert_false(db_rows_null(r, 4));
    assert_int_equal(db_rows_slice(r, 4).n, 0);
    assert_non_null(db_rows_slice(r, 4).p);
    assert_int_equal(db_rows_next(r, &p->e), 1);
    assert_int_equal(db_rows_int(r, 1), -1);
    assert_false(db_rows_null(r, 2));
    assert_false(db_rows_null(r, 3));
    assert_int_equal(db_rows_slice(r, 3).n, 0);
    assert_int_equal(db_rows_next(r, &p->e), 1);
    assert_true(db_rows_null(r, 1) && db_rows_null(r, 2) && db_rows_null(r, 3));
    assert_null(db_rows_slice(r, 2).p);
    assert_int_equal(db_rows_next(r, &p->e), 0);
    assert_int_equal(db_rows_next(r, &p->e), 0);
}

static void null_first_and_values_later(void **state)
{
    struct place *p = *state;
    static const char sql[] = "SELECT count(*) FROM t WHERE k = $1 OR i = $2 + 1";
    int64_t n = -1;
    ok(put(p, 1, DB_I(8), DB_N, DB_N), &p->e);
    ok(db_int(p->db, sql, DB_ARGS(DB_I(5), DB_N), 0, &n, &p->e), &p->e);
    assert_int_equal(n, 0);
    ok(db_int(p->db, sql, DB_ARGS(DB_I(5), DB_I(7)), 0, &n, &p->e), &p->e);
    assert_int_equal(n, 1);
    ok(db_int(p->db, sql, DB_ARGS(DB_N, DB_N), 0, &n, &p->e), &p->e);
    assert_int_equal(n, 0);
}

static void conflicts_and_refusals(void **state)
{
    struct place *p = *state;
    ok(put(p, 1, DB_N, DB_N, DB_N), &p->e);
    assert_int_equal(put(p, 1, DB_N, DB_N, DB_N), ERR_CONFLICT);
    ok(db_run(p->db, insert, DB_ARGS(DB_I(2), DB_N, DB_N, DB_N, DB_T(SLICE("u"))), NULL, &p->e),
       &p->e);
    assert_int_equal(
        db_run(p->db, insert, DB_ARGS(DB_I(3), DB_N, DB_N, DB_N, DB_T(SLICE("u"))), NULL, &p->e),
        ERR_CONFLICT);
    assert_int_equal(put(p, 4, DB_I(13), DB_N, DB_N), ERR_REJECTED);
    assert_int_equal(put(p, 5, DB_N, DB_T(SLICE("a\0b")), DB_N), ERR_REJECTED);
    assert_int_equal(put(p, 6, DB_N, DB_T(SLICE("\xff\xfe")), DB_N), ERR_REJECTED);
    assert_int_equal(db_run(p->db, "INSERT INTO absent VALUES ($1)", DB_ARGS(DB_I(1)), NULL, &p->e),
                     ERR_CONFIG);
    assert_int_equal(count(p), 2);
    int64_t none = 7;
    assert_int_equal(db_int(p->db, "SELECT k FROM t WHERE k = 99", DB_NO_ARGS, 0, &none, &p->e),
                     ERR_NOT_FOUND);
    ok(db_int(p->db, "SELECT max(i) FROM t", DB_NO_ARGS, 41, &none, &p->e), &p->e);
    assert_int_equal(none, 41);
    int64_t changed = -1;
    ok(db_run(p->db, "UPDATE t SET i = 1 WHERE k > $1", DB_ARGS(DB_I(50)), &changed, &p->e), &p->e);
    assert_int_equal(changed, 0);
}

static void transactions_are_whole(void **state)
{
    struct place *p = *state;
    ok(db_begin(p->db, &p->e), &p->e);
    ok(put(p, 1, DB_N, DB_N, DB_N), &p->e);
    db_rollback(p->db);
    db_rollback(p->db);
    assert_int_equal(count(p), 0);
    ok(db_begin(p->db, &p->e), &p->e);
    ok(put(p, 1, DB_N, DB_N, DB_N), &p->e);
    assert_int_equal(db_begin(p->db, &p->e), ERR_FAULT);
    ok(db_commit(p->db, &p->e), &p->e);
    assert_int_equal(db_commit(p->db, &p->e), ERR_FAULT);
    assert_int_equal(count(p), 1);

    /* A failed statement spoils its transaction, on both. */
    ok(db_begin(p->db, &p->e), &p->e);
    ok(put(p, 2, DB_N, DB_N, DB_N), &p->e);
    assert_int_equal(put(p, 1, DB_N, DB_N, DB_N), ERR_CONFLICT);
    assert_int_equal(put(p, 3, DB_N, DB_N, DB_N), ERR_FAULT);
    assert_int_equal(db_commit(p->db, &p->e), ERR_FAULT);
    assert_int_equal(count(p), 1);
}

static void savepoints_undo_one_row(void **state)
{
    struct place *p = *state;
    ok(db_begin(p->db, &p->e), &p->e);
    for (int64_t k = 0; k < 6; k++) {
        ok(db_savepoint(p->db, &p->e), &p->e);
        if (put(p, k / 2, DB_N, DB_N, DB_N) == 0)
            ok(db_savepoint_keep(p->db, &p->e), &p->e);
        else
            ok(db_savepoint_undo(p->db, &p->e), &p->e);
    }
    ok(db_commit(p->db, &p->e), &p->e);
    assert_int_equal(count(p), 3);
    assert_int_equal(db_savepoint(p->db, &p->e), ERR_FAULT);
}

static const enum db_type copy_types[] = {DB_INT, DB_INT, DB_TEXT, DB_BYTES};

static void copy_ten_thousand(void **state)
{
    struct place *p = *state;
    struct db_copy *c = NULL;
    OWN(own_mem) char *big = calloc(1, 700000);
    assert_non_null(big);
    ok(db_begin(p->db, &p->e), &p->e);
    ok(db_copy_begin(p->db, "t", "k, i, s, b", copy_types, 4, &c, &p->e), &p->e);
    assert_int_equal(put(p, -1, DB_N, DB_N, DB_N), ERR_FAULT);
    db_copy_abort(c);
    db_rollback(p->db);

    ok(db_begin(p->db, &p->e), &p->e);
    ok(db_copy_begin(p->db, "t", "k, i, s, b", copy_types, 4, &c, &p->e), &p->e);
    for (int64_t k = 0; k < 10000; k++) {
        size_t n = k == 77 ? 700000 : (size_t)k % 200;
        struct db_value row[] = {DB_I(k), DB_I(-k), DB_T(SLICE("t\xc3\xa9xt")),
                                 DB_B(((struct slice){big, n}))};
        if (k % 3 == 0)
            row[1] = DB_N;
        ok(db_copy_row(c, row, &p->e), &p->e);
    }
    ok(db_copy_end(c, &p->e), &p->e);
    ok(db_commit(p->db, &p->e), &p->e);
    assert_int_equal(count(p), 10000);
    int64_t n;
    ok(db_int(p->db, "SELECT count(i) FROM t", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 6666);
    ok(db_int(p->db, "SELECT length(b) FROM t WHERE k = 77", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 700000);
    ok(db_int(p->db, "SELECT length(s) FROM t WHERE k = 9999", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 4);
}

/* Refused at the row or at the end, as the database has it; then gone. */
static int copy_pair(struct place *p, struct db_value second, struct slice text)
{
    struct db_copy *c = NULL;
    struct db_value good[] = {DB_I(1), DB_N, DB_N, DB_N};
    struct db_value bad[] = {second, DB_I(second.i), DB_T(text), DB_N};
    ok(db_begin(p->db, &p->e), &p->e);
    ok(db_copy_begin(p->db, "t", "k, i, s, b", copy_types, 4, &c, &p->e), &p->e);
    ok(db_copy_row(c, good, &p->e), &p->e);
    int rc = db_copy_row(c, bad, &p->e);
    if (rc < 0)
        db_copy_abort(c);
    else
        rc = db_copy_end(c, &p->e);
    assert_true(db_commit(p->db, NULL) < 0);
    assert_int_equal(count(p), 0);
    return rc;
}

static void copy_refused(void **state)
{
    struct place *p = *state;
    assert_int_equal(copy_pair(p, DB_I(1), SLICE("")), ERR_CONFLICT);
    assert_int_equal(copy_pair(p, DB_I(13), SLICE("")), ERR_REJECTED);
    assert_int_equal(copy_pair(p, DB_I(2), SLICE("\xc3")), ERR_REJECTED);
    assert_int_equal(copy_pair(p, DB_T(SLICE("x")), SLICE("")), ERR_FAULT);
    struct db_copy *c = NULL;
    assert_int_equal(db_copy_begin(p->db, "t; drop table t", "k", copy_types, 1, &c, &p->e),
                     ERR_FAULT);
    assert_int_equal(db_copy_begin(p->db, "absent", "k", copy_types, 1, &c, &p->e), ERR_CONFIG);
}

static void one_statement_many_times(void **state)
{
    struct place *p = *state;
    static const char sql[] = "SELECT CAST($1 AS bigint) * 2, $2";
    ok(db_begin(p->db, &p->e), &p->e);
    for (int64_t k = 0; k < 1000; k++) {
        OWN(own_db_rows) struct db_rows *r = NULL;
        ok(put(p, k, DB_I(k + 100), DB_N, DB_N), &p->e);
        ok(db_query(p->db, sql, DB_ARGS(DB_I(k), DB_T(SLICE("same"))), &r, &p->e), &p->e);
        assert_int_equal(db_rows_next(r, &p->e), 1);
        assert_int_equal(db_rows_int(r, 0), 2 * k);
        assert_true(slice_is(db_rows_slice(r, 1), "same"));
    }
    ok(db_commit(p->db, &p->e), &p->e);
    assert_int_equal(count(p), 1000);

    char text[64] = "SELECT 1";
    int64_t n;
    ok(db_int(p->db, text, DB_NO_ARGS, 0, &n, &p->e), &p->e);
    (void)snprintf(text, sizeof text, "SELECT 2");
    assert_int_equal(db_int(p->db, text, DB_NO_ARGS, 0, &n, &p->e), ERR_FAULT);
}

static void end_backend(struct place *p, int64_t pid)
{
    struct db *killer = open_at(p, 0);
    int64_t n;
    ok(db_int(killer, "SELECT pg_terminate_backend(CAST($1 AS integer), 5000)", DB_ARGS(DB_I(pid)),
              0, &n, &p->e),
       &p->e);
    assert_int_equal(n, 1);
    db_close(killer);
}

/* The same for both databases: i is raised, s is set, of the row whose key is k. */
static const struct db_many update = {
    "UPDATE t SET i = i + $2, s = $3 WHERE k = $1 RETURNING k, s",
    "UPDATE t SET i = t.i + u.i, s = u.s FROM unnest($1, $2, $3) AS u (k, i, s) WHERE t.k = u.k"
    " RETURNING t.k, t.s"};
static const enum db_type update_types[] = {DB_INT, DB_INT, DB_TEXT};

static struct db_lists lists_of(const struct db_value *values, size_t count)
{
    return (struct db_lists){update_types, 3, values, count};
}

static int note_row(void *arg, struct db_rows *row, struct err *e)
{
    bool *seen = arg;
    int64_t k = db_rows_int(row, 0);
    assert_in_range(k, 0, 999);
    assert_false(seen[k]);
    assert_int_equal(db_rows_null(row, 1), k % 2 == 0);
    seen[k] = true;
    return k == 777 ? err_set(e, ERR_AGAIN, "enough") : 0;
}

static void many_lists_in_one_go(void **state)
{
    enum { N = 1000 };
    static struct db_value values[N][3];
    static bool seen[N];
    struct place *p = *state;
    int64_t changed = -1;
    const struct db_lists all = lists_of(values[0], N);
    const struct db_lists none = lists_of(values[0], 0);
    memset(seen, 0, sizeof seen);
    for (int64_t k = 0; k < N; k++) {
        const struct db_value list[3] = {DB_I(k), DB_I(k), k % 2 ? DB_T(SLICE("odd")) : DB_N};
        memcpy(values[k], list, sizeof list);
    }
    assert_int_equal(db_run_many(p->db, &update, &all, &changed, &p->e), ERR_FAULT);
    ok(db_begin(p->db, &p->e), &p->e);
    for (int64_t k = 0; k < N / 2; k++)
        ok(put(p, k, DB_I(100), DB_N, DB_N), &p->e);
    ok(db_run_many(p->db, &update, &all, &changed, &p->e), &p->e);
    assert_int_equal(changed, N / 2);
    ok(db_query_many(p->db, &update, &all, note_row, seen, &p->e), &p->e);
    for (int64_t k = 0; k < N; k++)
        assert_int_equal(seen[k], k < N / 2);
    ok(db_run_many(p->db, &update, &none, &changed, &p->e), &p->e);
    assert_int_equal(changed, 0);
    ok(db_query_many(p->db, &update, &none, note_row, seen, &p->e), &p->e);
    ok(db_commit(p->db, &p->e), &p->e);
    int64_t sum = 0;
    ok(db_int(p->db, "SELECT CAST(sum(i) AS bigint) FROM t", DB_NO_ARGS, 0, &sum, &p->e), &p->e);
    assert_int_equal(sum, 500 * 100 + 499 * 500);
    ok(db_int(p->db, "SELECT count(*) FROM t WHERE s = 'odd'", DB_NO_ARGS, 0, &sum, &p->e), &p->e);
    assert_int_equal(sum, 250);
}

static void bytes_cross_in_lists(void **state)
{
    static const struct db_many both = {"UPDATE t SET b = $2 WHERE k = $1",
                                        "UPDATE t SET b = u.b FROM unnest($1, $2) AS u (k, b)"
                                        " WHERE t.k = u.k"};
    static const enum db_type types[] = {DB_INT, DB_BYTES};
    struct place *p = *state;
    const struct db_value values[] = {DB_I(1), DB_B(((struct slice){"\0\377", 2})), DB_I(2),
                                      DB_B(SLICE(""))};
    const struct db_value wrong[] = {DB_I(1), DB_T(SLICE("text"))};
    const struct db_lists lists = {types, 2, values, 2};
    const struct db_lists mixed = {types, 2, wrong, 1};
    int64_t n = 0;
    ok(db_begin(p->db, &p->e), &p->e);
    for (int64_t k = 1; k <= 2; k++)
        ok(put(p, k, DB_I(1), DB_N, DB_N), &p->e);
    ok(db_run_many(p->db, &both, &lists, &n, &p->e), &p->e);
    assert_int_equal(n, 2);
    ok(db_int(p->db, "SELECT count(*) FROM t WHERE (k = 1 AND b = $1) OR (k = 2 AND b = $2)",
              DB_ARGS(values[1], values[3]), 0, &n, &p->e),
       &p->e);
    assert_int_equal(n, 2);
    assert_int_equal(db_run_many(p->db, &both, &mixed, &n, &p->e), ERR_FAULT);
    db_rollback(p->db);
}

/* Whoever looks at the rows has seen enough: the transaction is spoilt, the handle goes on. */
static void a_visit_may_stop(void **state)
{
    struct place *p = *state;
    static bool seen[1000];
    memset(seen, 0, sizeof seen);
    const struct db_value values[2][3] = {{DB_I(777), DB_I(1), DB_T(SLICE("odd"))},
                                          {DB_I(1), DB_I(1), DB_T(SLICE("odd"))}};
    const struct db_lists lists = lists_of(values[0], 2);
    ok(db_begin(p->db, &p->e), &p->e);
    ok(put(p, 777, DB_I(1), DB_N, DB_N), &p->e);
    assert_int_equal(db_query_many(p->db, &update, &lists, note_row, seen, &p->e), ERR_AGAIN);
    assert_true(seen[777]);
    assert_int_equal(put(p, 9, DB_N, DB_N, DB_N), ERR_FAULT);
    db_rollback(p->db);
    assert_int_equal(count(p), 0);
}

/* The one in the middle is refused: the transaction is spoilt, the handle goes on behind it. */
static void one_of_many_lists_fails(void **state)
{
    struct place *p = *state;
    int64_t changed = 0;
    const struct db_value values[3][3] = {
        {DB_I(1), DB_I(1), DB_N}, {DB_I(2), DB_I(12), DB_N}, {DB_I(3), DB_I(1), DB_N}};
    const struct db_value ill_values[1][3] = {{DB_I(1), DB_I(1), DB_T(SLICE("\xff"))}};
    const struct db_lists refused = lists_of(values[0], 3);
    const struct db_lists ill = lists_of(ill_values[0], 1);
    ok(db_begin(p->db, &p->e), &p->e);
    for (int64_t k = 1; k <= 3; k++)
        ok(put(p, k, DB_I(1), DB_N, DB_N), &p->e);
    ok(db_savepoint(p->db, &p->e), &p->e);
    assert_int_equal(db_run_many(p->db, &update, &refused, &changed, &p->e), ERR_REJECTED);
    assert_int_equal(put(p, 9, DB_N, DB_N, DB_N), ERR_FAULT);
    ok(db_savepoint_undo(p->db, &p->e), &p->e);
    assert_int_equal(db_run_many(p->db, &update, &ill, &changed, &p->e), ERR_REJECTED);
    db_rollback(p->db);
    assert_int_equal(count(p), 0);
    ok(put(p, 9, DB_N, DB_N, DB_N), &p->e);
    if (p->kind != DB_POSTGRES)
        return;
    int64_t pid;
    ok(db_int(p->db, "SELECT pg_backend_pid()", DB_NO_ARGS, 0, &pid, &p->e), &p->e);
    ok(db_begin(p->db, &p->e), &p->e);
    end_backend(p, pid);
    assert_int_equal(db_run_many(p->db, &update, &refused, &changed, &p->e), ERR_RETRY);
    assert_true(db_broken(p->db));
}

static void rows_left_unread(void **state)
{
    struct place *p = *state;
    struct db_rows *r = NULL;
    for (int64_t k = 0; k < 500; k++)
        ok(put(p, k, DB_N, DB_N, DB_N), &p->e);
    ok(db_begin(p->db, &p->e), &p->e);
    ok(db_query(p->db, "SELECT k FROM t", DB_NO_ARGS, &r, &p->e), &p->e);
    assert_int_equal(db_rows_next(r, &p->e), 1);
    int64_t n;
    assert_int_equal(db_int(p->db, "SELECT 1", DB_NO_ARGS, 0, &n, &p->e), ERR_FAULT);
    db_rows_free(r);
    db_rollback(p->db);
    ok(db_begin(p->db, &p->e), &p->e);
    ok(db_query(p->db, "SELECT k FROM t", DB_NO_ARGS, &r, &p->e), &p->e);
    assert_int_equal(db_rows_next(r, &p->e), 1);
    db_rollback(p->db);
    db_rows_free(r);
    assert_int_equal(count(p), 500);

    /* An error behind the first rows. */
    static const char sql[] = "SELECT CASE WHEN k < 2 THEN k ELSE abs($1 + k - k) END FROM t";
    ok(db_query(p->db, sql, DB_ARGS(DB_I(INT64_MIN)), &r, &p->e), &p->e);
    int rc;
    int rows = 0;
    while ((rc = db_rows_next(r, &p->e)) == 1)
        rows++;
    assert_true(rc < 0);
    assert_int_equal(rows, 2);
    db_rows_free(r);
    assert_int_equal(count(p), 500);
}

static void snapshot_stands_still(void **state)
{
    struct place *p = *state;
    struct db *reader = open_at(p, DB_READ_ONLY);
    int64_t n;
    ok(put(p, 1, DB_N, DB_N, DB_N), &p->e);
    ok(db_begin_read(reader, &p->e), &p->e);
    ok(db_int(reader, "SELECT count(*) FROM t", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    ok(put(p, 2, DB_N, DB_N, DB_N), &p->e);
    ok(db_int(reader, "SELECT count(*) FROM t", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 1);
    ok(db_commit(reader, &p->e), &p->e);
    ok(db_int(reader, "SELECT count(*) FROM t", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 2);
    assert_int_equal(db_run(reader, "DELETE FROM t", DB_NO_ARGS, NULL, &p->e), ERR_CONFIG);
    db_close(reader);
    assert_int_equal(count(p), 2);
}

static void locks_exclude_and_end(void **state)
{
    struct place *p = *state;
    struct db *other = open_at(p, 0);
    ok(db_lock(p->db, SLICE("store"), &p->e), &p->e);
    ok(db_lock(other, SLICE("staging"), &p->e), &p->e);
    if (p->kind == DB_POSTGRES) {
        assert_int_equal(db_lock(other, SLICE("store"), &p->e), ERR_CONFLICT);
        db_close(p->db);
        int64_t until = clock_mono_ms() + 5000;
        while (db_lock(other, SLICE("store"), &p->e) == ERR_CONFLICT)
            assert_true(clock_mono_ms() < until);
        p->db = open_at(p, 0);
    }
    db_close(other);
    int64_t us = 0;
    ok(db_now_us(p->db, &us, &p->e), &p->e);
    assert_true(us > clock_wall_us() - 60000000 && us < clock_wall_us() + 60000000);
}

static void *second_writer(void *arg)
{
    struct place *p = arg;
    struct err e = {0};
    struct db *db = open_at(p, 0);
    int rc = db_begin(db, &e);
    if (rc == 0)
        rc = db_run(db, "UPDATE t SET i = i + 1 WHERE k = 1", DB_NO_ARGS, NULL, &e);
    if (rc == 0)
        rc = db_commit(db, &e);
    db_close(db);
    return rc == 0 ? p : NULL;
}

static void writers_wait_for_each_other(void **state)
{
    struct place *p = *state;
    pthread_t thread;
    void *done = NULL;
    ok(put(p, 1, DB_I(0), DB_N, DB_N), &p->e);
    ok(db_begin(p->db, &p->e), &p->e);
    ok(db_run(p->db, "UPDATE t SET i = i + 1 WHERE k = 1", DB_NO_ARGS, NULL, &p->e), &p->e);
    assert_int_equal(pthread_create(&thread, NULL, second_writer, p), 0);
    struct timespec while_it_waits = {.tv_nsec = 100000000};
    (void)nanosleep(&while_it_waits, NULL); /* only makes the overlap likely; either order passes */
    ok(db_commit(p->db, &p->e), &p->e);
    assert_int_equal(pthread_join(thread, &done), 0);
    assert_ptr_equal(done, p);
    int64_t n;
    ok(db_int(p->db, "SELECT i FROM t WHERE k = 1", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 2);
}

static void migrations_run_once(void **state)
{
    struct place *p = *state;
    static const char first[] = "CREATE TABLE m (a bigint); INSERT INTO m VALUES (1)";
    static const char second[] = "INSERT INTO m VALUES (2)";
    static const char broken[] = "INSERT INTO m VALUES (3); INSERT INTO absent VALUES (1)";
    const struct db_step steps[] = {{first, first}, {second, second}, {broken, broken}};
    struct db *reader = open_at(p, DB_READ_ONLY);
    int64_t n;
    assert_int_equal(db_migrate(reader, "m", steps, 1, &p->e), ERR_NOT_FOUND);
    ok(db_migrate(p->db, "m", steps, 1, &p->e), &p->e);
    ok(db_migrate(p->db, "m", steps, 2, &p->e), &p->e);
    ok(db_migrate(p->db, "m", steps, 2, &p->e), &p->e);
    ok(db_migrate(reader, "m", steps, 2, &p->e), &p->e);
    assert_int_equal(db_migrate(p->db, "m", steps, 3, &p->e), ERR_CONFIG);
    ok(db_int(p->db, "SELECT CAST(sum(a) AS bigint) FROM m", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 3);
    assert_int_equal(db_migrate(p->db, "m", steps, 1, &p->e), ERR_CONFIG);
    assert_non_null(strstr(p->e.text, "version 2"));
    ok(db_migrate(p->db, "other", NULL, 0, &p->e), &p->e);
    db_close(reader);
}
static void broken_connection(void **state)
{
    struct place *p = *state;
    if (p->kind != DB_POSTGRES)
        return;
    for (int before_commit = 0; before_commit < 2; before_commit++) {
        int64_t pid;
        ok(db_int(p->db, "SELECT pg_backend_pid()", DB_NO_ARGS, 0, &pid, &p->e), &p->e);
        ok(db_begin(p->db, &p->e), &p->e);
        ok(put(p, 1, DB_N, DB_N, DB_N), &p->e);
        end_backend(p, pid);
        if (before_commit) {
            assert_int_equal(db_commit(p->db, &p->e), ERR_DOUBT);
        } else {
            assert_int_equal(put(p, 2, DB_N, DB_N, DB_N), ERR_RETRY);
            assert_true(db_broken(p->db));
            assert_true(db_commit(p->db, &p->e) == ERR_RETRY);
        }
        assert_true(db_broken(p->db));
        assert_int_equal(db_begin(p->db, &p->e), ERR_RETRY);
        db_close(p->db);
        p->db = open_at(p, 0);
        assert_int_equal(count(p), 0);
    }
}

static void full_disk(void **state)
{
    struct place *p = *state;
    if (p->kind != DB_SQLITE)
        return;
    static const char grow[] = "INSERT INTO t (k, b) VALUES ($1, zeroblob(1000000))";
    ok(db_script(p->db, "PRAGMA max_page_count = 300", &p->e), &p->e);
    ok(put(p, 1, DB_N, DB_N, DB_N), &p->e);
    ok(db_begin(p->db, &p->e), &p->e);
    int rc = 0;
    for (int64_t k = 2; rc == 0 && k < 10; k++)
        rc = db_run(p->db, grow, DB_ARGS(DB_I(k)), NULL, &p->e);
    assert_int_equal(rc, ERR_RETRY);
    assert_true(db_commit(p->db, &p->e) < 0);
    assert_int_equal(count(p), 1);
    ok(put(p, 2, DB_N, DB_N, DB_N), &p->e);
}

/* The write-ahead log can't grow at the commit itself, as on a full disk. */
static void failed_commit_is_undone(void **state)
{
    struct place *p = *state;
    struct rlimit before;
    if (p->kind != DB_SQLITE)
        return;
    OWN(own_mem) char *big = calloc(1, 500000);
    assert_non_null(big);
    ok(put(p, 1, DB_N, DB_N, DB_N), &p->e);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    struct rlimit tight = {.rlim_cur = 200000, .rlim_max = before.rlim_max};
    ok(db_begin(p->db, &p->e), &p->e);
    ok(put(p, 2, DB_N, DB_N, DB_B(((struct slice){big, 500000}))), &p->e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    int rc = db_commit(p->db, &p->e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rc, ERR_RETRY);
    assert_false(db_broken(p->db));
    assert_int_equal(count(p), 1);
    ok(put(p, 2, DB_N, DB_N, DB_N), &p->e);
    db_close(p->db);
    p->db = open_at(p, 0);
    assert_int_equal(count(p), 2);
}

static void wrong_result_type(void **state)
{
    struct place *p = *state;
    int64_t n;
    if (p->kind != DB_POSTGRES)
        return;
    ok(put(p, 1, DB_I(4), DB_N, DB_N), &p->e);
    assert_int_equal(db_int(p->db, "SELECT sum(i) FROM t", DB_NO_ARGS, 0, &n, &p->e), ERR_FAULT);
    ok(db_int(p->db, "SELECT CAST(sum(i) AS integer) FROM t", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 4);
}

static void refused_addresses(void **state)
{
    struct err e = {0};
    struct db *db = NULL;
    (void)state;
    assert_int_equal(db_open(&db, "mysql://x", 0, &e), ERR_CONFIG);
    assert_int_equal(db_open(&db, "sqlite:/absent/folder/x.db", DB_CREATE, &e), ERR_RETRY);
    assert_int_equal(db_open(&db, "sqlite:/absent/folder/x.db", 0, &e), ERR_NOT_FOUND);
    assert_int_equal(db_open(&db, "postgresql://u:hunter2@[::1", 0, &e), ERR_CONFIG);
    assert_null(strstr(e.text, "hunter2"));
    assert_int_equal(db_open(&db, "postgresql://u:hunter2@127.0.0.1:1/x", 0, &e), ERR_RETRY);
    assert_null(strstr(e.text, "hunter2"));
    assert_null(db);
    if (!postgres)
        return;
    char url[512];
    (void)snprintf(url, sizeof url, "%s&dbname=absent", postgres);
    assert_int_equal(db_open(&db, url, 0, &e), ERR_CONFIG);
    (void)snprintf(url, sizeof url, "%s&user=absent", postgres);
    assert_int_equal(db_open(&db, url, 0, &e), ERR_CONFIG);
}

static void class_tables(void **state)
{
    static const struct {
        const char *state;
        int class;
    } pg[] = {
        {"23505", ERR_CONFLICT}, {"23514", ERR_REJECTED}, {"22021", ERR_REJECTED},
        {"54000", ERR_REJECTED}, {"0A000", ERR_REJECTED}, {"40001", ERR_RETRY},
        {"40P01", ERR_RETRY},    {"55P03", ERR_RETRY},    {"57P01", ERR_RETRY},
        {"53100", ERR_RETRY},    {"53300", ERR_RETRY},    {"08006", ERR_RETRY},
        {"58030", ERR_RETRY},    {"42P01", ERR_CONFIG},   {"3D000", ERR_CONFIG},
        {"28P01", ERR_CONFIG},   {"25006", ERR_CONFIG},   {"25P02", ERR_FAULT},
        {"XX001", ERR_FAULT},    {"", ERR_RETRY},
    };
    static const struct {
        int code;
        int class;
    } lite[] = {
        {SQLITE_CONSTRAINT_UNIQUE, ERR_CONFLICT},
        {SQLITE_CONSTRAINT_PRIMARYKEY, ERR_CONFLICT},
        {SQLITE_CONSTRAINT_CHECK, ERR_REJECTED},
        {SQLITE_CONSTRAINT_NOTNULL, ERR_REJECTED},
        {SQLITE_TOOBIG, ERR_REJECTED},
        {SQLITE_MISMATCH, ERR_REJECTED},
        {SQLITE_BUSY, ERR_RETRY},
        {SQLITE_BUSY_SNAPSHOT, ERR_RETRY},
        {SQLITE_FULL, ERR_RETRY},
        {SQLITE_IOERR_FSYNC, ERR_RETRY},
        {SQLITE_NOMEM, ERR_RETRY},
        {SQLITE_CANTOPEN, ERR_RETRY},
        {SQLITE_CORRUPT, ERR_FAULT},
        {SQLITE_NOTADB, ERR_FAULT},
        {SQLITE_READONLY, ERR_CONFIG},
        {SQLITE_ERROR, ERR_CONFIG},
    };
    (void)state;
    for (size_t i = 0; i < sizeof pg / sizeof pg[0]; i++)
        assert_int_equal(db_pg_class(pg[i].state), pg[i].class);
    for (size_t i = 0; i < sizeof lite / sizeof lite[0]; i++)
        assert_int_equal(db_sqlite_class(lite[i].code), lite[i].class);
}

#define CASE(kind, place, name)                                                                    \
    {                                                                                              \
        kind #name, name, set_up, tear_down, place                                                 \
    }
#define CASES(kind, place)                                                                         \
    CASE(kind, place, types_keep_their_values), CASE(kind, place, null_first_and_values_later),    \
        CASE(kind, place, conflicts_and_refusals), CASE(kind, place, transactions_are_whole),      \
        CASE(kind, place, savepoints_undo_one_row), CASE(kind, place, copy_ten_thousand),          \
        CASE(kind, place, copy_refused), CASE(kind, place, one_statement_many_times),              \
        CASE(kind, place, many_lists_in_one_go), CASE(kind, place, bytes_cross_in_lists),          \
        CASE(kind, place, a_visit_may_stop), CASE(kind, place, one_of_many_lists_fails),           \
        CASE(kind, place, rows_left_unread), CASE(kind, place, snapshot_stands_still),             \
        CASE(kind, place, locks_exclude_and_end), CASE(kind, place, writers_wait_for_each_other),  \
        CASE(kind, place, migrations_run_once), CASE(kind, place, broken_connection),              \
        CASE(kind, place, full_disk), CASE(kind, place, failed_commit_is_undone),                  \
        CASE(kind, place, wrong_result_type)

int main(void)
{
    static struct place sqlite_place = {.kind = DB_SQLITE};
    static struct place postgres_place = {.kind = DB_POSTGRES};
    const struct CMUnitTest on_sqlite[] = {CASES("sqlite ", &sqlite_place)};
    const struct CMUnitTest on_postgres[] = {CASES("postgres ", &postgres_place)};
    const struct CMUnitTest on_none[] = {cmocka_unit_test(class_tables),
                                         cmocka_unit_test(refused_addresses)};
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    postgres = getenv("HOLDFAST_TEST_POSTGRES");
    if (!scratch || !postgres) {
        (void)fprintf(stderr, "run by: tests/parts/with postgres -- db_test\n");
        return 2;
    }
    int failures = cmocka_run_group_tests(on_none, NULL, NULL);
    failures += cmocka_run_group_tests(on_sqlite, NULL, NULL);
    failures += cmocka_run_group_tests(on_postgres, NULL, NULL);
    return failures ? 1 : 0;
}
