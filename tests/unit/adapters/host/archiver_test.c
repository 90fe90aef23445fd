/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The archiver with real workers and modules: from captured records to an emptied staging database,
 * and what becomes of a batch whose module crashes, hangs, lies, or is killed at any moment.
 */
#include "base/clock.h"
#include "base/own.h"
#include "mgccomp/incident.h"
#include "retention/sweep.h"
#include "tests/unit/adapters/host/rig.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void records_are_delivered_read_back_and_deleted(void **state)
{
    struct rig *r = *state;
    struct sweep *sweep = NULL;
    CONF(r, "a");
    rig_start(r);
    const struct sweep_options o = {.staging = r->st, .archived = &r->archived};
    ok(sweep_start(&sweep, &o, &r->e), &r->e);
    rig_posts(r, &r->room, 7);
    rig_posts(r, &r->other, 5);
    rig_posts(r, &r->room, 3);
    rig_await(r, "SELECT archived FROM instance", 15);
    rig_await(r, "SELECT count(*) FROM record", 0);
    sweep_stop(sweep);
    rig_assert_output(r, "a", 10, 5);
    assert_int_equal(rig_number(r, "SELECT value FROM tally WHERE name = 'deleted'"), 15);
    assert_int_equal(rig_number(r, "SELECT count(*) FROM batch WHERE attempts <> 1"), 0);
    assert_int_equal(rig_number(r, "SELECT count(*) FROM incident"), 0);
}

#define WHO(name) "\"participant\":\"sip:" name "@x.test\",\"endpoint\":\"e\",\"name\":\"" name "\""

/* What can't be read is delivered too, behind the rooms; a second batch knows who was there. */
static void exceptions_and_rosters_reach_the_module(void **state)
{
    struct rig *r = *state;
    CONF(r, "a");
    rig_start(r);
    feed_put(&r->feed, feed_make(&r->feed, &r->room, RECORD_JOIN, WHO("ann")));
    feed_put(&r->feed, feed_make(&r->feed, &r->room, RECORD_JOIN, WHO("bob")));
    feed_put(&r->feed, SLICE("{\"broken\":"));
    rig_posts(r, &r->other, 1);
    rig_await(r, "SELECT archived FROM instance", 4);
    rig_posts(r, &r->room, 1);
    rig_await(r, "SELECT archived FROM instance", 5);
    const char *text = rig_output(r, "a");
    assert_non_null(strstr(text, "0 ma-chan://x/one#1 kind 1 flags 0 since 0: {"));
    assert_non_null(strstr(text, "1 ma-chan://x/one#2 kind 1 flags 0 since 0: {"));
    assert_non_null(strstr(text, "2 ma-chan://x/two#1 kind 3 flags 0 since 0: {"));
    assert_non_null(strstr(text, "3 -#0 kind 0 flags 4 since 0: {\"broken\":\n"));
    assert_non_null(strstr(text, "0 ma-chan://x/one#3 kind 3 flags 0 since 2: {"));
}

static void a_secret_reaches_the_module_only(void **state)
{
    struct rig *r = *state;
    assert_int_equal(setenv("HOLDFAST_RIG_SECRET", "open sesame", 1), 0);
    rig_conf(r,
             "[adapter a]\nmodule = plain\ndirectory = %/a\npassword = env:HOLDFAST_RIG_SECRET\n");
    rig_start(r);
    rig_posts(r, &r->room, 1);
    rig_await(r, "SELECT archived FROM instance", 1);
    assert_non_null(strstr(rig_output(r, "a"), "secret open sesame\n"));
}

struct misdeed {
    const char *mode, *says;
};
static const struct misdeed misdeeds[] = {
    {"crash", "signal 6"},
    {"exit", "status 3"},
    {"hang", "busy after its deadline"},
    {"deaf", ""},
    {"garbage", "message"},
    {"lie", "did not settle all"},
    {"retry", "451 not \xef\xbf\xbd now"},
    {"fault", "confused"},
    {"nonsense", ""},
    {"impostor", "may not say now"},
    {"later", "greylisted"},
    {"outside", "no such records"},
    {"silent-rejection", "needs a text"},
    {"await-cancel", "cancelled"},
    {"verify-crash", "signal 6"},
};
enum { MISDEEDS = sizeof misdeeds / sizeof misdeeds[0] };

/* Each misdeed is an instance, all at once: none holds another. */
static void misdeeds_are_tried_again(void **state)
{
    struct rig *r = *state;
    OWN(own_buf) struct buf b;
    char sql[200];
    buf_init(&b, 1 << 16);
    rig_plain(&b, "good");
    for (int i = 0; i < MISDEEDS; i++)
        rig_plain(&b, misdeeds[i].mode);
    rig_conf(r, b.p);
    for (int i = 0; i < MISDEEDS; i++)
        rig_mode(r, misdeeds[i].mode, misdeeds[i].mode);
    rig_posts(r, &r->room, 4);
    rig_start(r);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'good'", 4);
    rig_await(r, "SELECT count(*) FROM instance WHERE failures > 0", MISDEEDS);
    for (int i = 0; i < MISDEEDS; i++) {
        struct ledger_instance x = rig_instance(r, misdeeds[i].mode);
        if (!strstr(x.last_error, misdeeds[i].says))
            fail_msg("%s: %s", misdeeds[i].mode, x.last_error);
        assert_string_equal(x.state, "active");
        rig_mode(r, misdeeds[i].mode, "");
    }
    rig_await(r, "SELECT count(*) FROM instance WHERE archived = 4", MISDEEDS + 1);
    for (int i = 0; i < MISDEEDS; i++) {
        rig_assert_output(r, misdeeds[i].mode, 4, 0);
        (void)snprintf(sql, sizeof sql, "SELECT failures FROM instance WHERE name = '%s'",
                       misdeeds[i].mode);
        assert_int_equal(rig_number(r, sql), 0);
    }
}

static void what_is_there_already_is_found(void **state)
{
    struct rig *r = *state;
    struct stat before;
    char path[600];
    char first[400];
    CONF(r, "published", "settled", "half", "twice", "attached");
    rig_mode(r, "attached", "attachments");
    rig_mode(r, "published", "crash-published");
    rig_mode(r, "settled", "crash-settled");
    rig_mode(r, "half", "half");
    rig_mode(r, "twice", "twice");
    rig_posts(r, &r->room, 3);
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM instance WHERE failures > 0 OR archived = 3", 5);
    (void)snprintf(first, sizeof first, "%s", rig_output(r, "published"));
    (void)snprintf(path, sizeof path, "%s/published", r->dir);
    assert_int_equal(stat(path, &before), 0);
    rig_mode(r, "published", "");
    rig_mode(r, "half", "");
    rig_await(r, "SELECT count(*) FROM instance WHERE archived = 3", 5);
    struct stat after;
    assert_int_equal(stat(path, &after), 0);
    /* Nothing was created or renamed in the folder: find settled it. */
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
    assert_true(strncmp(rig_output(r, "published"), first, strlen(first)) == 0);
    rig_assert_output(r, "half", 3, 0);
    rig_assert_output(r, "twice", 3, 0);
    assert_int_equal(rig_number(r, "SELECT max(attempts) FROM batch"), 2);
    /* Settled whole before the crash: read back without a second delivery. */
    assert_int_equal(rig_number(r, "SELECT attempts FROM batch WHERE instance ="
                                   " (SELECT id FROM instance WHERE name = 'settled')"),
                     1);
}

static void a_rejected_batch_is_parked_and_others_go_on(void **state)
{
    struct rig *r = *state;
    int64_t rows = 0;
    CONF(r, "bad", "good");
    rig_mode(r, "bad", "reject");
    rig_posts(r, &r->room, 3);
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM batch WHERE state = 'parked'", 1);
    rig_mode(r, "bad", "");
    rig_posts(r, &r->room, 3);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'good'", 6);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'bad'", 3);
    assert_int_equal(rig_open_incidents(r), 1);
    ok(sweep_once(r->st, &rows, &r->e), &r->e);
    assert_int_equal(rows, 3);
    assert_int_equal(rig_number(r, "SELECT count(*) FROM kept WHERE sequence <= 3"), 3);
    rig_sql(r, "UPDATE batch SET state = 'frozen' WHERE state = 'parked'");
    rig_await(r, "SELECT archived FROM instance WHERE name = 'bad'", 6);
    assert_int_equal(rig_open_incidents(r), 0);
    rig_assert_output(r, "bad", 6, 0);
    ok(sweep_once(r->st, &rows, &r->e), &r->e);
    assert_int_equal(rows, 3);
}

static void damage_found_by_the_read_back_parks(void **state)
{
    struct rig *r = *state;
    char command[700];
    char path[600];
    CONF(r, "a");
    rig_mode(r, "a", "verify-crash");
    rig_posts(r, &r->room, 3);
    rig_start(r);
    rig_await(r, "SELECT CASE WHEN failures > 0 THEN 1 ELSE 0 END FROM instance", 1);
    (void)command;
    (void)snprintf(path, sizeof path, "%s/a", r->dir);
    OWN(own_buf) struct buf b;
    buf_init(&b, 1 << 16);
    /* One flipped byte in the published file. */
    OWN(own_db) struct db *db = NULL;
    OWN(own_db_rows) struct db_rows *rows = NULL;
    ok(staging_reader(r->st, &db, &r->e), &r->e);
    ok(db_query(db, "SELECT stem FROM batch", DB_NO_ARGS, &rows, &r->e), &r->e);
    assert_int_equal(db_rows_next(rows, &r->e), 1);
    (void)snprintf(path, sizeof path, "%s/a/%.*s.txt", r->dir, SLICE_ARG(db_rows_slice(rows, 0)));
    OWN(own_file) FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, 60, SEEK_SET), 0);
    assert_int_not_equal(fputc('\1', f), EOF);
    assert_int_equal(fflush(f), 0);
    rig_mode(r, "a", "");
    rig_await(r, "SELECT count(*) FROM batch WHERE state = 'parked'", 1);
    assert_int_equal(rig_open_incidents(r), 1);
    assert_int_equal(rig_number(r, "SELECT count(*) FROM incident WHERE kind = 'damaged'"), 1);
    rig_await(r,
              "SELECT count(*) FROM instance WHERE last_error LIKE"
              " 'read-back: the file holds something%'",
              1);
    /* The damaged file goes, a person tries again: all is delivered anew. */
    assert_int_equal(remove(path), 0);
    rig_sql(r, "UPDATE batch SET state = 'frozen' WHERE state = 'parked'");
    rig_await(r, "SELECT archived FROM instance", 3);
    rig_assert_output(r, "a", 3, 0);
}

static void a_wrong_set_up_stops_the_instance_until_a_restart(void **state)
{
    struct rig *r = *state;
    int64_t rows = 0;
    CONF(r, "a", "b", "c");
    rig_mode(r, "a", "config");
    rig_mode(r, "c", "open-config");
    rig_posts(r, &r->room, 2);
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM instance WHERE state = 'failed'", 2);
    assert_string_equal(rig_instance(r, "a").last_error, "the mailbox does not exist");
    rig_await(r, "SELECT archived FROM instance WHERE name = 'b'", 2);
    ok(sweep_once(r->st, &rows, &r->e), &r->e);
    assert_int_equal(rows, 0);
    rig_stop(r);
    rig_mode(r, "a", "");
    rig_mode(r, "c", "");
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM instance WHERE archived = 2", 3);
}

/* Also over a restart; and a resumed one does not wait out the pause of an earlier failure. */
static void a_paused_adapter_makes_no_attempt_and_holds_the_low_water(void **state)
{
    struct rig *r = *state;
    int64_t rows = 0;
    CONF(r, "a", "b");
    rig_start(r);
    rig_posts(r, &r->room, 1);
    rig_await(r, "SELECT count(*) FROM instance WHERE archived = 1", 2);
    assert_int_equal(TYPE(r, adapter_pause_command, "a", "--reason", ""), APP_USAGE);
    assert_int_equal(TYPE(r, adapter_pause_command, "c", "--reason", "away"), APP_FAILED);
    assert_int_equal(TYPE(r, adapter_pause_command, "a", "--reason", "away"), APP_OK);
    assert_int_equal(TYPE(r, adapter_pause_command, "a", "--reason", "away"), APP_FAILED);
    assert_string_equal(rig_instance(r, "a").reason, "away");
    rig_stop(r);
    rig_start(r);
    rig_posts(r, &r->room, 2);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'b'", 3);
    ok(sweep_once(r->st, &rows, &r->e), &r->e);
    assert_int_equal(rows, 1);
    assert_int_equal(rig_number(r, "SELECT count(*) FROM batch WHERE instance = 1"), 1);
    assert_string_equal(rig_instance(r, "a").state, "paused");
    rig_mode(r, "a", "config");
    assert_int_equal(TYPE(r, adapter_resume_command, "a"), APP_OK);
    rig_await(r, "SELECT count(*) FROM instance WHERE state = 'failed'", 1);
    rig_mode(r, "a", "");
    assert_int_equal(TYPE(r, adapter_resume_command, "a"), APP_OK);
    assert_int_equal(TYPE(r, adapter_resume_command, "a"), APP_FAILED);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'a'", 3);
    assert_string_equal(rig_instance(r, "a").reason, "");
    ok(sweep_once(r->st, &rows, &r->e), &r->e);
    assert_int_equal(rows, 2);
}

static void faults_in_a_row_park(void **state)
{
    struct rig *r = *state;
    CONF(r, "a");
    rig_mode(r, "a", "crash");
    rig_posts(r, &r->room, 2);
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM batch WHERE state = 'parked'", 1);
    assert_int_equal(rig_number(r, "SELECT attempts FROM batch"), 5);
    assert_int_equal(rig_open_incidents(r), 1);
}

/* The disk of the scratch folder fails: shown at the instance, and over when it is mended. */
static void trouble_of_the_machine_is_shown(void **state)
{
    struct rig *r = *state;
    char path[500];
    CONF(r, "a");
    struct archiver_options o = rig_options(r);
    (void)snprintf(path, sizeof path, "%s/scratch", r->dir);
    assert_int_equal(remove(path), 0);
    OWN(own_file) FILE *f = fopen(path, "w");
    assert_non_null(f);
    rig_drain(r);
    ok(archiver_start(&r->archiver, &o, &r->e), &r->e);
    rig_posts(r, &r->room, 2);
    rig_await(r, "SELECT failures FROM instance", 1);
    assert_non_null(strstr(rig_instance(r, "a").last_error, "scratch"));
    assert_int_equal(remove(path), 0);
    rig_await(r, "SELECT archived FROM instance", 2);
}

static void time_alone_cuts_a_batch(void **state)
{
    struct rig *r = *state;
    rig_conf(r, "[adapter a]\nmodule = plain\ndirectory = %/a\ninterval = 1s\n");
    struct archiver_options o = rig_options(r);
    ok(archiver_start(&r->archiver, &o, &r->e), &r->e);
    rig_posts(r, &r->room, 2);
    rig_await(r, "SELECT archived FROM instance", 2);
}

static void stopping_lets_workers_go(void **state)
{
    struct rig *r = *state;
    rig_conf(r, "[adapter a]\nmodule = plain\ndirectory = %/a\nmode = %/a.mode\n"
                "[adapter b]\nmodule = plain\ndirectory = %/b\nmode = %/b.mode\n"
                "[adapter c]\nmodule = plain\ndirectory = %/c\nmode = %/c.mode\n"
                "[adapter idle]\nmodule = plain\ndirectory = %/idle\n");
    rig_mode(r, "a", "await-cancel");
    rig_mode(r, "b", "hang");
    rig_mode(r, "c", "crash-cancelled");
    rig_posts(r, &r->room, 2);
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM batch WHERE attempts = 1", 4);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'idle'", 2);
    int64_t began = clock_mono_ms();
    rig_stop(r);
    assert_in_range(clock_mono_ms() - began, 6000, 12000);
    assert_int_equal(rig_number(r, "SELECT CAST(sum(failures) AS BIGINT) FROM instance"), 0);
    rig_mode(r, "a", "");
    rig_mode(r, "b", "");
    rig_mode(r, "c", "");
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM instance WHERE archived = 2", 4);
}

/* An archiver of its own process, killed at a random moment; its workers die with it. */
static void killed_archiver(struct rig *r, int ms)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct archiver_options o;
        struct err e = {0};
        if (staging_open(&r->st, r->url, &e) < 0)
            _exit(1);
        o = rig_options(r);
        if (archiver_start(&r->archiver, &o, &e) < 0)
            _exit(1);
        for (;;)
            (void)poll(NULL, 0, -1);
    }
    (void)poll(NULL, 0, ms); /* the moment of the kill is the input here */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void killed_at_any_moment_nothing_is_lost_or_doubled(void **state)
{
    struct rig *r = *state;
    unsigned seed = (unsigned)clock_wall_us();
    (void)printf("seed %u\n", seed);
    rig_conf(r, "[adapter a]\nmodule = plain\ndirectory = %/a\nrecords = 20\n"
                "[adapter b]\nmodule = plain\ndirectory = %/b\nrecords = 35\n");
    rig_posts(r, &r->room, 150);
    rig_posts(r, &r->other, 150);
    rig_drain(r);
    rig_close(r);
    for (int i = 0; i < 6; i++)
        killed_archiver(r, 60 + rand_r(&seed) % 250);
    rig_open(r);
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM instance WHERE archived = 300", 2);
    rig_assert_output(r, "a", 150, 150);
    rig_assert_output(r, "b", 150, 150);
    assert_int_equal(rig_number(r, "SELECT CAST(sum(records) AS BIGINT) FROM archived"), 600);
}

static void one_archiver_leads_and_another_takes_over(void **state)
{
    struct rig *r = *state;
    struct archiver *second = NULL;
    if (!r->postgres)
        return; /* a data folder has one process */
    CONF(r, "a");
    rig_start(r);
    rig_posts(r, &r->room, 1);
    rig_await(r, "SELECT archived FROM instance", 1);
    struct archiver_options o = rig_options(r);
    ok(staging_open(&o.staging, r->url, &r->e), &r->e);
    ok(archiver_start(&second, &o, &r->e), &r->e);
    rig_posts(r, &r->room, 5);
    rig_await(r, "SELECT archived FROM instance", 6);
    rig_stop(r);
    rig_posts(r, &r->room, 5);
    rig_await(r, "SELECT archived FROM instance", 11);
    archiver_stop(second);
    staging_close(o.staging);
    rig_assert_output(r, "a", 11, 0);
}

int main(int argc, char **argv)
{
    static struct rig sqlite;
    static struct rig pg;
    int code = rig_begin(argc, argv, &pg);
    if (code >= 0)
        return code;
    const struct CMUnitTest on_sqlite[] = {
        RIG(&sqlite, records_are_delivered_read_back_and_deleted),
        RIG(&sqlite, exceptions_and_rosters_reach_the_module),
        RIG(&sqlite, a_secret_reaches_the_module_only),
        RIG(&sqlite, misdeeds_are_tried_again),
        RIG(&sqlite, what_is_there_already_is_found),
        RIG(&sqlite, a_rejected_batch_is_parked_and_others_go_on),
        RIG(&sqlite, damage_found_by_the_read_back_parks),
        RIG(&sqlite, a_wrong_set_up_stops_the_instance_until_a_restart),
        RIG(&sqlite, a_paused_adapter_makes_no_attempt_and_holds_the_low_water),
        RIG(&sqlite, faults_in_a_row_park),
        RIG(&sqlite, trouble_of_the_machine_is_shown),
        RIG(&sqlite, time_alone_cuts_a_batch),
        RIG(&sqlite, stopping_lets_workers_go),
        RIG(&sqlite, killed_at_any_moment_nothing_is_lost_or_doubled),
    };
    const struct CMUnitTest on_postgres[] = {
        RIG(&pg, records_are_delivered_read_back_and_deleted),
        RIG(&pg, what_is_there_already_is_found),
        RIG(&pg, a_rejected_batch_is_parked_and_others_go_on),
        RIG(&pg, killed_at_any_moment_nothing_is_lost_or_doubled),
        RIG(&pg, one_archiver_leads_and_another_takes_over),
    };
    int failed = cmocka_run_group_tests_name("SQLite", on_sqlite, NULL, NULL);
    failed += cmocka_run_group_tests_name("PostgreSQL", on_postgres, NULL, NULL);
    return failed ? 1 : 0;
}
