/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The capture service when something is away already at its start, when its position is moved by
 * somebody else, and when a source that was declared is silent.
 */
#include "base/clock.h"
#include "base/own.h"
#include "capture/capture_inside.h"
#include "tests/contract/capture_rig.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

/* ---- away at the start ---- */

/* Whoever stops it meanwhile need not wait for the next try. */
static void a_database_that_is_away_at_the_start(void **state)
{
    struct fixture *f = *state;
    queue_posts(&f->q, 20, 3);
    postgres("kill");
    start_capture(f);
    wait_for_problem(f, "");
    (void)poll(NULL, 0, 3000); /* the pauses between its tries grow */
    int64_t began = clock_mono_ms();
    stop_capture(f);
    assert_true(clock_mono_ms() - began < 2000);
    start_capture(f);
    wait_for_problem(f, "");
    postgres("start");
    wait_for(f, all_records, 20);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 0);
}

static void a_broker_that_is_away_at_the_start(void **state)
{
    struct fixture *f = *state;
    queue_posts(&f->q, 20, 3);
    queue_broker("kill", NULL, NULL);
    start_capture(f);
    wait_for_problem(f, "");
    queue_broker("start", NULL, NULL);
    wait_for(f, all_records, 20);
}

/* Set up wrongly is another thing than away. */
static void another_queue_is_refused(void **state)
{
    struct fixture *f = *state;
    struct kafka_target other = f->q.target;
    start_capture(f);
    queue_posts(&f->q, 5, 1);
    wait_for(f, all_records, 5);
    stop_capture(f);
    queue_broker("topic", "elsewhere", "1");
    other.topic = "elsewhere";
    assert_int_equal(start_capture_on(f, &other), ERR_CONFLICT);
    assert_null(f->c);
    assert_non_null(strstr(f->e.text, "capture: "));
    other.topic = "nowhere";
    assert_int_equal(start_capture_on(f, &other), ERR_CONFIG);
}

/* Nobody can ask for what is missing there; capture goes on all the same. */
static void a_control_topic_of_two_partitions(void **state)
{
    struct fixture *f = *state;
    char control[80];
    (void)snprintf(control, sizeof control, "%s-control", f->q.topic);
    queue_broker("topic", control, "2");
    start_capture(f);
    queue_posts(&f->q, 10, 3);
    wait_for(f, all_records, 10);
    stop_capture(f);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 0);
}

/* ---- a position that somebody moved ---- */

/* What is written behind it is read again from there, and what was captured before is dropped. */
static void a_position_that_was_moved_back(void **state)
{
    struct fixture *f = *state;
    start_capture(f);
    queue_posts(&f->q, 20, 1);
    wait_for(f, all_records, 20);
    do_sql(f->url, "UPDATE position SET pos = pos - 5 WHERE pos > 5");
    queue_posts(&f->q, 10, 1);
    wait_for(f, all_records, 30);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'duplicates'"), 5);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 0);
}

/* Also while another partition stands still: that stays as it is. */
static void beside_a_log_that_changed(void **state)
{
    struct fixture *f = *state;
    start_capture(f);
    queue_posts(&f->q, 20, 1); /* all in one partition */
    wait_for(f, all_records, 20);
    stop_capture(f);
    store_close(f->q.store);
    f->q.store = NULL;
    assert_int_equal(unlink(f->q.url + strlen("sqlite:")), 0);
    queue_broker("drop", f->q.topic, NULL);
    queue_broker("topic", f->q.topic, "3");
    queue_posts(&f->q, 30, 1);
    start_capture(f);
    wait_for(f, "SELECT count(*) FROM incident WHERE kind = 'log-changed'", 1);
    queue_posts(&f->q, 40, 8);
    wait_for_least(f, all_records, 20 + 5); /* a room of another partition at least */
    (void)poll(NULL, 0, 1000);
    int64_t before = number(f, all_records);
    do_sql(f->url, "UPDATE position SET pos = pos - 1 WHERE pos > 0 AND part <>"
                   " (SELECT part FROM incident WHERE kind = 'log-changed')");
    queue_posts(&f->q, 40, 8);
    wait_for_least(f, "SELECT value FROM tally WHERE name = 'duplicates'", 1);
    wait_for_least(f, all_records, before + 5);
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
    do_sql(f->url, "ALTER TABLE incident RENAME TO aside");
    c.totals_ms = 0;
    capture_totals(&c);
    assert_string_not_equal(c.state.problem, "");
}

int main(int argc, char **argv)
{
    (void)argc;
    static struct fixture embedded;
    static struct fixture services = {.services = true};
    if (!capture_parts(argv[0]))
        return 2;
    const struct CMUnitTest on_embedded[] = {
        CAPTURE(a_position_that_was_moved_back, &embedded),
        CAPTURE(a_silent_source_is_told, &embedded),
    };
    const struct CMUnitTest on_services[] = {
        CAPTURE(a_database_that_is_away_at_the_start, &services),
        CAPTURE(another_queue_is_refused, &services),
        CAPTURE(a_control_topic_of_two_partitions, &services),
        CAPTURE(a_position_that_was_moved_back, &services),
        CAPTURE(beside_a_log_that_changed, &services),
        CAPTURE(a_broker_that_is_away_at_the_start, &services),
    };
    int failed = cmocka_run_group_tests_name("embedded", on_embedded, NULL, NULL);
    failed += cmocka_run_group_tests_name("services", on_services, NULL, NULL);
    return failed ? 1 : 0;
}
