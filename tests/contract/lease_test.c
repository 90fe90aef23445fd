/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The archiver's lease on a private PostgreSQL: one holder at a time, taken over when it lapses, is
 * given back, or its process is gone; nothing of a former holder commits. On SQLite it is always
 * held. A handle that is not used stands for a frozen process.
 */
#include "mgccomp/lease.h"

#include "base/clock.h"
#include "base/own.h"
#include "base/process.h"
#include "tests/contract/feed.h"
#include "tests/expect.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHORT_MS = 300 };

static const char *scratch;
static const char *postgres;

struct fixture {
    char url[600];
    struct staging *a, *b;
    struct err e;
};

static int set_up(void **state)
{
    static struct fixture f;
    *state = &f;
    f.e = (struct err){0};
    (void)snprintf(f.url, sizeof f.url, "%s", feed_database(postgres, scratch));
    ok(staging_open(&f.a, f.url, &f.e), &f.e);
    ok(staging_open(&f.b, f.url, &f.e), &f.e);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    staging_close(f->a);
    staging_close(f->b);
    return 0;
}

/* Tries until it is taken; when that was. */
static int64_t await_lease(struct fixture *f, struct staging *st, int64_t ms)
{
    int64_t end = clock_mono_ms() + 20000;
    int rc = lease_take(st, ms, &f->e);
    while (rc == ERR_CONFLICT && clock_mono_ms() < end) {
        (void)poll(NULL, 0, 10);
        rc = lease_take(st, ms, &f->e);
    }
    ok(rc, &f->e);
    return clock_mono_ms();
}

static int count(struct staging *st, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = lease_begin(st, &t, e);
    if (rc == 0)
        rc = staging_tally(&t, SLICE("captured"), 1, e);
    return rc == 0 ? staging_commit(&t, e) : rc;
}

static int64_t counted(struct fixture *f)
{
    OWN(own_db) struct db *db = NULL;
    int64_t n = -1;
    ok(staging_reader(f->b, &db, &f->e), &f->e);
    ok(staging_tally_get(db, SLICE("captured"), &n, &f->e), &f->e);
    return n;
}

static void one_holds_it_at_a_time(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(count(f->a, &f->e), ERR_STOPPED);
    ok(lease_take(f->a, LEASE_MS, &f->e), &f->e);
    ok(count(f->a, &f->e), &f->e);
    assert_int_equal(lease_take(f->b, LEASE_MS, &f->e), ERR_CONFLICT);
    assert_non_null(strstr(f->e.text, "leads"));
    assert_int_equal(count(f->b, &f->e), ERR_STOPPED);
    assert_int_equal(lease_until_ms(f->b), 0);
    ok(count(f->a, &f->e), &f->e);
    assert_int_equal(counted(f), 2);
    lease_give(f->a);
    assert_int_equal(count(f->a, &f->e), ERR_STOPPED);
    ok(lease_take(f->b, LEASE_MS, &f->e), &f->e);
    ok(count(f->b, &f->e), &f->e);
    /* Its holder may take it again at any time. */
    ok(lease_take(f->b, LEASE_MS, &f->e), &f->e);
    ok(count(f->b, &f->e), &f->e);
    assert_int_equal(counted(f), 4);
}

static void every_commit_renews_it(void **state)
{
    struct fixture *f = *state;
    ok(lease_take(f->a, 2000, &f->e), &f->e);
    int64_t end = clock_mono_ms() + 3000;
    while (clock_mono_ms() < end) {
        ok(count(f->a, &f->e), &f->e);
        int64_t left = lease_until_ms(f->a) - clock_mono_ms();
        assert_true(left > 0 && left <= 2000);
        assert_int_equal(lease_take(f->b, LEASE_MS, &f->e), ERR_CONFLICT);
        (void)poll(NULL, 0, 50);
    }
}

static void a_lapsed_one_is_taken_over_and_its_holder_stopped(void **state)
{
    struct fixture *f = *state;
    ok(lease_take(f->a, SHORT_MS, &f->e), &f->e);
    int64_t until = lease_until_ms(f->a);
    assert_true(await_lease(f, f->b, LEASE_MS) >= until);
    assert_int_equal(count(f->a, &f->e), ERR_STOPPED);
    assert_int_equal(lease_renew(f->a, &f->e), ERR_STOPPED);
    lease_give(f->a);
    ok(count(f->b, &f->e), &f->e);
    assert_int_equal(counted(f), 1);
}

/* Its clock says that there is time left: only the row can tell. */
static void the_row_decides_and_not_the_holders_clock(void **state)
{
    struct fixture *f = *state;
    ok(lease_take(f->a, SHORT_MS, &f->e), &f->e);
    (void)await_lease(f, f->b, LEASE_MS);
    atomic_store(&staging_lease(f->a)->until_ms, clock_mono_ms() + 60000);
    assert_int_equal(count(f->a, &f->e), ERR_STOPPED);
    assert_int_equal(lease_until_ms(f->a), 0);
    assert_int_equal(counted(f), 0);
}

static void one_frozen_within_a_transaction_is_cut_off(void **state)
{
    struct fixture *f = *state;
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(lease_take(f->a, SHORT_MS, &f->e), &f->e);
    ok(lease_begin(f->a, &t, &f->e), &f->e);
    ok(staging_tally(&t, SLICE("captured"), 1, &f->e), &f->e);
    (void)await_lease(f, f->b, LEASE_MS);
    ok(count(f->b, &f->e), &f->e);
    assert_true(staging_commit(&t, &f->e) < 0);
    assert_int_equal(count(f->a, &f->e), ERR_STOPPED);
    assert_int_equal(counted(f), 1);
}

static void take_and_die(const struct fixture *f)
{
    struct staging *st = NULL;
    if (staging_open(&st, f->url, NULL) < 0 || lease_take(st, 60000, NULL) < 0)
        _exit(1);
    (void)raise(SIGKILL);
}

/* Without waiting for the lease's end. */
static void a_process_that_is_gone_leads_no_more(void **state)
{
    struct fixture *f = *state;
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        take_and_die(f);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    ok(lease_take(f->b, LEASE_MS, &f->e), &f->e);
}

/* As seen by others, while it lasts. */
static void a_transaction_begins_with_most_of_the_lease(void **state)
{
    struct fixture *f = *state;
    OWN(own_db) struct db *db = NULL;
    OWN(own_staging_txn) struct staging_txn t = {0};
    struct lease_seen seen;
    ok(staging_reader(f->b, &db, &f->e), &f->e);
    ok(lease_take(f->a, LEASE_MS, &f->e), &f->e);
    /* Most of it has passed. */
    staging_lease(f->a)->until_ms -= LEASE_MS / 2;
    ok(staging_begin(f->b, &t, &f->e), &f->e);
    ok(db_run(t.db, "UPDATE lease SET until_us = until_us - 5000000", DB_NO_ARGS, NULL, &f->e),
       &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
    ok(lease_begin(f->a, &t, &f->e), &f->e);
    ok(lease_look(db, &seen, &f->e), &f->e);
    assert_true(seen.until_us - seen.now > LEASE_MS * INT64_C(700));
}

/* By an hour: nobody waits for that to pass, and the former holder commits nothing. */
static void a_clock_that_was_set_back_keeps_nobody_waiting(void **state)
{
    struct fixture *f = *state;
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(lease_take(f->a, LEASE_MS, &f->e), &f->e);
    ok(staging_begin(f->b, &t, &f->e), &f->e);
    ok(db_run(t.db, "UPDATE lease SET until_us = until_us + 3600000000", DB_NO_ARGS, NULL, &f->e),
       &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
    ok(lease_take(f->b, LEASE_MS, &f->e), &f->e);
    assert_int_equal(count(f->a, &f->e), ERR_STOPPED);
    ok(count(f->b, &f->e), &f->e);
    assert_int_equal(lease_take(f->a, LEASE_MS, &f->e), ERR_CONFLICT);
}

static void what_is_seen_of_it(void **state)
{
    struct fixture *f = *state;
    OWN(own_db) struct db *db = NULL;
    struct lease_seen seen;
    char mine[40];
    (void)snprintf(mine, sizeof mine, "process %ld", (long)getpid());
    ok(staging_reader(f->b, &db, &f->e), &f->e);
    ok(lease_look(db, &seen, &f->e), &f->e);
    assert_string_equal(seen.holder, "");
    ok(lease_take(f->a, LEASE_MS, &f->e), &f->e);
    ok(lease_look(db, &seen, &f->e), &f->e);
    assert_non_null(strstr(seen.holder, mine));
    assert_true(seen.since_us <= seen.now && seen.until_us > seen.now);
    lease_give(f->a);
    ok(lease_look(db, &seen, &f->e), &f->e);
    assert_int_equal(seen.until_us, 0);
}

static void sqlite_has_one_process_which_leads(void **state)
{
    struct staging *st = NULL;
    struct err e = {0};
    (void)state;
    ok(staging_open(&st, feed_database(NULL, scratch), &e), &e);
    assert_true(lease_until_ms(st) == INT64_MAX);
    ok(count(st, &e), &e);
    ok(lease_take(st, LEASE_MS, &e), &e);
    ok(lease_renew(st, &e), &e);
    lease_give(st);
    ok(count(st, &e), &e);
    staging_close(st);
}

/* A name with one word changed is another process, or one of which nothing is known. */
static void names_tell_processes_apart(void **state)
{
    char name[PROCESS_NAME_SIZE];
    char other[PROCESS_NAME_SIZE];
    char boot[40];
    char space[40];
    long pid;
    unsigned long long start;
    (void)state;
    process_name(name);
    assert_int_equal(sscanf(name, "%39s %39s %ld %llu", boot, space, &pid, &start), 4);
    assert_false(process_gone(name));
    assert_false(process_gone(""));
    (void)snprintf(other, sizeof other, "%s %s %ld %llu", boot, space, pid, start + 1);
    assert_true(process_gone(other));
    (void)snprintf(other, sizeof other, "%s %s %d %llu", boot, space, 0x3fffff, start);
    assert_true(process_gone(other));
    boot[0] = boot[0] == 'a' ? 'b' : 'a';
    (void)snprintf(other, sizeof other, "%s %s %d %llu", boot, space, 0x3fffff, start);
    assert_false(process_gone(other));
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    postgres = getenv("HOLDFAST_TEST_POSTGRES");
    if (!scratch || !postgres) {
        (void)fprintf(stderr, "run me through tests/parts/with postgres -- lease_test\n");
        return 2;
    }
    const struct CMUnitTest tests[] = {
        CASE(one_holds_it_at_a_time),
        CASE(every_commit_renews_it),
        CASE(a_lapsed_one_is_taken_over_and_its_holder_stopped),
        CASE(the_row_decides_and_not_the_holders_clock),
        CASE(one_frozen_within_a_transaction_is_cut_off),
        CASE(a_process_that_is_gone_leads_no_more),
        CASE(a_transaction_begins_with_most_of_the_lease),
        CASE(a_clock_that_was_set_back_keeps_nobody_waiting),
        CASE(what_is_seen_of_it),
        cmocka_unit_test(sqlite_has_one_process_which_leads),
        cmocka_unit_test(names_tell_processes_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
