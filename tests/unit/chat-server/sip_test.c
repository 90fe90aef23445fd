/* SPDX-License-Identifier: Apache-2.0 */
#include "chat-server/sip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HEAD                                                                                       \
    "Via: SIP/2.0/tcp 127.0.0.1:52274\r\n"                                                         \
    "From: <sip:alice@example.test>;tag=28;epid=b34\r\n"                                           \
    "To: <sip:chat@example.test>\r\nCall-ID: abc\r\nCSeq: 7 INFO\r\n"

static int frame(const char *text, struct sip_frame *f)
{
    struct err e = {0};

    return sip_frame(slice_of(text), SIP_MAX_MESSAGE, f, &e);
}

static void frames_by_content_length(void **state)
{
    struct sip_frame f;
    const char *two = "\r\n\r\nINFO sip:a SIP/2.0\r\nContent-Length: 3\r\n\r\nabcINFO";

    (void)state;
    assert_int_equal(frame(two, &f), 0);
    assert_int_equal(f.skip, 4);
    assert_int_equal(f.body, 3);
    assert_memory_equal(two + f.skip + f.head, "abcINFO", 7);
    for (size_t n = 0; n < strlen(two) - 4; n++) {
        struct err e = {0};

        assert_int_equal(sip_frame((struct slice){two, n}, SIP_MAX_MESSAGE, &f, &e), ERR_AGAIN);
    }
    assert_int_equal(frame("INFO sip:a SIP/2.0\r\nl: 1\r\n\r\nx", &f), 0);
    assert_int_equal(f.body, 1);
}

static void refuses_streams_it_cannot_follow(void **state)
{
    static const char *const bad[] = {
        "INFO sip:a SIP/2.0\r\nContent-Length: x\r\n\r\n",
        "INFO sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n",
        "INFO sip:a SIP/2.0\r\nContent-Length: 999999999999\r\n\r\n",
        "INFO sip:a SIP/2.0\r\nContent-Length: 262144\r\n\r\n",
        "INFO sip:a SIP/2.0\r\nContent-Length: 1\r\nl: 1\r\n\r\n",
        "INFO sip:a SIP/2.0\r\nContent-Type: a/b\r\n\r\n",
    };
    struct sip_frame f;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(frame(bad[i], &f), ERR_REJECTED);
    char long_head[SIP_MAX_HEAD + 2];
    memset(long_head, 'a', sizeof long_head);
    long_head[sizeof long_head - 1] = '\0';
    assert_int_equal(frame(long_head, &f), ERR_REJECTED);
}

static struct sip *parse(const char *text, int expected)
{
    struct sip_frame f;
    struct sip *m = NULL;
    struct err e = {0};

    assert_int_equal(frame(text, &f), 0);
    int r = sip_parse(&m, (struct slice){text + f.skip, f.head},
                      (struct slice){text + f.skip + f.head, f.body}, &e);
    assert_int_equal(r, expected);
    if (expected < 0)
        assert_true(e.text[0] != '\0');

    return m;
}

static void reads_a_request_and_answers_it(void **state)
{
    struct buf b;

    (void)state;
    struct sip *m =
        parse("INFO sip:chat@example.test SIP/2.0\r\n" HEAD
              "Contact: <sip:alice@example.test:9;transport=tcp>;proxy=replace\r\n"
              "Content-Type: text/plain; charset=UTF-8\r\nContent-Length: 4\r\n\r\nbody",
              0);
    assert_int_equal(sip_status(m), 0);
    assert_true(slice_is(sip_method(m), "INFO"));
    assert_true(slice_is(sip_uri(m), "sip:chat@example.test"));
    assert_true(slice_is(sip_from_uri(m), "sip:alice@example.test"));
    assert_true(slice_is(sip_from_tag(m), "28"));
    assert_true(slice_is(sip_epid(m), "b34"));
    assert_null(sip_to_tag(m).p);
    assert_true(slice_is(sip_contact(m), "sip:alice@example.test:9;transport=tcp"));
    assert_int_equal(sip_cseq(m), 7);
    assert_true(slice_is(sip_body(m), "body"));
    assert_int_equal(sip_expires(m), -1);
    buf_init(&b, 4096);
    sip_write_response(&b, m, 200, "OK", SLICE("t9"));
    sip_write_end(&b, NULL, (struct slice){0});
    assert_string_equal(b.p, "SIP/2.0 200 OK\r\nVia: SIP/2.0/tcp 127.0.0.1:52274\r\n"
                             "From: <sip:alice@example.test>;tag=28;epid=b34\r\n"
                             "To: <sip:chat@example.test>;tag=t9\r\nCall-ID: abc\r\n"
                             "CSeq: 7 INFO\r\nContent-Length: 0\r\n\r\n");
    buf_done(&b);
    sip_free(m);
}

static void reads_a_response(void **state)
{
    (void)state;
    struct sip *m = parse("SIP/2.0 481 Gone\r\n" HEAD "Content-Length: 0\r\n\r\n", 0);
    assert_int_equal(sip_status(m), 481);
    assert_true(slice_is(sip_reason(m), "Gone"));
    assert_true(slice_is(sip_method(m), "INFO"));
    sip_free(m);
}

static void refuses_malformed_heads(void **state)
{
    (void)state;
    (void)parse("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ERR_REJECTED);
    (void)parse("BYE sip:a SIP/2.0\r\n" HEAD "\r\n", ERR_REJECTED); /* CSeq says INFO */
    (void)parse("INFO sip:a SIP/2.0\r\nVia: SIP/2.0/tcp a\r\n\r\n", ERR_REJECTED);
    (void)parse("INFO sip:a SIP/2.0\r\nVia: SIP/2.0/tcp a\r\nFrom: <sip:a>\r\nTo: <sip:a>\r\n"
                "Call-ID: a\r\nCSeq: 99999999999 INFO\r\n\r\n",
                ERR_REJECTED);
}

static void the_body_is_not_looked_into(void **state)
{
    (void)state;
    struct sip *m =
        parse("INFO sip:a SIP/2.0\r\n" HEAD
              "Content-Type: multipart/mixed; boundary=x\r\nContent-Length: 6\r\n\r\n--x---",
              0);
    assert_int_equal(sip_body(m).n, 6);
    sip_free(m);
}

static void writes_a_request(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    sip_write_request(&b, &(struct sip_line){.method = SLICE("INFO"),
                                             .uri = SLICE("sip:a@b"),
                                             .via = SLICE("127.0.0.1:1"),
                                             .from = SLICE("<sip:c@b>;tag=1"),
                                             .to = SLICE("<sip:a@b>;tag=2"),
                                             .call_id = SLICE("id"),
                                             .cseq = 3});
    sip_write_end(&b, "text/plain", SLICE("hi"));
    struct sip *m = parse(b.p, 0);
    assert_true(slice_is(sip_to_tag(m), "2"));
    assert_true(slice_is(sip_body(m), "hi"));
    sip_free(m);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_by_content_length),
        cmocka_unit_test(refuses_streams_it_cannot_follow),
        cmocka_unit_test(reads_a_request_and_answers_it),
        cmocka_unit_test(reads_a_response),
        cmocka_unit_test(refuses_malformed_heads),
        cmocka_unit_test(the_body_is_not_looked_into),
        cmocka_unit_test(writes_a_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
