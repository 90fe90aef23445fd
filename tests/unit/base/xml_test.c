/* SPDX-License-Identifier: Apache-2.0 */
#include "base/own.h"
#include "base/xml.h"

#include "sweep.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

OWN_DEFINE(doc, struct xml_doc, xml_doc_free)

static const struct xml_limits limits = {.bytes = 1 << 20, .depth = 8, .nodes = 1000};

static const struct xml_node *parse(struct xml_doc *d, struct slice text)
{
    const struct xml_node *root = NULL;
    struct err e = {0};
    if (xml_parse(d, text, &limits, &root, &e))
        fail_msg("%.*s: %s", SLICE_ARG(text), e.text);
    return root;
}

static void refused(struct slice text, const char *why)
{
    OWN(own_doc) struct xml_doc *d = xml_doc_new();
    const struct xml_node *root = NULL;
    struct err e = {0};
    if (xml_parse(d, text, &limits, &root, &e) != ERR_REJECTED)
        fail_msg("taken: %.*s", SLICE_ARG(text));
    assert_null(root);
    if (!strstr(e.text, why))
        fail_msg("'%s' does not say '%s'", e.text, why);
    /* It can be used again. */
    assert_true(slice_is(parse(d, SLICE("<a>x</a>"))->text, "x"));
}

static void a_document_becomes_a_tree(void **state)
{
    (void)state;
    OWN(own_doc) struct xml_doc *d = xml_doc_new();
    const struct xml_node *root = parse(
        d,
        SLICE("<?xml version=\"1.0\"?><!-- c --><p:a xmlns:p='urn:x' xmlns='urn:y' one='1' "
              "two='a &amp; b'>t<b/>u<b p:q='3'>in<![CDATA[<ner>]]>&lt;&#228;</b>v<?pi x?></p:a>"));
    assert_true(slice_is(root->name, "a"));
    assert_true(slice_is(root->ns, "urn:x"));
    assert_true(slice_is(root->text, "tuv"));
    assert_true(slice_is(xml_get(root, "one"), "1"));
    assert_true(slice_is(xml_get(root, "two"), "a & b"));
    assert_null(xml_get(root, "three").p);
    const struct xml_node *b = xml_child(root, "b");
    assert_true(slice_is(b->ns, "urn:y"));
    assert_true(slice_is(b->text, ""));
    b = xml_next(b, "b");
    assert_true(slice_is(b->text, "in<ner><\xC3\xA4"));
    assert_true(slice_is(xml_get(b, "q"), "3"));
    assert_null(xml_next(b, "b"));
    assert_null(xml_child(b, "b"));
    assert_null(xml_child(NULL, "b"));
}

static void the_five_entities_and_references(void **state)
{
    (void)state;
    OWN(own_doc) struct xml_doc *d = xml_doc_new();
    const struct xml_node *root = parse(
        d,
        SLICE(
            "<a v='&amp;&lt;&gt;&quot;&apos;&#x41;&#10;'>&amp;&lt;&gt;&quot;&apos;&#x1F600;</a>"));
    assert_true(slice_is(xml_get(root, "v"), "&<>\"'A\n"));
    assert_true(slice_is(root->text, "&<>\"'\xF0\x9F\x98\x80"));
}

static void a_declared_encoding_is_not_believed(void **state)
{
    (void)state;
    OWN(own_doc) struct xml_doc *d = xml_doc_new();
    const struct xml_node *root =
        parse(d, SLICE("<?xml version='1.0' encoding='iso-8859-1'?><a>\xC3\xA4</a>"));
    assert_true(slice_is(root->text, "\xC3\xA4"));
    (void)parse(d, SLICE("<?xml version='1.0' encoding='UTF-16'?><a/>"));
    (void)parse(d, SLICE("<?xml version='1.0' encoding='utf-8'?><a/>"));
}

static void hostile_documents_are_refused(void **state)
{
    (void)state;
    refused(SLICE("<!DOCTYPE a><a/>"), "DOCTYPE");
    refused(SLICE("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"), "DOCTYPE");
    refused(SLICE("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>"), "DOCTYPE");
    refused(SLICE("<!DOCTYPE a [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><a>&b;</a>"), "DOCTYPE");
    refused(SLICE("<a>&x;</a>"), "line 1");
    refused(SLICE("<a v='&x;'/>"), "line 1");
    refused(SLICE("<a>\xFF</a>"), "UTF-8");
    refused(SLICE("<a>\0</a>"), "NUL");
    refused(SLICE("<\0a\0/\0>\0"), "NUL");
    refused(SLICE("<a>&#0;</a>"), "line 1");
    refused(SLICE("<a>&#1;</a>"), "line 1");
    refused(SLICE("<a>\x01</a>"), "line 1");
    refused(SLICE("<a>&#xD800;</a>"), "line 1");
    refused(SLICE("<a x='1' x='2'/>"), "line 1");
}

static void malformed_documents_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      " ",
                                      "text",
                                      "<a>",
                                      "<a></b>",
                                      "<a/><b/>",
                                      "<a/>x",
                                      "<a",
                                      "<a b=1/>",
                                      "<a b/>",
                                      "<a>]]></a>",
                                      "<1/>",
                                      "<a><b></a></b>",
                                      "<a>&amp</a>",
                                      "<a>&#;</a>",
                                      "<a b='<'/>",
                                      "<!-- x",
                                      "<a><![CDATA[x</a>",
                                      "x<a/>",
                                      "<?xml version='1.0'",
                                      "<p:a/>",
                                      "<a p:b='1'/>",
                                      "<p:q:a xmlns:p='urn:x'/>",
                                      "<a xmlns:p='urn:x' xmlns:q='urn:x' p:b='1' q:b='2'/>"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(slice_of(bad[i]), "xml: ");
}

static void limits_hold(void **state)
{
    (void)state;
    OWN(own_doc) struct xml_doc *d = xml_doc_new();
    (void)parse(d, SLICE("<a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a>"));
    refused(SLICE("<a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a>"), "too deeply");
    OWN(own_buf) struct buf b;
    buf_init(&b, 4 << 20);
    buf_text(&b, "<a>");
    for (int i = 0; i < 500; i++)
        buf_text(&b, "<b c='1'/>");
    buf_text(&b, "</a>");
    refused(buf_view(&b), "too many");
    buf_clear(&b);
    buf_text(&b, "<a>");
    while (b.n <= 1 << 20)
        buf_text(&b, "xxxxxxxxxxxx");
    buf_text(&b, "</a>");
    refused(buf_view(&b), "over 1048576");
}

static void text_in_many_pieces_is_joined(void **state)
{
    (void)state;
    OWN(own_doc) struct xml_doc *d = xml_doc_new();
    OWN(own_buf) struct buf b;
    buf_init(&b, 1 << 20);
    buf_text(&b, "<a>");
    for (int i = 0; i < 50000; i++)
        buf_text(&b, "x&amp;");
    buf_text(&b, "</a>");
    struct slice text = parse(d, buf_view(&b))->text;
    assert_int_equal(text.n, 100000);
    for (size_t i = 0; i < text.n; i += 2)
        assert_memory_equal(text.p + i, "x&", 2);
}

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

/* Under a sanitizer the C library counts nothing: there this only runs. */
static void many_new_names_do_not_pile_up(void **state)
{
    (void)state;
    OWN(own_doc) struct xml_doc *d = xml_doc_new();
    size_t before = in_use();
    for (int i = 0; i < 300; i++) {
        OWN(own_buf) struct buf b;
        buf_init(&b, 1 << 20);
        buf_text(&b, "<a>");
        for (int j = 0; j < 100; j++) /* 12 MB of names in all */
            buf_format(&b, "<n%0400d-%d/>", i, j);
        buf_text(&b, "</a>");
        assert_non_null(parse(d, buf_view(&b))->child);
    }
    assert_true(in_use() < before + (4 << 20));
}

static void written_text_reads_back(void **state)
{
    (void)state;
    OWN(own_doc) struct xml_doc *d = xml_doc_new();
    OWN(own_buf) struct buf b;
    buf_init(&b, 10000);
    struct slice hard = SLICE("&<>\"'\t\r\n \xC3\xA4\xF0\x9F\x98\x80]]>");
    buf_text(&b, "<a");
    assert_true(xml_write_attr(&b, "v", hard));
    buf_text(&b, ">");
    assert_true(xml_write_text(&b, hard));
    buf_text(&b, "</a>");
    const struct xml_node *root = parse(d, buf_view(&b));
    assert_true(slice_eq(root->text, hard));
    assert_true(slice_eq(xml_get(root, "v"), hard));
    assert_true(xml_representable(hard));
}

static void what_xml_cannot_carry_is_replaced(void **state)
{
    (void)state;
    static const struct slice bad[] = {
        {"\x01", 1}, {"\0", 1}, {"\x1F", 1}, {"\xFF", 1}, {"\xEF\xBF\xBE", 3}, {"\xEF\xBF\xBF", 3},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        OWN(own_buf) struct buf b;
        buf_init(&b, 100);
        buf_char(&b, '<');
        assert_false(xml_representable(bad[i]));
        assert_false(xml_write_text(&b, bad[i]));
        assert_string_equal(b.p, "<\xEF\xBF\xBD");
        assert_false(xml_write_attr(&b, "a", bad[i]));
        assert_string_equal(b.p, "<\xEF\xBF\xBD a=\"\xEF\xBF\xBD\"");
    }
    assert_true(xml_representable(SLICE("\xEF\xBF\xBD\x7F\xEE\x80\x80")));
}

static int one_parse(void)
{
    OWN(own_doc) struct xml_doc *d = xml_doc_new();
    if (!d)
        return ERR_RETRY;
    const struct xml_node *root = NULL;
    OWN(own_buf) struct buf b;
    buf_init(&b, 1 << 20);
    buf_text(&b, "<a>");
    for (int i = 0; i < 300; i++)
        buf_text(&b, "<b c='1'>x&amp;y</b>");
    buf_text(&b, "</a>");
    int rc = buf_ok(&b, "text", NULL);
    return rc ? rc : xml_parse(d, buf_view(&b), &limits, &root, NULL);
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
        cmocka_unit_test(the_five_entities_and_references),
        cmocka_unit_test(a_declared_encoding_is_not_believed),
        cmocka_unit_test(hostile_documents_are_refused),
        cmocka_unit_test(malformed_documents_are_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(text_in_many_pieces_is_joined),
        cmocka_unit_test(many_new_names_do_not_pile_up),
        cmocka_unit_test(written_text_reads_back),
        cmocka_unit_test(what_xml_cannot_carry_is_replaced),
        cmocka_unit_test(out_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
