/* SPDX-License-Identifier: Apache-2.0 */
/* The chat server as its clients see it: each rule of what is recorded, answered and told when. */
#include "scene.h"

#include "base/db.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

/* ---- signing in ---- */

static void sign_in_needs_a_known_user(void **state)
{
    struct scene *s = *state;

    peer_open(&s->alice, &s->rig, "mallory", "em");
    peer_register(&s->alice, "");
    peer_expect(&s->alice, "404 REGISTER");
    peer_request(&s->alice, "INVITE", "");
    peer_expect(&s->alice, "403 INVITE");
}

static void sign_in_answers_what_clients_need(void **state)
{
    struct scene *s = *state;

    peer_open(&s->alice, &s->rig, "alice", "ea");
    peer_register(&s->alice, "");
    peer_expect(&s->alice, "200 REGISTER");
    assert_int_equal(sip_expires(s->alice.last), 7200);
    assert_true(slice_is(sip_header(s->alice.last, "supported"), "msrtc-event-categories"));
    assert_true(
        slice_is(sip_header(s->alice.last, "allow-events"), "vnd-microsoft-provisioning-v2"));
    peer_request(&s->alice, "SUBSCRIBE", "");
    peer_expect(&s->alice, "200 SUBSCRIBE");
    assert_true(slice_is(sip_header(s->alice.last, "ms-piggyback-cseq"), "1"));
    assert_non_null(strstr(sip_body(s->alice.last).p, ">" RIG_POOL "<"));
    rig_await_records(&s->rig, RIG_SESSION, "session-start\nsign-in alice\n");
    /* A refresh is no second sign-in; another identity is no second user. */
    peer_register(&s->alice, "");
    peer_expect(&s->alice, "200 REGISTER");
    (void)snprintf(s->alice.user, sizeof s->alice.user, "bob");
    peer_register(&s->alice, "");
    peer_expect(&s->alice, "403 REGISTER");
    rig_await_records(&s->rig, RIG_SESSION, "session-start\nsign-in alice\n");
}

static void sign_out_is_recorded_after_leaves(void **state)
{
    struct scene *s = *state;

    both_in(s, s->lobby);
    peer_request(&s->bob, "BYE", "");
    peer_expect(&s->bob, "200 BYE");
    peer_expect(&s->alice, "ntc:part bob");
    rig_await_records(&s->rig, s->lobby, "join alice\njoin bob\nleave bob sign-out\n");
    peer_register(&s->bob, ":Expires: 0");
    peer_expect(&s->bob, "200 REGISTER");
    rig_await_records(&s->rig, RIG_SESSION,
                      "session-start\nsign-in alice\nsign-in bob\nsign-out bob sign-out\n");
}

static void newer_connection_of_an_endpoint_ends_the_older(void **state)
{
    struct scene *s = *state;
    struct peer again;

    both_in(s, s->lobby);
    peer_ready(&again, &s->rig, "bob", "eb");
    peer_expect(&s->bob, "closed");
    peer_expect(&s->alice, "ntc:part bob");
    peer_join(&again, s->lobby);
    PEER_EXPECT(&again, "200 INFO", "rpl:join 200");
    peer_expect(&s->alice, "ntc:join bob");
    rig_await_records(&s->rig, s->lobby, "join alice\njoin bob\nleave bob disconnect\njoin bob\n");
    peer_close(&again);
}

/* ---- posts ---- */

static void post_is_answered_then_told_to_all(void **state)
{
    struct scene *s = *state;

    both_in(s, s->lobby);
    peer_post(&s->alice, s->lobby, "hello &lt;world&gt; \xF0\x9F\x9A\x80");
    PEER_EXPECT(&s->alice, "200 INFO");
    /* The answer comes after the commit: the record is there now. */
    assert_string_equal(rig_records(&s->rig, s->lobby),
                        "join alice\njoin bob\npost alice 1 hello <world> \xF0\x9F\x9A\x80\n");
    PEER_EXPECT(&s->alice, "grpchat alice 1 hello <world> \xF0\x9F\x9A\x80");
    PEER_EXPECT(&s->bob, "grpchat alice 1 hello <world> \xF0\x9F\x9A\x80");
}

static void nothing_is_said_before_the_commit(void **state)
{
    struct scene *s = *state;
    struct err e = {0};

    both_in(s, s->lobby);
    assert_int_equal(db_begin(store_db(s->rig.store), &e), 0);
    peer_post(&s->alice, s->lobby, "held");
    assert_string_equal(peer_next(&s->alice, 400), "nothing");
    assert_string_equal(peer_next(&s->bob, 100), "nothing");
    db_rollback(store_db(s->rig.store));
    PEER_EXPECT(&s->alice, "200 INFO", "grpchat alice 1 held");
    PEER_EXPECT(&s->bob, "grpchat alice 1 held");
}

static void what_cannot_be_written_is_answered_503(void **state)
{
    struct scene *s = *state;
    struct err e = {0};

    both_in(s, s->lobby);
    /* Longer than the database waits for another writer. */
    assert_int_equal(db_begin(store_db(s->rig.store), &e), 0);
    peer_post(&s->alice, s->lobby, "never");
    assert_string_equal(peer_next(&s->alice, 40000), "503 INFO");
    assert_true(sip_header(s->alice.last, "retry-after").n > 0);
    db_rollback(store_db(s->rig.store));
    assert_string_equal(peer_next(&s->bob, 300), "nothing");
    /* And it goes on afterwards. */
    const char *said;
    do {
        peer_post(&s->alice, s->lobby, "again");
        said = peer_next(&s->alice, 5000);
    } while (strcmp(said, "503 INFO") == 0 && poll(NULL, 0, 100) == 0);
    assert_string_equal(said, "200 INFO");
    PEER_EXPECT(&s->alice, "grpchat alice 1 again");
    PEER_EXPECT(&s->bob, "grpchat alice 1 again");
}

static void posts_of_one_client_keep_their_order(void **state)
{
    struct scene *s = *state;
    char text[16];
    char line[40];

    both_in(s, s->lobby);
    for (int i = 1; i <= 50; i++) {
        (void)snprintf(text, sizeof text, "n%d", i);
        peer_post(&s->alice, s->lobby, text);
    }
    for (int i = 1; i <= 50; i++) {
        (void)snprintf(line, sizeof line, "grpchat alice %d n%d", i, i);
        PEER_EXPECT(&s->alice, "200 INFO", line);
        assert_int_equal(sip_cseq(s->alice.last) > 0, 1);
        peer_expect(&s->bob, line);
    }
}

static void repeated_post_is_one_post(void **state)
{
    struct scene *s = *state;

    both_in(s, s->lobby);
    peer_post(&s->alice, s->lobby, "once");
    PEER_EXPECT(&s->alice, "200 INFO", "grpchat alice 1 once");
    s->alice.envid--;
    peer_post(&s->alice, s->lobby, "once");
    PEER_EXPECT(&s->alice, "200 INFO");
    peer_post(&s->alice, s->lobby, "once");
    PEER_EXPECT(&s->alice, "200 INFO", "grpchat alice 2 once");
    PEER_EXPECT(&s->bob, "grpchat alice 1 once", "grpchat alice 2 once");
}

static void post_outside_is_refused(void **state)
{
    struct scene *s = *state;
    char secret[256];

    rig_room(&s->rig, "Secret", "bob", secret);
    peer_ready(&s->alice, &s->rig, "alice", "ea");
    peer_post(&s->alice, s->lobby, "not joined");
    peer_expect(&s->alice, "403 INFO");
    peer_post(&s->alice, secret, "not mine");
    peer_expect(&s->alice, "404 INFO");
    peer_post(&s->alice, "ma-chan://example.test/none", "not there");
    peer_expect(&s->alice, "404 INFO");
    assert_string_equal(rig_records(&s->rig, s->lobby), "");
}

static void post_too_long_is_refused(void **state)
{
    struct scene *s = *state;
    char *text = malloc(8002);

    both_in(s, s->lobby);
    memset(text, 'x', 8001);
    text[8001] = '\0';
    peer_post(&s->alice, s->lobby, text);
    peer_expect(&s->alice, "413 INFO");
    text[8000] = '\0';
    peer_post(&s->alice, s->lobby, text);
    peer_expect(&s->alice, "200 INFO");
    free(text);
}

/* ---- rooms ---- */

static void joining_twice_records_once(void **state)
{
    struct scene *s = *state;

    both_in(s, s->lobby);
    peer_join(&s->alice, s->lobby);
    PEER_EXPECT(&s->alice, "200 INFO", "rpl:join 200");
    assert_string_equal(peer_next(&s->bob, 200), "nothing");
    assert_string_equal(rig_records(&s->rig, s->lobby), "join alice\njoin bob\n");
}

static void absent_foreign_and_secret_rooms_look_alike(void **state)
{
    struct scene *s = *state;
    char secret[256];
    char *first = NULL;

    rig_room(&s->rig, "Secret", "bob,carol", secret);
    const char *rooms[] = {"ma-chan://example.test/00000000-0000-4000-8000-000000000000",
                           "ma-chan://other.test/00000000-0000-4000-8000-000000000000", secret};
    peer_ready(&s->alice, &s->rig, "alice", "ea");
    for (size_t i = 0; i < 3; i++) {
        peer_join(&s->alice, rooms[i]);
        PEER_EXPECT(&s->alice, "200 INFO", "rpl:join 404");
        const char *resp = strstr(sip_body(s->alice.last).p, "<resp");
        if (first)
            assert_string_equal(resp, first);
        else
            first = strdup(resp);
    }
    free(first);
    peer_xccos(&s->alice, "<cmd id=\"cmd:chansrch\" seqid=\"1\"><data><qib qtype=\"BYNAME\""
                          " criteria=\"\" extended=\"false\"/></data></cmd>");
    PEER_EXPECT(&s->alice, "200 INFO", "rpl:chansrch 200");
    assert_non_null(strstr(sip_body(s->alice.last).p, "Lobby"));
    assert_null(strstr(sip_body(s->alice.last).p, "Secret"));
}

static void bjoin_joins_what_it_can(void **state)
{
    struct scene *s = *state;
    char other[256];
    char inside[1024];

    rig_room(&s->rig, "Other", "", other);
    peer_ready(&s->alice, &s->rig, "alice", "ea");
    (void)snprintf(inside, sizeof inside,
                   "<cmd id=\"cmd:bjoin\" seqid=\"1\"><data>"
                   "<chanid key=\"0\" domain=\"example.test\" value=\"%s\"/>"
                   "<chanid key=\"1\" domain=\"example.test\" value=\"absent\"/>"
                   "<chanid key=\"2\" domain=\"example.test\" value=\"%s\"/></data></cmd>",
                   strrchr(s->lobby, '/') + 1, strrchr(other, '/') + 1);
    peer_xccos(&s->alice, inside);
    PEER_EXPECT(&s->alice, "200 INFO", "rpl:bjoin 200");
    const char *body = sip_body(s->alice.last).p;
    assert_non_null(strstr(body, "name=\"Lobby\""));
    assert_non_null(strstr(body, "name=\"Other\""));
    assert_non_null(strstr(body, "<fib key=\"OPERATION_FAILED\" domain=\"example.test\""
                                 " value=\"absent\"/>"));
    assert_string_equal(rig_records(&s->rig, s->lobby), "join alice\n");
    assert_string_equal(rig_records(&s->rig, other), "join alice\n");
}

static void part_is_recorded_and_told(void **state)
{
    struct scene *s = *state;

    both_in(s, s->lobby);
    peer_part(&s->bob, s->lobby);
    PEER_EXPECT(&s->bob, "200 INFO", "rpl:part 200");
    assert_non_null(strstr(sip_body(s->bob.last).p, s->lobby));
    peer_expect(&s->alice, "ntc:part bob");
    assert_string_equal(rig_records(&s->rig, s->lobby), "join alice\njoin bob\nleave bob part\n");
    peer_part(&s->bob, s->lobby);
    PEER_EXPECT(&s->bob, "200 INFO", "rpl:part 412");
}

static void lost_connection_leaves_and_signs_out(void **state)
{
    struct scene *s = *state;

    both_in(s, s->lobby);
    peer_close(&s->bob);
    peer_expect(&s->alice, "ntc:part bob");
    rig_await_records(&s->rig, s->lobby, "join alice\njoin bob\nleave bob disconnect\n");
    rig_await_records(&s->rig, RIG_SESSION,
                      "session-start\nsign-in alice\nsign-in bob\nsign-out bob disconnect\n");
}

static void what_was_sent_before_hanging_up_counts(void **state)
{
    struct scene *s = *state;

    both_in(s, s->lobby);
    peer_post(&s->bob, s->lobby, "last words");
    peer_request(&s->bob, "BYE", "");
    peer_register(&s->bob, ":Expires: 0");
    (void)shutdown(s->bob.fd, SHUT_WR);
    PEER_EXPECT(&s->alice, "grpchat bob 1 last words", "ntc:part bob");
    rig_await_records(&s->rig, s->lobby,
                      "join alice\njoin bob\npost bob 1 last words\nleave bob sign-out\n");
    rig_await_records(&s->rig, RIG_SESSION,
                      "session-start\nsign-in alice\nsign-in bob\nsign-out bob sign-out\n");
}

static void lost_dialog_at_the_client_ends_it(void **state)
{
    struct scene *s = *state;
    char text[512];

    both_in(s, s->lobby);
    (void)snprintf(text, sizeof text,
                   "SIP/2.0 481 Gone\r\nVia: SIP/2.0/tcp 127.0.0.1\r\nFrom: <" RIG_POOL ">\r\n"
                   "To: <sip:bob@example.test>\r\nCall-ID: %s\r\nCSeq: 9 INFO\r\n"
                   "Content-Length: 0\r\n\r\n",
                   s->bob.call_id);
    peer_send(&s->bob, text, strlen(text));
    peer_expect(&s->alice, "ntc:part bob");
    peer_post(&s->bob, s->lobby, "gone");
    peer_expect(&s->bob, "481 INFO");
}

/* ---- history ---- */

static void history_is_recorded_before_it_is_shown(void **state)
{
    struct scene *s = *state;

    both_in(s, s->lobby);
    peer_history(&s->bob, s->lobby, 25);
    PEER_EXPECT(&s->bob, "200 INFO", "rpl:bccontext 200");
    for (int i = 0; i < 5; i++) {
        peer_post(&s->alice, s->lobby, "text");
        peer_expect(&s->alice, "200 INFO");
        (void)peer_next(&s->alice, 1000);
        (void)peer_next(&s->bob, 1000);
    }
    peer_history(&s->bob, s->lobby, 3);
    PEER_EXPECT(&s->bob, "200 INFO");
    assert_non_null(strstr(rig_records(&s->rig, s->lobby), "read bob [[3,5]] 3\n"));
    PEER_EXPECT(&s->bob, "rpl:bccontext 200");
    const char *body = sip_body(s->bob.last).p;
    const char *third = strstr(body, "chatId=\"3\"");
    assert_non_null(third);
    assert_null(strstr(body, "chatId=\"2\""));
    assert_non_null(strstr(third, "chatId=\"5\""));
    assert_non_null(strstr(rig_records(&s->rig, s->lobby), "read bob [] 0\n"));
    peer_part(&s->bob, s->lobby);
    PEER_EXPECT(&s->bob, "200 INFO", "rpl:part 200");
    peer_history(&s->bob, s->lobby, 3);
    PEER_EXPECT(&s->bob, "200 INFO", "rpl:bccontext 412");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, scene_set_up, scene_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(sign_in_needs_a_known_user),
        CASE(sign_in_answers_what_clients_need),
        CASE(sign_out_is_recorded_after_leaves),
        CASE(newer_connection_of_an_endpoint_ends_the_older),
        CASE(post_is_answered_then_told_to_all),
        CASE(nothing_is_said_before_the_commit),
        CASE(what_cannot_be_written_is_answered_503),
        CASE(posts_of_one_client_keep_their_order),
        CASE(repeated_post_is_one_post),
        CASE(post_outside_is_refused),
        CASE(post_too_long_is_refused),
        CASE(joining_twice_records_once),
        CASE(absent_foreign_and_secret_rooms_look_alike),
        CASE(bjoin_joins_what_it_can),
        CASE(part_is_recorded_and_told),
        CASE(lost_connection_leaves_and_signs_out),
        CASE(what_was_sent_before_hanging_up_counts),
        CASE(lost_dialog_at_the_client_ends_it),
        CASE(history_is_recorded_before_it_is_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
