/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sweep on SQLite and on a private PostgreSQL: it deletes what is archived and nothing else,
 * keeps the hashes, and a kill in its middle leaves whole steps.
 */
#include "retention/sweep.h"

#include "mgccomp/incident.h"
#include "mgccomp/lease.h"
#include "retention/sweep_hashes.h"
#include "tests/contract/stage.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int set_up(void **state)
{
    struct stage *f = *state;
    (void)stage_set_up(state);
    ok(ledger_add(f->st, SLICE("a"), SLICE("plain"), true, 2, &f->e), &f->e);
    return 0;
}

static void cut_of(struct stage *f, int64_t instance, bool required)
{
    struct ledger_instance i = {.id = instance, .name = "a", .required = required};
    ok(cut(f, &i, &everything), &f->e);
}

/* Everything captured goes through the ledger as verified. */
static void archive_of(struct stage *f, int64_t instance, bool required)
{
    cut_of(f, instance, required);
    archive(f);
}

static int count_record(void *arg, const struct ledger_record *r, struct err *e)
{
    (void)r;
    (void)e;
    ++*(int64_t *)arg;
    return 0;
}

static int64_t count_records(struct stage *f, const struct ledger_batch *b)
{
    OWN(own_db) struct db *db = NULL;
    int64_t n = 0;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(ledger_batch_records(db, b, count_record, &n, &f->e), &f->e);
    return n;
}

static int64_t sweep(struct stage *f)
{
    int64_t rows = -1;
    ok(sweep_once(f->st, &rows, &f->e), &f->e);
    return rows;
}

static void only_what_is_archived_goes(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 5);
    assert_int_equal(sweep(f), 0);
    archive_of(f, 1, true);
    posts(f, &f->room, 2);
    assert_int_equal(sweep(f), 5);
    assert_int_equal(sweep(f), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 2);
    assert_int_equal(number(f, "SELECT min(sequence) FROM record"), 6);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'deleted'"), 5);
    assert_int_equal(number(f, "SELECT records FROM swept"), 5);
}

static void without_read_back_nothing_goes(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 5);
    archive_of(f, 1, true);
    run_sql(f, "UPDATE instance SET readback = 1");
    assert_int_equal(sweep(f), 0);
    run_sql(f, "UPDATE instance SET readback = 2, required = 0");
    assert_int_equal(sweep(f), 0);
    run_sql(f, "UPDATE instance SET required = 1");
    assert_int_equal(sweep(f), 5);
}

static void a_second_instance_holds_what_it_lacks(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 5);
    archive_of(f, 1, true);
    ok(ledger_add(f->st, SLICE("b"), SLICE("plain"), true, 0, &f->e), &f->e);
    assert_int_equal(sweep(f), 0);
    ok(ledger_retire(f->st, SLICE("b"), SLICE("test"), &f->e), &f->e);
    assert_int_equal(sweep(f), 5);
}

static void hashes_of_the_deleted_stay(void **state)
{
    struct stage *f = *state;
    struct slice third;
    for (int i = 0; i < 6; i++) {
        feed_post(&f->feed, &f->room);
        feed_post(&f->feed, &f->other);
    }
    third = f->feed.items[4].raw;
    capture(f);
    archive_of(f, 1, true);
    assert_int_equal(sweep(f), 12);
    assert_int_equal(number(f, "SELECT count(*) FROM deleted WHERE first = 1 AND last = 6"), 2);
    assert_int_equal(number(f, "SELECT length(hashes) FROM deleted WHERE stream = 1"), 192);
    /* A late repeat is told from a fork. */
    feed_put(&f->feed, third);
    capture(f);
    assert_int_equal(f->out.duplicates, 1);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 0);
    run_sql(f, "UPDATE deleted SET deleted_us = 1 WHERE stream = 1");
    ok(sweep_prune(f->st, INT64_C(1000000), &f->e), &f->e);
    assert_int_equal(number(f, "SELECT count(*) FROM deleted"), 1);
}

static void open_incident(struct stage *f)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    struct incident i = {.kind = INCIDENT_GAP,
                         .object = SLICE("test"),
                         .stream = 2,
                         .source = SLICE("sip:pool.example.test"),
                         .subject = SLICE("ma-chan://example.test/two"),
                         .part = -1,
                         .opened_us = 1,
                         .detail = SLICE("test")};
    bool opened = false;
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(incident_open(&t, &i, &opened, &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
    assert_true(opened);
}

static void close_incident(struct stage *f)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(incident_close(&t, INCIDENT_GAP, SLICE("test"), "test", &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
}

static void an_incident_keeps_its_room_and_lets_others_go(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 3);
    posts(f, &f->other, 2);
    posts(f, &f->room, 3);
    posts(f, &f->other, 1);
    archive_of(f, 1, true);
    open_incident(f);
    assert_int_equal(sweep(f), 6);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM kept WHERE stream = 2"), 3);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 3);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'deleted'"), 6);
    assert_int_equal(number(f, "SELECT count(*) FROM deleted WHERE stream = 2"), 0);
    assert_int_equal(sweep(f), 0);
    close_incident(f);
    assert_int_equal(sweep(f), 3);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 0);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'deleted'"), 9);
    assert_int_equal(number(f, "SELECT last FROM deleted WHERE stream = 2 AND first = 1"), 3);
    assert_int_equal(number(f, "SELECT records FROM swept WHERE stream = 2"), 3);
}

/* A whole source's, a partition's, and a backlog, which shuts nothing. */
static void an_incident_without_a_room_keeps_more(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 3);
    posts(f, &f->other, 1);
    archive_of(f, 1, true);
    open_incident(f);
    run_sql(f, "UPDATE incident SET stream = NULL, source = 'sip:elsewhere'");
    assert_int_equal(sweep(f), 4);
    run_sql(f, "UPDATE incident SET source = 'sip:pool.example.test'");
    posts(f, &f->room, 2);
    archive_of(f, 1, true);
    assert_int_equal(sweep(f), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 2);
    run_sql(f, "UPDATE incident SET source = NULL, part = 0");
    feed_put(&f->feed, SLICE("{\"broken\":"));
    capture(f);
    archive_of(f, 1, true);
    assert_int_equal(sweep(f), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 3);
    run_sql(f, "UPDATE incident SET kind = 'backlog' WHERE kind = 'gap'");
    run_sql(f, "UPDATE incident SET closed_us = 1 WHERE kind = 'unreadable'");
    assert_int_equal(sweep(f), 3);
}

/* Kept rows are known to capture, and a gap's last record sends them to the gate. */
static void a_late_record_frees_its_room(void **state)
{
    struct stage *f = *state;
    struct slice raw[5];
    for (int i = 0; i < 5; i++)
        raw[i] = feed_make(&f->feed, &f->room, RECORD_POST,
                           "\"participant\":\"sip:a@x\",\"text\":\"t\"");
    feed_put(&f->feed, raw[0]);
    feed_put(&f->feed, raw[3]);
    feed_put(&f->feed, raw[4]);
    capture(f);
    archive_of(f, 1, true);
    assert_int_equal(sweep(f), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 3);
    feed_put(&f->feed, raw[3]);
    feed_put(&f->feed, raw[1]);
    feed_put(&f->feed, raw[2]);
    capture(f);
    assert_int_equal(f->out.duplicates, 1);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE closed_us IS NULL"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE kind <> 'gap'"), 0);
    assert_int_equal(sweep(f), 3);
    archive_of(f, 1, true);
    assert_int_equal(sweep(f), 2);
}

/* b begins with what was kept, and the low water waits for it. */
static void a_new_instance_gets_what_was_kept(void **state)
{
    struct stage *f = *state;
    posts(f, &f->other, 1);
    posts(f, &f->room, 1);
    posts(f, &f->other, 2);
    archive_of(f, 1, true);
    open_incident(f);
    run_sql(f, "UPDATE incident SET stream = 1");
    assert_int_equal(sweep(f), 1);
    ok(ledger_add(f->st, SLICE("b"), SLICE("plain"), true, 0, &f->e), &f->e);
    close_incident(f);
    assert_int_equal(sweep(f), 0);
    archive_of(f, 2, true);
    assert_int_equal(f->batch.records, 3);
    assert_int_equal(sweep(f), 3);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 0);
}

static void what_an_optional_instance_misses_is_counted(void **state)
{
    struct stage *f = *state;
    ok(ledger_add(f->st, SLICE("b"), SLICE("plain"), false, 2, &f->e), &f->e);
    posts(f, &f->room, 4);
    archive_of(f, 1, true);
    assert_int_equal(sweep(f), 4);
    assert_int_equal(number(f, "SELECT missed FROM instance WHERE name = 'b'"), 4);
    assert_int_equal(number(f, "SELECT missed FROM instance WHERE name = 'a'"), 0);
    /* What it has in hand stays for it, and nothing else waits. */
    posts(f, &f->room, 3);
    cut_of(f, 2, false);
    struct ledger_batch hand = f->batch;
    posts(f, &f->other, 2);
    archive_of(f, 1, true);
    assert_int_equal(sweep(f), 2);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 3);
    assert_int_equal(number(f, "SELECT missed FROM instance WHERE name = 'b'"), 6);
    assert_int_equal(count_records(f, &hand), 3);
    deliver(f, &hand);
    assert_int_equal(sweep(f), 3);
    assert_int_equal(number(f, "SELECT missed FROM instance WHERE name = 'b'"), 6);
    assert_int_equal(number(f, "SELECT archived FROM instance WHERE name = 'b'"), 3);
}

static void a_retired_optional_instance_lets_go(void **state)
{
    struct stage *f = *state;
    ok(ledger_add(f->st, SLICE("b"), SLICE("plain"), false, 2, &f->e), &f->e);
    posts(f, &f->room, 4);
    cut_of(f, 2, false);
    archive_of(f, 1, true);
    assert_int_equal(sweep(f), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 4);
    ok(ledger_retire(f->st, SLICE("b"), SLICE("test"), &f->e), &f->e);
    assert_int_equal(sweep(f), 4);
}

/* A module that learns to read back has not read back what it verified before. */
static void full_read_back_counts_from_its_beginning(void **state)
{
    struct stage *f = *state;
    run_sql(f, "UPDATE instance SET readback = 1");
    posts(f, &f->room, 2);
    archive_of(f, 1, true);
    ok(ledger_instance_readback(f->st, 1, 2, &f->e), &f->e);
    assert_int_equal(sweep(f), 0);
    posts(f, &f->room, 2);
    archive_of(f, 1, true);
    assert_int_equal(sweep(f), 0);
    ok(ledger_add(f->st, SLICE("b"), SLICE("plain"), true, 2, &f->e), &f->e);
    archive_of(f, 2, true);
    assert_int_equal(sweep(f), 4);
}

static void who_left_is_forgotten_with_the_leave(void **state)
{
    struct stage *f = *state;
#define WHO(name) "\"participant\":\"sip:" name "@x.test\",\"endpoint\":\"e\",\"name\":\"" name "\""
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN, WHO("ann")));
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN, WHO("bob")));
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_LEAVE, WHO("ann")));
    capture(f);
    archive_of(f, 1, true);
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_LEAVE, WHO("bob")));
    capture(f);
    assert_int_equal(number(f, "SELECT count(*) FROM presence"), 2);
    assert_int_equal(sweep(f), 3);
    assert_int_equal(number(f, "SELECT count(*) FROM presence"), 1);
    archive_of(f, 1, true);
    assert_int_equal(sweep(f), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM presence"), 0);
}

static void steps_add_up(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 25000);
    archive_of(f, 1, true);
    assert_int_equal(sweep(f), 25000);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 0);
    assert_int_equal(number(f, "SELECT CAST(sum(last - first + 1) AS BIGINT) FROM deleted"), 25000);
}

static void a_kill_leaves_whole_steps(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 30000);
    archive_of(f, 1, true);
    stage_close(f);
    for (int ms = 5; ms <= 125; ms += 40) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct staging *st = NULL;
            int64_t rows = 0;
            if (staging_open(&st, f->url, NULL) == 0 && lease_take(st, LEASE_MS, NULL) == 0)
                (void)sweep_once(st, &rows, NULL);
            _exit(0);
        }
        (void)poll(NULL, 0, ms); /* the moment of the kill is the input here */
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    stage_open(f);
    /* The server may still be at the dead client's last step: wait for its gate. */
    run_sql(f, "UPDATE gate SET version = version + 1");
    int64_t left = number(f, "SELECT count(*) FROM record");
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'deleted'"), 30000 - left);
    assert_int_equal(number(f, "SELECT CAST(COALESCE(sum(last - first + 1), 0) AS BIGINT)"
                               " FROM deleted"),
                     30000 - left);
    assert_int_equal(sweep(f), left);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, stage_tear_down)

int main(void)
{
    static struct stage sqlite;
    static struct stage pg;
    const struct CMUnitTest cases[] = {
        CASE(only_what_is_archived_goes),
        CASE(without_read_back_nothing_goes),
        CASE(a_second_instance_holds_what_it_lacks),
        CASE(hashes_of_the_deleted_stay),
        CASE(an_incident_keeps_its_room_and_lets_others_go),
        CASE(an_incident_without_a_room_keeps_more),
        CASE(a_late_record_frees_its_room),
        CASE(a_new_instance_gets_what_was_kept),
        CASE(what_an_optional_instance_misses_is_counted),
        CASE(a_retired_optional_instance_lets_go),
        CASE(full_read_back_counts_from_its_beginning),
        CASE(who_left_is_forgotten_with_the_leave),
        CASE(steps_add_up),
        CASE(a_kill_leaves_whole_steps),
    };
    return stage_main(cases, sizeof cases / sizeof cases[0], &sqlite, &pg);
}
