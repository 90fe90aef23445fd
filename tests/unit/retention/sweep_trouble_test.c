/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sweep in trouble, on SQLite, where a trigger makes a statement do less than it says or fail:
 * then nothing goes, and it goes when the trouble is over. And its thread: a failed pass is tried
 * again, a stop ends between two steps.
 */
#include "retention/sweep.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/own.h"
#include "mgccomp/incident.h"
#include "mgccomp/lease.h"
#include "tests/contract/feed.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PATIENCE_MS = 30000, STEP = 10000, TOGETHER = 1024 };

static char scratch[] = "/tmp/hf-sweep.XXXXXX";

struct fixture {
    struct staging *st;
    struct capture_writer *w;
    struct staging_position at;
    struct feed feed;
    struct feed_stream room;
    struct ledger_batch batch;
    struct err e;
};

static void ok(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s: %s", err_class_name(rc), e->text);
}

static int set_up(void **state)
{
    static struct fixture f;
    int64_t generation = 0;
    f = (struct fixture){
        .room = {.source = "sip:pool.example.test", .subject = "ma-chan://example.test/one"}};
    ok(staging_open(&f.st, feed_database(NULL, scratch), &f.e), &f.e);
    ok(lease_take(f.st, LEASE_MS, &f.e), &f.e);
    ok(staging_queue(f.st, SLICE("embedded"), SLICE("test"), &generation, &f.e), &f.e);
    ok(capture_writer_new(&f.w, f.st, generation, &f.e), &f.e);
    ok(ledger_add(f.st, SLICE("a"), SLICE("plain"), true, 2, &f.e), &f.e);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    capture_writer_free(f->w);
    lease_give(f->st);
    staging_close(f->st);
    feed_done(&f->feed);
    return 0;
}

static void capture(struct fixture *f)
{
    struct capture_outcome out;
    ok(feed_write(f->w, f->feed.items, f->feed.n, &f->at, 1, &out, &f->e), &f->e);
    feed_clear(&f->feed);
}

static int64_t number(struct fixture *f, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    int64_t v = -1;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_int(db, sql, DB_NO_ARGS, -1, &v, &f->e), &f->e);
    return v;
}

static void await(struct fixture *f, const char *sql, int64_t value)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (number(f, sql) != value) {
        if (clock_mono_ms() > until)
            fail_msg("%s: not %lld", sql, (long long)value);
        (void)poll(NULL, 0, 10);
    }
}

static void run_sql(struct fixture *f, const char *sql)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(db_run(t.db, sql, DB_NO_ARGS, NULL, &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
}

/* Everything captured goes through the ledger as verified. */
static void archive(struct fixture *f)
{
    const struct ledger_due due = {.records = 100000, .bytes = 1 << 30, .now = true};
    struct ledger_instance i = {.id = 1, .name = "a", .required = true};
    struct ledger_batch *b = &f->batch;
    struct slice none = {0};
    ok(ledger_cut(f->st, &i, &due, NULL, b, &f->e), &f->e);
    ok(ledger_attempt(f->st, b, &f->e), &f->e);
    ok(ledger_settle(f->st, b, 0, b->records - 1, "done", SLICE("[]"), none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, b, "settled", none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, b, "verified", none, &f->e), &f->e);
}

/* n posts of one room, archived. */
static void posts(struct fixture *f, int n)
{
    for (int i = 0; i < n; i++) {
        feed_post(&f->feed, &f->room);
        if (f->feed.n == 5000)
            capture(f);
    }
    if (f->feed.n)
        capture(f);
    archive(f);
}

static int64_t sweep(struct fixture *f)
{
    int64_t rows = -1;
    ok(sweep_once(f->st, &rows, &f->e), &f->e);
    return rows;
}

static void shut(struct fixture *f, bool open)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    struct incident i = {.kind = INCIDENT_GAP,
                         .object = SLICE("test"),
                         .stream = 1,
                         .source = SLICE("sip:pool.example.test"),
                         .subject = SLICE("ma-chan://example.test/one"),
                         .part = -1,
                         .opened_us = 1,
                         .detail = SLICE("test")};
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    if (open)
        ok(incident_open(&t, &i, NULL, &f->e), &f->e);
    else
        ok(incident_close(&t, INCIDENT_GAP, SLICE("test"), "test", &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
}

/* ---- a statement that does not do what it was asked for ---- */

/* The third row does not go, or is not moved: the whole step is undone. */
#define LAZY(what, row)                                                                            \
    "CREATE TRIGGER lazy BEFORE " what " WHEN " row ".sequence = 3 BEGIN SELECT RAISE(IGNORE); "   \
    "END"

static void refuses(struct fixture *f, const char *trigger, const char *count)
{
    int64_t gone = -1;
    struct err e = {0};
    run_sql(f, trigger);
    assert_int_equal(sweep_once(f->st, &gone, &e), ERR_FAULT);
    assert_non_null(strstr(e.text, "4 rows would have gone instead of 5"));
    assert_int_equal(number(f, count), 5);
    run_sql(f, "DROP TRIGGER lazy");
}

static void nothing_goes_when_a_number_is_wrong(void **state)
{
    struct fixture *f = *state;
    posts(f, 5);
    refuses(f, LAZY("DELETE ON record", "old"), "SELECT count(*) FROM record");
    shut(f, true);
    refuses(f, LAZY("INSERT ON kept", "new"), "SELECT count(*) FROM record");
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 0);
    assert_int_equal(sweep(f), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 5);
    shut(f, false);
    refuses(f, LAZY("DELETE ON kept", "old"), "SELECT count(*) FROM kept");
    assert_int_equal(number(f, "SELECT count(*) FROM deleted"), 0);
    assert_int_equal(sweep(f), 5);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM deleted"), 1);
}

/* ---- what stays of the hashes ---- */

/* More runs than one statement takes: every second record is not there. */
static void many_runs_of_hashes(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    int64_t rows = -1;
    posts(f, 2 * TOGETHER + 20);
    run_sql(f, "DELETE FROM record WHERE sequence % 2 = 0");
    run_sql(f,
            "CREATE TRIGGER full BEFORE INSERT ON deleted BEGIN SELECT RAISE(ABORT, 'full'); END");
    assert_true(sweep_once(f->st, &rows, &e) < 0);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), TOGETHER + 10);
    run_sql(f, "DROP TRIGGER full");
    assert_int_equal(sweep(f), TOGETHER + 10);
    assert_int_equal(number(f, "SELECT count(*) FROM deleted WHERE first = last AND first % 2 = 1"),
                     TOGETHER + 10);
}

static void many_rooms_in_a_step(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < TOGETHER + 5; i++) {
        char subject[40];
        struct feed_stream s = {.source = "sip:pool.example.test", .subject = subject};
        (void)snprintf(subject, sizeof subject, "ma-chan://example.test/%d", i);
        feed_post(&f->feed, &s);
    }
    capture(f);
    archive(f);
    assert_int_equal(sweep(f), TOGETHER + 5);
    assert_int_equal(number(f, "SELECT count(*) FROM swept WHERE records = 1"), TOGETHER + 5);
    assert_int_equal(number(f, "SELECT count(*) FROM deleted"), TOGETHER + 5);
}

/* Which capture never leaves so: the first of two records with one number counts. */
static void a_number_that_is_there_twice(void **state)
{
    struct fixture *f = *state;
    posts(f, 4);
    run_sql(f, "UPDATE record SET sequence = 2 WHERE sequence = 3");
    assert_int_equal(sweep(f), 4);
    assert_int_equal(number(f, "SELECT count(*) FROM deleted WHERE first = 1 AND last = 2"
                               " AND length(hashes) = 64"),
                     1);
    assert_int_equal(number(f, "SELECT count(*) FROM deleted WHERE first = 4 AND last = 4"), 1);
    assert_int_equal(number(f, "SELECT records FROM swept"), 4);
}

static void a_large_room_is_kept_and_freed_in_steps(void **state)
{
    struct fixture *f = *state;
    posts(f, STEP + 7);
    shut(f, true);
    assert_int_equal(sweep(f), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), STEP + 7);
    shut(f, false);
    assert_int_equal(sweep(f), STEP + 7);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 0);
}

/* ---- the thread ---- */

static void a_failed_pass_is_tried_again(void **state)
{
    struct fixture *f = *state;
    struct wake wake;
    struct sweep *s = NULL;
    assert_true(wake_init(&wake));
    const struct sweep_options o = {.staging = f->st, .archived = &wake};
    posts(f, 1);
    assert_int_equal(sweep(f), 1);
    run_sql(f, "UPDATE deleted SET deleted_us = 1");
    posts(f, 5);
    run_sql(f, "CREATE TRIGGER lazy BEFORE DELETE ON record BEGIN SELECT RAISE(IGNORE); END");
    run_sql(
        f, "CREATE TRIGGER no_prune BEFORE DELETE ON deleted BEGIN SELECT RAISE(ABORT, 'no'); END");
    ok(sweep_start(&s, &o, &f->e), &f->e);
    (void)poll(NULL, 0, 300); /* passes meanwhile fail */
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 5);
    assert_int_equal(number(f, "SELECT count(*) FROM deleted"), 1);
    run_sql(f, "DROP TRIGGER lazy");
    wake_ring(&wake);
    await(f, "SELECT count(*) FROM record", 0);
    sweep_stop(s);
    wake_done(&wake);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'deleted'"), 6);
}

struct step {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    int steps;
};

static void on_step(void *arg, int32_t part, int64_t pos)
{
    struct step *s = arg;
    assert_int_equal(part, 0);
    assert_true(pos > 0);
    (void)pthread_mutex_lock(&s->mutex);
    s->steps++;
    (void)pthread_cond_signal(&s->done);
    (void)pthread_mutex_unlock(&s->mutex);
    (void)poll(NULL, 0, 300); /* the stop comes meanwhile */
}

/* Over more partitions than are read at once. */
static void a_stop_ends_between_two_steps(void **state)
{
    struct fixture *f = *state;
    struct step step = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    const struct sweep_options o = {.staging = f->st, .swept = on_step, .swept_arg = &step};
    struct sweep *s = NULL;
    posts(f, 2 * STEP + 1);
    run_sql(f, "INSERT INTO position (part, pos, captured_us)"
               " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)"
               " SELECT i, 0, 1 FROM n");
    (void)pthread_mutex_lock(&step.mutex);
    ok(sweep_start(&s, &o, &f->e), &f->e);
    while (step.steps == 0)
        (void)pthread_cond_wait(&step.done, &step.mutex);
    (void)pthread_mutex_unlock(&step.mutex);
    sweep_stop(s);
    assert_int_equal(step.steps, 1);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), STEP + 1);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'deleted'"), STEP);
    assert_int_equal(sweep(f), STEP + 1);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nothing_goes_when_a_number_is_wrong),
        CASE(many_runs_of_hashes),
        CASE(many_rooms_in_a_step),
        CASE(a_number_that_is_there_twice),
        CASE(a_large_room_is_kept_and_freed_in_steps),
        CASE(a_failed_pass_is_tried_again),
        CASE(a_stop_ends_between_two_steps),
    };
    struct err e = {0};
    assert_non_null(mkdtemp(scratch));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ok(file_remove_tree(scratch, &e), &e);
    return failed ? 1 : 0;
}
