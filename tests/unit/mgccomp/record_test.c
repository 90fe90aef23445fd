/* SPDX-License-Identifier: Apache-2.0 */
/* Records: built and read back, a producer's completed, and every refusal by its name. */
#include "mgccomp/record.h"

#include "base/file.h"
#include "base/own.h"

#include <dirent.h>
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

/* Of a kind by its name, with these members of `data`. */
static const char *of_kind(const char *kind, const char *members)
{
    static char text[2048];
    (void)snprintf(text, sizeof text,
                   "{" ID ",\"type\":\"holdfast.%s\"," TIME "," ROOM
                   ",\"data\":{\"participant\":\"a\"%s%s}}",
                   kind, *members ? "," : "", members);
    return text;
}

#define TARGET "\"target\":{\"id\":\"a1\"}"
#define HASH64 "6f1ed002ab5595859014ebf0951522d9f1f4d0a6f0b4a9d3c8a7e6b5d4c3b2a1"

static void members_of_each_kind(void **state)
{
    (void)state;
    const struct {
        const char *kind, *right, *wrong, *why;
    } cases[] = {
        {"edit", TARGET ",\"text\":\"x\"", TARGET, "no member \"data.text\""},
        {"edit", TARGET ",\"text\":\"\"", "\"text\":\"x\"", "no member \"data.target\""},
        {"replace", TARGET ",\"text\":\"x\"", "\"target\":7,\"text\":\"\"",
         "data.target is not an object"},
        {"delete", TARGET, "\"target\":{\"id\":\"\"}", "data.target.id is empty"},
        {"delete", TARGET, "\"target\":{\"id\":\"a\",\"sequence\":\"1\"}",
         "data.target.sequence has 1 digits"},
        {"delete", TARGET, "\"target\":{\"id\":\"a\",\"hash\":\"xyz\"}",
         "data.target.hash is not 64"},
        {"reaction", TARGET ",\"reaction\":\"+1\",\"removed\":true", TARGET, "data.reaction"},
        {"pin", TARGET, TARGET ",\"removed\":1", "data.removed is not true or false"},
        {"purge", "\"targets\":[{\"id\":\"a\"}]", "\"targets\":[{\"id\":\"a\"},{}]",
         "no member \"data.targets[1].id\""},
        {"purge", "\"targets\":[],\"before\":\"2026-11-24T06:12:19Z\"",
         "\"targets\":[],\"before\":\"noon\"", "data.before is not RFC 3339"},
        {"upload", "\"file\":{\"name\":\"a\",\"size\":0}", "\"file\":{\"name\":\"a\",\"size\":-1}",
         "data.file.size is not a whole number from 0"},
        {"download", "\"file\":{\"name\":\"a\"}", "\"file\":{}", "no member \"data.file.name\""},
        {"invite", "\"invited\":[{\"participant\":\"b\"}]", "\"invited\":{}",
         "data.invited is not an array"},
        {"members", "\"members\":[{\"participant\":\"b\",\"participant_kind\":\"bot\"}]",
         "\"members\":[{\"name\":\"b\"}]", "no member \"data.members[0].participant\""},
        {"room-admin", "\"action\":\"create\",\"changes\":[{\"member\":\"n\",\"old\":[1]}]",
         "\"changes\":[]", "no member \"data.action\""},
        {"category-admin", "\"action\":\"create\"", "\"action\":\"\"", "data.action is empty"},
        {"totals", "\"statement\":\"s\",\"signature\":\"AAAA\",\"key\":\"" HASH64 "\"",
         "\"statement\":\"s\",\"signature\":\"A\"", "data.signature is not base64"},
        {"epoch-start",
         "\"heads\":[{\"subject\":\"s\",\"epoch\":1,\"sequence\":\"00000000000000000007\","
         "\"hash\":\"" HASH64 "\"}]",
         "\"heads\":[{\"subject\":\"s\"}]", "no member \"data.heads[0].epoch\""},
        {"read", "\"ranges\":[[1,2],[4,4]]", "\"ranges\":[[2,1]]", "ends before it begins"},
        {"read", "\"ranges\":[]", "\"ranges\":[[1]]", "no [first, last]"},
        {"read", "\"ranges\":[[1,1]]", "\"ranges\":7", "data.ranges is not an array"},
        {"delete", "\"target\":{\"id\":\"a\",\"of a later version\":[]}",
         "\"target\":{\"later\":1}", "no member \"data.target.id\""},
        {"join", "\"room\":\"A long one\"", "\"room\":\"\\u0001 long one\"",
         "data.room holds a control"},
        {"post", "\"text\":\"x\",\"thread\":{\"id\":\"t\"}", "\"text\":\"x\",\"thread\":{}",
         "no member \"data.thread.id\""},
        {"post", "\"text\":\"x\",\"forwarded_from\":{\"room\":\"One\"}",
         "\"text\":\"x\",\"forwarded_from\":{\"subject\":\"\"}", "forwarded_from.subject is empty"},
        {"join", "\"room\":\"One\"", "\"room\":\"O\\u0001\"", "data.room holds a control"},
        {"invite", "\"invited\":[],\"part\":1,\"parts\":2", "\"invited\":[],\"part\":1",
         "go together"},
        {"invite", "\"invited\":[],\"part\":2,\"parts\":2,\"list\":\"a\"",
         "\"invited\":[],\"part\":2,\"parts\":2", "id of the first part"},
        {"invite", "\"invited\":[]", "\"invited\":[],\"part\":3,\"parts\":2,\"list\":\"a\"",
         "more than data.parts"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct record r;
        struct err e = {0};
        if (decode(of_kind(cases[i].kind, cases[i].right), &r, &e) != 0)
            fail_msg("%s %s: %s", cases[i].kind, cases[i].right, e.text);
        assert_string_equal(record_type(r.kind) + strlen("holdfast."), cases[i].kind);
        refuse(of_kind(cases[i].kind, cases[i].wrong), cases[i].why);
    }
}

static void members_are_bounded(void **state)
{
    char members[1400];
    char name[1100];
    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    (void)snprintf(members, sizeof members, "\"room\":\"%s\"", name);
    refuse(of_kind("join", members), "data.room has 1099 bytes, more than");
}

/* Every kind has its example in the documentation, and it is one. */
static void examples_are_records(void **state)
{
    (void)state;
    bool seen[RECORD_KINDS] = {true};
    OWN(own_json_doc) struct json_doc *d = json_doc_new();
    DIR *dir = opendir(HOLDFAST_EXAMPLES);
    assert_non_null(dir);
    for (const struct dirent *f = readdir(dir); f; f = readdir(dir)) {
        char path[600];
        OWN(own_buf) struct buf b;
        struct record r;
        struct err e = {0};
        if (f->d_name[0] == '.')
            continue;
        buf_init(&b, RECORD_MAX_BYTES);
        (void)snprintf(path, sizeof path, HOLDFAST_EXAMPLES "/%.255s", f->d_name);
        int rc = file_read(path, RECORD_MAX_BYTES, &b, &e);
        if (rc == 0)
            rc = record_decode(d, slice_trim(buf_view(&b)), &r, &e);
        if (rc < 0)
            fail_msg("%s: %s", f->d_name, e.text);
        assert_true(r.sequenced);
        seen[r.kind] = true;
    }
    (void)closedir(dir);
    for (int kind = 0; kind < RECORD_KINDS; kind++) {
        if (!seen[kind])
            fail_msg("no example of %s", record_type((enum record_kind)kind));
    }
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
        cmocka_unit_test(members_of_each_kind),
        cmocka_unit_test(members_are_bounded),
        cmocka_unit_test(examples_are_records),
        cmocka_unit_test(positions),
        cmocka_unit_test(limits),
        cmocka_unit_test(producers_record_is_completed),
        cmocka_unit_test(sequenced_producer_names_its_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
