/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The capture service end to end: the embedded queue into SQLite, and Kafka into PostgreSQL, with
 * parts that go away and come back.
 */
#include "base/clock.h"
#include "base/own.h"
#include "mgccomp/incident.h"
#include "tests/contract/capture_rig.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

static int compare_head(void *arg, const struct store_stream *s, struct err *e)
{
    struct fixture *f = arg;
    OWN(own_db) struct db *db = NULL;
    int64_t n = 0;
    ok(staging_reader(f->st, &db, e), e);
    ok(db_int(db,
              "SELECT count(*) FROM stream WHERE subject = $1 AND epoch = $2 AND sequence = $3 AND"
              " hash = $4 AND captured = $3",
              DB_ARGS(DB_T(s->subject), DB_I(s->epoch), DB_I(s->sequence),
                      DB_B(((struct slice){(const char *)s->hash, SHA256_SIZE}))),
              0, &n, e),
       e);
    assert_int_equal(n, 1);
    return 0;
}

/* Every stream of the store is captured to its head, and nothing is wrong. */
static void all_captured(struct fixture *f)
{
    wait_for(f, all_records, f->q.sent);
    ok(store_streams(f->q.store, compare_head, f, &f->e), &f->e);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 0);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'captured'"), f->q.sent);
}

/* The service knows of a commit a moment after the database shows it. */
static void wait_until_well(struct fixture *f, int64_t stored, struct capture_state *s)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    for (capture_state(f->c, s); (int64_t)s->stored < stored || s->problem[0];
         capture_state(f->c, s)) {
        if (clock_mono_ms() > until)
            fail_msg("stored: %lld; problem: %s", (long long)s->stored, s->problem);
        (void)poll(NULL, 0, 20);
    }
}

static void everything_arrives(void **state)
{
    struct fixture *f = *state;
    struct capture_state s;
    start_capture(f);
    queue_posts(&f->q, 500, 7);
    all_captured(f);
    assert_true(wake_wait(&f->captured, 1000));
    queue_posts(&f->q, 50, 2);
    all_captured(f);
    wait_until_well(f, 550, &s);
    assert_int_equal(s.stored, 550);
    assert_true(s.queue_reachable && s.staging_reachable && !s.held);
    assert_true(s.last_commit_us > 0);
}

static void a_restart_neither_loses_nor_doubles(void **state)
{
    struct fixture *f = *state;
    queue_posts(&f->q, 400, 3);
    for (int i = 0; i < 3; i++) {
        start_capture(f);
        (void)wake_wait(&f->captured, 20000);
        stop_capture(f);
        queue_posts(&f->q, 100, 3);
    }
    start_capture(f);
    all_captured(f);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'duplicates'"), 0);
}

static void a_held_capture_reads_nothing(void **state)
{
    struct fixture *f = *state;
    struct capture_state s;
    start_capture(f);
    queue_posts(&f->q, 10, 1);
    wait_for(f, all_records, 10);
    capture_hold(f->c, true);
    capture_state(f->c, &s);
    assert_true(s.held);
    queue_posts(&f->q, 10, 1);
    (void)poll(NULL, 0, 500);
    assert_int_equal(number(f, all_records), 10);
    capture_hold(f->c, false);
    all_captured(f);
}

static void a_record_taken_away_is_a_gap(void **state)
{
    struct fixture *f = *state;
    start_capture(f);
    queue_posts(&f->q, 10, 1);
    wait_for(f, all_records, 10);
    capture_hold(f->c, true);
    queue_posts(&f->q, 10, 1);
    queue_take_away(&f->q, 15);
    capture_hold(f->c, false);
    wait_for(f, all_records, 19);
    assert_int_equal(number(f, open_incidents), 1);
    assert_int_equal(number(f, "SELECT first FROM incident WHERE kind = 'gap'"), 15);
    assert_int_equal(number(f, "SELECT last FROM incident WHERE kind = 'gap'"), 15);
    wait_for(f, "SELECT count(*) FROM incident WHERE answer = 'the store does not hold it'", 1);
}

/* As `holdfast incident retry` does. */
static void a_record_put_back_is_read_again(void **state)
{
    struct fixture *f = *state;
    struct capture_state s;
    start_capture(f);
    queue_posts(&f->q, 10, 1);
    wait_for(f, all_records, 10);
    capture_hold(f->c, true);
    queue_posts(&f->q, 10, 1);
    do_sql(f->q.url, "CREATE TABLE aside AS SELECT * FROM record WHERE pos = 15;"
                     "DELETE FROM record WHERE pos = 15");
    capture_hold(f->c, false);
    wait_for(f, "SELECT count(*) FROM incident WHERE answer IS NOT NULL", 1);
    do_sql(f->q.url, "INSERT INTO record SELECT * FROM aside");
    do_sql(f->url, "UPDATE incident SET asked_us = 0, answer = NULL");
    wait_for(f, all_records, 20);
    wait_for(f, "SELECT count(*) FROM incident WHERE closed_us IS NOT NULL", 1);
    queue_posts(&f->q, 5, 1);
    wait_for(f, all_records, 25);
    assert_int_equal(number(f, open_incidents), 0);
    capture_state(f->c, &s);
    assert_true(s.duplicates > 0);
    assert_int_equal(s.read_to, 26); /* what is read again counts for nothing new */
}

static void move(const char *from, const char *to)
{
    assert_int_equal(rename(from, to), 0);
}

static void remove_beside(const char *file, const char *end)
{
    char path[600];
    (void)snprintf(path, sizeof path, "%s%s", file, end);
    (void)unlink(path);
}

static void the_right_log_comes_back(void **state)
{
    struct fixture *f = *state;
    char kept[600];
    const char *file = f->q.url + strlen("sqlite:");
    (void)snprintf(kept, sizeof kept, "%s.kept", file);
    start_capture(f);
    queue_posts(&f->q, 20, 1);
    wait_for(f, all_records, 20);
    stop_capture(f);
    store_close(f->q.store);
    f->q.store = NULL;
    move(file, kept);
    queue_recreate(&f->q, 30);
    start_capture(f);
    wait_for(f, open_incidents, 1);
    store_close(f->q.store);
    f->q.store = NULL;
    remove_beside(file, "-wal"); /* the other store's, still open in capture */
    remove_beside(file, "-shm");
    move(kept, file);
    do_sql(f->url, "UPDATE incident SET asked_us = 1");
    wait_for(f, "SELECT count(*) FROM incident WHERE closed_us IS NOT NULL", 1);
    queue_posts(&f->q, 5, 1);
    wait_for(f, all_records, 25);
}

static void another_log_stops_the_partition_alone(void **state)
{
    struct fixture *f = *state;
    struct capture_state s;
    start_capture(f);
    queue_posts(&f->q, 20, 1);
    wait_for(f, all_records, 20);
    stop_capture(f);
    queue_recreate(&f->q, 30);
    start_capture(f);
    wait_for_problem(f, "");
    wait_for(f, open_incidents, 1);
    assert_int_equal(number(f, "SELECT part FROM incident WHERE kind = 'log-changed'"), 0);
    (void)poll(NULL, 0, 500);
    assert_int_equal(number(f, all_records), 20);
    capture_state(f->c, &s);
    assert_non_null(strstr(s.problem, "captured before"));
}

static void what_cant_be_read_does_not_stop_the_partition(void **state)
{
    struct fixture *f = *state;
    start_capture(f);
    queue_posts(&f->q, 5, 1);
    queue_garbage(&f->q, SLICE("no record"));
    queue_garbage(&f->q, SLICE(""));
    queue_posts(&f->q, 5, 1);
    wait_for(f, all_records, 12);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'exceptions'"), 2);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 10);
}

static void count_free(struct fixture *f, int first, int n)
{
    for (int i = first; i < first + n; i++) {
        char record[200];
        (void)snprintf(
            record, sizeof record,
            "{\"specversion\":\"1.0\",\"id\":\"%d\",\"source\":\"irc\",\"type\":\"com.x\","
            "\"time\":\"2026-01-01T00:00:00Z\",\"subject\":\"room 0\"}",
            i);
        queue_garbage(&f->q, slice_of(record));
    }
}

/* No number tells that the first ones of the new log were never read. */
static void a_log_that_is_longer_when_it_comes_back_is_another_one(void **state)
{
    struct fixture *f = *state;
    start_capture(f);
    count_free(f, 0, 3);
    wait_for(f, all_records, 3);
    capture_hold(f->c, true);
    queue_broker("drop", f->q.topic, NULL);
    wait_for_problem(f, "");
    queue_broker("topic", f->q.topic, "1");
    count_free(f, 10, 6);
    capture_hold(f->c, false);
    wait_for(f, open_incidents, 1);
    assert_int_equal(number(f, "SELECT part FROM incident WHERE kind = 'log-changed'"), 0);
    assert_int_equal(number(f, all_records), 3);
}

/* As when other brokers stand at the address: nothing of theirs is taken, however long. */
static void another_queue_is_refused_while_running(void **state)
{
    struct fixture *f = *state;
    start_capture(f);
    queue_posts(&f->q, 5, 1);
    wait_for(f, all_records, 5);
    stop_capture(f);
    queue_recreate(&f->q, 9);
    start_capture(f);
    wait_for(f, open_incidents, 1);
    do_sql(f->url, "UPDATE queue SET identity = 'another'; UPDATE incident SET asked_us = 1");
    wait_for_problem(f, "mgccomp was filled from the queue");
    (void)poll(NULL, 0, 2000);
    wait_for_problem(f, "mgccomp was filled from the queue");
    do_sql(f->url, "UPDATE incident SET closed_us = 1");
    (void)poll(NULL, 0, 2000);
    assert_int_equal(number(f, open_incidents), 0);
    assert_int_equal(number(f, all_records), 5);
}

static void two_captures_share_and_take_over(void **state)
{
    struct fixture *f = *state;
    struct fixture second = *f;
    start_capture(f);
    queue_posts(&f->q, 300, 9);
    ok(staging_open(&second.st, f->url, &f->e), &f->e);
    start_capture(&second);
    queue_posts(&f->q, 300, 9);
    wait_for(f, all_records, 600);
    stop_capture(f);
    queue_posts(&f->q, 300, 9);
    all_captured(f);
    stop_capture(&second);
    staging_close(second.st);
}

static void a_database_that_goes_away_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct capture_state s;
    start_capture(f);
    queue_posts(&f->q, 100, 3);
    wait_for(f, all_records, 100);
    postgres("kill");
    queue_posts(&f->q, 100, 3);
    wait_for_problem(f, "");
    capture_state(f->c, &s);
    assert_false(s.staging_reachable);
    postgres("start");
    all_captured(f);
    queue_posts(&f->q, 1, 1);
    all_captured(f);
    wait_until_well(f, 201, &s);
    assert_true(s.staging_reachable);
}

static const char waiting[] = "SELECT count(*) FROM pg_stat_activity WHERE"
                              " datname = current_database() AND wait_event_type = 'Lock'";
static const char elsewhere[] = "SELECT count(*) FROM record WHERE part = 1";

/* The writer of partition 0 stands still: the other one goes on. Then its connection breaks. */
static void the_other_writer_goes_on(void **state)
{
    struct fixture *f = *state;
    OWN(own_db) struct db *db = NULL;
    start_capture(f);
    queue_posts(&f->q, 100, 30);
    all_captured(f);
    const int64_t before = number(f, elsewhere);
    assert_true(before > 0 && before < 100);

    ok(db_open(&db, f->url, 0, &f->e), &f->e);
    ok(db_begin(db, &f->e), &f->e);
    ok(db_run(db, "UPDATE position SET pos = pos WHERE part = 0", DB_NO_ARGS, NULL, &f->e), &f->e);
    queue_posts(&f->q, 100, 30);
    wait_for(f, waiting, 1);
    wait_for(f, elsewhere, 2 * before);
    assert_true(number(f, all_records) < 200);
    ok(db_script(db,
                 "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
                 " datname = current_database() AND wait_event_type = 'Lock'",
                 &f->e),
       &f->e);
    wait_for_problem(f, "");
    db_rollback(db);
    all_captured(f);
    queue_posts(&f->q, 100, 30);
    all_captured(f);
}

static void a_broker_that_dies_is_waited_for(void **state)
{
    struct fixture *f = *state;
    start_capture(f);
    queue_posts(&f->q, 100, 3);
    wait_for(f, all_records, 100);
    queue_broker("kill", NULL, NULL);
    queue_broker("start", NULL, NULL);
    queue_posts(&f->q, 100, 3);
    all_captured(f);
}

#define CASES(fixture)                                                                             \
    CAPTURE(everything_arrives, fixture), CAPTURE(a_restart_neither_loses_nor_doubles, fixture),   \
        CAPTURE(a_held_capture_reads_nothing, fixture),                                            \
        CAPTURE_ONE(another_log_stops_the_partition_alone, fixture)

int main(int argc, char **argv)
{
    (void)argc;
    static struct fixture embedded;
    static struct fixture services = {.services = true};
    if (!capture_parts(argv[0]))
        return 2;
    const struct CMUnitTest on_embedded[] = {CASES(&embedded),
                                             CAPTURE(a_record_put_back_is_read_again, &embedded),
                                             CAPTURE(the_right_log_comes_back, &embedded),
                                             CAPTURE(a_record_taken_away_is_a_gap, &embedded)};
    const struct CMUnitTest on_services[] = {
        CASES(&services),
        CAPTURE_ONE(what_cant_be_read_does_not_stop_the_partition, &services),
        CAPTURE_ONE(a_log_that_is_longer_when_it_comes_back_is_another_one, &services),
        CAPTURE_ONE(another_queue_is_refused_while_running, &services),
        CAPTURE(two_captures_share_and_take_over, &services),
        CAPTURE(a_database_that_goes_away_is_waited_for, &services),
        CAPTURE(the_other_writer_goes_on, &services),
        CAPTURE(a_broker_that_dies_is_waited_for, &services)};
    int failed = cmocka_run_group_tests_name("embedded", on_embedded, NULL, NULL);
    failed += cmocka_run_group_tests_name("services", on_services, NULL, NULL);
    return failed ? 1 : 0;
}
