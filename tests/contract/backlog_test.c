/* SPDX-License-Identifier: Apache-2.0 */
/* What waits too long is an incident that neither comes and goes nor holds anything back. */
#include "mgccomp/backlog.h"
#include "tests/contract/stage.h"

static const char open_ones[] = "SELECT count(*) FROM incident WHERE kind = 'backlog'"
                                " AND closed_us IS NULL";

static int64_t judged(struct stage *f, struct slice instance, int64_t age_ms)
{
    const struct backlog b = {.instance = instance, .age_ms = age_ms, .bound_ms = 1000};
    ok(backlog_judge(f->st, &b, &f->e), &f->e);
    return number(f, open_ones);
}

static void between_half_the_bound_and_the_bound_it_stays_as_it_is(void **state)
{
    struct stage *f = *state;
    const struct slice a = SLICE("a");
    assert_int_equal(judged(f, a, 900), 0);
    assert_int_equal(judged(f, a, 1001), 1);
    assert_int_equal(judged(f, a, 5000), 1);
    assert_int_equal(judged(f, a, 600), 1);
    assert_int_equal(judged(f, (struct slice){0}, 2000), 2);
    assert_int_equal(judged(f, a, 500), 1);
    assert_int_equal(judged(f, a, 900), 1);
    assert_int_equal(judged(f, (struct slice){0}, -1), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 2);
}

static int64_t oldest_pos(struct stage *f)
{
    OWN(own_db) struct db *db = NULL;
    int64_t us = 0;
    change(f, "UPDATE record SET captured_us = pos + 1000");
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(backlog_oldest(db, f->instance.id, &us, &f->e), &f->e);
    return us - 1000;
}

static void the_oldest_is_what_is_not_verified(void **state)
{
    struct stage *f = *state;
    f->instance = added(f, "a", true, LEDGER_READBACK_FULL);
    assert_int_equal(oldest_pos(f), -1000);
    posts(f, &f->room, 3);
    assert_int_equal(oldest_pos(f), 0);
    ok(cut(f, &f->instance, &everything), &f->e);
    posts(f, &f->room, 2);
    assert_int_equal(oldest_pos(f), 0); /* frozen is not archived */
    archive(f);
    assert_int_equal(oldest_pos(f), 3);
    ok(cut(f, &f->instance, &everything), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "parked", SLICE("no"), &f->e), &f->e);
    assert_int_equal(oldest_pos(f), -1000); /* that is said otherwise */
}

static void a_retired_adapter_waits_for_nothing(void **state)
{
    struct stage *f = *state;
    (void)added(f, "a", false, LEDGER_READBACK_FULL);
    assert_int_equal(judged(f, SLICE("a"), 2000), 1);
    ok(ledger_retire(f->st, SLICE("a"), SLICE("enough"), &f->e), &f->e);
    assert_int_equal(number(f, open_ones), 0);
}

int main(void)
{
    static struct stage sqlite;
    static struct stage pg;
    const struct CMUnitTest cases[] = {
        ON_STAGE(between_half_the_bound_and_the_bound_it_stays_as_it_is),
        ON_STAGE(the_oldest_is_what_is_not_verified),
        ON_STAGE(a_retired_adapter_waits_for_nothing),
    };
    return stage_main(cases, sizeof cases / sizeof cases[0], &sqlite, &pg);
}
