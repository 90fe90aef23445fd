/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "base/own.h"

#include "sweep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

OWN_DEFINE(doc, struct json_doc, json_doc_free)

static const struct json_limits limits = {.bytes = 1 << 20, .depth = 8, .nodes = 1000};

static const struct json *parse(struct json_doc *d, struct slice text)
{
    const struct json *root = NULL;
    struct err e = {0};
    int rc = json_parse(d, text, &limits, &root, &e);
    if (rc)
        fail_msg("%.*s: %s", SLICE_ARG(text), e.text);
    return root;
}

/* Refused, and the error says so. */
static void refused(struct slice text, const char *why)
{
    OWN(own_doc) struct json_doc *d = json_doc_new();
    const struct json *root = NULL;
    struct err e = {0};
    if (json_parse(d, text, &limits, &root, &e) != ERR_REJECTED)
        fail_msg("taken: %.*s", SLICE_ARG(text));
    assert_null(root);
    if (!strstr(e.text, why))
        fail_msg("'%s' does not say '%s'", e.text, why);
}

static void a_document_becomes_a_tree(void **state)
{
    (void)state;
    OWN(own_doc) struct json_doc *d = json_doc_new();
    const struct json *root =
        parse(d, SLICE(" {\"a\":[1,-2.5e3,true,null,\"x\"],\"b\":{},\"c\":\"\"} "));
    assert_int_equal(root->type, JSON_OBJECT);
    assert_int_equal(root->count, 3);
    const struct json *a = json_get(root, "a");
    assert_int_equal(a->count, 5);
    const struct json *n = a->child;
    assert_true(slice_is(n->text, "1"));
    assert_null(n->key.p);
    n = n->next;
    assert_true(slice_is(n->text, "-2.5e3"));
    n = n->next;
    assert_true(n->type == JSON_BOOL && n->boolean);
    assert_int_equal(n->next->type, JSON_NULL);
    assert_null(n->next->next->next);
    assert_int_equal(json_get(root, "b")->type, JSON_OBJECT);
    assert_non_null(json_string(root, "c").p);
    assert_null(json_string(root, "a").p);
    assert_null(json_get(root, "d"));
    assert_null(json_get(a, "a"));
    assert_null(json_get(NULL, "a"));
}

static void escapes_are_decoded(void **state)
{
    (void)state;
    OWN(own_doc) struct json_doc *d = json_doc_new();
    const struct json *root =
        parse(d, SLICE("[\"a\\u0000b\",\"\\ud83d\\ude00\",\"\\\\ud800\",\"\\u00e4\\/\\t\\\"\"]"));
    const struct json *n = root->child;
    assert_int_equal(n->text.n, 3);
    assert_memory_equal(n->text.p, "a\0b", 3);
    n = n->next;
    assert_true(slice_is(n->text, "\xF0\x9F\x98\x80"));
    n = n->next;
    assert_true(slice_is(n->text, "\\ud800"));
    n = n->next;
    assert_true(slice_is(n->text, "\xC3\xA4/\t\""));
    root = parse(d, SLICE("{\"\\u0061\":1}"));
    assert_non_null(json_get(root, "a"));
}

static void any_value_may_be_the_root(void **state)
{
    (void)state;
    OWN(own_doc) struct json_doc *d = json_doc_new();
    static const char *const texts[] = {"12345", "\"x\"", "null", "false", "-0", "[]", "{}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        (void)parse(d, slice_of(texts[i]));
    /* A number at the very end: its text must be kept, not a buffer of the parser. */
    const struct json *root = parse(d, SLICE("12345"));
    assert_true(slice_is(root->text, "12345"));
}

static void malformed_texts_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",           " ",        "{",        "[",
        "[1,]",       "{\"a\"}",  "{\"a\":}", "{a:1}",
        "[1 2]",      "nul",      "tru",      "01",
        "1.",         ".5",       "+1",       "1e",
        "- 1",        "\"",       "\"\\x\"",  "\"\\u12\"",
        "'a'",        "[1]]",     "[] []",    "{} x",
        "[1}",        "/* c */1", "// c\n1",  "[1,,2]",
        "\"a\nb\"",   "NaN",      "Infinity", "\xEF\xBB\xBF[]",
        "\"\\",       "\\u0061",  "{,}",      "\"\t\"",
        "{\"a\":1,}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(slice_of(bad[i]), "at byte");
    refused(SLICE("[1]\0"), "at byte");
    refused(SLICE("\"a\0b\""), "at byte");
}

/* What no reader would see, among them tokens that are never finished. */
static void nothing_may_follow_the_value(void **state)
{
    (void)state;
    static const char *const values[] = {"{\"a\":1}", "[]", "\"x\"", "12", "null"};
    static const char *const bad[] = {"\"", "\"}", "\"x", "\"\\", "tru", "1", "-",
                                      "]",  "}",   ",",   "{",    "/",   "#"};
    static const char *const between[] = {"", " ", "\r\n\t"};
    for (size_t v = 0; v < sizeof values / sizeof *values; v++)
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
            for (size_t b = 0; b < sizeof between / sizeof *between; b++) {
                char text[64];
                (void)snprintf(text, sizeof text, "%s%s%s", values[v], between[b], bad[i]);
                bool longer = v == 3 && b == 0 && *bad[i] == '1'; /* just another number */
                if (!longer)
                    refused(slice_of(text), "at byte");
            }
    refused(SLICE("{\"a\":1}  \"}"), "something follows the value at byte 9");
    refused(SLICE("{}\0"), "something follows the value at byte 2");
    OWN(own_doc) struct json_doc *d = json_doc_new();
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
        char text[64];
        (void)snprintf(text, sizeof text, "\t%s \r\n\t ", values[v]);
        (void)parse(d, slice_of(text));
    }
}

static void only_four_blanks_exist(void **state)
{
    (void)state;
    static const char *const bad[] = {"\v[]", "[\f]", "{}\v", "{} \f", "\"\v\"", "\"\f\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(slice_of(bad[i]), "control character at byte");
    refused(SLICE("{\"a\":"), "at byte 5");
}

static void half_surrogates_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\"\\ud800\"",        "\"\\udc00\"",    "\"\\ud800x\"",    "\"\\ud800\\u0041\"",
        "\"\\ud800\\ud800\"", "\"\\uDBFF\\n\"", "\"\\\\\\ud800\"", "\"\\ud83d\\ude00\\ude00\"",
        "{\"\\udfff\":1}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(slice_of(bad[i]), "surrogate");
}

static void ill_formed_utf8_is_refused(void **state)
{
    (void)state;
    refused(SLICE("[\"abc\xC0\x80\"]"), "not UTF-8 at byte 5");
    refused(SLICE("\"\xED\xA0\x80\""), "UTF-8");
    refused(SLICE("\"\xFF\""), "UTF-8");
    refused(SLICE("\"\xE2\x82"), "UTF-8");
}

static void repeated_keys_are_refused(void **state)
{
    (void)state;
    refused(SLICE("{\"a\":1,\"b\":2,\"a\":3}"), "duplicate key 'a'");
    refused(SLICE("{\"a\":1,\"\\u0061\":3}"), "duplicate key");
    refused(SLICE("[{\"x\":{\"\":1,\"\":2}}]"), "duplicate key");
    OWN(own_buf) struct buf b;
    buf_init(&b, 100000);
    buf_text(&b, "{");
    for (int i = 0; i < 500; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i * 7919 % 500);
        json_put_i64(&b, key, i);
    }
    OWN(own_doc) struct json_doc *d = json_doc_new();
    buf_text(&b, "}");
    assert_int_equal(parse(d, buf_view(&b))->count, 500);
    b.n--;
    json_put_i64(&b, "k250", 1);
    buf_text(&b, "}");
    refused(buf_view(&b), "duplicate key 'k250'");
}

static void limits_hold(void **state)
{
    (void)state;
    OWN(own_doc) struct json_doc *d = json_doc_new();
    (void)parse(d, SLICE("[[[[[[[[1]]]]]]]]"));
    refused(SLICE("[[[[[[[[[1]]]]]]]]]"), "nested too deeply");
    OWN(own_buf) struct buf b;
    buf_init(&b, 4 << 20);
    buf_char(&b, '[');
    for (int i = 0; i < 999; i++)
        buf_text(&b, i ? ",1" : "1");
    buf_char(&b, ']');
    (void)parse(d, buf_view(&b));
    b.n--;
    buf_text(&b, ",1]");
    refused(buf_view(&b), "too many values");
    buf_clear(&b);
    buf_char(&b, '"');
    while (b.n < (1 << 20) + 1)
        buf_char(&b, 'a');
    refused(buf_view(&b), "over 1048576");
    struct json_limits deep = {.bytes = 4 << 20, .depth = 1 << 20, .nodes = 4 << 20};
    buf_clear(&b);
    for (int i = 0; i < 100000; i++)
        buf_char(&b, '[');
    const struct json *root = NULL;
    struct err e;
    assert_int_equal(json_parse(d, buf_view(&b), &deep, &root, &e), ERR_REJECTED);
}

static void a_document_after_a_failure(void **state)
{
    (void)state;
    OWN(own_doc) struct json_doc *d = json_doc_new();
    const struct json *root = NULL;
    assert_int_equal(json_parse(d, SLICE("{\"a\":{\"b\":[1,"), &limits, &root, NULL), ERR_REJECTED);
    root = parse(d, SLICE("{\"a\":1}"));
    int64_t v = 0;
    assert_true(json_i64(root, "a", &v));
    assert_int_equal(v, 1);
}

static void integers_only(void **state)
{
    (void)state;
    OWN(own_doc) struct json_doc *d = json_doc_new();
    const struct json *root =
        parse(d, SLICE("{\"a\":1.0,\"b\":1e3,\"c\":9223372036854775808,\"d\":\"1\",\"e\":-5}"));
    int64_t v = 99;
    static const char *const bad[] = {"a", "b", "c", "d", "f"};
    for (size_t i = 0; i < 5; i++)
        assert_false(json_i64(root, bad[i], &v));
    assert_int_equal(v, 99);
    assert_true(json_i64(root, "e", &v));
    assert_int_equal(v, -5);
}

static void written_text_reads_back(void **state)
{
    (void)state;
    OWN(own_doc) struct json_doc *d = json_doc_new();
    char all[129];
    for (int i = 0; i < 128; i++)
        all[i] = (char)i;
    struct slice ascii = {all, 128};
    OWN(own_buf) struct buf b;
    buf_init(&b, 10000);
    buf_char(&b, '{');
    json_put_string(&b, "s", ascii);
    json_put_i64(&b, "n", -3);
    json_put_bool(&b, "t", true);
    json_key(&b, "list");
    buf_char(&b, '[');
    json_comma(&b);
    json_write_string(&b, SLICE("\xF0\x9F\x98\x80"));
    json_comma(&b);
    json_write_base64(&b, SLICE("\xFF\x00x"));
    buf_text(&b, "]}");
    const struct json *root = parse(d, buf_view(&b));
    assert_true(slice_eq(json_string(root, "s"), ascii));
    assert_true(json_get(root, "t")->boolean);
    assert_int_equal(json_get(root, "list")->count, 2);
    assert_true(slice_is(json_get(root, "list")->child->next->text, "/wB4"));
}

static void lossy_text_says_so(void **state)
{
    (void)state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 1000);
    assert_true(json_write_lossy(&b, SLICE("a\"\n\xC3\xA4")));
    assert_string_equal(b.p, "\"a\\\"\\n\xC3\xA4\"");
    buf_clear(&b);
    assert_false(json_write_lossy(&b, SLICE("a\xFFz\xE2\x82")));
    assert_string_equal(b.p, "\"a\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

static int one_parse(void)
{
    static const char text[] = "{\"a\":[1,2,\"\\u00e4 and more\",{\"b\":null}],\"c\":12}";
    OWN(own_doc) struct json_doc *d = json_doc_new();
    if (!d)
        return ERR_RETRY;
    const struct json *root = NULL;
    OWN(own_buf) struct buf big;
    buf_init(&big, 1 << 20);
    buf_char(&big, '[');
    for (int i = 0; i < 300; i++) {
        json_comma(&big);
        buf_text(&big, text);
    }
    buf_char(&big, ']');
    int rc = buf_ok(&big, "text", NULL);
    struct json_limits wide = {.bytes = 1 << 20, .depth = 8, .nodes = 100000};
    return rc ? rc : json_parse(d, buf_view(&big), &wide, &root, NULL);
}

static void out_of_memory_is_survived(void **state)
{
    (void)state;
    sweep(one_parse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_becomes_a_tree),
        cmocka_unit_test(escapes_are_decoded),
        cmocka_unit_test(any_value_may_be_the_root),
        cmocka_unit_test(malformed_texts_are_refused),
        cmocka_unit_test(nothing_may_follow_the_value),
        cmocka_unit_test(only_four_blanks_exist),
        cmocka_unit_test(half_surrogates_are_refused),
        cmocka_unit_test(ill_formed_utf8_is_refused),
        cmocka_unit_test(repeated_keys_are_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(a_document_after_a_failure),
        cmocka_unit_test(integers_only),
        cmocka_unit_test(written_text_reads_back),
        cmocka_unit_test(lossy_text_says_so),
        cmocka_unit_test(out_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
