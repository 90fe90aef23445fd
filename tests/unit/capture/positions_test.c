/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/positions.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int64_t pos_of(const struct positions *p, int32_t part)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->at[i].part == part)
            return p->at[i].pos;
    }
    return -1;
}

static void partitions_come_and_go(void **state)
{
    struct positions p = {0};
    struct err e = {0};
    const struct staging_position first[] = {{.part = 3, .pos = 30}, {.part = 1, .pos = 10}};
    const struct staging_position again[] = {{.part = 1, .pos = 11}, {.part = 2, .pos = 20}};
    const int32_t gone[] = {3, 2, 9};
    (void)state;
    assert_int_equal(positions_add(&p, first, 2, &e), 0);
    assert_int_equal(positions_add(&p, again, 2, &e), 0);
    assert_int_equal(p.n, 3);
    assert_int_equal(pos_of(&p, 1), 11);
    positions_drop(&p, gone, 3);
    assert_int_equal(p.n, 1);
    assert_int_equal(pos_of(&p, 1), 11);
    positions_done(&p);
    assert_int_equal(p.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(partitions_come_and_go)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
