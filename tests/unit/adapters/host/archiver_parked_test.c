/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The archiver with real workers of a module that gets nowhere: what is parked and what goes on
 * meanwhile, what a person types, and how much a module may say and leave behind.
 */
#include "adapters/mgc_adapter.h"
#include "base/file.h"
#include "base/own.h"
#include "mgccomp/incident.h"
#include "retention/sweep.h"
#include "tests/unit/adapters/host/rig.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Types `incident retry` for the oldest open one of that kind. */
static void retry(struct rig *r, const char *kind)
{
    char word[24];
    char sql[120];
    (void)snprintf(sql, sizeof sql,
                   "SELECT min(id) FROM incident WHERE closed_us IS NULL AND kind = '%s'", kind);
    (void)snprintf(word, sizeof word, "%lld", (long long)rig_number(r, sql));
    assert_int_equal(TYPE(r, incident_retry_command, word), APP_OK);
}

/* It settles its first record each time, and never gets any further. */
static void settling_the_same_again_is_no_progress(void **state)
{
    struct rig *r = *state;
    CONF(r, "a");
    rig_mode(r, "a", "same-again");
    rig_posts(r, &r->room, 2);
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM batch WHERE state = 'parked'", 1);
    assert_int_equal(rig_number(r, "SELECT attempts FROM batch"), 5);
    assert_int_equal(rig_open_incidents(r), 1);
    rig_mode(r, "a", "");
    retry(r, "parked");
    rig_await(r, "SELECT archived FROM instance", 2);
    assert_int_equal(rig_open_incidents(r), 0);
    rig_assert_output(r, "a", 2, 0);
}

/* Ten batches at most are left to people; each is retried by itself. */
static void it_goes_on_until_ten_are_parked(void **state)
{
    struct rig *r = *state;
    int64_t rows = 0;
    CONF(r, "a");
    rig_mode(r, "a", "rejected");
    rig_start(r);
    for (int i = 1; i <= LEDGER_MAX_PARKED; i++) {
        rig_posts(r, &r->room, 1);
        rig_await(r, "SELECT count(*) FROM batch WHERE state = 'parked'", i);
    }
    rig_mode(r, "a", "");
    rig_posts(r, &r->room, 1);
    retry(r, "parked");
    /* One is delivered, and makes room for the last. */
    rig_await(r, "SELECT archived FROM instance", 2);
    assert_int_equal(rig_open_incidents(r), LEDGER_MAX_PARKED - 1);
    ok(sweep_once(r->st, &rows, &r->e), &r->e);
    assert_int_equal(rows, 2);
    for (int i = 2; i <= LEDGER_MAX_PARKED; i++) {
        retry(r, "parked");
        rig_await(r, "SELECT archived FROM instance", i + 1);
    }
    ok(sweep_once(r->st, &rows, &r->e), &r->e);
    assert_int_equal(rows, LEDGER_MAX_PARKED - 1);
    assert_int_equal(rig_number(r, "SELECT count(*) FROM record"), 0);
    rig_assert_output(r, "a", LEDGER_MAX_PARKED + 1, 0);
}

/* All of them go with the adapter. */
static void a_retired_one_leaves_no_incident(void **state)
{
    struct rig *r = *state;
    CONF(r, "a");
    rig_mode(r, "a", "rejected");
    rig_start(r);
    for (int i = 1; i <= 3; i++) {
        rig_posts(r, &r->room, 1);
        rig_await(r, "SELECT count(*) FROM batch WHERE state = 'parked'", i);
    }
    assert_int_equal(rig_open_incidents(r), 3);
    ok(ledger_retire(r->st, SLICE("a"), SLICE("test"), &r->e), &r->e);
    assert_int_equal(rig_open_incidents(r), 0);
}

/* A receipt is kept for good: a module can't fill the disk with them. */
static void receipts_have_a_limit(void **state)
{
    struct rig *r = *state;
    CONF(r, "a");
    rig_mode(r, "a", "floods");
    rig_posts(r, &r->room, 200);
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM instance WHERE last_error LIKE '%its receipts have over%'",
              1);
    assert_true(rig_number(r, "SELECT CAST(sum(length(receipt)) AS BIGINT) FROM settlement") <
                (20 << 20));
    assert_true(rig_number(r, "SELECT count(*) FROM settlement") > 0);
}

/* What it writes to the log in one attempt. */
static void a_module_that_talks_fills_no_log(void **state)
{
    struct rig *r = *state;
    OWN(own_buf) struct buf log;
    char path[500];
    int lines = 0;
    buf_init(&log, 64 << 20);
    (void)snprintf(path, sizeof path, "%s/log", r->dir);
    CONF(r, "a");
    rig_mode(r, "a", "talks");
    rig_posts(r, &r->room, 1);
    int before = dup(2);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(before >= 0 && fd >= 0 && dup2(fd, 2) == 2);
    rig_start(r);
    rig_await(r, "SELECT archived FROM instance", 1);
    rig_stop(r);
    assert_int_equal(dup2(before, 2), 2);
    (void)close(before);
    (void)close(fd);
    ok(file_read(path, 64 << 20, &log, &r->e), &r->e);
    buf_char(&log, '\0');
    for (const char *p = strstr(log.p, "adapter.says"); p; p = strstr(p + 1, "adapter.says"))
        lines++;
    assert_in_range(lines, 1, 1000);
    assert_non_null(strstr(log.p, "adapter.quiet"));
}

static void copy_module(const struct rig *r, const char *from, const char *to)
{
    OWN(own_buf) struct buf b;
    char path[600];
    struct err e = {0};
    buf_init(&b, 64 << 20);
    (void)snprintf(path, sizeof path, "%s/mgc_%s.so", HOLDFAST_ABI_MODULES, from);
    ok(file_read(path, 64 << 20, &b, &e), &e);
    (void)snprintf(path, sizeof path, "%s/modules/mgc_%s.so", r->dir, to);
    ok(file_replace(path, buf_view(&b), 0700, &e), &e);
}

/* Replaced while the archiver runs by one that reads less back: nothing may go on its word. */
static void a_module_replaced_by_a_lesser_one_is_stopped(void **state)
{
    struct rig *r = *state;
    char modules[500];
    CONF(r, "a");
    struct archiver_options o = rig_options(r);
    (void)snprintf(modules, sizeof modules, "%s/modules", r->dir);
    assert_int_equal(mkdir(modules, 0700), 0);
    copy_module(r, "plain", "plain");
    o.modules_dir = modules;
    rig_drain(r);
    ok(archiver_start(&r->archiver, &o, &r->e), &r->e);
    rig_posts(r, &r->room, 1);
    rig_await(r, "SELECT archived FROM instance", 1);
    copy_module(r, "shallow", "plain");
    rig_posts(r, &r->room, 1);
    rig_await(r, "SELECT count(*) FROM instance WHERE state = 'failed'", 1);
    assert_non_null(strstr(rig_instance(r, "a").last_error, "reads back less"));
    rig_stop(r);
    ok(archiver_start(&r->archiver, &o, &r->e), &r->e);
    rig_await(r, "SELECT archived FROM instance", 2);
    assert_int_equal(rig_instance(r, "a").readback, MGC_READBACK_RECEIPT);
}

int main(int argc, char **argv)
{
    static struct rig sqlite;
    static struct rig pg;
    int code = rig_begin(argc, argv, &pg);
    if (code >= 0)
        return code;
    const struct CMUnitTest tests[] = {
        RIG(&sqlite, settling_the_same_again_is_no_progress),
        RIG(&pg, it_goes_on_until_ten_are_parked),
        RIG(&pg, a_retired_one_leaves_no_incident),
        RIG(&sqlite, receipts_have_a_limit),
        RIG(&sqlite, a_module_that_talks_fills_no_log),
        RIG(&sqlite, a_module_replaced_by_a_lesser_one_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
