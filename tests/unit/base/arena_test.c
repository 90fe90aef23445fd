/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void pieces_do_not_overlap(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    char *p[500];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 500; i++) {
            p[i] = arena_alloc(&a, (size_t)i * 7 + 1);
            assert_non_null(p[i]);
            assert_int_equal((uintptr_t)p[i] % 16, 0);
            memset(p[i], i, (size_t)i * 7 + 1);
        }
        for (int i = 0; i < 500; i++)
            for (size_t j = 0; j <= (size_t)i * 7; j++)
                assert_int_equal((unsigned char)p[i][j], i & 255);
        arena_reset(&a);
    }
    arena_done(&a);
}

static void big_blocks_are_given_back(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 64 * 1024);
    assert_non_null(arena_alloc(&a, 8 << 20));
    arena_reset(&a);
    assert_null(a.blocks);
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, (1u << 30) + 1));
    struct slice copy;
    assert_true(arena_copy(&a, SLICE("a\0b"), &copy));
    assert_memory_equal(copy.p, "a\0b", 4);
    arena_reset(&a);
    assert_non_null(a.blocks);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_overlap),
        cmocka_unit_test(big_blocks_are_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
