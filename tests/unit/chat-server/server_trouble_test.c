/* SPDX-License-Identifier: Apache-2.0 */
/* The chat server in trouble: while it refuses, hostile and silent clients, time-outs, its stop. */
#include "scene.h"

#include "base/db.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- refusing ---- */

static void while_refusing_people_can_still_leave(void **state)
{
    struct scene *s = *state;
    char other[256];

    rig_room(&s->rig, "Other", "", other);
    both_in(s, s->lobby);
    atomic_store(&s->rig.refuse, true);
    peer_post(&s->alice, s->lobby, "no");
    PEER_EXPECT(&s->alice, "503 INFO");
    peer_join(&s->alice, other);
    PEER_EXPECT(&s->alice, "200 INFO", "rpl:join 503");
    peer_history(&s->alice, s->lobby, 5);
    PEER_EXPECT(&s->alice, "200 INFO", "rpl:bccontext 503");
    assert_null(strstr(sip_body(s->alice.last).p, "<msg"));
    peer_part(&s->alice, s->lobby);
    PEER_EXPECT(&s->alice, "200 INFO", "rpl:part 200");
    peer_expect(&s->bob, "ntc:part alice");
    assert_string_equal(rig_records(&s->rig, other), "");
    assert_string_equal(rig_records(&s->rig, s->lobby), "join alice\njoin bob\nleave alice part\n");
}

/* ---- hostile input ---- */

static void unknown_things_are_answered(void **state)
{
    struct scene *s = *state;

    both_in(s, s->lobby);
    peer_xccos(&s->alice, "<cmd id=\"cmd:nonsense\" seqid=\"1\"><data/></cmd>");
    PEER_EXPECT(&s->alice, "200 INFO", "rpl:nonsense 405");
    peer_request(&s->alice, "INFO", "<xccos");
    PEER_EXPECT(&s->alice, "400 INFO");
    peer_request(&s->alice, "INFO", "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>");
    PEER_EXPECT(&s->alice, "400 INFO");
    peer_request(&s->alice, "MESSAGE", "hi");
    PEER_EXPECT(&s->alice, "405 MESSAGE");
    peer_request(&s->alice, "UPDATE", "");
    PEER_EXPECT(&s->alice, "200 UPDATE");
    peer_post(&s->alice, s->lobby, "still here");
    PEER_EXPECT(&s->alice, "200 INFO", "grpchat alice 1 still here");
}

static void malformed_streams_are_closed_and_others_go_on(void **state)
{
    static const char *const streams[] = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "REGISTER sip:example.test SIP/2.0\r\nContent-Length: 99999999\r\n\r\n",
        "REGISTER sip:example.test SIP/2.0\r\nContent-Length: -1\r\n\r\n",
        "REGISTER sip:example.test SIP/2.0\r\nContent-Type: a/b\r\n\r\n",
        "REGISTER sip:example.test SIP/2.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "\r\n\r\n\x01\x02\x03\r\n\r\n",
        "INFO sip:a SIP/2.0\r\nVia:\r\nFrom: <\r\nTo: >\r\nCall-ID:\r\nCSeq: x\r\n\r\n",
    };
    struct scene *s = *state;

    both_in(s, s->lobby);
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        struct peer bad;

        peer_open(&bad, &s->rig, "alice", "bad");
        peer_send(&bad, streams[i], strlen(streams[i]));
        const char *said = peer_next(&bad, 5000);
        while (strcmp(said, "closed") != 0) {
            assert_string_equal(said, "400 Bad Req");
            said = peer_next(&bad, 5000);
        }
        peer_close(&bad);
    }
    struct peer nul;
    peer_open(&nul, &s->rig, "alice", "nul");
    peer_send(&nul, "INFO\0 a\r\n\r\n", 11);
    assert_string_not_equal(peer_next(&nul, 5000), "nothing");
    peer_close(&nul);
    peer_post(&s->alice, s->lobby, "fine");
    PEER_EXPECT(&s->alice, "200 INFO", "grpchat alice 1 fine");
    PEER_EXPECT(&s->bob, "grpchat alice 1 fine");
}

static void a_client_that_does_not_read_is_cut_off(void **state)
{
    struct scene *s = *state;
    char *text = malloc(8001);

    both_in(s, s->lobby);
    memset(text, 'x', 8000);
    text[8000] = '\0';
    bool cut = false;
    for (int i = 0; i < 2000 && !cut; i++) {
        peer_post(&s->alice, s->lobby, text);
        for (int k = 0; k < 2 && !cut; k++)
            cut = strcmp(peer_next(&s->alice, 5000), "ntc:part bob") == 0;
    }
    assert_true(cut);
    free(text);
}

/* ---- time ---- */

static void nobody_signing_in_times_out(void **state)
{
    struct scene *s = *state;

    peer_open(&s->alice, &s->rig, "alice", "ea");
    peer_expect(&s->alice, "closed");
}

static void silent_session_times_out(void **state)
{
    struct scene *s = *state;

    peer_ready(&s->alice, &s->rig, "alice", "ea");
    peer_join(&s->alice, s->lobby);
    PEER_EXPECT(&s->alice, "200 INFO", "rpl:join 200");
    for (int i = 0; i < 4; i++) {
        (void)poll(NULL, 0, 400);
        peer_request(&s->alice, "UPDATE", "");
        peer_expect(&s->alice, "200 UPDATE");
    }
    peer_expect(&s->alice, "closed");
    rig_await_records(&s->rig, s->lobby, "join alice\nleave alice timeout\n");
}

/* ---- stop ---- */

static void stop_records_what_ends(void **state)
{
    struct scene *s = *state;

    both_in(s, s->lobby);
    rig_stop_server(&s->rig);
    const char *lobby = rig_records(&s->rig, s->lobby);
    assert_non_null(strstr(lobby, "leave alice server-stopped\n"));
    assert_non_null(strstr(lobby, "leave bob server-stopped\n"));
    const char *session = rig_records(&s->rig, RIG_SESSION);
    assert_non_null(strstr(session, "sign-out alice server-stopped\n"));
    assert_non_null(strstr(session, "sign-out bob server-stopped\n"));
    const char *last = strstr(session, "session-stop");
    assert_non_null(last);
    assert_null(strstr(last, "sign-out"));
}

static void another_writer_ends_everything(void **state)
{
    struct scene *s = *state;
    struct chat_state now;
    struct err e = {0};
    int64_t changed = 0;

    both_in(s, s->lobby);
    assert_int_equal(db_run(store_db(s->rig.store), "UPDATE writer SET session = $1",
                            DB_ARGS(DB_T(SLICE("urn:uuid:another"))), &changed, &e),
                     0);
    assert_int_equal(changed, 1);
    peer_post(&s->alice, s->lobby, "too late");
    peer_expect(&s->alice, "closed");
    peer_expect(&s->bob, "closed");
    assert_true(atomic_load(&s->rig.lost));
    chat_server_state(s->rig.server, &now);
    assert_true(now.lost);
    rig_stop_server(&s->rig);
    assert_string_equal(rig_records(&s->rig, s->lobby), "join alice\njoin bob\n");
}

static void only_loopback_is_served(void **state)
{
    struct scene *s = *state;
    struct chat_server *server = NULL;
    struct err e = {0};
    struct chat_options o = {.host = "0.0.0.0",
                             .domain = "example.test",
                             .pool = RIG_POOL,
                             .session = RIG_SESSION,
                             .store_url = s->rig.url,
                             .writer = s->rig.writer};

    assert_int_equal(chat_server_start(&server, &o, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "0.0.0.0"));
    o.host = "localhost";
    assert_int_equal(chat_server_start(&server, &o, &e), ERR_CONFIG);
    assert_null(server);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, scene_set_up, scene_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(while_refusing_people_can_still_leave),
        CASE(unknown_things_are_answered),
        CASE(malformed_streams_are_closed_and_others_go_on),
        CASE(a_client_that_does_not_read_is_cut_off),
        cmocka_unit_test_setup_teardown(nobody_signing_in_times_out, scene_set_up_short,
                                        scene_tear_down),
        cmocka_unit_test_setup_teardown(silent_session_times_out, scene_set_up_short,
                                        scene_tear_down),
        CASE(stop_records_what_ends),
        CASE(another_writer_ends_everything),
        CASE(only_loopback_is_served),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
