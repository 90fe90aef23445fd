/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the sweep leaves behind and for how long, on SQLite and on a private PostgreSQL: records of
 * parked batches, records in rooms with many open incidents, hashes that totals have to confirm.
 */
#include "mgccomp/kept.h"

#include "mgccomp/incident.h"
#include "retention/sweep.h"
#include "retention/sweep_hashes.h"
#include "tests/contract/stage.h"

#include <stdio.h>

static int set_up(void **state)
{
    struct stage *f = *state;
    (void)stage_set_up(state);
    (void)added(f, "a", true, 2);
    return 0;
}

static int cut_more(struct stage *f)
{
    const struct ledger_instance i = {.id = 1, .name = "a", .required = true};
    return cut(f, &i, &everything);
}

static int64_t sweep(struct stage *f)
{
    int64_t rows = -1;
    ok(sweep_once(f->st, &rows, &f->e), &f->e);
    return rows;
}

/* They wait in `kept`; what lies behind them is delivered, and goes. */
static void a_parked_batch_holds_nothing_but_itself(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 3);
    ok(cut_more(f), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "parked", SLICE("552 too big"), &f->e), &f->e);
    posts(f, &f->room, 2);
    ok(cut_more(f), &f->e);
    assert_int_equal(f->batch.number, 2);
    assert_int_equal(sweep(f), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 3);
    archive(f);
    assert_int_equal(sweep(f), 2);
    assert_int_equal(sweep(f), 0);
    run_sql(f, "UPDATE batch SET state = 'frozen' WHERE state = 'parked'");
    assert_int_equal(sweep(f), 0);
    ok(ledger_open_batch(f->st, 1, &f->batch, &f->e), &f->e);
    assert_int_equal(f->batch.number, 1);
    archive(f);
    assert_int_equal(sweep(f), 3);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE closed_us IS NULL"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 0);
}

/* Batches that were verified without it do not count as read back because an older one waits. */
static void read_back_that_is_learnt_later_covers_nothing_before(void **state)
{
    struct stage *f = *state;
    run_sql(f, "UPDATE instance SET readback = 0");
    posts(f, &f->room, 3);
    ok(cut_more(f), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "parked", SLICE("552 too big"), &f->e), &f->e);
    posts(f, &f->room, 2);
    ok(cut_more(f), &f->e);
    archive(f);
    run_sql(f, "UPDATE batch SET state = 'frozen' WHERE state = 'parked'");
    ok(ledger_instance_readback(f->st, 1, 2, &f->e), &f->e);
    ok(ledger_open_batch(f->st, 1, &f->batch, &f->e), &f->e);
    archive(f);
    assert_int_equal(sweep(f), 0);
    posts(f, &f->room, 4);
    ok(cut_more(f), &f->e);
    archive(f);
    assert_int_equal(number(f, "SELECT full_from FROM cursor"), 5);
}

static int accept_by(struct stage *f, uid_t uid)
{
    char words[3][40] = {"", "--reason", "the server takes it for a virus"};
    char *argv[] = {words[0], words[1], words[2], NULL};
    OWN(own_file) FILE *out = fopen("/dev/null", "w");
    struct app_io io = {.out = out, .err = out, .uid = uid};
    (void)snprintf(words[0], sizeof words[0], "%lld",
                   (long long)number(f, "SELECT min(id) FROM incident WHERE closed_us IS NULL"));
    return incident_accept_command(&io, f->st, 3, argv);
}

/* PostgreSQL knows people by their roles, and here is one: the first one's name is changed. */
static int accept_by_two(struct stage *f)
{
    int rc = accept_by(f, 1000);
    if (rc != APP_OK)
        return rc;
    run_sql(f, "UPDATE incident SET proposed_by = 'somebody else' WHERE closed_us IS NULL");
    return accept_by(f, 1001);
}

static void what_is_given_up_needs_another_archive(void **state)
{
    struct stage *f = *state;
    const struct ledger_instance b = added(f, "b", true, 2);
    posts(f, &f->room, 3);
    ok(cut_more(f), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "parked", SLICE("554 virus"), &f->e), &f->e);
    posts(f, &f->room, 2);
    ok(cut_more(f), &f->e);
    archive(f);
    assert_int_equal(accept_by_two(f), APP_FAILED); /* b has nothing yet */
    run_sql(f, "UPDATE instance SET readback = 1 WHERE name = 'b'");
    archive_all(f, &b);
    assert_int_equal(accept_by(f, 1001), APP_FAILED); /* and did not read it back */
    run_sql(f, "UPDATE instance SET readback = 2 WHERE name = 'b'");
    assert_int_equal(sweep(f), 2);
    assert_int_equal(accept_by(f, 1001), APP_OK);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE closed_us IS NULL"), 0);
    assert_int_equal(instance(f, "a").missed, 3);
    assert_int_equal(instance(f, "a").archived, 2);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'accepted_losses'"), 0);
    /* It is b that read them back: without it nothing goes. */
    ok(ledger_retire(f->st, SLICE("b"), SLICE("test"), &f->e), &f->e);
    assert_int_equal(sweep(f), 0);
    run_sql(f, "UPDATE instance SET state = 'active' WHERE name = 'b'");
    assert_int_equal(sweep(f), 3);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 0);
}

/* It is tried again meanwhile. */
static void only_a_parked_batch_is_given_up(void **state)
{
    struct stage *f = *state;
    const struct ledger_instance b = added(f, "b", true, 2);
    posts(f, &f->room, 3);
    archive_all(f, &b);
    ok(cut_more(f), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "parked", SLICE("554 virus"), &f->e), &f->e);
    run_sql(f, "UPDATE batch SET state = 'frozen' WHERE state = 'parked'");
    assert_int_equal(accept_by_two(f), APP_FAILED);
    ok(ledger_open_batch(f->st, 1, &f->batch, &f->e), &f->e);
    archive(f);
    assert_int_equal(sweep(f), 3);
    assert_int_equal(instance(f, "a").missed, 0);
}

/* How often SQLite says that it searches, or scans, the table of that name. */
static int planned(struct stage *f, const char *question, const char *how)
{
    OWN(own_db) struct db *db = NULL;
    OWN(own_db_rows) struct db_rows *r = NULL;
    char sql[3000];
    int n = 0;
    (void)snprintf(sql, sizeof sql,
                   "EXPLAIN QUERY PLAN SELECT CASE WHEN %s THEN 1 ELSE 0 END FROM record r",
                   question);
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_query(db, sql, DB_NO_ARGS, &r, &f->e), &f->e);
    int rc = db_rows_next(r, &f->e);
    for (; rc == 1; rc = db_rows_next(r, &f->e))
        n += slice_starts(db_rows_slice(r, 3), how);
    ok(rc, &f->e);
    return n;
}

/* What is asked of each row must not read the whole ledger, or all incidents. */
static void reasons_to_keep_are_found_by_indexes(void **state)
{
    struct stage *f = *state;
    if (f->postgres)
        return; /* its planner goes by how much there is */
    assert_int_equal(planned(f, KEPT_SHUT, "SEARCH i USING"), 3);
    assert_int_equal(planned(f, KEPT_SHUT, "SCAN i"), 0);
    assert_int_equal(planned(f, KEPT_IN_HAND, "SEARCH g USING"), 1);
    assert_int_equal(planned(f, KEPT_IN_HAND, "SCAN g"), 0);
    assert_int_equal(planned(f, KEPT_IN_HAND, "SCAN b USING INDEX batch_open"), 1);
}

/* Kept before an adapter was added, they may go when it has them, and the sweep hears of it. */
static void what_a_new_adapter_gets_is_released(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 3);
    ok(cut_more(f), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "parked", SLICE("552 too big"), &f->e), &f->e);
    assert_int_equal(sweep(f), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 3);
    struct ledger_instance b = added(f, "b", true, 2);
    run_sql(f, "UPDATE batch SET state = 'frozen' WHERE state = 'parked'");
    ok(ledger_open_batch(f->st, 1, &f->batch, &f->e), &f->e);
    archive(f);
    assert_int_equal(sweep(f), 0);
    int64_t before = number(f, "SELECT released FROM gate");
    archive_all(f, &b);
    assert_int_equal(number(f, "SELECT released FROM gate"), before + 1);
    assert_int_equal(sweep(f), 3);
}

static int64_t pruned(struct stage *f)
{
    int64_t before = number(f, "SELECT count(*) FROM deleted");
    ok(sweep_prune(f->st, INT64_C(1000000), &f->e), &f->e);
    return before - number(f, "SELECT count(*) FROM deleted");
}

/* Deleted at second 100; the source's totals say later how far it is complete. */
static void hashes_wait_for_the_totals(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 3);
    ok(cut_more(f), &f->e);
    archive(f);
    assert_int_equal(sweep(f), 3);
    run_sql(f, "UPDATE deleted SET deleted_us = 100000000");
    run_sql(f, "INSERT INTO source (name, totals_us, due_us, complete_us, part_us, parts, stream,"
               " sequence) VALUES ('sip:pool.example.test', 90000000, 95000000, 0, 0, 0, 1, 1)");
    assert_int_equal(pruned(f), 0);
    run_sql(f, "UPDATE source SET complete_us = 90000000");
    assert_int_equal(pruned(f), 0);
    run_sql(f, "UPDATE source SET totals_us = 110000000, complete_us = 110000000");
    assert_int_equal(pruned(f), 1);
}

/* It stopped in order, and everything that it named was there. */
static void a_source_that_stopped_confirms_all(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 3);
    ok(cut_more(f), &f->e);
    archive(f);
    assert_int_equal(sweep(f), 3);
    run_sql(f, "UPDATE deleted SET deleted_us = 100000000");
    run_sql(f, "INSERT INTO source (name, totals_us, due_us, complete_us, part_us, parts, stream,"
               " sequence) VALUES ('sip:pool.example.test', 90000000, 0, 80000000, 0, 0, 1, 1)");
    assert_int_equal(pruned(f), 0);
    run_sql(f, "UPDATE source SET complete_us = 90000000");
    assert_int_equal(pruned(f), 1);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, stage_tear_down)

int main(void)
{
    static struct stage sqlite;
    static struct stage pg;
    const struct CMUnitTest cases[] = {
        CASE(a_parked_batch_holds_nothing_but_itself),
        CASE(read_back_that_is_learnt_later_covers_nothing_before),
        CASE(what_is_given_up_needs_another_archive),
        CASE(only_a_parked_batch_is_given_up),
        CASE(reasons_to_keep_are_found_by_indexes),
        CASE(what_a_new_adapter_gets_is_released),
        CASE(hashes_wait_for_the_totals),
        CASE(a_source_that_stopped_confirms_all),
    };
    return stage_main(cases, sizeof cases / sizeof cases[0], &sqlite, &pg);
}
