/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The archiver over a longer time, with real workers: set-ups that change between two starts,
 * adapters retired at work, a lease that another takes, a scratch folder that is of no use, modules
 * that say they found what is not there.
 */
#include "base/own.h"
#include "tests/unit/adapters/host/rig.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void can_not_start(struct rig *r, const char *why)
{
    struct archiver_options o = rig_options(r);
    struct err e = {0};
    assert_int_equal(archiver_start(&r->archiver, &o, &e), ERR_CONFIG);
    assert_null(r->archiver);
    if (!strstr(e.text, why))
        fail_msg("\"%s\" is not in: %s", why, e.text);
}

/* ---- set-ups ---- */

static void what_is_written_may_change_between_two_starts(void **state)
{
    struct rig *r = *state;
    rig_conf(r, "[adapter a]\nmodule = none-such\n");
    can_not_start(r, "mgc_none-such.so");
    CONF(r, "a", "b");
    rig_start(r);
    rig_posts(r, &r->room, 1);
    rig_await(r, "SELECT count(*) FROM instance WHERE archived = 1", 2);
    rig_stop(r);
    /* A module that reads back now and did not before; and one that is not wanted any more. */
    rig_sql(r, "UPDATE instance SET readback = 1 WHERE name = 'a'");
    ok(ledger_retire(r->st, SLICE("b"), SLICE("moved"), &r->e), &r->e);
    rig_start(r);
    rig_await(r, "SELECT readback FROM instance WHERE name = 'a'", LEDGER_READBACK_FULL);
    rig_posts(r, &r->room, 1);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'a'", 2);
    rig_stop(r);
    /* Whoever has its module no more is stopped and says so; the next start is refused. */
    rig_conf(r, "[adapter a]\nmodule = none-such\n");
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM instance WHERE name = 'a' AND state = 'failed'", 1);
    assert_non_null(strstr(rig_instance(r, "a").last_error, "mgc_none-such.so"));
    rig_stop(r);
    can_not_start(r, "mgc_none-such.so");
    CONF(r, "a", "b");
    rig_start(r);
    rig_posts(r, &r->room, 1);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'a'", 3);
    rig_assert_output(r, "a", 3, 0);
    rig_assert_output(r, "b", 1, 0);
}

static bool there(struct rig *r, const char *path)
{
    char whole[600];
    (void)snprintf(whole, sizeof whole, "%s/%s", r->dir, path);
    return access(whole, F_OK) == 0;
}

/* Its worker hangs; nobody waits for the deadline. */
static void one_that_is_retired_at_work_is_let_go(void **state)
{
    struct rig *r = *state;
    rig_conf(r, "[adapter a]\nmodule = plain\ndirectory = %/a\nmode = %/a.mode\ndeadline = 10m\n"
                "[adapter b]\nmodule = plain\ndirectory = %/b\n");
    rig_mode(r, "a", "hang");
    rig_posts(r, &r->room, 2);
    rig_start(r);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'b'", 2);
    rig_await(r, "SELECT count(*) FROM batch WHERE attempts = 1", 2);
    assert_true(there(r, "scratch/a"));
    ok(ledger_retire(r->st, SLICE("a"), SLICE("moved"), &r->e), &r->e);
    for (int i = 0; i < 3000 && there(r, "scratch/a"); i++)
        (void)poll(NULL, 0, 20);
    assert_false(there(r, "scratch/a"));
    rig_posts(r, &r->room, 2);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'b'", 4);
    assert_int_equal(rig_instance(r, "a").failures, 0);
}

/* ---- the scratch folder ---- */

static void start_with(struct rig *r, const char *scratch)
{
    struct archiver_options o = rig_options(r);
    o.scratch_dir = scratch;
    rig_drain(r);
    ok(archiver_start(&r->archiver, &o, &r->e), &r->e);
}

static void await_trouble(struct rig *r, const char *pattern)
{
    char sql[300];
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM instance WHERE last_error LIKE '%s'",
                   pattern);
    rig_await(r, sql, 1);
}

/* Before a batch is cut, and when one is open. */
static void a_scratch_folder_with_too_long_a_name(void **state)
{
    static char folder[PATH_MAX];
    struct rig *r = *state;
    CONF(r, "a");
    memset(folder, 'f', sizeof folder - 2);
    folder[0] = '/';
    rig_posts(r, &r->room, 2);
    start_with(r, folder);
    await_trouble(r, "the scratch folder has too long a name");
    assert_int_equal(rig_number(r, "SELECT count(*) FROM batch"), 0);
    rig_stop(r);
    rig_mode(r, "a", "retry");
    rig_start(r);
    await_trouble(r, "451%");
    rig_stop(r);
    start_with(r, folder);
    await_trouble(r, "the scratch folder has too long a name");
    rig_stop(r);
    rig_mode(r, "a", "");
    rig_start(r);
    rig_await(r, "SELECT archived FROM instance", 2);
    rig_assert_output(r, "a", 2, 0);
}

/* Said once, and not at each try. */
static void something_in_the_place_of_the_spool(void **state)
{
    struct rig *r = *state;
    char path[600];
    CONF(r, "a");
    (void)rig_options(r); /* makes the folder */
    (void)snprintf(path, sizeof path, "%s/scratch/a.spool", r->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    rig_posts(r, &r->room, 2);
    rig_start(r);
    await_trouble(r, "%create %a.spool: File exists%");
    (void)poll(NULL, 0, 2500);
    assert_int_equal(rig_instance(r, "a").failures, 1);
    assert_int_equal(rmdir(path), 0);
    rig_await(r, "SELECT archived FROM instance", 2);
    rig_assert_output(r, "a", 2, 0);
}

/* ---- modules ---- */

static void what_a_module_found_counts_when_it_settled_it(void **state)
{
    struct rig *r = *state;
    CONF(r, "lies", "sleeps");
    rig_mode(r, "lies", "find-lies");
    rig_mode(r, "sleeps", "find-retry");
    rig_posts(r, &r->room, 3);
    rig_start(r);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'lies'", 3);
    rig_assert_output(r, "lies", 3, 0);
    await_trouble(r, "the archive sleeps");
    assert_int_equal(rig_instance(r, "sleeps").archived, 0);
    rig_mode(r, "sleeps", "");
    rig_await(r, "SELECT archived FROM instance WHERE name = 'sleeps'", 3);
    rig_assert_output(r, "sleeps", 3, 0);
}

/* ---- the lease ---- */

/* By an archiver on another machine, which soon says nothing more. */
static void take_the_lease(struct rig *r, int seconds)
{
    char sql[300];
    (void)snprintf(sql, sizeof sql,
                   "UPDATE lease SET holder = 'another', process = 'elsewhere', term = term + 1,"
                   " until_us = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
                   " + %d000000",
                   seconds);
    rig_sql(r, sql);
}

static void who_lost_the_lease_stands_by_until_it_ends(void **state)
{
    struct rig *r = *state;
    CONF(r, "a", "b");
    rig_mode(r, "b", "hang");
    rig_posts(r, &r->room, 1);
    rig_start(r);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'a'", 1);
    rig_await(r, "SELECT count(*) FROM batch WHERE attempts = 1", 2);
    take_the_lease(r, 4);
    rig_mode(r, "b", "");
    rig_posts(r, &r->room, 2);
    for (int i = 0; i < 500 && there(r, "scratch/b"); i++)
        (void)poll(NULL, 0, 20);
    assert_false(there(r, "scratch/b")); /* its worker is gone */
    assert_int_equal(rig_number(r, "SELECT count(*) FROM lease WHERE process = 'elsewhere'"), 1);
    assert_int_equal(rig_number(r, "SELECT CAST(sum(archived) AS BIGINT) FROM instance"), 1);
    rig_await(r, "SELECT count(*) FROM instance WHERE archived = 3", 2);
    rig_assert_output(r, "a", 3, 0);
    rig_assert_output(r, "b", 3, 0);
    assert_int_equal(rig_number(r, "SELECT CAST(sum(failures) AS BIGINT) FROM instance"), 0);
}

/* With nothing to do it is the renewal that tells. */
static void an_idle_one_notices_too(void **state)
{
    struct rig *r = *state;
    CONF(r, "a");
    rig_start(r);
    rig_posts(r, &r->room, 1);
    rig_await(r, "SELECT archived FROM instance", 1);
    ok(ledger_pause(r->st, SLICE("a"), SLICE("a test"), &r->e), &r->e);
    rig_await(r, "SELECT count(*) FROM instance WHERE state = 'paused'", 1);
    (void)poll(NULL, 0, 1000); /* seen: it cuts no more */
    take_the_lease(r, 5);
    rig_await(r, "SELECT count(*) FROM lease WHERE process <> 'elsewhere'", 1);
    ok(ledger_resume(r->st, SLICE("a"), &r->e), &r->e);
    rig_posts(r, &r->room, 1);
    rig_await(r, "SELECT archived FROM instance", 2);
    rig_assert_output(r, "a", 2, 0);
}

int main(int argc, char **argv)
{
    static struct rig sqlite;
    static struct rig pg;
    int code = rig_begin(argc, argv, &pg);
    if (code >= 0)
        return code;
    const struct CMUnitTest on_sqlite[] = {
        RIG(&sqlite, what_is_written_may_change_between_two_starts),
        RIG(&sqlite, one_that_is_retired_at_work_is_let_go),
        RIG(&sqlite, a_scratch_folder_with_too_long_a_name),
        RIG(&sqlite, something_in_the_place_of_the_spool),
        RIG(&sqlite, what_a_module_found_counts_when_it_settled_it),
    };
    const struct CMUnitTest on_postgres[] = {
        RIG(&pg, who_lost_the_lease_stands_by_until_it_ends),
        RIG(&pg, an_idle_one_notices_too),
    };
    int failed = cmocka_run_group_tests_name("SQLite", on_sqlite, NULL, NULL);
    failed += cmocka_run_group_tests_name("PostgreSQL", on_postgres, NULL, NULL);
    return failed ? 1 : 0;
}
