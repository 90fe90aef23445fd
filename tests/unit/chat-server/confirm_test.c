/* SPDX-License-Identifier: Apache-2.0 */
/* Rooms with `recorded = queue`: nothing is answered or shown before the queue has the record, and
 * what happens when it does not say so in time. */
#include "scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LONG_MS = 20000, SHORT_MS = 300 };

static int set_up_patient(void **state)
{
    return scene_set_up_queue(state, LONG_MS);
}

static int set_up_impatient(void **state)
{
    return scene_set_up_queue(state, SHORT_MS);
}

static void nothing_is_said_before_the_queue_has_it(void **state)
{
    struct scene *s = *state;

    both_in(s, s->desk);
    atomic_store(&s->rig.confirms, false);
    peer_post(&s->alice, s->desk, "hello");
    rig_await_records(&s->rig, s->desk, "join alice\njoin bob\npost alice 1 hello\n");
    assert_string_equal(peer_next(&s->alice, 200), "nothing");
    assert_string_equal(peer_next(&s->bob, 1), "nothing");
    assert_int_equal(rig_confirm(&s->rig, 0), 1);
    PEER_EXPECT(&s->alice, "200 INFO", "grpchat alice 1 hello");
    peer_expect(&s->bob, "grpchat alice 1 hello");
    /* History is a record too. */
    peer_history(&s->bob, s->desk, 5);
    rig_await_records(&s->rig, s->desk,
                      "join alice\njoin bob\npost alice 1 hello\nread bob [[1,1]] 1\n");
    assert_string_equal(peer_next(&s->bob, 200), "nothing");
    assert_int_equal(rig_confirm(&s->rig, 0), 1);
    PEER_EXPECT(&s->bob, "200 INFO", "rpl:bccontext 200");
}

static void a_leave_is_told_after_the_post_before_it(void **state)
{
    struct scene *s = *state;

    both_in(s, s->desk);
    atomic_store(&s->rig.confirms, false);
    peer_post(&s->alice, s->desk, "bye");
    peer_part(&s->alice, s->desk);
    peer_close(&s->alice);
    assert_string_equal(peer_next(&s->bob, 200), "nothing");
    rig_await_records(&s->rig, s->desk, "join alice\njoin bob\npost alice 1 bye\n");
    assert_int_equal(rig_confirm(&s->rig, 0), 1);
    peer_expect(&s->bob, "grpchat alice 1 bye");
    rig_await_records(&s->rig, s->desk,
                      "join alice\njoin bob\npost alice 1 bye\nleave alice part\n");
    assert_int_equal(rig_confirm(&s->rig, 0), 1);
    peer_expect(&s->bob, "ntc:part alice");
}

/* The post stays on record and is shown once; other rooms go on; nothing more is stored. */
static void in_time_or_503(void **state)
{
    struct scene *s = *state;

    both_in(s, s->desk);
    peer_join(&s->alice, s->lobby);
    PEER_EXPECT(&s->alice, "200 INFO", "rpl:join 200");
    atomic_store(&s->rig.confirms, false);
    peer_post(&s->alice, s->desk, "late");
    peer_expect(&s->alice, "503 INFO");
    peer_post(&s->alice, s->desk, "not even stored");
    peer_expect(&s->alice, "503 INFO");
    peer_history(&s->bob, s->desk, 5);
    PEER_EXPECT(&s->bob, "200 INFO", "rpl:bccontext 503");
    peer_post(&s->alice, s->lobby, "here we chat on");
    PEER_EXPECT(&s->alice, "200 INFO", "grpchat alice 1 here we chat on");
    assert_string_equal(rig_records(&s->rig, s->desk), "join alice\njoin bob\npost alice 1 late\n");
    atomic_store(&s->rig.confirms, true);
    assert_int_equal(rig_confirm(&s->rig, 0), 1);
    peer_expect(&s->alice, "grpchat alice 1 late");
    peer_expect(&s->bob, "grpchat alice 1 late");
    peer_post(&s->alice, s->desk, "again");
    PEER_EXPECT(&s->alice, "200 INFO", "grpchat alice 2 again");
    peer_expect(&s->bob, "grpchat alice 2 again");
}

static void a_join_out_of_time_is_left_again(void **state)
{
    struct scene *s = *state;

    both_in(s, s->desk);
    peer_part(&s->bob, s->desk);
    PEER_EXPECT(&s->bob, "200 INFO", "rpl:part 200");
    peer_expect(&s->alice, "ntc:part bob");
    atomic_store(&s->rig.confirms, false);
    peer_join(&s->bob, s->desk);
    PEER_EXPECT(&s->bob, "200 INFO", "rpl:join 503");
    const char *all = "join alice\njoin bob\nleave bob part\njoin bob\nleave bob not-confirmed\n";
    assert_string_equal(rig_records(&s->rig, s->desk), all);
    peer_join(&s->bob, s->desk);
    PEER_EXPECT(&s->bob, "200 INFO", "rpl:join 503");
    assert_string_equal(rig_records(&s->rig, s->desk), all);
    assert_int_equal(rig_confirm(&s->rig, 0), 1);
    assert_string_equal(peer_next(&s->alice, 200), "nothing");
    /* People can go all the same. */
    peer_part(&s->alice, s->desk);
    PEER_EXPECT(&s->alice, "200 INFO", "rpl:part 200");
}

static void what_the_queue_refuses_is_not_shown(void **state)
{
    struct scene *s = *state;

    both_in(s, s->desk);
    atomic_store(&s->rig.confirms, false);
    peer_post(&s->alice, s->desk, "poison");
    rig_await_records(&s->rig, s->desk, "join alice\njoin bob\npost alice 1 poison\n");
    assert_int_equal(rig_confirm(&s->rig, ERR_REJECTED), 1);
    peer_expect(&s->alice, "503 INFO");
    assert_string_equal(peer_next(&s->bob, 200), "nothing");
    atomic_store(&s->rig.confirms, true);
    peer_post(&s->alice, s->desk, "fine");
    PEER_EXPECT(&s->alice, "200 INFO", "grpchat alice 2 fine");
}

static void a_stop_waits_for_no_queue(void **state)
{
    struct scene *s = *state;

    both_in(s, s->desk);
    atomic_store(&s->rig.confirms, false);
    peer_post(&s->alice, s->desk, "at the end");
    rig_await_records(&s->rig, s->desk, "join alice\njoin bob\npost alice 1 at the end\n");
    rig_stop_server(&s->rig);
    peer_expect(&s->alice, "503 INFO");
    const char *all = rig_records(&s->rig, s->desk);
    assert_non_null(strstr(all, "leave alice server-stopped"));
    assert_non_null(strstr(all, "leave bob server-stopped"));
    assert_int_equal(rig_confirm(&s->rig, 0), 0);
}

#define CASE(f, begin) cmocka_unit_test_setup_teardown(f, begin, scene_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(nothing_is_said_before_the_queue_has_it, set_up_patient),
        CASE(a_leave_is_told_after_the_post_before_it, set_up_patient),
        CASE(in_time_or_503, set_up_impatient),
        CASE(a_join_out_of_time_is_left_again, set_up_impatient),
        CASE(what_the_queue_refuses_is_not_shown, set_up_patient),
        CASE(a_stop_waits_for_no_queue, set_up_patient),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
