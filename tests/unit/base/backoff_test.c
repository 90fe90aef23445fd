/* SPDX-License-Identifier: Apache-2.0 */
#include "base/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void doubles_up_to_the_last(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, 100, 1000);
    static const int64_t full[] = {100, 200, 400, 800, 1000, 1000};
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < 6; i++) {
            int64_t ms = backoff_next(&b);
            assert_true(ms <= full[i] && ms >= full[i] * 3 / 4);
        }
        backoff_reset(&b);
    }
}

static void pauses_differ(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, 100000, 100000);
    int64_t first = backoff_next(&b);
    int different = 0;
    for (int i = 0; i < 20; i++)
        different += backoff_next(&b) != first;
    assert_true(different > 0);
}

static void never_overflows(void **state)
{
    (void)state;
    struct backoff b;
    backoff_init(&b, INT64_MAX / 2, INT64_MAX);
    for (int i = 0; i < 10; i++)
        assert_true(backoff_next(&b) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_up_to_the_last),
        cmocka_unit_test(pauses_differ),
        cmocka_unit_test(never_overflows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
