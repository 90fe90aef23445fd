/* SPDX-License-Identifier: Apache-2.0 */
/* Records: built and read back, a producer's completed, and every refusal by its name. */
#include "mgccomp/record.h"

#include "base/own.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ID       "\"specversion\":\"1.0\",\"id\":\"a1\",\"source\":\"sip:pool.example.com\""
#define TIME     "\"time\":\"2026-11-24T06:12:19.000001Z\""
#define ROOM     "\"subject\":\"ma-chan://example.com/one\""
#define POST     "\"type\":\"holdfast.post\""
#define PREVIOUS "\"previous\":\"0000000000000000000000000000000000000000000000000000000000000000\""
#define PLACE    "\"epoch\":1,\"sequence\":\"00000000000000000001\"," PREVIOUS
#define DATA     "\"data\":{\"participant\":\"sip:ann@example.com\",\"text\":\"hi\"}"

static int decode(const char *text, struct record *r, struct err *e)
{
    static struct json_doc *d;
    if (!d)
        d = json_doc_new();
    assert_non_null(d);
    return record_decode(d, slice_of(text), r, e);
}

static void refuse(const char *text, const char *why)
{
    struct record r = {.chat_id = 77};
    struct err e = {0};

    if (decode(text, &r, &e) != ERR_REJECTED || !strstr(e.text, why))
        fail_msg("%s\n  gave \"%s\", not \"%s\"", text, e.text, why);
    assert_int_equal(r.chat_id, 77);
}

static void built_is_read_back(void **state)
{
    (void)state;
    OWN(own_buf) struct buf b;
    uint8_t previous[SHA256_SIZE];
    struct record r;
    struct err e = {0};

    memset(previous, 0xc3, sizeof previous);
    struct record_head h = {
        .id = "0193-id",
        .source = SLICE("sip:\"pool\"\\"),
        .type = slice_of(record_type(RECORD_POST)),
        .subject = SLICE("ma-chan://example.com/\xc3\xa9"),
        .time_us = 1795500739000001,
        .epoch = 1,
        .sequence = 17,
        .previous = previous,
    };
    buf_init(&b, RECORD_MAX_BYTES);
    record_build(&b, &h, SLICE("\"chatId\":9,\"participant\":\"sip:ann\",\"text\":\"a\\u0000b\""));
    assert_int_equal(buf_ok(&b, "record", &e), 0);
    assert_int_equal(decode(b.p, &r, &e), 0);
    assert_true(slice_eq(r.source, h.source));
    assert_true(slice_eq(r.subject, h.subject));
    assert_true(slice_is(r.id, "0193-id"));
    assert_int_equal(r.kind, RECORD_POST);
    assert_int_equal(r.time_us, h.time_us);
    assert_true(r.sequenced);
    assert_int_equal(r.epoch, 1);
    assert_int_equal(r.sequence, 17);
    assert_memory_equal(r.previous, previous, SHA256_SIZE);
    assert_int_equal(r.chat_id, 9);
    assert_true(slice_eq(r.text, SLICE("a\0b")));
    uint8_t hash[SHA256_SIZE];
    sha256(b.p, b.n, hash);
    assert_memory_equal(r.hash, hash, SHA256_SIZE);
}

static void kinds_have_types(void **state)
{
    (void)state;
    for (int kind = RECORD_OTHER + 1; kind < RECORD_KINDS; kind++) {
        assert_non_null(record_type((enum record_kind)kind));
        assert_int_equal(record_kind_of(slice_of(record_type((enum record_kind)kind))), kind);
    }
    assert_null(record_type(RECORD_OTHER));
    assert_int_equal(record_kind_of(SLICE("holdfast.")), RECORD_OTHER);
    assert_int_equal(record_kind_of(SLICE("holdfast.posts")), RECORD_OTHER);
}

static void sequence_text(void **state)
{
    (void)state;
    char out[21];
    record_sequence_text(17, out);
    assert_string_equal(out, "00000000000000000017");
    record_sequence_text(RECORD_MAX_SEQUENCE, out);
    assert_string_equal(out, "00999999999999999999");
}

static void unknown_passes(void **state)
{
    (void)state;
    struct record r;
    struct err e = {0};
    const char *text = "{" ID ",\"type\":\"org.slack.canvas\"," TIME "," ROOM
                       ",\"traceparent\":\"x\",\"data\":{\"participant\":{\"id\":7},"
                       "\"name\":\"a\\u0000b\",\"endpoint\":\"\\u0001\",\"chatId\":\"x\"}}";

    assert_int_equal(decode(text, &r, &e), 0);
    assert_int_equal(r.kind, RECORD_OTHER);
    assert_false(r.sequenced);
    assert_null(r.participant.p);
    assert_null(r.name.p);
    assert_null(r.endpoint.p);
    assert_non_null(json_get(r.data, "chatId"));
    assert_int_equal(decode("{" ID ",\"type\":\"x\"," TIME "," ROOM ",\"data\":[1]}", &r, &e), 0);
    assert_int_equal(decode("{" ID ",\"type\":\"x\"," TIME "," ROOM "}", &r, &e), 0);
    assert_null(r.data);
}

static void refusals(void **state)
{
    (void)state;
    refuse("", "json");
    refuse("[]", "not a JSON object");
    refuse("{" ID, "json");
    refuse("{" ID "," POST "," TIME "," ROOM "," DATA "} x", "json");
    refuse("{" ID "," POST "," TIME "," ROOM "," DATA "}\"x}", "follows the value");
    refuse("{" ID "," POST "," TIME "," ROOM "," DATA "," POST "}", "json");
    refuse("{" ID ",\n" POST "," TIME "," ROOM "," DATA "}", "line feed");
    refuse("{\"id\":\"a\"}", "no member \"specversion\"");
    refuse("{\"specversion\":\"0.3\"}", "not \"1.0\"");
    refuse("{" ID "," POST "," ROOM "," DATA "}", "no member \"time\"");
    refuse("{" ID "," POST "," TIME "," DATA "}", "no member \"subject\"");
    refuse("{" ID "," TIME "," ROOM "," DATA "}", "no member \"type\"");
    refuse("{\"specversion\":\"1.0\",\"id\":\"a\"," POST "," TIME "," ROOM "," DATA "}",
           "no member \"source\"");
    refuse("{\"specversion\":\"1.0\",\"id\":7}", "id is not a string");
    refuse("{\"specversion\":\"1.0\",\"id\":\"\"}", "id is empty");
    refuse("{\"specversion\":\"1.0\",\"id\":\"a\\u0000\"}", "id holds a control");
    refuse("{" ID "," POST ",\"time\":\"yesterday\"," ROOM "," DATA "}", "RFC 3339");
    refuse("{" ID "," POST ",\"time\":\"1969-12-31T23:59:59Z\"," ROOM "," DATA "}", "1970");
    refuse("{" ID "," POST "," TIME "," ROOM "}", "data is not an object");
    refuse("{" ID "," POST "," TIME "," ROOM ",\"data\":{\"text\":\"\"}}", "data.participant");
    refuse("{" ID "," POST "," TIME "," ROOM ",\"data\":{\"participant\":\"a\"}}", "data.text");
    refuse("{" ID "," POST "," TIME "," ROOM
           ",\"data\":{\"participant\":\"a\",\"text\":\"\",\"text_bytes\":\"abc\"}}",
           "not base64");
    refuse("{" ID "," POST "," TIME "," ROOM
           ",\"data\":{\"participant\":\"a\",\"text\":\"\",\"chatId\":0}}",
           "data.chatId");
    refuse("{" ID "," POST "," TIME "," ROOM
           ",\"data\":{\"participant\":\"a\\u0007\",\"text\":\"\"}}",
           "control character");
}

static void positions(void **state)
{
    (void)state;
    const char *head = "{" ID "," POST "," TIME "," ROOM "," DATA ",";
    const struct {
        const char *members, *why;
    } cases[] = {
        {"\"epoch\":1", "no member \"sequence\""},
        {"\"sequence\":\"00000000000000000001\"", "epoch is missing"},
        {"\"epoch\":1,\"sequence\":\"0000001\"," PREVIOUS, "sequence has 7 digits, not 20"},
        {"\"epoch\":1,\"sequence\":\"0000000000000000000x\"," PREVIOUS, "not 20 digits"},
        {"\"epoch\":1,\"sequence\":\"00000000000000000000\"," PREVIOUS, "sequence is 0"},
        {"\"epoch\":1,\"sequence\":\"09999999999999999999\"," PREVIOUS, "above"},
        {"\"epoch\":0,\"sequence\":\"00000000000000000001\"," PREVIOUS, "epoch"},
        {"\"epoch\":1e3,\"sequence\":\"00000000000000000001\"," PREVIOUS, "epoch"},
        {"\"epoch\":\"1\",\"sequence\":\"00000000000000000001\"," PREVIOUS, "epoch"},
        {"\"epoch\":1,\"sequence\":1," PREVIOUS, "sequence is not a string"},
        {"\"epoch\":1,\"sequence\":\"00000000000000000001\"", "no member \"previous\""},
        {"\"epoch\":1,\"sequence\":\"00000000000000000001\",\"previous\":\"00\"", "64 hexadecimal"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[1024];
        (void)snprintf(text, sizeof text, "%s%s}", head, cases[i].members);
        refuse(text, cases[i].why);
    }
}

static void limits(void **state)
{
    (void)state;
    OWN(own_buf) struct buf b;
    struct record r;
    struct err e = {0};

    buf_init(&b, 4 * RECORD_MAX_BYTES);
    buf_text(&b, "{" ID "," POST "," TIME "," ROOM ",\"data\":{\"participant\":\"a\",\"text\":\"");
    while (b.n < RECORD_MAX_BYTES - 3)
        buf_char(&b, 'x');
    buf_text(&b, "\"}}");
    assert_int_equal(b.n, RECORD_MAX_BYTES);
    assert_int_equal(decode(b.p, &r, &e), 0);
    buf_char(&b, ' ');
    assert_int_equal(decode(b.p, &r, &e), ERR_REJECTED);
    assert_non_null(strstr(e.text, "more than 524288"));

    buf_clear(&b);
    buf_text(&b, "{" ID "," POST "," TIME "," DATA ",\"subject\":\"");
    for (int i = 0; i < RECORD_MAX_SUBJECT + 1; i++)
        buf_char(&b, 'x');
    buf_text(&b, "\"}");
    assert_int_equal(decode(b.p, &r, &e), ERR_REJECTED);
    assert_non_null(strstr(e.text, "subject has 1025 bytes, more than 1024"));

    buf_clear(&b);
    buf_text(&b, "{" ID ",\"type\":\"x\"," TIME "," ROOM ",\"data\":");
    for (int i = 0; i < 40; i++)
        buf_char(&b, '[');
    for (int i = 0; i < 40; i++)
        buf_char(&b, ']');
    buf_char(&b, '}');
    assert_int_equal(decode(b.p, &r, &e), ERR_REJECTED);

    buf_clear(&b);
    buf_text(&b, "{" ID ",\"type\":\"x\"," TIME "," ROOM ",\"data\":[0");
    for (int i = 0; i < RECORD_MAX_NODES; i++)
        buf_text(&b, ",0");
    buf_text(&b, "]}");
    assert_int_equal(decode(b.p, &r, &e), ERR_REJECTED);
}

static void producers_record_is_completed(void **state)
{
    (void)state;
    static const uint8_t zeros[SHA256_SIZE];
    const char *own = "{\"specversion\":\"1.0\",\"id\":\"a\"," POST "," TIME "," ROOM "," DATA "}";
    struct record_head h = {.source = SLICE("irc"), .epoch = 1, .sequence = 1, .previous = zeros};
    struct record_has nothing = {false, false};
    OWN(own_buf) struct buf b;
    OWN(own_json_doc) struct json_doc *d = json_doc_new();
    struct record r;
    struct err e = {0};
    char raw[512];

    (void)snprintf(raw, sizeof raw, "%s \t\r\n", own);
    assert_int_equal(record_decode_producer(d, slice_of(own), &r, &e), 0);
    assert_null(r.source.p);
    buf_init(&b, RECORD_MAX_BYTES);
    assert_int_equal(record_complete(&b, slice_of(raw), &nothing, &h, &e), 0);
    assert_memory_equal(b.p, own, strlen(own) - 1);
    assert_int_equal(decode(b.p, &r, &e), 0);
    assert_true(slice_is(r.source, "irc"));
    assert_int_equal(r.sequence, 1);

    /* What has everything is left as it is. */
    OWN(own_buf) struct buf again;
    struct record_has all = {true, true};
    buf_init(&again, RECORD_MAX_BYTES);
    assert_int_equal(record_complete(&again, buf_view(&b), &all, &h, &e), 0);
    assert_true(slice_eq(buf_view(&again), buf_view(&b)));

    assert_int_equal(record_complete(&again, SLICE("  "), &nothing, &h, &e), ERR_REJECTED);
    buf_done(&again);
    buf_init(&again, 100);
    assert_int_equal(record_complete(&again, slice_of(own), &nothing, &h, &e), ERR_REJECTED);
}

static void sequenced_producer_names_its_source(void **state)
{
    (void)state;
    OWN(own_json_doc) struct json_doc *d = json_doc_new();
    struct record r;
    struct err e = {0};
    const char *raw =
        "{\"specversion\":\"1.0\",\"id\":\"a\"," POST "," TIME "," ROOM "," DATA "," PLACE "}";
    assert_int_equal(record_decode_producer(d, slice_of(raw), &r, &e), ERR_REJECTED);
    assert_non_null(strstr(e.text, "must have its source"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_is_read_back),
        cmocka_unit_test(kinds_have_types),
        cmocka_unit_test(sequence_text),
        cmocka_unit_test(unknown_passes),
        cmocka_unit_test(refusals),
        cmocka_unit_test(positions),
        cmocka_unit_test(limits),
        cmocka_unit_test(producers_record_is_completed),
        cmocka_unit_test(sequenced_producer_names_its_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
