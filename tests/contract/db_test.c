/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/db.h, the same cases on SQLite and on a private PostgreSQL, and the tables of error classes.
 */
#include "base/clock.h"
#include "base/db_driver.h"
#include "base/own.h"
#include "tests/contract/db_place.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static void types_keep_their_values(void **state)
{
    struct db_place *p = *state;
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
    struct db_place *p = *state;
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
    struct db_place *p = *state;
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
                     ERR_FAULT);
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
    struct db_place *p = *state;
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
    struct db_place *p = *state;
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

static void rows_left_unread(void **state)
{
    struct db_place *p = *state;
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
    struct db_place *p = *state;
    struct db *reader = db_place_open(p, DB_READ_ONLY);
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
    struct db_place *p = *state;
    struct db *other = db_place_open(p, 0);
    ok(db_lock(p->db, SLICE("store"), &p->e), &p->e);
    ok(db_lock(other, SLICE("staging"), &p->e), &p->e);
    if (p->postgres) {
        assert_int_equal(db_lock(other, SLICE("store"), &p->e), ERR_CONFLICT);
        db_close(p->db);
        int64_t until = clock_mono_ms() + 5000;
        while (db_lock(other, SLICE("store"), &p->e) == ERR_CONFLICT)
            assert_true(clock_mono_ms() < until);
        p->db = db_place_open(p, 0);
    }
    db_close(other);
    int64_t us = 0;
    ok(db_now_us(p->db, &us, &p->e), &p->e);
    assert_true(us > clock_wall_us() - 60000000 && us < clock_wall_us() + 60000000);
}

static void *second_writer(void *arg)
{
    struct db_place *p = arg;
    struct err e = {0};
    struct db *db = db_place_open(p, 0);
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
    struct db_place *p = *state;
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
    struct db_place *p = *state;
    static const char first[] = "CREATE TABLE m (a bigint); INSERT INTO m VALUES (1)";
    static const char second[] = "INSERT INTO m VALUES (2)";
    static const char broken[] = "INSERT INTO m VALUES (3); INSERT INTO absent VALUES (1)";
    const struct db_step steps[] = {{first, first}, {second, second}, {broken, broken}};
    struct db *reader = db_place_open(p, DB_READ_ONLY);
    int64_t n;
    assert_int_equal(db_migrate(reader, "m", steps, 1, &p->e), ERR_NOT_FOUND);
    ok(db_migrate(p->db, "m", steps, 1, &p->e), &p->e);
    ok(db_migrate(p->db, "m", steps, 2, &p->e), &p->e);
    ok(db_migrate(p->db, "m", steps, 2, &p->e), &p->e);
    ok(db_migrate(reader, "m", steps, 2, &p->e), &p->e);
    assert_int_equal(db_migrate(p->db, "m", steps, 3, &p->e), ERR_FAULT);
    ok(db_int(p->db, "SELECT CAST(sum(a) AS bigint) FROM m", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 3);
    assert_int_equal(db_migrate(p->db, "m", steps, 1, &p->e), ERR_CONFIG);
    assert_non_null(strstr(p->e.text, "version 2"));
    ok(db_migrate(p->db, "other", NULL, 0, &p->e), &p->e);
    db_close(reader);
}

static void broken_connection(void **state)
{
    struct db_place *p = *state;
    if (!p->postgres)
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
        p->db = db_place_open(p, 0);
        assert_int_equal(count(p), 0);
    }
}

static void full_disk(void **state)
{
    struct db_place *p = *state;
    if (p->postgres)
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
    struct db_place *p = *state;
    struct rlimit before;
    if (p->postgres)
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
    p->db = db_place_open(p, 0);
    assert_int_equal(count(p), 2);
}

static void wrong_result_type(void **state)
{
    struct db_place *p = *state;
    int64_t n;
    if (!p->postgres)
        return;
    ok(put(p, 1, DB_I(4), DB_N, DB_N), &p->e);
    assert_int_equal(db_int(p->db, "SELECT sum(i) FROM t", DB_NO_ARGS, 0, &n, &p->e), ERR_FAULT);
    ok(db_int(p->db, "SELECT CAST(sum(i) AS integer) FROM t", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 4);
}

static void refused_addresses(void **state)
{
    struct db_place *p = *state;
    struct err e = {0};
    struct db *db = NULL;
    assert_int_equal(db_open(&db, "mysql://x", 0, &e), ERR_CONFIG);
    assert_int_equal(db_open(&db, "sqlite:/absent/folder/x.db", DB_CREATE, &e), ERR_RETRY);
    assert_int_equal(db_open(&db, "sqlite:/absent/folder/x.db", 0, &e), ERR_NOT_FOUND);
    assert_int_equal(db_open(&db, "postgresql://u:hunter2@[::1", 0, &e), ERR_CONFIG);
    assert_null(strstr(e.text, "hunter2"));
    assert_int_equal(db_open(&db, "postgresql://u:hunter2@127.0.0.1:1/x", 0, &e), ERR_RETRY);
    assert_null(strstr(e.text, "hunter2"));
    assert_null(db);
    if (!p->postgres)
        return;
    char url[512];
    (void)snprintf(url, sizeof url, "%s&dbname=absent", p->postgres);
    assert_int_equal(db_open(&db, url, 0, &e), ERR_CONFIG);
    (void)snprintf(url, sizeof url, "%s&user=absent", p->postgres);
    assert_int_equal(db_open(&db, url, 0, &e), ERR_CONFIG);
}

/* What a connection is set to, whatever the server's own defaults are. */
static void sessions_are_set(void **state)
{
    static const char set[] = "SELECT CASE WHEN current_setting('jit') = 'off'"
                              " AND current_setting('synchronous_commit') NOT IN ('off', 'local')"
                              " AND current_setting('lock_timeout') <> '0' THEN 1 ELSE 0 END";
    struct db_place *p = *state;
    int64_t n = 0;
    if (!p->postgres)
        return;
    ok(db_int(p->db, set, DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 1);
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
        {"58030", ERR_RETRY},    {"42P01", ERR_FAULT},    {"42501", ERR_CONFIG},
        {"3D000", ERR_CONFIG},   {"28P01", ERR_CONFIG},   {"25006", ERR_CONFIG},
        {"25P02", ERR_FAULT},    {"XX001", ERR_FAULT},    {"", ERR_RETRY},
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
        {SQLITE_ERROR, ERR_FAULT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof pg / sizeof pg[0]; i++)
        assert_int_equal(db_pg_class(pg[i].state), pg[i].class);
    for (size_t i = 0; i < sizeof lite / sizeof lite[0]; i++)
        assert_int_equal(db_sqlite_class(lite[i].code), lite[i].class);
}

int main(void)
{
    static struct db_place sqlite;
    static struct db_place pg;
    const struct CMUnitTest tables[] = {cmocka_unit_test(class_tables)};
    const struct CMUnitTest cases[] = {
        ON_DB(types_keep_their_values),     ON_DB(null_first_and_values_later),
        ON_DB(conflicts_and_refusals),      ON_DB(transactions_are_whole),
        ON_DB(savepoints_undo_one_row),     ON_DB(rows_left_unread),
        ON_DB(snapshot_stands_still),       ON_DB(locks_exclude_and_end),
        ON_DB(writers_wait_for_each_other), ON_DB(migrations_run_once),
        ON_DB(broken_connection),           ON_DB(full_disk),
        ON_DB(failed_commit_is_undone),     ON_DB(wrong_result_type),
        ON_DB(refused_addresses),           ON_DB(sessions_are_set),
    };
    int failed = cmocka_run_group_tests(tables, NULL, NULL);
    return db_place_main(cases, sizeof cases / sizeof cases[0], &sqlite, &pg) || failed;
}
