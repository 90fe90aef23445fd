/* SPDX-License-Identifier: Apache-2.0 */
/* chat-server/store/plain: what is taken for good at a glance, the full reader accepts too. */
#include "base/own.h"
#include "chat-server/store/plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define ANN "\"participant\":\"sip:ann@example.com\""

static bool reader_accepts(struct json_doc *d, enum record_kind kind, struct slice members)
{
    static const uint8_t previous[SHA256_SIZE];
    OWN(own_buf) struct buf b;
    struct record r;
    buf_init(&b, 2 * RECORD_MAX_BYTES);
    struct record_head h = {
        .id = "00000000-0000-7000-8000-000000000000",
        .source = SLICE("sip:pool"),
        .type = slice_of(record_type(kind)),
        .subject = SLICE("r:one"),
        .epoch = 1,
        .sequence = 1,
        .previous = previous,
    };
    record_build(&b, &h, members);
    return record_decode(d, buf_view(&b), &r, NULL) == 0;
}

static void usual_ones_are_plain(void **state)
{
    (void)state;
    assert_true(plain_members(RECORD_JOIN, SLICE(ANN)));
    assert_true(plain_members(RECORD_POST, SLICE(ANN ",\"text\":\"\"")));
    assert_true(plain_members(RECORD_POST, SLICE("\"text\":\"a\\n\\\"b\\\\ \xc3\xa4\"," ANN)));
    assert_true(plain_members(RECORD_LEAVE, SLICE(ANN ",\"name\":\"Ann\",\"endpoint\":\"e1\","
                                                      "\"session\":\"urn:x\",\"reason\":\"bye\"")));
}

static void others_are_not(void **state)
{
    (void)state;
    static const char *const members[] = {
        "",
        ANN,
        "\"text\":\"x\"",
        ANN ",\"text\":1",
        ANN ",\"text\":\"x\",",
        ANN ",\"text\":\"x\"}",
        ANN ",\"text\":\"x\",\"text\":\"x\"",
        ANN ",\"text\":\"\\u0000\"",
        ANN ",\"text\":\"\\x\"",
        ANN ",\"text\":\"x\\\"",
        ANN ",\"text\":\"\xff\"",
        ANN ",\"text\":\"a\tb\"",
        ANN ",\"text\":\"x\",\"more\":\"y\"",
        ANN ",\"text\":\"x\",\"name\":\"\\n\"",
        ANN " ,\"text\":\"x\"",
        "\"participant\":\"\",\"text\":\"x\"",
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        assert_false(plain_members(RECORD_POST, slice_of(members[i])));
    assert_false(plain_members(RECORD_POST, SLICE(ANN ",\"text\":\"a\0b\"")));
    assert_false(plain_members(RECORD_READ, SLICE(ANN)));
    assert_false(plain_members(RECORD_SESSION_START, SLICE(ANN)));
}

/* Random texts over a small alphabet: what passes here is never refused there. */
static void never_more_than_the_reader(void **state)
{
    (void)state;
    static const char *const parts[] = {
        ANN,    ",",    "\"text\"", ":", "\"x\"", "\"name\"", "\\",   "\"",
        "\x01", "\xc3", "\xa4",     "{", "null",  "\\u00e4",  "\"\"", "\"reason\":\"\\n\""};
    static const enum record_kind kinds[] = {RECORD_POST, RECORD_JOIN, RECORD_READ};
    OWN(own_json_doc) struct json_doc *d = json_doc_new();
    uint64_t dice = 88172645463325252u;
    size_t plain = 0;
    for (int round = 0; round < 200000; round++) {
        char text[512] = "";
        size_t n = 0;
        if (round % 2)
            n = (size_t)snprintf(text, sizeof text, "%s,\"text\":\"", ANN);
        for (int i = 0; i < 6; i++) {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            n += (size_t)snprintf(text + n, sizeof text - n, "%s", parts[(dice >> 20) % 16]);
            if (i > (int)(dice % 7))
                break;
        }
        if (round % 4 == 1)
            n += (size_t)snprintf(text + n, sizeof text - n, "\"");
        enum record_kind kind = kinds[round % 3];
        struct slice members = {text, n};
        if (!plain_members(kind, members))
            continue;
        plain++;
        if (!reader_accepts(d, kind, members))
            fail_msg("%s", text);
    }
    assert_true(plain > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usual_ones_are_plain),
        cmocka_unit_test(others_are_not),
        cmocka_unit_test(never_more_than_the_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
