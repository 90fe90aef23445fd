/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/own.h"

#include "sweep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void grows_and_stays_terminated(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100000);
    for (int i = 0; i < 10000; i++)
        buf_text(&b, "abcd");
    assert_int_equal(buf_ok(&b, "x", NULL), 0);
    assert_int_equal(b.n, 40000);
    assert_int_equal(strlen(b.p), 40000);
    buf_done(&b);
    assert_null(b.p);
    buf_done(&b);
}

static void the_maximum_is_hard_and_exact(void **state)
{
    (void)state;
    struct buf b;
    struct err e;
    buf_init(&b, 10);
    buf_text(&b, "0123456789");
    assert_int_equal(buf_ok(&b, "x", &e), 0);
    buf_char(&b, '!');
    assert_int_equal(buf_ok(&b, "room list", &e), ERR_REJECTED);
    assert_string_equal(e.text, "room list: over 10 bytes");
    assert_int_equal(b.n, 10);
    buf_text(&b, "");
    assert_int_equal(buf_ok(&b, "x", &e), ERR_REJECTED);
    buf_clear(&b);
    buf_text(&b, "ok");
    assert_string_equal(b.p, "ok");
    buf_add(&b, "x", SIZE_MAX);
    assert_int_equal(buf_ok(&b, "x", &e), ERR_REJECTED);
    buf_done(&b);
}

static void numbers_and_formats(void **state)
{
    (void)state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 5000);
    buf_i64(&b, INT64_MIN);
    assert_string_equal(b.p, "-9223372036854775808");
    buf_clear(&b);
    buf_u32be(&b, 0x01020304);
    buf_u64be(&b, 0x0102030405060708);
    assert_memory_equal(b.p, "\1\2\3\4\1\2\3\4\5\6\7\10", 12);
    buf_clear(&b);
    char big[1000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    buf_format(&b, "[%s]", big);
    assert_int_equal(b.n, 1001);
    assert_int_equal(b.p[1000], ']');
}

static void format_over_the_maximum_adds_nothing(void **state)
{
    (void)state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 8);
    buf_format(&b, "%d", 1234);
    buf_format(&b, "%d", 12345);
    assert_true(b.failed && b.too_big);
    assert_string_equal(b.p, "1234");
}

static void reserve_commit_drop_detach(void **state)
{
    (void)state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 100);
    char *room = buf_reserve(&b, 3);
    assert_non_null(room);
    memcpy(room, "abc", 3);
    buf_commit(&b, 3);
    buf_drop_front(&b, 1);
    assert_string_equal(b.p, "bc");
    size_t n = 0;
    char *mine = buf_detach(&b, &n);
    assert_int_equal(n, 2);
    assert_string_equal(mine, "bc");
    free(mine);
    buf_text(&b, "again");
    assert_string_equal(b.p, "again");
    buf_drop_front(&b, 99);
    assert_int_equal(buf_view(&b).n, 0);
    assert_null(buf_reserve(&b, 101));
}

static void an_empty_buffer_has_a_view(void **state)
{
    (void)state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 10);
    assert_non_null(buf_view(&b).p);
    assert_int_equal(buf_view(&b).n, 0);
}

static int one_filling(void)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, 100000);
    for (int i = 0; i < 300; i++) {
        buf_format(&b, "%0300d", i);
        buf_i64(&b, i);
        char *room = buf_reserve(&b, 20);
        if (room)
            buf_commit(&b, 20);
    }
    return buf_ok(&b, "text", NULL);
}

static void out_of_memory_is_survived(void **state)
{
    (void)state;
    sweep(one_filling);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_stays_terminated),
        cmocka_unit_test(the_maximum_is_hard_and_exact),
        cmocka_unit_test(numbers_and_formats),
        cmocka_unit_test(format_over_the_maximum_adds_nothing),
        cmocka_unit_test(reserve_commit_drop_detach),
        cmocka_unit_test(an_empty_buffer_has_a_view),
        cmocka_unit_test(out_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
