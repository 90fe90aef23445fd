/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger on SQLite and on a private PostgreSQL: how a batch is settled and parked, what the
 * instances are and how far each holds back what may be deleted.
 */
#include "tests/contract/stage.h"

#include <stdio.h>
#include <string.h>

/* Up to where the holders let records of a partition go, and who holds it there; the sweep asks for
 * each record (retention/gate.c). */
static int low_water_of(struct staging_txn *t, int64_t generation, int32_t part, int64_t *pos,
                        char why[200], struct err *e)
{
    struct ledger_holder holders[LEDGER_MAX_INSTANCES];
    size_t n = 0;
    int64_t oldest = 0;
    bool full = false;
    int rc = ledger_holders(t->db, generation, part, holders, &n, e);
    if (rc == 0)
        rc = db_int(t->db,
                    "SELECT COALESCE((SELECT min(r.pos) FROM record r WHERE r.generation = $1"
                    " AND r.part = $2), (SELECT p.pos FROM position p WHERE p.part = $2), 0)",
                    DB_ARGS(DB_I(generation), DB_I(part)), 0, &oldest, e);
    if (rc < 0)
        return rc;
    const struct ledger_holder *last = NULL;
    for (size_t i = 0; i < n; i++) {
        full = full || holders[i].readback == LEDGER_READBACK_FULL;
        if (!last || holders[i].pos < last->pos)
            last = &holders[i];
    }
    if (!last || !full) {
        *pos = oldest;
        (void)snprintf(why, 200, "%s",
                       last ? "no required adapter reads back what it wrote"
                            : "no adapter is required");
        return 0;
    }
    *pos = last->pos;
    (void)snprintf(why, 200, "adapter %s is at %lld", last->name, (long long)last->pos);
    return 0;
}

static int64_t low_water(struct stage *f, int32_t part, char why[200])
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t pos = -1;
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(staging_lock_gate(&t, &f->e), &f->e);
    ok(low_water_of(&t, 1, part, &pos, why, &f->e), &f->e);
    return pos;
}

static void what_is_settled_stays_settled(void **state)
{
    struct stage *f = *state;
    struct slice none = {0};
    struct ledger_batch *b = &f->batch;
    struct ledger_instance i = added(f, "a", true, 2);
    posts(f, &f->room, 6);
    ok(cut(f, &i, &everything), &f->e);
    ok(ledger_attempt(f->st, b, &f->e), &f->e);
    ok(ledger_settle(f->st, b, 0, 2, "done", SLICE("[]"), none, &f->e), &f->e);
    ok(ledger_settle(f->st, b, 0, 2, "done", SLICE("[]"), none, &f->e), &f->e);
    assert_int_equal(number(f, "SELECT count(*) FROM settlement"), 1);
    assert_int_equal(ledger_settle(f->st, b, 0, 2, "rejected", SLICE("[]"), none, &f->e),
                     ERR_CONFLICT);
    assert_int_equal(ledger_settle(f->st, b, 2, 3, "done", SLICE("[]"), none, &f->e), ERR_CONFLICT);
    assert_int_equal(ledger_settle(f->st, b, 3, 6, "done", SLICE("[]"), none, &f->e), ERR_REJECTED);
    assert_int_equal(ledger_settle(f->st, b, -1, 6, "done", SLICE("[]"), none, &f->e),
                     ERR_REJECTED);
    assert_int_equal(ledger_settle(f->st, b, 4, 3, "done", SLICE("[]"), none, &f->e), ERR_REJECTED);
    assert_int_equal(ledger_batch_state(f->st, b, "settled", none, &f->e), ERR_CONFLICT);
    assert_int_equal(ledger_batch_state(f->st, b, "verified", none, &f->e), ERR_CONFLICT);
    run_sql(f, "UPDATE batch SET state = 'parked'");
    assert_int_equal(ledger_settle(f->st, b, 3, 5, "done", SLICE("[]"), none, &f->e), ERR_CONFLICT);
    run_sql(f, "UPDATE batch SET state = 'frozen'");
    ok(ledger_settle(f->st, b, 3, 5, "done", SLICE("[]"), none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, b, "settled", none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, b, "settled", none, &f->e), &f->e);
    assert_int_equal(ledger_attempt(f->st, b, &f->e), ERR_CONFLICT);
    assert_int_equal(instance(f, "a").archived, 0);
    assert_true(number(f, "SELECT length(roster) FROM batch") > (int)strlen(LEDGER_NO_ROSTER));
    ok(ledger_batch_state(f->st, b, "verified", none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, b, "verified", none, &f->e), &f->e);
    assert_int_equal(instance(f, "a").archived, 6);
    assert_int_equal(number(f, "SELECT length(roster) FROM batch"), strlen(LEDGER_NO_ROSTER));
    assert_int_equal(ledger_batch_state(f->st, b, "parked", none, &f->e), ERR_CONFLICT);
    assert_int_equal(ledger_settle(f->st, b, 0, 5, "done", SLICE("[]"), none, &f->e), ERR_CONFLICT);
}

static int64_t open_incidents(struct stage *f)
{
    return number(f, "SELECT count(*) FROM incident WHERE closed_us IS NULL AND kind = 'parked'");
}

static void a_parked_batch_waits_for_a_person(void **state)
{
    struct stage *f = *state;
    struct ledger_batch again;
    struct slice none = {0};
    char why[200];
    struct ledger_instance i = added(f, "a", true, 2);
    posts(f, &f->room, 4);
    ok(cut(f, &i, &everything), &f->e);
    ok(ledger_attempt(f->st, &f->batch, &f->e), &f->e);
    ok(ledger_settle(f->st, &f->batch, 0, 1, "done", SLICE("[]"), none, &f->e), &f->e);
    ok(ledger_settle(f->st, &f->batch, 2, 3, "rejected", SLICE("[]"), SLICE("552 too big"), &f->e),
       &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "parked", SLICE("552 \xff\n too big"), &f->e), &f->e);
    assert_int_equal(open_incidents(f), 1);
    assert_int_equal(ledger_open_batch(f->st, i.id, &again, &f->e), ERR_NOT_FOUND);
    assert_int_equal(low_water(f, 0, why), 4); /* what is parked is kept */

    run_sql(f, "UPDATE batch SET state = 'frozen' WHERE state = 'parked'");
    assert_int_equal(low_water(f, 0, why), 0);
    ok(ledger_open_batch(f->st, i.id, &f->batch, &f->e), &f->e);
    ok(ledger_attempt(f->st, &f->batch, &f->e), &f->e);
    assert_int_equal(f->batch.attempts, 2);
    assert_int_equal(number(f, "SELECT count(*) FROM settlement"), 1);
    ok(ledger_settle(f->st, &f->batch, 2, 3, "done", SLICE("[]"), none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "settled", none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "verified", none, &f->e), &f->e);
    assert_int_equal(open_incidents(f), 0);
    assert_int_equal(low_water(f, 0, why), 4);
}

static void refuted_receipts_count_no_longer(void **state)
{
    struct stage *f = *state;
    struct slice none = {0};
    struct ledger_instance i = added(f, "a", true, 2);
    posts(f, &f->room, 2);
    ok(cut(f, &i, &everything), &f->e);
    ok(ledger_attempt(f->st, &f->batch, &f->e), &f->e);
    ok(ledger_settle(f->st, &f->batch, 0, 1, "done", SLICE("[]"), none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "settled", none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "parked", SLICE("damaged"), &f->e), &f->e);
    run_sql(f, "UPDATE batch SET state = 'frozen' WHERE state = 'parked'");
    assert_int_equal(ledger_batch_state(f->st, &f->batch, "settled", none, &f->e), ERR_CONFLICT);
    ok(ledger_attempt(f->st, &f->batch, &f->e), &f->e);
    assert_int_equal(number(f, "SELECT count(*) FROM settlement"), 0);
}

static void the_low_water_is_the_slowest_required_one(void **state)
{
    struct stage *f = *state;
    char why[200];
    posts(f, &f->room, 5);
    assert_int_equal(low_water(f, 0, why), 0);
    assert_non_null(strstr(why, "no adapter is required"));

    struct ledger_instance mail = added(f, "mail", true, 1);
    ok(cut(f, &mail, &everything), &f->e);
    archive(f);
    assert_int_equal(low_water(f, 0, why), 0);
    assert_non_null(strstr(why, "reads back"));

    struct ledger_instance tar = added(f, "tar", true, 2);
    struct ledger_instance optional = added(f, "optional", false, 2);
    assert_int_equal(low_water(f, 0, why), 0);
    assert_non_null(strstr(why, "tar"));
    ok(cut(f, &tar, &everything), &f->e);
    assert_int_equal(low_water(f, 0, why), 0);
    archive(f);
    assert_int_equal(low_water(f, 0, why), 5);
    posts(f, &f->room, 5);
    ok(cut(f, &tar, &everything), &f->e);
    archive(f);
    assert_int_equal(low_water(f, 0, why), 5);
    assert_non_null(strstr(why, "mail"));
    ok(ledger_retire(f->st, SLICE("mail"), SLICE("moved away"), &f->e), &f->e);
    assert_int_equal(low_water(f, 0, why), 10);
    ok(ledger_instance_state(f->st, optional.id, "failed", SLICE("x"), &f->e), &f->e);
    assert_int_equal(cut(f, &optional, &everything), ERR_NOT_FOUND);
    assert_int_equal(cut(f, &mail, &everything), ERR_NOT_FOUND);
}

static void a_retired_ones_batch_is_nobodys_to_see_to(void **state)
{
    struct stage *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    posts(f, &f->room, 2);
    ok(cut(f, &i, &everything), &f->e);
    ok(ledger_retire(f->st, SLICE("a"), SLICE("moved away"), &f->e), &f->e);
    assert_int_equal(ledger_batch_state(f->st, &f->batch, "parked", SLICE("its rows went"), &f->e),
                     ERR_NOT_FOUND);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 0);
}

static void an_instance_starts_at_the_oldest_record(void **state)
{
    struct stage *f = *state;
    char why[200];
    struct ledger_instance a = added(f, "a", true, 2);
    posts(f, &f->room, 6);
    run_sql(f, "DELETE FROM record WHERE pos < 2");
    run_sql(f, "UPDATE cursor SET pos = 2");
    run_sql(f, "UPDATE tally SET value = 2 WHERE name = 'deleted'");
    run_sql(f, "INSERT INTO cursor (instance, generation, part, pos) SELECT id, 1, 0, 2 FROM "
               "instance WHERE NOT EXISTS"
               " (SELECT 1 FROM cursor)");
    struct ledger_instance b = added(f, "b", true, 2);
    assert_int_equal(b.base, 2);
    ok(cut(f, &a, &everything), &f->e);
    archive(f);
    assert_int_equal(low_water(f, 0, why), 2);
    ok(cut(f, &b, &everything), &f->e);
    assert_int_equal(f->batch.records, 4);
    archive(f);
    assert_int_equal(low_water(f, 0, why), 6);
    assert_int_equal(ledger_add(f->st, SLICE("a"), SLICE("plain"), true, 2, &f->e), ERR_CONFLICT);
    assert_int_equal(ledger_add(f->st, SLICE("a b"), SLICE("plain"), true, 2, &f->e), ERR_CONFIG);
    assert_int_equal(ledger_add(f->st, SLICE("../a"), SLICE("plain"), true, 2, &f->e), ERR_CONFIG);
    assert_int_equal(ledger_retire(f->st, SLICE("zzz"), SLICE("x"), &f->e), ERR_NOT_FOUND);
}

static void failures_are_kept_until_a_success(void **state)
{
    struct stage *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    ok(ledger_failed(f->st, i.id, SLICE("550\r\nno such \xfe mailbox"), 77, &f->e), &f->e);
    i = instance(f, "a");
    assert_int_equal(i.failures, 1);
    assert_int_equal(i.next_try_us, 77);
    assert_string_equal(i.last_error, "550??no such ? mailbox");
    /* A long one is cut between two characters, wherever its end falls. */
    for (int shift = 0; shift < 2; shift++) {
        char text[1002] = "x";
        for (size_t n = (size_t)shift; n + 2 < sizeof text; n += 2)
            memcpy(text + n, "\xc3\xa9", 3);
        ok(ledger_failed(f->st, i.id, slice_of(text), 77, &f->e), &f->e);
        const struct ledger_instance now = instance(f, "a");
        struct slice kept = slice_of(now.last_error);
        assert_in_range(kept.n, 100, 999);
        assert_int_equal((kept.n - (size_t)shift) % 2, 0);
        assert_memory_equal(kept.p, text, kept.n);
    }
    posts(f, &f->room, 1);
    ok(cut(f, &i, &everything), &f->e);
    archive(f);
    i = instance(f, "a");
    assert_int_equal(i.failures, 0);
    assert_string_equal(i.last_error, "");
}

static void read_back_counts_as_declared(void **state)
{
    struct stage *f = *state;
    struct ledger_instance i = added(f, "a", true, 0);
    ok(ledger_instance_readback(f->st, i.id, 1, &f->e), &f->e);
    assert_int_equal(instance(f, "a").readback, 1);
    ok(ledger_instance_readback(f->st, i.id, 2, &f->e), &f->e);
    assert_int_equal(instance(f, "a").readback, 2);
}

int main(void)
{
    static struct stage sqlite;
    static struct stage pg;
    const struct CMUnitTest cases[] = {
        ON_STAGE(what_is_settled_stays_settled),
        ON_STAGE(a_parked_batch_waits_for_a_person),
        ON_STAGE(refuted_receipts_count_no_longer),
        ON_STAGE(the_low_water_is_the_slowest_required_one),
        ON_STAGE(a_retired_ones_batch_is_nobodys_to_see_to),
        ON_STAGE(an_instance_starts_at_the_oldest_record),
        ON_STAGE(failures_are_kept_until_a_success),
        ON_STAGE(read_back_counts_as_declared),
    };
    return stage_main(cases, sizeof cases / sizeof cases[0], &sqlite, &pg);
}
