/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void slices_compare(void **state)
{
    (void)state;
    assert_true(slice_eq(SLICE("a"), SLICE("a")));
    assert_true(slice_eq((struct slice){NULL, 0}, SLICE("")));
    assert_false(slice_eq(SLICE("a\0b"), SLICE("a\0c")));
    assert_true(slice_eq_nocase(SLICE("AbC-1"), SLICE("aBc-1")));
    assert_false(slice_eq_nocase(SLICE("\xC3\x84"), SLICE("\xC3\xA4")));
    assert_true(slice_cmp(SLICE("a"), SLICE("ab")) < 0);
    assert_true(slice_cmp(SLICE("b"), SLICE("ab")) > 0);
    assert_true(slice_cmp(SLICE("\xFF"), SLICE("a")) > 0);
    assert_true(slice_starts(SLICE("file:x"), "file:"));
    assert_false(slice_starts(SLICE("fil"), "file:"));
    assert_true(slice_is(slice_trim(SLICE(" \t\r\n a b \n")), "a b"));
    assert_int_equal(slice_trim(SLICE("  ")).n, 0);
}

static void cut_takes_pieces_until_nothing_is_left(void **state)
{
    (void)state;
    struct slice rest = SLICE("a,,b");
    assert_true(slice_is(slice_cut(&rest, ','), "a"));
    assert_true(slice_is(slice_cut(&rest, ','), ""));
    assert_true(slice_is(slice_cut(&rest, ','), "b"));
    assert_null(rest.p);
    struct slice end = SLICE("a,");
    (void)slice_cut(&end, ',');
    assert_non_null(end.p);
    assert_int_equal(end.n, 0);
}

static void copies_respect_size_and_nul(void **state)
{
    (void)state;
    char out[4] = "zzz";
    assert_true(slice_copy(SLICE("abc"), out, sizeof out));
    assert_string_equal(out, "abc");
    assert_false(slice_copy(SLICE("abcd"), out, sizeof out));
    assert_string_equal(out, "");
    assert_false(slice_copy(SLICE("a\0b"), out, sizeof out));
    char *dup = slice_dup(SLICE("a\0b"));
    assert_non_null(dup);
    assert_memory_equal(dup, "a\0b", 4);
    free(dup);
}

static void numbers_are_strict(void **state)
{
    (void)state;
    int64_t v = 5;
    assert_true(text_i64(SLICE("-9223372036854775808"), &v));
    assert_true(v == INT64_MIN);
    assert_true(text_i64(SLICE("9223372036854775807"), &v));
    assert_true(v == INT64_MAX);
    assert_true(text_i64(SLICE("00000000000000000012"), &v));
    assert_int_equal(v, 12);
    static const char *const bad[] = {"",
                                      "-",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "1a",
                                      "0x1",
                                      "--1",
                                      "1.0",
                                      "1e3",
                                      "9223372036854775808",
                                      "-9223372036854775809"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(text_i64(slice_of(bad[i]), &v));
    assert_int_equal(v, 12);
    uint64_t u = 0;
    assert_true(text_u64(SLICE("18446744073709551615"), &u));
    assert_true(u == UINT64_MAX);
    assert_false(text_u64(SLICE("18446744073709551616"), &u));
    assert_false(text_u64(SLICE("-1"), &u));
}

static void durations(void **state)
{
    (void)state;
    int64_t ms = 0;
    assert_true(text_duration_ms(SLICE("1h30m"), &ms));
    assert_int_equal(ms, 5400000);
    assert_true(text_duration_ms(SLICE("250ms"), &ms));
    assert_int_equal(ms, 250);
    assert_true(text_duration_ms(SLICE("30d"), &ms));
    assert_true(ms == INT64_C(2592000000));
    static const char *const bad[] = {"",
                                      "1",
                                      "m",
                                      "1h1h",
                                      "30m1h",
                                      "-1s",
                                      "1 s",
                                      "1s ",
                                      "1x",
                                      "1.5h",
                                      "99999999999999999d",
                                      "106751991168d"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(text_duration_ms(slice_of(bad[i]), &ms));
}

static void sizes(void **state)
{
    (void)state;
    int64_t n = 0;
    assert_true(text_size(SLICE("512KiB"), &n));
    assert_int_equal(n, 524288);
    assert_true(text_size(SLICE("100"), &n));
    assert_int_equal(n, 100);
    assert_false(text_size(SLICE("1KB"), &n));
    assert_false(text_size(SLICE("KiB"), &n));
    assert_false(text_size(SLICE("-1MiB"), &n));
    assert_false(text_size(SLICE("9007199254740992KiB"), &n));
}

static void utf8_is_strict(void **state)
{
    (void)state;
    assert_true(utf8_valid(SLICE("plain text of more than eight bytes \xE2\x82\xAC end")));
    assert_true(utf8_valid(SLICE("\xF4\x8F\xBF\xBF")));
    assert_true(utf8_valid(SLICE("a\0b")));
    assert_true(utf8_valid((struct slice){NULL, 0}));
    static const struct slice bad[] = {
        {"\xC0\x80", 2},         {"\xC1\xBF", 2},         {"\xE0\x80\x80", 3},
        {"\xED\xA0\x80", 3},     {"\xED\xBF\xBF", 3},     {"\xF0\x80\x80\x80", 4},
        {"\xF4\x90\x80\x80", 4}, {"\xF5\x80\x80\x80", 4}, {"\x80", 1},
        {"\xE2\x82", 2},         {"12345678\xE2", 9},     {"\xFF", 1},
        {"\xE2\x28\xA1", 3},     {"\xF0\x9F\x98", 3},     {"\xC3", 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(utf8_valid(bad[i]));
    assert_int_equal(utf8_sequence(SLICE("\xF0\x9F\x98\x80x")), 4);
    assert_int_equal(utf8_sequence(SLICE("")), 0);
}

static void hex_both_ways(void **state)
{
    (void)state;
    char text[9];
    unsigned char bytes[4];
    hex_encode("\x00\x1f\xAB\xff", 4, text);
    assert_string_equal(text, "001fabff");
    assert_true(hex_decode(SLICE("001fABff"), bytes, 4));
    assert_memory_equal(bytes, "\x00\x1f\xab\xff", 4);
    assert_false(hex_decode(SLICE("001fabf"), bytes, 4));
    assert_false(hex_decode(SLICE("001fabfg"), bytes, 4));
    assert_false(hex_decode(SLICE("001fabff00"), bytes, 4));
}

/* RFC 4648 section 10. */
static void base64_vectors(void **state)
{
    (void)state;
    static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
    static const char *const coded[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                        "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (size_t i = 0; i < 7; i++) {
        char text[16];
        unsigned char back[16];
        size_t n = 99;
        base64_encode(plain[i], strlen(plain[i]), text);
        assert_string_equal(text, coded[i]);
        assert_int_equal(base64_encoded_size(strlen(plain[i])), strlen(coded[i]));
        assert_true(base64_decode(slice_of(coded[i]), back, &n));
        assert_int_equal(n, strlen(plain[i]));
        assert_memory_equal(back, plain[i], n);
    }
}

static void base64_is_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Z", "Zg", "Zg=", "Zg==Zg==", "Z===", "====", "Zh==", "Zm9=", "Zm\n=", "Zg=v", " Zg="};
    unsigned char out[16];
    size_t n = 99;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(base64_decode(slice_of(bad[i]), out, &n));
    assert_int_equal(n, 99);
}

static void nearest_name(void **state)
{
    (void)state;
    size_t best = SIZE_MAX;
    assert_true(text_nearer(SLICE("stauts"), SLICE("status"), &best));
    assert_int_equal(best, 1);
    assert_false(text_nearer(SLICE("stauts"), SLICE("stats"), &best));
    best = SIZE_MAX;
    assert_false(text_nearer(SLICE("frobnicate"), SLICE("room"), &best));
    assert_true(best == SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_compare),
        cmocka_unit_test(cut_takes_pieces_until_nothing_is_left),
        cmocka_unit_test(copies_respect_size_and_nul),
        cmocka_unit_test(numbers_are_strict),
        cmocka_unit_test(durations),
        cmocka_unit_test(sizes),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(hex_both_ways),
        cmocka_unit_test(base64_vectors),
        cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(nearest_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
