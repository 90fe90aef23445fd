/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate explored: every state that a small mgccomp can be brought into by any order of steps
 * (gate_model.h), with the real statements on SQLite. What was verified by whom is noted beside the
 * ledger, and the sweep is judged by these notes:
 *   - a record goes only in a sweep, and only when every required adapter verified it, one of them
 *     by reading all of it back, and no open incident shuts it;
 *   - what an adapter that is not required did not get is counted at it, record by record;
 *   - from every state everything goes once incidents are closed and adapters may work.
 */
#include "gate_model.h"
#include "tests/expect.h"

#include <string.h>

enum { LONGEST = 64 };

static int64_t held(struct model *m, int64_t pos)
{
    return model_number(m,
                        "SELECT (SELECT count(*) FROM record WHERE pos = $1)"
                        " + (SELECT count(*) FROM kept WHERE pos = $1) + 0 * $2",
                        pos, 0);
}

/* The rule in other words than the program's. */
static void judge_deletion(struct model *m, int64_t pos)
{
    assert_true(
        model_number(m,
                     "SELECT count(*) FROM instance WHERE required = 1 AND state <> 'retired'"
                     " AND $1 = $2",
                     0, 0) > 0);
    assert_int_equal(
        model_number(m,
                     "SELECT count(*) FROM instance i WHERE i.required = 1 AND i.state <>"
                     " 'retired' AND NOT EXISTS (SELECT 1 FROM verified v WHERE v.instance"
                     " = i.id AND v.pos = $1) AND $2 = 0",
                     pos, 0),
        0);
    assert_true(
        model_number(m,
                     "SELECT count(*) FROM instance i JOIN verified v ON v.instance = i.id AND"
                     " v.pos = $1 AND v.whole = 1 WHERE i.required = 1 AND i.state <> 'retired'"
                     " AND $2 = 0",
                     pos, 0) > 0);
    /* pos 0 is of room 1, pos 1 of room 2. */
    assert_int_equal(
        model_number(m,
                     "SELECT count(*) FROM incident WHERE closed_us IS NULL AND kind = 'gap'"
                     " AND (part = 0 OR stream = $1) AND $2 = 0",
                     pos + 1, 0),
        0);
}

/* Records that o had neither verified nor in hand. */
static int64_t misses(struct model *m, int64_t pos)
{
    return model_number(
        m,
        "SELECT count(*) FROM instance i WHERE i.required = 0 AND i.state <> 'retired'"
        " AND NOT EXISTS (SELECT 1 FROM verified v WHERE v.instance = i.id AND v.pos ="
        " $1) AND $2 = 0",
        pos, 0);
}

static int64_t all_missed(struct model *m)
{
    return model_number(m, "SELECT COALESCE(sum(missed), 0) FROM instance WHERE $1 = $2", 0, 0);
}

static bool sweep(struct model *m, const char *which)
{
    int64_t before[RECORDS];
    int64_t missed = all_missed(m);
    int64_t due = 0;
    int64_t gone = 0;
    for (int64_t p = 0; p < RECORDS; p++)
        before[p] = held(m, p);
    m->step->generation = 1;
    m->step->part = 0;
    m->step->rows = m->room;
    ok(*which == 's' ? sweep_staged(m->st, m->step, &m->e) : sweep_kept(m->st, m->step, &m->e),
       &m->e);
    for (int64_t p = 0; p < RECORDS; p++) {
        int64_t now = held(m, p);
        assert_true(now == before[p] || now == 0);
        if (now == before[p])
            continue;
        gone++;
        due += misses(m, p);
        judge_deletion(m, p);
    }
    assert_int_equal(gone, m->step->n);
    assert_int_equal(all_missed(m) - missed, due);
    return m->step->looked > 0;
}

/* ---- exploring ---- */

struct action {
    const char *name;
    bool (*run)(struct model *m, const char *arg);
    const char *arg;
    bool deletes;
};

static int64_t all_held(struct model *m)
{
    return model_number(
        m, "SELECT (SELECT count(*) FROM record) + (SELECT count(*) FROM kept) + 0 * $1 * $2", 0,
        0);
}

static void assert_conserved(struct model *m)
{
    assert_int_equal(
        model_number(m, "SELECT value FROM tally WHERE name = 'deleted' AND $1 = $2", 0, 0) +
            all_held(m),
        model_number(m, "SELECT pos FROM position WHERE $1 = $2", 0, 0));
    assert_int_equal(model_number(m,
                                  "SELECT count(*) FROM record r JOIN kept k ON k.pos = r.pos"
                                  " WHERE $1 = $2",
                                  0, 0),
                     0);
}

/* Nothing holds anything any more: everything goes. */
static void assert_all_can_go(struct model *m)
{
    static const char *const names[] = {"a", "b", "o", "last"};
    const int64_t batch_records = m->batch_records;
    bool busy = true;
    m->batch_records = RECORDS;
    (void)step_close_incident(m, "room");
    (void)step_close_incident(m, "partition");
    ok(ledger_add(m->st, SLICE("last"), SLICE("m"), true, 2, &m->e), &m->e);
    for (int turn = 0; busy; turn++) {
        assert_true(turn < LONGEST);
        busy = false;
        for (int i = 0; i < 4; i++) {
            busy |= step_retry(m, names[i]);
            busy |= step_cut(m, names[i]);
            busy |= step_settle(m, names[i]);
            busy |= step_verify(m, names[i]);
        }
        busy |= sweep(m, "staged");
        busy |= sweep(m, "kept");
    }
    if (all_held(m) != 0)
        model_dump(m);
    assert_int_equal(all_held(m), 0);
    assert_int_equal(
        model_number(m, "SELECT value FROM tally WHERE name = 'deleted' AND $1 = $2", 0, 0),
        model_number(m, "SELECT pos FROM position WHERE $1 = $2", 0, 0));
    m->batch_records = batch_records;
}

/* batch_records: with more than one, all is captured before the first step. */
static void explore(struct model *m, const struct action *actions, int64_t batch_records)
{
    uint8_t print[SHA256_SIZE];
    m->batch_records = batch_records;
    while (batch_records > 1 && step_capture(m, ""))
        ;
    model_save(m, 0);
    model_print(m, print);
    assert_true(model_is_new(m, print));
    m->states = 1;
    for (int at = 0; at < m->states; at++) {
        for (const struct action *a = actions; a->name; a++) {
            model_restore(m, at);
            int64_t held_before = all_held(m);
            if (!a->run(m, a->arg))
                continue;
            m->steps++;
            if (!a->deletes)
                assert_true(all_held(m) >= held_before);
            assert_conserved(m);
            model_print(m, print);
            if (model_is_new(m, print))
                model_save(m, m->states++);
        }
        model_restore(m, at);
        assert_all_can_go(m);
    }
    print_message("%d states, %d steps\n", m->states, m->steps);
}

static bool deliver(struct model *m, const char *name)
{
    return step_settle(m, name) && step_verify(m, name);
}

#define SWEEPS                                                                                     \
    {"sweep", sweep, "staged", true},                                                              \
    {                                                                                              \
        "sweep kept", sweep, "kept", true                                                          \
    }

static void two_required_adapters(void **state)
{
    static const struct action actions[] = {{"capture", step_capture, "", false},
                                            {"cut a", step_cut, "a", false},
                                            {"deliver a", deliver, "a", false},
                                            {"add b", step_add_required, "b", false},
                                            {"cut b", step_cut, "b", false},
                                            {"deliver b", deliver, "b", false},
                                            {"learn b", step_learn, "b", false},
                                            {"retire a", step_retire, "a", false},
                                            {"retire b", step_retire, "b", false},
                                            SWEEPS,
                                            {0}};
    explore(*state, actions, 1);
}

static void one_adapter_and_incidents(void **state)
{
    static const struct action actions[] = {
        {"cut a", step_cut, "a", false},
        {"deliver a", deliver, "a", false},
        {"park a", step_park, "a", false},
        {"retry a", step_retry, "a", false},
        {"add b", step_add_required, "b", false},
        {"retire b", step_retire, "b", false},
        {"room shut", step_open_incident, "room", false},
        {"room free", step_close_incident, "room", false},
        {"partition shut", step_open_incident, "partition", false},
        {"partition free", step_close_incident, "partition", false},
        SWEEPS,
        {0}};
    explore(*state, actions, RECORDS);
}

static void one_that_is_not_required(void **state)
{
    static const struct action actions[] = {{"cut a", step_cut, "a", false},
                                            {"deliver a", deliver, "a", false},
                                            {"add o", step_add_optional, "o", false},
                                            {"cut o", step_cut, "o", false},
                                            {"deliver o", deliver, "o", false},
                                            {"park o", step_park, "o", false},
                                            {"retry o", step_retry, "o", false},
                                            {"retire o", step_retire, "o", false},
                                            {"room shut", step_open_incident, "room", false},
                                            {"room free", step_close_incident, "room", false},
                                            SWEEPS,
                                            {0}};
    explore(*state, actions, RECORDS);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, model_set_up, model_tear_down)
    const struct CMUnitTest tests[] = {CASE(two_required_adapters), CASE(one_adapter_and_incidents),
                                       CASE(one_that_is_not_required)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
