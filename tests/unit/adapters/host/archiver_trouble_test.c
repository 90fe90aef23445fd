/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The archiver with real workers when a read-back fails, a module settles what it may not, a batch
 * is rejected as a whole, or mgccomp is older than its archives; and the adapter commands' words.
 */
#include "adapters/host/options.h"
#include "base/own.h"
#include "tests/unit/adapters/host/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void conf_of(struct rig *r, const char *const *names)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, 1 << 16);
    for (; *names; names++)
        rig_plain(&b, *names);
    rig_conf(r, b.p);
}
#define CONF(r, ...) conf_of(r, (const char *const[]){__VA_ARGS__, NULL})

static void says(struct rig *r, const char *name, const char *what)
{
    struct ledger_instance x = rig_instance(r, name);
    if (!strstr(x.last_error, what))
        fail_msg("%s: \"%s\" is not in: %s", name, what, x.last_error);
}

static void a_read_back_that_can_not_be_done(void **state)
{
    struct rig *r = *state;
    CONF(r, "verify-retry", "verify-config", "verify-rejected", "verify-settles");
    rig_mode(r, "verify-retry", "verify-retry");
    rig_mode(r, "verify-config", "verify-config");
    rig_mode(r, "verify-rejected", "verify-rejected");
    rig_mode(r, "verify-settles", "verify-settles");
    rig_posts(r, &r->room, 3);
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM instance WHERE last_error <> ''", 4);
    says(r, "verify-retry", "read-back: not to be reached");
    says(r, "verify-config", "may not read");
    assert_string_equal(rig_instance(r, "verify-config").state, "failed");
    says(r, "verify-rejected", "read-back: not wanted");
    says(r, "verify-settles", "read-back: settle: only while a batch is delivered");
    assert_int_equal(rig_number(r, "SELECT count(*) FROM batch WHERE state = 'settled'"), 4);
    assert_int_equal(rig_number(r, "SELECT CAST(sum(archived) AS BIGINT) FROM instance"), 0);
    rig_stop(r);
    rig_mode(r, "verify-retry", "");
    rig_mode(r, "verify-config", "");
    rig_mode(r, "verify-rejected", "");
    rig_mode(r, "verify-settles", "");
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM instance WHERE archived = 3", 4);
    rig_assert_output(r, "verify-config", 3, 0);
    assert_int_equal(rig_number(r, "SELECT max(attempts) FROM batch"), 1);
}

static void a_batch_rejected_as_a_whole_is_parked(void **state)
{
    struct rig *r = *state;
    CONF(r, "a", "wrong");
    rig_mode(r, "a", "rejected");
    rig_mode(r, "wrong", "wrong-settling");
    rig_posts(r, &r->room, 2);
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM batch WHERE state = 'parked'", 1);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'wrong'", 2);
    rig_assert_output(r, "wrong", 2, 0);
    rig_await(r, "SELECT count(*) FROM instance WHERE name = 'a' AND last_error <> ''", 1);
    says(r, "a", "550 no such archive");
    assert_int_equal(rig_number(r, "SELECT count(*) FROM incident WHERE closed_us IS NULL"), 1);
}

/* Its ledger ends before what the folder holds: nothing is delivered until a person has looked. */
static void an_older_mgccomp_delivers_nothing(void **state)
{
    struct rig *r = *state;
    CONF(r, "a");
    rig_start(r);
    rig_posts(r, &r->room, 2);
    rig_await(r, "SELECT archived FROM instance", 2);
    rig_posts(r, &r->room, 2);
    rig_await(r, "SELECT archived FROM instance", 4);
    rig_stop(r);
    rig_posts(r, &r->room, 2);
    rig_sql(r, "UPDATE instance SET batches = batches - 1");
    struct archiver_options o = rig_options(r);
    struct err e = {0};
    assert_int_equal(archiver_start(&r->archiver, &o, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.text, "the ledger of adapter a ends at batch 1"));
    says(r, "a", "mgccomp is older than this archive, which holds batch 2 (the ledger: 1)");
    assert_int_equal(rig_number(r, "SELECT archived FROM instance"), 4);
    rig_sql(r, "UPDATE instance SET batches = batches + 1");
    rig_start(r);
    rig_await(r, "SELECT archived FROM instance", 6);
    rig_assert_output(r, "a", 6, 0);
}

/* A frozen batch whose records changed since is not delivered as something else. */
static void a_batch_that_is_not_what_was_frozen_is_parked(void **state)
{
    struct rig *r = *state;
    CONF(r, "a");
    rig_mode(r, "a", "retry");
    rig_posts(r, &r->room, 3);
    rig_start(r);
    rig_await(r, "SELECT CASE WHEN failures > 0 THEN 1 ELSE 0 END FROM instance", 1);
    rig_stop(r); /* with the copy that it made */
    rig_mode(r, "a", "");
    rig_sql(r, "UPDATE record SET raw = CAST(raw || x'20' AS BLOB) WHERE sequence = 2");
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM batch WHERE state = 'parked'", 1);
    rig_await(r, "SELECT count(*) FROM instance WHERE last_error LIKE '%not what was frozen'", 1);
    assert_int_equal(rig_number(r, "SELECT archived FROM instance"), 0);
}

/* ---- set-ups ---- */

static void sections_are_judged_at_the_start(void **state)
{
    struct rig *r = *state;
    OWN(own_adapter_options) struct adapter_options *options = NULL;
    struct err e = {0};
    char word[] = "worker";
    char *argv[] = {word, NULL};
    CONF(r, "a");
    struct archiver_options o = rig_options(r);
    assert_int_equal(
        adapter_options_load(&options, r->conf, "a", o.modules_dir, "/no/such/program", &e),
        ERR_CONFIG);
    assert_non_null(strstr(e.text, "its worker ended without an answer"));
    assert_int_equal(worker_main(1, argv), 2); /* not started by an archiver */
    rig_start(r);
    rig_stop(r);
    CONF(r, "a", "later");
    rig_start(r); /* only says that it is not added */
    rig_posts(r, &r->room, 1);
    rig_await(r, "SELECT archived FROM instance", 1);
    assert_int_equal(rig_number(r, "SELECT count(*) FROM instance"), 1);
    rig_stop(r);
    OWN(own_buf) struct buf b;
    buf_init(&b, 1 << 16);
    for (int i = 0; i <= LEDGER_MAX_INSTANCES; i++) {
        char name[20];
        (void)snprintf(name, sizeof name, "a%d", i);
        rig_plain(&b, name);
    }
    rig_conf(r, b.p);
    o = rig_options(r);
    assert_int_equal(archiver_start(&r->archiver, &o, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "adapter sections"));
}

/* ---- commands ---- */

typedef int command_fn(struct app_io *io, struct staging *st, int argc, char **argv);

/* Exit code; what it said on either stream is in out. */
static int type(struct rig *r, command_fn *command, const char *one, const char *two,
                char out[2000])
{
    char words[2][60];
    char *argv[] = {words[0], words[1], NULL};
    OWN(own_file) FILE *f = fmemopen(out, 2000, "w");
    struct app_io io = {.out = f, .err = f};
    assert_non_null(f);
    (void)snprintf(words[0], sizeof words[0], "%s", one);
    (void)snprintf(words[1], sizeof words[1], "%s", two);
    return command(&io, r->st, *two ? 2 : *one ? 1 : 0, argv);
}

static void said(const char *out, const char *what)
{
    if (!strstr(out, what))
        fail_msg("\"%s\" is not in: %s", what, out);
}

static void commands_say_how_adapters_are(void **state)
{
    struct rig *r = *state;
    char out[2000];
    CONF(r, "a");
    assert_int_equal(type(r, adapter_list_command, "", "", out), APP_OK);
    said(out, "no adapter was added");
    rig_start(r);
    rig_posts(r, &r->room, 2);
    rig_await(r, "SELECT archived FROM instance", 2);
    rig_sql(r, "UPDATE instance SET missed = 7, last_error = 'slow disk'");
    assert_int_equal(type(r, adapter_list_command, "", "", out), APP_OK);
    said(out, "missed 7: given up by two people  slow disk\n");
    rig_sql(r, "UPDATE instance SET required = 0");
    assert_int_equal(type(r, adapter_list_command, "", "", out), APP_OK);
    said(out, "missed 7: deleted before it took them  slow disk\n");
    rig_sql(r, "UPDATE instance SET required = 1");
    rig_sql(r, "UPDATE instance SET failures = 3");
    assert_int_equal(type(r, adapter_list_command, "--all", "", out), APP_OK);
    said(out, "3 tries failed: slow disk\n");
    assert_int_equal(type(r, adapter_list_command, "--json", "", out), APP_OK);
    said(out, "\"failures\":3,\"missed\":7,\"last_error\":\"slow disk\"");
    assert_int_equal(type(r, adapter_list_command, "a", "", out), APP_USAGE);
    assert_int_equal(type(r, adapter_list_command, "--some", "", out), APP_USAGE);
    assert_int_equal(type(r, adapter_resume_command, "", "", out), APP_USAGE);
    assert_int_equal(type(r, adapter_pause_command, "--some", "", out), APP_USAGE);
    assert_int_equal(type(r, adapter_pause_command, "a", "--reason=\xff", out), APP_USAGE);
    said(out, "the reason is not UTF-8");
    char none[] = "none";
    char *argv[] = {none, none, NULL};
    OWN(own_file) FILE *f = fmemopen(out, sizeof out, "w");
    struct app_io io = {.out = f, .err = f};
    struct archiver_options o = rig_options(r);
    assert_int_equal(adapter_add_command(&io, r->st, r->conf, o.modules_dir, 2, argv), APP_USAGE);
    assert_int_equal(adapter_add_command(&io, r->st, r->conf, o.modules_dir, 1, argv), APP_USAGE);
    (void)fflush(f);
    said(out, "[adapter none] is not written, or names no 'module'");
}

#define CASE(fn)                                                                                   \
    {                                                                                              \
#fn, fn, rig_set_up, rig_tear_down, &rig                                                   \
    }

int main(int argc, char **argv)
{
    static struct rig rig;
    int worker = rig_worker(argc, argv);
    if (worker >= 0)
        return worker;
    if (!getenv("HOLDFAST_TEST_SCRATCH")) {
        (void)fprintf(stderr,
                      "run me through tests/parts/with postgres -- archiver_trouble_test\n");
        return 2;
    }
    const struct CMUnitTest tests[] = {
        CASE(a_read_back_that_can_not_be_done),
        CASE(a_batch_rejected_as_a_whole_is_parked),
        CASE(an_older_mgccomp_delivers_nothing),
        CASE(a_batch_that_is_not_what_was_frozen_is_parked),
        CASE(sections_are_judged_at_the_start),
        CASE(commands_say_how_adapters_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
