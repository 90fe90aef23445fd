/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The capture service when something is away already at its start, when its position is moved by
 * somebody else, and when a source that was declared is silent.
 */
#include "base/clock.h"
#include "base/own.h"
#include "capture/capture_inside.h"
#include "tests/contract/feed.h"
#include "tests/contract/queues.h"
#include "tests/expect.h"

#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { PATIENCE_MS = 60000, PARTITIONS = 3 };

struct fixture {
    bool services;
    char url[600];
    struct queue q;
    struct staging *st;
    struct capture *c;
    struct err e;
};

static const char *scratch;

static int start_with(struct fixture *f, const struct kafka_target *kafka)
{
    const struct capture_options o = {.staging = f->st,
                                      .batch_records = 100,
                                      .embedded = f->services ? NULL : &f->q.embedded,
                                      .kafka = f->services ? kafka : NULL};
    return capture_start(&f->c, &o, &f->e);
}

static void start(struct fixture *f)
{
    ok(start_with(f, &f->q.target), &f->e);
}

static void stop(struct fixture *f)
{
    capture_stop(f->c);
    f->c = NULL;
}

static int set_up(void **state)
{
    struct fixture *f = *state;
    const char *postgres = f->services ? getenv("HOLDFAST_TEST_POSTGRES") : NULL;
    (void)snprintf(f->url, sizeof f->url, "%s", feed_database(postgres, scratch));
    f->c = NULL;
    ok(staging_open(&f->st, f->url, &f->e), &f->e);
    queue_make(&f->q, f->services, scratch, PARTITIONS);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    stop(f);
    staging_close(f->st);
    queue_done(&f->q);
    return 0;
}

static int64_t number(struct fixture *f, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    int64_t v = -1;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_int(db, sql, DB_NO_ARGS, -1, &v, &f->e), &f->e);
    return v;
}

static void wait_for(struct fixture *f, const char *sql, int64_t n)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (number(f, sql) < n) {
        if (clock_mono_ms() > until)
            fail_msg("%s: not %lld within a minute", sql, (long long)n);
        (void)poll(NULL, 0, 20);
    }
}

static const char count[] = "SELECT count(*) FROM record";

static void do_sql(struct fixture *f, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    ok(db_open(&db, f->url, 0, &f->e), &f->e);
    ok(db_script(db, sql, &f->e), &f->e);
}

static void wait_for_problem(struct fixture *f)
{
    struct capture_state s;
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    for (capture_state(f->c, &s); s.problem[0] == '\0'; capture_state(f->c, &s)) {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 20);
    }
}

static void postgres(const char *verb)
{
    char script[512];
    pid_t pid;
    int status = -1;
    (void)snprintf(script, sizeof script, "%s/postgres", getenv("HOLDFAST_TEST_PARTS"));
    const char *words[] = {script, verb, getenv("HOLDFAST_TEST_POSTGRES_DIR"), NULL};
    assert_int_equal(posix_spawn(&pid, script, NULL, NULL, (char **)(uintptr_t)words, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- away at the start ---- */

/* Whoever stops it meanwhile need not wait for the next try. */
static void a_database_that_is_away_at_the_start(void **state)
{
    struct fixture *f = *state;
    queue_posts(&f->q, 20, 3);
    postgres("kill");
    start(f);
    wait_for_problem(f);
    (void)poll(NULL, 0, 3000); /* the pauses between its tries grow */
    int64_t began = clock_mono_ms();
    stop(f);
    assert_true(clock_mono_ms() - began < 2000);
    start(f);
    wait_for_problem(f);
    postgres("start");
    wait_for(f, count, 20);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 0);
}

static void a_broker_that_is_away_at_the_start(void **state)
{
    struct fixture *f = *state;
    queue_posts(&f->q, 20, 3);
    queue_broker("kill", NULL, NULL);
    start(f);
    wait_for_problem(f);
    queue_broker("start", NULL, NULL);
    wait_for(f, count, 20);
}

/* Set up wrongly is another thing than away. */
static void another_queue_is_refused(void **state)
{
    struct fixture *f = *state;
    struct kafka_target other = f->q.target;
    start(f);
    queue_posts(&f->q, 5, 1);
    wait_for(f, count, 5);
    stop(f);
    queue_broker("topic", "elsewhere", "1");
    other.topic = "elsewhere";
    assert_int_equal(start_with(f, &other), ERR_CONFLICT);
    assert_null(f->c);
    assert_non_null(strstr(f->e.text, "capture: "));
    other.topic = "nowhere";
    assert_int_equal(start_with(f, &other), ERR_CONFIG);
}

/* Nobody can ask for what is missing there; capture goes on all the same. */
static void a_control_topic_of_two_partitions(void **state)
{
    struct fixture *f = *state;
    char control[80];
    (void)snprintf(control, sizeof control, "%s-control", f->q.topic);
    queue_broker("topic", control, "2");
    start(f);
    queue_posts(&f->q, 10, 3);
    wait_for(f, count, 10);
    stop(f);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 0);
}

/* ---- a position that somebody moved ---- */

/* What is written behind it is read again from there, and what was captured before is dropped. */
static void a_position_that_was_moved_back(void **state)
{
    struct fixture *f = *state;
    start(f);
    queue_posts(&f->q, 20, 1);
    wait_for(f, count, 20);
    do_sql(f, "UPDATE position SET pos = pos - 5 WHERE pos > 5");
    queue_posts(&f->q, 10, 1);
    wait_for(f, count, 30);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'duplicates'"), 5);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 0);
}

/* Also while another partition stands still: that stays as it is. */
static void beside_a_log_that_changed(void **state)
{
    struct fixture *f = *state;
    start(f);
    queue_posts(&f->q, 20, 1); /* all in one partition */
    wait_for(f, count, 20);
    stop(f);
    store_close(f->q.store);
    f->q.store = NULL;
    assert_int_equal(unlink(f->q.url + strlen("sqlite:")), 0);
    queue_broker("drop", f->q.topic, NULL);
    queue_broker("topic", f->q.topic, "3");
    queue_posts(&f->q, 30, 1);
    start(f);
    wait_for(f, "SELECT count(*) FROM incident WHERE kind = 'log-changed'", 1);
    queue_posts(&f->q, 40, 8);
    wait_for(f, count, 20 + 5); /* a room of another partition at least */
    (void)poll(NULL, 0, 1000);
    int64_t before = number(f, count);
    do_sql(f, "UPDATE position SET pos = pos - 1 WHERE pos > 0 AND part <>"
              " (SELECT part FROM incident WHERE kind = 'log-changed')");
    queue_posts(&f->q, 40, 8);
    wait_for(f, "SELECT value FROM tally WHERE name = 'duplicates'", 1);
    wait_for(f, count, before + 5);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM record r JOIN incident i ON i.part = r.part"),
                     20);
}

/* ---- totals ---- */

static const struct totals_source *declared(void *arg, size_t *n)
{
    static const struct totals_source all[] = {{.name = {"sip:silent", 10}, .cadence_ms = 1000}};
    (void)arg;
    *n = 1;
    return all;
}

/* Its time has long passed, as this service's clock says. */
static void a_silent_source_is_told(void **state)
{
    struct fixture *f = *state;
    struct capture c = {.o = {.staging = f->st},
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .since_us = clock_wall_us() - INT64_C(120000000)};
    c.o.sources = declared;
    capture_totals(&c);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE kind = 'silent'"), 1);
    assert_string_equal(c.state.problem, "");
    do_sql(f, "ALTER TABLE incident RENAME TO aside");
    c.totals_ms = 0;
    capture_totals(&c);
    assert_string_not_equal(c.state.problem, "");
}

#define CASE(fn, fixture)                                                                          \
    {                                                                                              \
#fn, fn, set_up, tear_down, fixture                                                        \
    }

int main(void)
{
    static struct fixture embedded;
    static struct fixture services = {.services = true};
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    if (!scratch || !getenv("HOLDFAST_TEST_KAFKA") || !getenv("HOLDFAST_TEST_POSTGRES")) {
        (void)fprintf(stderr,
                      "run me through tests/parts/with postgres kafka -- capture_trouble_test\n");
        return 2;
    }
    const struct CMUnitTest on_embedded[] = {
        CASE(a_position_that_was_moved_back, &embedded),
        CASE(a_silent_source_is_told, &embedded),
    };
    const struct CMUnitTest on_services[] = {
        CASE(a_database_that_is_away_at_the_start, &services),
        CASE(another_queue_is_refused, &services),
        CASE(a_control_topic_of_two_partitions, &services),
        CASE(a_position_that_was_moved_back, &services),
        CASE(beside_a_log_that_changed, &services),
        CASE(a_broker_that_is_away_at_the_start, &services),
    };
    int failed = cmocka_run_group_tests_name("embedded", on_embedded, NULL, NULL);
    failed += cmocka_run_group_tests_name("services", on_services, NULL, NULL);
    return failed ? 1 : 0;
}
