/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void set_returns_the_class_and_keeps_the_text(void **state)
{
    (void)state;
    struct err e;
    assert_int_equal(err_set(&e, ERR_CONFIG, "room %d", 7), ERR_CONFIG);
    assert_int_equal(e.class, ERR_CONFIG);
    assert_string_equal(e.text, "room 7");
}

static void errno_is_kept_and_named(void **state)
{
    (void)state;
    struct err e;
    errno = ENOSPC;
    assert_int_equal(err_errno(&e, ERR_RETRY, "write x"), ERR_RETRY);
    assert_int_equal(e.errnum, ENOSPC);
    assert_int_equal(errno, ENOSPC);
    assert_string_equal(e.text, "write x: No space left on device");
}

static void wrap_puts_context_in_front(void **state)
{
    (void)state;
    struct err e;
    (void)err_set(&e, ERR_FAULT, "inner");
    assert_int_equal(err_wrap(&e, "outer %s", "one"), ERR_FAULT);
    assert_string_equal(e.text, "outer one: inner");
}

static void null_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ERR_AGAIN, "x"), ERR_AGAIN);
    assert_int_equal(err_errno(NULL, ERR_AGAIN, "x"), ERR_AGAIN);
    assert_int_equal(err_memory(NULL, "x"), ERR_RETRY);
    assert_true(err_wrap(NULL, "x") < 0);
}

static void long_texts_are_cut_not_overrun(void **state)
{
    (void)state;
    struct err e;
    char big[2000];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    (void)err_set(&e, ERR_FAULT, "%s", big);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    (void)err_wrap(&e, "%s", big);
    errno = EIO;
    (void)err_errno(&e, ERR_FAULT, "%s", big);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

static void every_class_has_a_name(void **state)
{
    (void)state;
    for (int class = 0; class >= ERR_STOPPED; class --)
        assert_string_not_equal(err_class_name(class), "unknown");
    assert_string_equal(err_class_name(-99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_returns_the_class_and_keeps_the_text),
        cmocka_unit_test(errno_is_kept_and_named),
        cmocka_unit_test(wrap_puts_context_in_front),
        cmocka_unit_test(null_is_allowed),
        cmocka_unit_test(long_texts_are_cut_not_overrun),
        cmocka_unit_test(every_class_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
