/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The archiver with real workers when a read-back fails, a module settles what it may not, a batch
 * is rejected as a whole, or mgccomp is older than its archives; and the adapter commands' words.
 */
#include "adapters/host/options.h"
#include "base/own.h"
#include "tests/unit/adapters/host/rig.h"

#include <stdlib.h>
#include <string.h>

static void says(struct rig *r, const char *name, const char *what)
{
    assert_said(rig_instance(r, name).last_error, what);
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

static void commands_say_how_adapters_are(void **state)
{
    struct rig *r = *state;
    CONF(r, "a");
    assert_int_equal(TYPE(r, adapter_list_command, NULL), APP_OK);
    assert_said(r->said.out, "no adapter was added");
    rig_start(r);
    rig_posts(r, &r->room, 2);
    rig_await(r, "SELECT archived FROM instance", 2);
    rig_sql(r, "UPDATE instance SET missed = 7, last_error = 'slow disk'");
    assert_int_equal(TYPE(r, adapter_list_command, NULL), APP_OK);
    assert_said(r->said.out, "missed 7: given up by two people  slow disk\n");
    rig_sql(r, "UPDATE instance SET required = 0");
    assert_int_equal(TYPE(r, adapter_list_command, NULL), APP_OK);
    assert_said(r->said.out, "missed 7: deleted before it took them  slow disk\n");
    rig_sql(r, "UPDATE instance SET required = 1");
    rig_sql(r, "UPDATE instance SET failures = 3");
    assert_int_equal(TYPE(r, adapter_list_command, "--all"), APP_OK);
    assert_said(r->said.out, "3 tries failed: slow disk\n");
    assert_int_equal(TYPE(r, adapter_list_command, "--json"), APP_OK);
    assert_said(r->said.out, "\"failures\":3,\"missed\":7,\"last_error\":\"slow disk\"");
    assert_int_equal(TYPE(r, adapter_list_command, "a"), APP_USAGE);
    assert_int_equal(TYPE(r, adapter_list_command, "--some"), APP_USAGE);
    assert_int_equal(TYPE(r, adapter_resume_command, NULL), APP_USAGE);
    assert_int_equal(TYPE(r, adapter_pause_command, "--some"), APP_USAGE);
    assert_int_equal(TYPE(r, adapter_pause_command, "a", "--reason=\xff"), APP_USAGE);
    assert_said(r->said.err, "the reason is not UTF-8");
    char none[] = "none";
    char *argv[] = {none, none, NULL};
    struct archiver_options o = rig_options(r);
    caught_anew(&r->said);
    assert_int_equal(adapter_add_command(&r->said.io, r->st, r->conf, o.modules_dir, 2, argv),
                     APP_USAGE);
    assert_int_equal(adapter_add_command(&r->said.io, r->st, r->conf, o.modules_dir, 1, argv),
                     APP_USAGE);
    caught_read(&r->said);
    assert_said(r->said.err, "[adapter none] is not written, or names no 'module'");
}

int main(int argc, char **argv)
{
    static struct rig rig;
    int code = rig_begin(argc, argv, NULL);
    if (code >= 0)
        return code;
    const struct CMUnitTest tests[] = {
        RIG(&rig, a_read_back_that_can_not_be_done),
        RIG(&rig, a_batch_rejected_as_a_whole_is_parked),
        RIG(&rig, an_older_mgccomp_delivers_nothing),
        RIG(&rig, a_batch_that_is_not_what_was_frozen_is_parked),
        RIG(&rig, sections_are_judged_at_the_start),
        RIG(&rig, commands_say_how_adapters_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
