/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/smtp/smtp_transcript.h"

#include "base/own.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct mgc_text text_of(const char *s)
{
    return (struct mgc_text){s, strlen(s)};
}

static struct mgc_record record(uint32_t kind, const char *text)
{
    return (struct mgc_record){.size = sizeof(struct mgc_record),
                               .kind = kind,
                               .sequence = 17,
                               .type = text_of("com.example.x"),
                               .participant = text_of("sip:ann@example.test"),
                               .name = text_of("Ann"),
                               .text = text_of(text)};
}

static void entry_is(const struct mgc_record *r, const char *want)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, 100000);
    smtp_entry(&b, r);
    assert_string_equal(b.p, want);
}

#define WHO "[1970-01-01T00:00:00.000000Z] #17 Ann <sip:ann@example.test>"

static void test_kinds(void **state)
{
    (void)state;
    static const struct {
        uint32_t kind;
        const char *want;
    } cases[] = {
        {MGC_KIND_JOIN, WHO " joined\n"},
        {MGC_KIND_LEAVE, WHO " left\n"},
        {MGC_KIND_POST, WHO ": hello\n"},
        {MGC_KIND_READ, WHO " asked for history and was shown no messages\n"},
        {MGC_KIND_SIGN_IN, WHO " signed in\n"},
        {MGC_KIND_SIGN_OUT, WHO " signed out\n"},
        {MGC_KIND_SESSION_START, WHO " started\n"},
        {MGC_KIND_SESSION_STOP, WHO " stopped\n"},
        {MGC_KIND_OTHER, WHO ": record of type com.example.x\n"},
        {4711, WHO ": record of type com.example.x\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mgc_record r = record(cases[i].kind, "hello");
        entry_is(&r, cases[i].want);
    }
}

/* Every line of a text but the first stands behind a bar: none can pass for a record. */
static void test_forged_line(void **state)
{
    (void)state;
    struct mgc_record r =
        record(MGC_KIND_POST, "x\n[1970-01-01T00:00:00.000000Z] #18 <sip:eve>: y");
    entry_is(&r, WHO ": x\n    | [1970-01-01T00:00:00.000000Z] #18 <sip:eve>: y\n");
    r = record(MGC_KIND_JOIN, "");
    r.name = text_of("Eve\n#18");
    r.reason = text_of("a\nb");
    OWN(own_buf) struct buf b;
    buf_init(&b, 100000);
    smtp_entry(&b, &r);
    assert_ptr_equal(strchr(b.p, '\n'), b.p + b.n - 1);
}

static void test_flags_and_ranges(void **state)
{
    (void)state;
    struct mgc_record r = record(MGC_KIND_READ, "");
    r.read_first = 3;
    r.read_last = 9;
    r.flags = MGC_RECORD_LATE | MGC_RECORD_UNPROVABLE;
    r.sequence = 0;
    entry_is(&r, "[1970-01-01T00:00:00.000000Z] (late) (not provable) Ann <sip:ann@example.test>"
                 " was shown messages 3 to 9\n");
    r = (struct mgc_record){.flags = MGC_RECORD_UNREADABLE,
                            .partition = 2,
                            .position = 5,
                            .raw = {"\xff", 1},
                            .note = text_of("not\nJSON")};
    entry_is(&r, "[unreadable] partition 2, position 5, 1 bytes: not\xe2\x90\x8aJSON\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_forged_line),
        cmocka_unit_test(test_flags_and_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
