/* SPDX-License-Identifier: Apache-2.0 */
/* What the archiver puts on record beside its work: records that wait too long, options that change
 * while a batch is under way. Neither holds anything back. */
#include "tests/expect.h"
#include "tests/unit/adapters/host/rig.h"

/* Its target refuses for hours; another one's does not. Nothing else is held back by that. */
static void what_waits_too_long_is_said_until_it_is_taken(void **state)
{
    static const char open_one[] = "SELECT count(*) FROM incident WHERE kind = 'backlog'"
                                   " AND instance = 'slow' AND closed_us IS NULL";
    struct rig *r = *state;
    CONF(r, "slow", "well");
    rig_mode(r, "slow", "retry");
    rig_posts(r, &r->room, 3);
    rig_sql(r, "UPDATE record SET captured_us = captured_us - 7200000000");
    struct archiver_options o = rig_options(r);
    o.backlog_ms = 600000;
    rig_drain(r);
    ok(archiver_start(&r->archiver, &o, &r->e), &r->e);
    rig_await(r, open_one, 1);
    rig_await(r, "SELECT archived FROM instance WHERE name = 'well'", 3);
    rig_mode(r, "slow", "");
    rig_await(r, "SELECT archived FROM instance WHERE name = 'slow'", 3);
    rig_await(r, open_one, 0);
    assert_int_equal(rig_number(r, "SELECT count(*) FROM incident WHERE kind = 'backlog'"
                                   " AND instance = 'slow'"),
                     1);
}

/* A set-up is mended while its batch is under way: it goes on, and that is on record. */
static void other_options_for_a_batch_are_noted(void **state)
{
    static const char noted[] = "SELECT count(*) FROM incident WHERE kind = 'options'"
                                " AND closed_us IS NOT NULL AND instance = 'a'";
    struct rig *r = *state;
    CONF(r, "a");
    rig_mode(r, "a", "retry");
    rig_posts(r, &r->room, 3);
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM batch WHERE attempts > 1", 1);
    rig_stop(r);
    assert_int_equal(rig_number(r, noted), 0);
    rig_conf(r, "[adapter a]\nmodule = plain\ndirectory = %/a\nmode = %/other.mode\n"
                "deadline = 3s\ninterval = 1h\n");
    rig_start(r);
    rig_await(r, "SELECT archived FROM instance", 3);
    assert_int_equal(rig_number(r, noted), 1);
    rig_posts(r, &r->room, 1);
    rig_await(r, "SELECT archived FROM instance", 4);
    assert_int_equal(rig_number(r, noted), 1);
    rig_assert_output(r, "a", 4, 0);
}

int main(int argc, char **argv)
{
    static struct rig sqlite;
    int code = rig_begin(argc, argv, NULL);
    if (code >= 0)
        return code;
    const struct CMUnitTest cases[] = {
        RIG(&sqlite, what_waits_too_long_is_said_until_it_is_taken),
        RIG(&sqlite, other_options_for_a_batch_are_noted),
    };
    return cmocka_run_group_tests(cases, NULL, NULL) ? 1 : 0;
}
