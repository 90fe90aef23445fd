/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/smtp/smtp_encode.h"

#include "base/own.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { MAX = 1 << 20 };

static void test_visible(void **state)
{
    (void)state;
    static const struct {
        struct slice in;
        const char *newline, *out;
    } cases[] = {
        {{"plain", 5}, NULL, "plain"},
        {{"a\0b", 3},
         NULL,
         "a\xe2\x90\x80"
         "b"},
        {{"a\r\nb", 4},
         NULL,
         "a\xe2\x90\x8d\xe2\x90\x8a"
         "b"},
        {{"a\r\nb", 4}, "\n|", "a\xe2\x90\x8d\n|b"},
        {{"\x7f\t", 2}, "\n", "\xe2\x90\xa1\xe2\x90\x89"},
        {{"\xc2\x85", 2}, NULL, "\\u{0085}"},
        {{"\xe2\x80\xae", 3}, NULL, "\\u{202E}"},
        {{"\xe2\x80\xa8", 3}, "\n", "\\u{2028}"},
        {{"\xef\xbf\xbe", 3}, NULL, "\\u{FFFE}"},
        {{"\xf0\x9f\x98\x80", 4}, NULL, "\xf0\x9f\x98\x80"},
        {{"\xf4\x8f\xbf\xbf", 4}, NULL, "\\u{10FFFF}"},
        {{"\xff\xc3", 2}, NULL, "\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        OWN(own_buf) struct buf b;
        buf_init(&b, MAX);
        smtp_visible(&b, cases[i].in, cases[i].newline);
        assert_string_equal(b.p, cases[i].out);
    }
}

static void test_visible_short(void **state)
{
    (void)state;
    OWN(own_buf) struct buf b;
    buf_init(&b, MAX);
    smtp_visible_short(&b, SLICE("abc"), 3);
    assert_string_equal(b.p, "abc");
    buf_clear(&b);
    smtp_visible_short(&b, SLICE("ab\xc3\xa9xyz"), 3);
    assert_string_equal(b.p, "ab...");
}

static void quoted_is(struct slice in, const char *out)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, MAX);
    smtp_quoted(&b, in);
    assert_string_equal(b.p, out);
}

static void test_quoted(void **state)
{
    (void)state;
    quoted_is(SLICE("a=b\n"), "a=3Db\r\n");
    quoted_is(SLICE("end \n"), "end=20\r\n");
    quoted_is(SLICE("a b\tc\n"), "a b=09c\r\n");
    quoted_is(SLICE(".\n..\nx.\n"), "=2E\r\n=2E.\r\nx.\r\n");
    quoted_is(SLICE("\xc3\xa9\r\n"), "=C3=A9=0D\r\n");
    quoted_is(SLICE("\n"), "\r\n");
}

/* Whatever goes in: short lines, no dot in front, and it decodes to the same. */
static void test_quoted_lines(void **state)
{
    (void)state;
    char in[4000];
    uint32_t dice = 7;
    for (size_t i = 0; i < sizeof in; i++) {
        dice = dice * 1664525 + 1013904223;
        in[i] = "..=\n a\r\xc3"[(dice >> 20) % 8];
    }
    in[sizeof in - 1] = '\n';
    OWN(own_buf) struct buf b;
    buf_init(&b, MAX);
    smtp_quoted(&b, (struct slice){in, sizeof in});
    char back[sizeof in];
    size_t n = 0;
    size_t column = 0;
    for (size_t i = 0; i < b.n; i++) {
        assert_false(column == 0 && b.p[i] == '.');
        if (b.p[i] == '\r') {
            assert_int_equal(b.p[i + 1], '\n');
            back[n++] = '\n';
            i++;
            column = 0;
            continue;
        }
        assert_true(++column <= 76);
        if (b.p[i] != '=') {
            back[n++] = b.p[i];
            continue;
        }
        if (b.p[i + 1] == '\r') {
            i += 2;
            column = 0;
            continue;
        }
        uint8_t byte;
        assert_true(hex_decode((struct slice){b.p + i + 1, 2}, &byte, 1));
        back[n++] = (char)byte;
        column += 2;
        i += 2;
    }
    assert_int_equal(n, sizeof in);
    assert_memory_equal(back, in, n);
}

/* The pieces it comes in do not matter. */
static void test_base64_pieces(void **state)
{
    (void)state;
    char in[1000];
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (char)(i * 7);
    OWN(own_buf) struct buf whole;
    buf_init(&whole, MAX);
    struct smtp_base64 s = {0};
    smtp_base64_add(&s, &whole, (struct slice){in, sizeof in});
    smtp_base64_end(&s, &whole);
    for (size_t piece = 1; piece < 130; piece++) {
        OWN(own_buf) struct buf parts;
        buf_init(&parts, MAX);
        for (size_t at = 0; at < sizeof in; at += piece) {
            size_t n = sizeof in - at < piece ? sizeof in - at : piece;
            smtp_base64_add(&s, &parts, (struct slice){in + at, n});
        }
        smtp_base64_end(&s, &parts);
        assert_true(slice_eq(buf_view(&whole), buf_view(&parts)));
    }
    assert_int_equal(strcspn(whole.p, "\r"), 76);
}

static void header_is(const char *value, const char *out)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, MAX);
    smtp_header(&b, "X", slice_of(value));
    assert_string_equal(b.p, out);
}

static void test_header(void **state)
{
    (void)state;
    header_is("plain words", "X: plain words\r\n");
    header_is("caf\xc3\xa9", "X: =?utf-8?B?Y2Fmw6k=?=\r\n");
    header_is("=?utf-8?B?eA==?=", "X: =?utf-8?B?PT91dGYtOD9CP2VBPT0/PQ==?=\r\n");
    /* U+240D U+240A: shown, not done */
    header_is("a\r\nBcc: x", "X: =?utf-8?B?YeKQjeKQikJjYzogeA==?=\r\n");
    header_is("", "X:\r\n");
    header_is("1234567890123456789012345678901234567890 1234567890123456789012345678901234567890",
              "X: 1234567890123456789012345678901234567890\r\n"
              " 1234567890123456789012345678901234567890\r\n");
}

static void test_header_lines(void **state)
{
    (void)state;
    OWN(own_buf) struct buf value;
    OWN(own_buf) struct buf b;
    buf_init(&value, MAX);
    buf_init(&b, MAX);
    for (int i = 0; i < 500; i++)
        buf_text(&value, i % 3 ? "\xf0\x9f\x98\x80" : "xx");
    smtp_header(&b, "Subject", buf_view(&value));
    struct slice rest = buf_view(&b);
    int lines = 0;
    while (rest.n) {
        struct slice line = slice_trim(slice_cut(&rest, '\n'));
        assert_true(line.n <= 76 + 8);
        if (lines++ > 0)
            assert_true(slice_starts(line, "=?utf-8?B?") && line.n <= 75);
    }
    assert_true(lines > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_visible),       cmocka_unit_test(test_visible_short),
        cmocka_unit_test(test_quoted),        cmocka_unit_test(test_quoted_lines),
        cmocka_unit_test(test_base64_pieces), cmocka_unit_test(test_header),
        cmocka_unit_test(test_header_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
