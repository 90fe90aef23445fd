/* SPDX-License-Identifier: Apache-2.0 */
#include "chat-server/xccos.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ROOM "ma-chan://example.test/11111111-0000-4000-8000-000000000000"

static struct xml_doc *doc;
static struct xccos_request q;

static int read_in(const char *inside)
{
    char body[32768];
    struct err e = {0};

    (void)snprintf(body, sizeof body,
                   "<xccos ver=\"1\" envid=\"42\" xmlns=\"urn:parlano:xml:ns:xccos\">%s</xccos>",
                   inside);

    return xccos_read_request(doc, slice_of(body), &q, &e);
}

static void reads_commands(void **state)
{
    (void)state;
    assert_int_equal(read_in("<cmd id=\"cmd:join\" seqid=\"3\"><data><chanid key=\"0\""
                             " domain=\"Example.TEST\" value=\"ABC-1\"/></data></cmd>"),
                     0);
    assert_int_equal(q.command, XCCOS_JOIN);
    assert_int_equal(q.room_count, 1);
    assert_string_equal(q.rooms[0], "ma-chan://example.test/abc-1");
    assert_true(slice_is(q.envid, "42"));
    assert_true(slice_is(q.seqid, "3"));
    assert_int_equal(read_in("<cmd id=\"cmd:bccontext\" seqid=\"1\"><data><chanib uri=\"" ROOM
                             "\"/>"
                             "<bcq><last cnt=\"25\"/></bcq></data></cmd>"),
                     0);
    assert_int_equal(q.command, XCCOS_BCCONTEXT);
    assert_int_equal(q.count, 25);
    assert_string_equal(q.rooms[0], ROOM);
    assert_int_equal(read_in("<cmd id=\"cmd:what\" seqid=\"1\"><data/></cmd>"), 0);
    assert_int_equal(q.command, XCCOS_UNKNOWN);
}

static void reads_posts_as_they_are(void **state)
{
    (void)state;
    assert_int_equal(read_in("<grpchat id=\"grpchat\" seqid=\"1\" chanUri=\"" ROOM "\">"
                             "<chat>  a&#13;\nb &lt;i&gt; \xF0\x9F\x9A\x80 </chat></grpchat>"),
                     0);
    assert_int_equal(q.command, XCCOS_GRPCHAT);
    assert_true(slice_is(q.text, "  a\r\nb <i> \xF0\x9F\x9A\x80 "));
}

static void refuses_what_is_no_envelope(void **state)
{
    struct err e = {0};

    (void)state;
    assert_int_equal(read_in(""), ERR_REJECTED);
    assert_int_equal(read_in("<cmd id=\"cmd:requri\"/><cmd id=\"cmd:requri\"/>"), ERR_REJECTED);
    assert_int_equal(read_in("<rpl id=\"rpl:join\"/>"), ERR_REJECTED);
    assert_int_equal(xccos_read_request(doc, SLICE("<a/>"), &q, &e), ERR_REJECTED);
    assert_int_equal(xccos_read_request(doc, SLICE(""), &q, &e), ERR_REJECTED);
    assert_int_equal(xccos_read_request(doc, SLICE("<xccos><cmd/></xccos>"), &q, &e), ERR_REJECTED);
}

static void strange_rooms_are_no_rooms(void **state)
{
    static const char *const uris[] = {"",
                                       "ma-chan://",
                                       "ma-chan://x",
                                       "ma-chan://x/",
                                       "ma-chan:///y",
                                       "ma-chan://x/y/z",
                                       "ma-chan://x y/z",
                                       "ma-cat://x/y",
                                       "ma-chan://x/y&#10;z",
                                       "ma-chan://x/&#xe9;"};
    char inside[512];

    (void)state;
    for (size_t i = 0; i < sizeof uris / sizeof *uris; i++) {
        (void)snprintf(inside, sizeof inside,
                       "<cmd id=\"cmd:part\"><data><chanib uri=\"%s\"/></data></cmd>", uris[i]);
        assert_int_equal(read_in(inside), 0);
        assert_int_equal(q.room_count, 1);
        assert_string_equal(q.rooms[0], "");
    }
}

static void counts_rooms_up_to_the_limit(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 65536);
    buf_text(&b, "<cmd id=\"cmd:bjoin\"><data>");
    for (int i = 0; i <= XCCOS_MAX_ROOMS; i++)
        buf_format(&b, "<chanid domain=\"d\" value=\"%d\"/>", i);
    buf_text(&b, "</data></cmd>");
    assert_int_equal(read_in(b.p), 0);
    assert_int_equal(q.room_count, XCCOS_MAX_ROOMS);
    assert_true(q.too_many_rooms);
    buf_done(&b);
}

static struct xccos_answer read_back(struct buf *b)
{
    struct xccos_answer a;
    struct err e = {0};

    assert_int_equal(buf_ok(b, "envelope", &e), 0);
    assert_int_equal(xccos_read_answer(doc, buf_view(b), &a, &e), 0);

    return a;
}

static void a_client_reads_what_the_server_writes(void **state)
{
    const struct xccos_ref ref = {.command = XCCOS_JOIN, .envid = SLICE("7"), .seqid = SLICE("1")};
    const struct xccos_room room = {
        .uri = SLICE(ROOM), .name = SLICE("R & <D>"), .description = SLICE("\"d\""), .users = 2};
    const struct xccos_user user = {SLICE("sip:a@b"), SLICE("A 'B'")};
    const size_t ids[] = {0};
    const struct xml_node *at = NULL;
    struct xccos_room r;
    struct xccos_user u;
    struct buf b;

    (void)state;
    buf_init(&b, 65536);
    xccos_open_reply(&b, 1, &ref, XCCOS_OK);
    xccos_put_user(&b, &user, 0);
    xccos_put_joined_room(&b, &room, ids, 1);
    xccos_close_reply(&b);
    struct xccos_answer a = read_back(&b);
    assert_int_equal(a.said, XCCOS_SAID_REPLY);
    assert_int_equal(a.command, XCCOS_JOIN);
    assert_int_equal(a.code, 200);
    assert_true(xccos_next_room(&a, &at, &r));
    assert_true(slice_eq(r.name, room.name));
    assert_int_equal(r.users, 2);
    assert_false(xccos_next_room(&a, &at, &r));
    at = NULL;
    assert_true(xccos_next_user(&a, &at, &u));
    assert_true(slice_eq(u.name, user.name));
    buf_done(&b);
}

static void notices_read_back(void **state)
{
    const struct xccos_user user = {SLICE("sip:a@b"), SLICE("A")};
    char room[XCCOS_MAX_URI];
    struct xccos_user u;
    struct buf b;

    (void)state;
    buf_init(&b, 65536);
    for (int part = 0; part < 2; part++) {
        const struct xml_node *at = NULL;

        buf_clear(&b);
        if (part)
            xccos_write_parted(&b, 1, user.uri, SLICE(ROOM));
        else
            xccos_write_joined(&b, 1, &user, SLICE(ROOM));
        struct xccos_answer a = read_back(&b);
        assert_int_equal(a.said, part ? XCCOS_SAID_PART : XCCOS_SAID_JOIN);
        assert_true(xccos_notice_room(&a, room));
        assert_string_equal(room, ROOM);
        assert_true(xccos_next_user(&a, &at, &u));
        assert_true(slice_eq(u.uri, user.uri));
    }
    buf_done(&b);
}

static void messages_read_back(void **state)
{
    const struct xccos_message m = {.room = SLICE(ROOM),
                                    .author = SLICE("sip:a@b"),
                                    .author_name = SLICE("A"),
                                    .text = SLICE(" <x>\r\n\t& ]]> "),
                                    .time_us = 1700000000123456,
                                    .chat_id = 5,
                                    .sequence = 9};
    const struct xccos_ref ref = {.command = XCCOS_BCCONTEXT};
    const struct xml_node *at = NULL;
    struct xccos_message got;
    struct buf b;

    (void)state;
    buf_init(&b, 65536);
    xccos_write_message(&b, 1, &m);
    struct xccos_answer a = read_back(&b);
    assert_int_equal(a.said, XCCOS_SAID_MESSAGE);
    assert_true(xccos_next_message(&a, &at, &got));
    assert_true(slice_eq(got.text, m.text));
    assert_int_equal(got.time_us, m.time_us);
    assert_int_equal(got.sequence, 9);
    buf_clear(&b);
    xccos_open_reply(&b, 1, &ref, XCCOS_OK);
    xccos_open_history(&b, SLICE(ROOM));
    xccos_put_message(&b, &m, 1);
    xccos_put_message(&b, &m, 2);
    xccos_close_history(&b);
    xccos_close_reply(&b);
    a = read_back(&b);
    at = NULL;
    assert_true(xccos_next_message(&a, &at, &got));
    assert_true(xccos_next_message(&a, &at, &got));
    assert_int_equal(got.chat_id, 5);
    assert_false(xccos_next_message(&a, &at, &got));
    buf_done(&b);
}

static void the_server_reads_what_a_client_writes(void **state)
{
    struct err e = {0};
    struct buf b;

    (void)state;
    buf_init(&b, 65536);
    xccos_write_post(&b, 8, SLICE(ROOM), SLICE("sip:a@b"), SLICE("<b>&"));
    assert_int_equal(xccos_read_request(doc, buf_view(&b), &q, &e), 0);
    assert_true(slice_is(q.text, "<b>&"));
    buf_clear(&b);
    xccos_write_command(&b, 9, XCCOS_JOIN, SLICE(ROOM), 0);
    assert_int_equal(xccos_read_request(doc, buf_view(&b), &q, &e), 0);
    assert_string_equal(q.rooms[0], ROOM);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_commands),
        cmocka_unit_test(reads_posts_as_they_are),
        cmocka_unit_test(refuses_what_is_no_envelope),
        cmocka_unit_test(strange_rooms_are_no_rooms),
        cmocka_unit_test(counts_rooms_up_to_the_limit),
        cmocka_unit_test(a_client_reads_what_the_server_writes),
        cmocka_unit_test(notices_read_back),
        cmocka_unit_test(messages_read_back),
        cmocka_unit_test(the_server_reads_what_a_client_writes),
    };

    doc = xml_doc_new();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    xml_doc_free(doc);

    return failed;
}
