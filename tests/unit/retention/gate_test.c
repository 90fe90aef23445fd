/* SPDX-License-Identifier: Apache-2.0 */
/* The gate over every combination of small facts: it opens for exactly those that the rule names.
 */
#include "retention/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void opens_for_nothing_less_than_everything(void **state)
{
    (void)state;
    int open = 0;
    for (int required = -1; required <= 3; required++)
        for (int settled = -1; settled <= 3; settled++)
            for (int full = -1; full <= 3; full++)
                for (int bits = 0; bits < 8; bits++) {
                    struct gate_facts f = {.required = required,
                                           .required_settled = settled,
                                           .full_readback = full,
                                           .incident = bits & 1,
                                           .hold = bits & 2,
                                           .in_hand = bits & 4};
                    bool may = required >= 1 && settled >= required && full >= 1 && bits == 0;
                    assert_int_equal(gate_keeps(&f) == NULL, may);
                    open += gate_keeps(&f) == NULL;
                }
    assert_int_equal(open, (3 + 2 + 1) * 3);
}

static void says_why(void **state)
{
    (void)state;
    struct gate_facts f = {0};
    assert_string_equal(gate_keeps(&f), "no adapter is required");
    f.required = 2;
    f.required_settled = 1;
    assert_string_equal(gate_keeps(&f), "a required adapter has not verified it yet");
    f.required_settled = 2;
    assert_string_equal(gate_keeps(&f), "no required adapter reads back what it wrote");
    f.full_readback = 1;
    f.incident = true;
    f.hold = true;
    assert_string_equal(gate_keeps(&f), "an incident is open");
    f.incident = false;
    assert_string_equal(gate_keeps(&f), "a hold has no copy that honours it");
    f.hold = false;
    f.in_hand = true;
    assert_string_equal(gate_keeps(&f), "an adapter has it in a batch that is parked or in hand");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(opens_for_nothing_less_than_everything),
                                       cmocka_unit_test(says_why)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
