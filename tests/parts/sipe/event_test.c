/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON lines of the SIPE client's driver, and texts taken out of HTML without a change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/parts/sipe/event.h"

static void assert_text(const char *html, const char *expected)
{
    char *text = html_to_text(html);

    assert_string_equal(text, expected);
    g_free(text);
}

static void line_is_json(void **state)
{
    (void)state;
    GString *event = event_new("message");
    event_text(event, "text", "a\"b\\c\nd\te\x7f");
    event_text(event, "from", NULL);
    event_number(event, "n", -7);
    event_bool(event, "own", 1);
    char *line = event_line(event);
    assert_string_equal(line, "{\"event\":\"message\",\"text\":\"a\\\"b\\\\c\\nd\\u0009e\\u007f\","
                              "\"from\":null,\"n\":-7,\"own\":true}");
    g_free(line);
}

static void line_is_utf8(void **state)
{
    (void)state;
    GString *event = event_new("x");
    event_text(event, "t", "\303\244\377");
    char *line = event_line(event);
    assert_string_equal(line, "{\"event\":\"x\",\"t\":\"\303\244\357\277\275\"}");
    g_free(line);
}

static void escaped_text_comes_back(void **state)
{
    static const char *const texts[] = {
        "",      "a  b ",  "<b>&amp;</b>", "x & y < z > \"q\" 'p'", "\xe2\x82\xac \xf0\x9f\x98\x80",
        "&#38;", "a\n\n b"};

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        char *html = g_markup_escape_text(texts[i], -1);

        assert_text(html, texts[i]);
        g_free(html);
    }
}

static void tags_go_and_breaks_stay(void **state)
{
    (void)state;
    assert_text("one<br>two<BR/>three", "one\ntwo\nthree");
    assert_text("<b>bold</b> <a href=\"x\">link</a>", "bold link");
    assert_text("<brown>x", "x");
}

static void what_is_no_markup_stays(void **state)
{
    (void)state;
    assert_text("a & b &unknown; &#; &#xZ; &", "a & b &unknown; &#; &#xZ; &");
    assert_text("1 < 2 <", "1 < 2 <");
    assert_text("&#x20AC;&#8364;", "\xe2\x82\xac\xe2\x82\xac");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_is_json),
        cmocka_unit_test(line_is_utf8),
        cmocka_unit_test(escaped_text_comes_back),
        cmocka_unit_test(tags_go_and_breaks_stay),
        cmocka_unit_test(what_is_no_markup_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
