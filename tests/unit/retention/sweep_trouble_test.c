/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sweep in trouble, on SQLite, where a trigger makes a statement do less than it says or fail:
 * then nothing goes, and it goes when the trouble is over. And its thread: a failed pass is tried
 * again, a stop ends between two steps.
 */
#include "retention/sweep.h"

#include "base/file.h"
#include "mgccomp/incident.h"
#include "tests/contract/stage.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { STEP = 10000, TOGETHER = 1024 };

static char scratch[] = "/tmp/hf-sweep.XXXXXX";

static int set_up(void **state)
{
    static struct stage f;
    f = (struct stage){.scratch = scratch};
    *state = &f;
    (void)stage_set_up(state);
    (void)added(&f, "a", true, 2);
    return 0;
}

/* Everything captured. */
static void archive_a(struct stage *f)
{
    const struct ledger_instance i = instance(f, "a");
    archive_all(f, &i);
}

/* n of one room. */
static void archived_posts(struct stage *f, int n)
{
    posts(f, &f->room, n);
    archive_a(f);
}

static int64_t sweep(struct stage *f)
{
    int64_t rows = -1;
    ok(sweep_once(f->st, &rows, &f->e), &f->e);
    return rows;
}

static void shut(struct stage *f, bool open)
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

static void refuses(struct stage *f, const char *trigger, const char *count)
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
    struct stage *f = *state;
    archived_posts(f, 5);
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
    struct stage *f = *state;
    struct err e = {0};
    int64_t rows = -1;
    archived_posts(f, 2 * TOGETHER + 20);
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
    struct stage *f = *state;
    for (int i = 0; i < TOGETHER + 5; i++) {
        char subject[40];
        struct feed_stream s = {.source = "sip:pool.example.test", .subject = subject};
        (void)snprintf(subject, sizeof subject, "ma-chan://example.test/%d", i);
        feed_post(&f->feed, &s);
    }
    capture(f);
    archive_a(f);
    assert_int_equal(sweep(f), TOGETHER + 5);
    assert_int_equal(number(f, "SELECT count(*) FROM swept WHERE records = 1"), TOGETHER + 5);
    assert_int_equal(number(f, "SELECT count(*) FROM deleted"), TOGETHER + 5);
}

/* Which capture never leaves so: the first of two records with one number counts. */
static void a_number_that_is_there_twice(void **state)
{
    struct stage *f = *state;
    archived_posts(f, 4);
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
    struct stage *f = *state;
    archived_posts(f, STEP + 7);
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
    struct stage *f = *state;
    struct wake wake;
    struct sweep *s = NULL;
    assert_true(wake_init(&wake));
    const struct sweep_options o = {.staging = f->st, .archived = &wake};
    archived_posts(f, 1);
    assert_int_equal(sweep(f), 1);
    run_sql(f, "UPDATE deleted SET deleted_us = 1");
    archived_posts(f, 5);
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
    struct stage *f = *state;
    struct step step = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    const struct sweep_options o = {.staging = f->st, .swept = on_step, .swept_arg = &step};
    struct sweep *s = NULL;
    archived_posts(f, 2 * STEP + 1);
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

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, stage_tear_down)

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
