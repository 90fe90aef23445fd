/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server that says nothing any more, on a private PostgreSQL: the process that serves the
 * connection is frozen. No call may wait longer than it was told to, and what came of it must be
 * known once the server wakes.
 */
#include "base/clock.h"
#include "base/own.h"
#include "tests/contract/db_place.h"

#include <signal.h>
#include <string.h>

enum { PATIENCE_MS = 400, LATEST_MS = 5000, ROWS = 3000, ROW_BYTES = 8192 };

struct silent {
    struct db_place place; /* the connection under test is its handle */
    pid_t pid;             /* 0: not frozen */
    int64_t since_ms;
};

static int set_up(void **state)
{
    struct silent *s = *state;
    void *place = &s->place;
    s->pid = 0;
    return db_place_set_up(&place);
}

static void wake(struct silent *s)
{
    if (s->pid)
        (void)kill(s->pid, SIGCONT);
    s->pid = 0;
}

static int tear_down(void **state)
{
    struct silent *s = *state;
    void *place = &s->place;
    wake(s);
    return db_place_tear_down(&place);
}

/* Which of the server's processes is ours; it is little patient from now on. */
static pid_t serving(struct silent *s)
{
    struct db_place *p = &s->place;
    int64_t pid = 0;
    ok(db_int(p->db, "SELECT pg_backend_pid()", DB_NO_ARGS, 0, &pid, &p->e), &p->e);
    ok(db_patience(p->db, PATIENCE_MS, &p->e), &p->e);
    return (pid_t)pid;
}

static void freeze(struct silent *s, pid_t pid)
{
    s->pid = pid;
    assert_int_equal(kill(s->pid, SIGSTOP), 0);
    s->since_ms = clock_mono_ms();
}

/* The call before ended with that class, in time, and nothing of the connection is waited for any
 * more; then another one is used. */
static void gave_up(struct silent *s, int class, int wanted)
{
    struct db_place *p = &s->place;
    assert_int_equal(class, wanted);
    assert_non_null(strstr(p->e.text, "no answer"));
    assert_true(db_broken(p->db));
    assert_int_equal(db_begin(p->db, &p->e), ERR_RETRY);
    db_close(p->db);
    assert_in_range(clock_mono_ms() - s->since_ms, PATIENCE_MS, LATEST_MS);
    p->db = db_place_open(p, 0);
}

/* Until the server's process has seen that nobody is there, and with it the transaction's end. */
static void ends(struct silent *s)
{
    struct db_place *p = &s->place;
    const int64_t pid = s->pid;
    const int64_t until = clock_mono_ms() + LATEST_MS;
    int64_t there = 1;
    wake(s);
    while (there && clock_mono_ms() < until)
        ok(db_int(p->db, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", DB_ARGS(DB_I(pid)),
                  0, &there, &p->e),
           &p->e);
    assert_int_equal(there, 0);
}

static void a_statement(void **state)
{
    struct silent *s = *state;
    struct db_place *p = &s->place;
    ok(db_begin(p->db, &p->e), &p->e);
    freeze(s, serving(s));
    gave_up(s, put(p, 1, DB_N, DB_N, DB_N), ERR_RETRY);
    ends(s);
    assert_int_equal(count(p), 0);
}

/* Nobody knows what became of it; here it goes through when the server wakes. */
static void a_commit(void **state)
{
    struct silent *s = *state;
    struct db_place *p = &s->place;
    ok(db_begin(p->db, &p->e), &p->e);
    ok(put(p, 1, DB_N, DB_N, DB_N), &p->e);
    freeze(s, serving(s));
    gave_up(s, db_commit(p->db, &p->e), ERR_DOUBT);
    assert_int_equal(count(p), 0);
    ends(s);
    assert_int_equal(count(p), 1);
}

static void a_rollback(void **state)
{
    struct silent *s = *state;
    struct db_place *p = &s->place;
    ok(db_begin(p->db, &p->e), &p->e);
    ok(put(p, 1, DB_N, DB_N, DB_N), &p->e);
    freeze(s, serving(s));
    db_rollback(p->db);
    assert_true(db_broken(p->db));
    assert_in_range(clock_mono_ms() - s->since_ms, PATIENCE_MS, LATEST_MS);
    db_close(p->db);
    p->db = db_place_open(p, 0);
    ends(s);
    assert_int_equal(count(p), 0);
}

/* More than what may be on its way: the server must be woken to go on sending. */
static void rows(void **state)
{
    struct silent *s = *state;
    struct db_place *p = &s->place;
    struct db_rows *r = NULL;
    const pid_t pid = serving(s);
    ok(db_query(p->db, "SELECT repeat('x', CAST($1 AS integer)) FROM generate_series(1, $2)",
                DB_ARGS(DB_I(ROW_BYTES), DB_I(ROWS)), &r, &p->e),
       &p->e);
    assert_int_equal(db_rows_next(r, &p->e), 1);
    freeze(s, pid);
    int rc = 1;
    int n = 1;
    for (; rc == 1; n++)
        rc = db_rows_next(r, &p->e);
    assert_in_range(n, 2, ROWS - 1);
    db_rows_free(r);
    gave_up(s, rc, ERR_RETRY);
    ends(s);
}

/* What is sent waits for a reader, too. */
static void a_copy(void **state)
{
    struct silent *s = *state;
    struct db_place *p = &s->place;
    const enum db_type types[] = {DB_INT, DB_BYTES};
    static char bytes[ROW_BYTES];
    struct db_copy *c = NULL;
    int rc = 0;
    const pid_t pid = serving(s);
    ok(db_begin(p->db, &p->e), &p->e);
    ok(db_copy_begin(p->db, "t", "k, b", types, 2, &c, &p->e), &p->e);
    freeze(s, pid);
    for (int k = 0; rc == 0 && k < ROWS; k++) {
        const struct db_value row[] = {DB_I(k), DB_B(((struct slice){bytes, sizeof bytes}))};
        rc = db_copy_row(c, row, &p->e);
    }
    db_copy_abort(c);
    gave_up(s, rc, ERR_RETRY);
    ends(s);
    assert_int_equal(count(p), 0);
}

static void lists_of_values(void **state)
{
    struct silent *s = *state;
    struct db_place *p = &s->place;
    static const struct db_many sql = {
        "INSERT INTO t (k, s) VALUES ($1, $2)",
        "INSERT INTO t (k, s) SELECT k, s FROM unnest($1, $2) AS u (k, s)"};
    static const enum db_type types[] = {DB_INT, DB_TEXT};
    static char text[ROW_BYTES];
    static struct db_value values[2 * ROWS];
    memset(text, 'x', sizeof text);
    for (int k = 0; k < ROWS; k++) {
        values[2 * k] = DB_I(k);
        values[2 * k + 1] = DB_T(((struct slice){text, sizeof text}));
    }
    const struct db_lists lists = {types, 2, values, ROWS};
    ok(db_begin(p->db, &p->e), &p->e);
    freeze(s, serving(s));
    gave_up(s, db_run_many(p->db, &sql, &lists, NULL, &p->e), ERR_RETRY);
    ends(s);
    assert_int_equal(count(p), 0);
}

/* Slower than the patience for a call, but alive: each row is one wait. */
static void who_answers_slowly_is_waited_for(void **state)
{
    struct silent *s = *state;
    struct db_place *p = &s->place;
    struct db_rows *r = NULL;
    ok(db_patience(p->db, PATIENCE_MS, &p->e), &p->e);
    ok(db_query(p->db,
                "SELECT CAST(pg_sleep(0.1) AS text) || repeat('x', 9000)"
                " FROM generate_series(1, 8)",
                DB_NO_ARGS, &r, &p->e),
       &p->e);
    int n = 0;
    while (db_rows_next(r, &p->e) == 1)
        n++;
    db_rows_free(r);
    assert_int_equal(n, 8);
    assert_false(db_broken(p->db));
    /* A lock that another one holds: the call ends, the connection stays. */
    OWN(own_db) struct db *other = db_place_open(p, 0);
    ok(put(p, 1, DB_N, DB_N, DB_N), &p->e);
    ok(db_begin(other, &p->e), &p->e);
    ok(db_run(other, "UPDATE t SET i = 1", DB_NO_ARGS, NULL, &p->e), &p->e);
    assert_int_equal(db_run(p->db, "UPDATE t SET i = 2", DB_NO_ARGS, NULL, &p->e), ERR_RETRY);
    assert_false(db_broken(p->db));
    db_rollback(other);
    ok(db_run(p->db, "UPDATE t SET i = 2", DB_NO_ARGS, NULL, &p->e), &p->e);
}

#define ON_SILENT(fn) cmocka_unit_test_prestate_setup_teardown(fn, set_up, tear_down, &silent)

int main(void)
{
    static struct silent silent;
    struct parts parts;
    if (!parts_find(&parts))
        return 1;
    silent.place.scratch = parts.scratch;
    silent.place.postgres = parts.postgres;
    const struct CMUnitTest cases[] = {
        ON_SILENT(a_statement),
        ON_SILENT(a_commit),
        ON_SILENT(a_rollback),
        ON_SILENT(rows),
        ON_SILENT(a_copy),
        ON_SILENT(lists_of_values),
        ON_SILENT(who_answers_slowly_is_waited_for),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
