/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/xml/xml_record.h"

#include "base/own.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct mgc_text text_of(const char *s)
{
    return (struct mgc_text){s, strlen(s)};
}

static void time_is(int64_t us, const char *want)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, 1000);
    xml_put_time(&b, "T", us);
    assert_string_equal(b.p, want);
}

/* The three forms of an instant as the original writes them. */
static void test_time(void **state)
{
    (void)state;
    time_is(0, "<T since1970=\"0\" string=\"1970-01-01T00:00:00.0000000Z\""
               " long=\"621355968000000000\"/>");
    time_is(INT64_C(1367827204250000),
            "<T since1970=\"1367827204250\" string=\"2013-05-06T08:00:04.2500000Z\""
            " long=\"635034240042500000\"/>");
    time_is(INT64_C(1795500739999999),
            "<T since1970=\"1795500739999\" string=\"2026-11-24T06:12:19.9999990Z\""
            " long=\"639310975399999990\"/>");
    time_is(INT64_C(253402300799999999),
            "<T since1970=\"253402300799999\" string=\"9999-12-31T23:59:59.9999990Z\""
            " long=\"3155378975999999990\"/>");
}

static void test_which_are_messages(void **state)
{
    (void)state;
    static const struct mgc_room room = {0};
    static const struct {
        uint32_t kind, flags;
        const struct mgc_room *room;
        bool message;
    } cases[] = {
        {MGC_KIND_JOIN, 0, &room, true},
        {MGC_KIND_LEAVE, 0, &room, true},
        {MGC_KIND_POST, 0, &room, true},
        {MGC_KIND_READ, 0, &room, true},
        {MGC_KIND_SIGN_IN, 0, &room, false},
        {MGC_KIND_OTHER, 0, &room, false},
        {99, 0, &room, false},
        {MGC_KIND_POST, 0, NULL, false},
        {MGC_KIND_POST, MGC_RECORD_UNREADABLE, &room, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mgc_record r = {
            .kind = cases[i].kind, .flags = cases[i].flags, .room = cases[i].room};
        assert_int_equal(xml_is_message(&r), cases[i].message);
    }
}

static void test_first_message_only_repeats(void **state)
{
    (void)state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 10000);
    struct mgc_record r = {.kind = MGC_KIND_POST,
                           .chat_id = 17,
                           .sequence = 40,
                           .text = text_of("a\x01<"),
                           .participant = text_of("sip:ann@example.test")};
    xml_put_message(&b, "FirstMessage", &r);
    assert_non_null(
        strstr(b.p, "<FirstMessage type=\"CHAT\" content=\"a\xef\xbf\xbd&lt;\" id=\"17\">"));
    assert_null(strstr(b.p, "hf:"));
    buf_clear(&b);
    xml_put_message(&b, "Message", &r);
    assert_non_null(strstr(b.p, " hf:bytes=\"YQE8\" hf:index=\"0\" hf:sequence=\"40\""));
    assert_non_null(strstr(b.p, " uri=\"ann@example.test\"/>"));
}

/* The original's id has 32 bits. */
static void test_large_chat_id(void **state)
{
    (void)state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 10000);
    struct mgc_record r = {.kind = MGC_KIND_POST, .chat_id = INT64_C(2147483648)};
    xml_put_message(&b, "Message", &r);
    assert_non_null(strstr(b.p, " id=\"0\" hf:chatId=\"2147483648\""));
    buf_clear(&b);
    r.chat_id = INT32_MAX;
    xml_put_message(&b, "Message", &r);
    assert_non_null(strstr(b.p, " id=\"2147483647\""));
    assert_null(strstr(b.p, "chatId"));
}

/* Every record is one line, whatever its bytes. */
static void test_one_line(void **state)
{
    (void)state;
    static const struct mgc_room room = {0};
    for (int c = 0; c < 256; c++) {
        OWN(own_buf) struct buf b;
        buf_init(&b, 10000);
        const char bytes[] = {'{', (char)c, '}', '\0'};
        struct mgc_record r = {.raw = {bytes, 3}, .room = &room, .name = {bytes, 3}};
        xml_put_other(&b, &r);
        r.flags = MGC_RECORD_UNREADABLE;
        r.note = (struct mgc_text){bytes, 3};
        xml_put_other(&b, &r);
        r.flags = 0;
        r.kind = MGC_KIND_POST;
        r.text = (struct mgc_text){bytes, 3};
        xml_put_message(&b, "Message", &r);
        assert_false(b.failed);
        assert_null(strpbrk(b.p, "\r\n"));
        assert_int_equal(strlen(b.p), b.n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_which_are_messages),
        cmocka_unit_test(test_first_message_only_repeats),
        cmocka_unit_test(test_large_chat_id),
        cmocka_unit_test(test_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
