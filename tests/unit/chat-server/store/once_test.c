/* SPDX-License-Identifier: Apache-2.0 */
/* chat-server/store/once: the newest keys are found, an undo takes the right ones out. */
#include "chat-server/store/once.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { WINDOW = 100 };

static const uint8_t *key(int64_t number)
{
    static uint8_t out[ONCE_SIZE];
    memset(out, 0, sizeof out);
    memcpy(out, &number, sizeof number);
    return out;
}

static void add(struct once *w, int64_t number, bool loaded)
{
    once_add(w, key(number), &(struct once_place){1, number, number * 2}, loaded);
}

static bool has(const struct once *w, int64_t number)
{
    struct once_place place = {0};
    if (!once_find(w, key(number), &place))
        return false;
    assert_int_equal(place.sequence, number);
    assert_int_equal(place.chat_id, number * 2);
    return true;
}

static void newest_are_found(void **state)
{
    (void)state;
    struct once *w = once_new(WINDOW);
    assert_non_null(w);
    for (int64_t i = 1; i <= 1000; i++) {
        add(w, i, false);
        assert_true(has(w, i));
    }
    for (int64_t i = 1; i <= 1000; i++)
        assert_int_equal(has(w, i), i > 1000 - WINDOW);
    once_clear(w);
    for (int64_t i = 1; i <= 1000; i++)
        assert_false(has(w, i));
    add(w, 5, false);
    assert_true(has(w, 5));
    once_free(w);
}

static void first_place_stays(void **state)
{
    (void)state;
    struct once *w = once_new(WINDOW);
    assert_non_null(w);
    add(w, 7, false);
    once_add(w, key(7), &(struct once_place){9, 9, 9}, false);
    assert_true(has(w, 7));
    assert_int_equal(once_mark(w), 1);
    once_free(w);
}

static void undo_leaves_what_is_durable(void **state)
{
    (void)state;
    struct once *w = once_new(WINDOW);
    assert_non_null(w);
    for (int64_t i = 1; i <= 10; i++)
        add(w, i, false);
    uint64_t mark = once_mark(w);
    for (int64_t i = 11; i <= 20; i++)
        add(w, i, i % 2 == 0);
    once_undo(w, mark);
    for (int64_t i = 1; i <= 20; i++)
        assert_int_equal(has(w, i), i <= 10 || i % 2 == 0);
    add(w, 11, false);
    assert_true(has(w, 11));
    /* A group larger than the window. */
    mark = once_mark(w);
    for (int64_t i = 100; i < 100 + 3 * WINDOW; i++)
        add(w, i, false);
    once_undo(w, mark);
    for (int64_t i = 1; i < 100 + 3 * WINDOW; i++)
        assert_false(has(w, i));
    once_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_are_found),
        cmocka_unit_test(first_place_stays),
        cmocka_unit_test(undo_leaves_what_is_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
