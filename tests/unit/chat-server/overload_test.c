/* SPDX-License-Identifier: Apache-2.0 */
/* A store that is slow: histories are refused first, then joins, then posts; leaves never. */
#include "base/clock.h"
#include "chat-server/store/writer.h"
#include "rig.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LOOK_MS = 300 }; /* the server looks at its store a few times in that */

struct overload {
    struct rig rig;
    char room[256];
    struct peer alice, bob, carol, second; /* another client of bob's */
};

static int set_up(void **state)
{
    struct overload *o = calloc(1, sizeof *o);

    assert_non_null(o);
    rig_start(&o->rig);
    rig_room(&o->rig, "Lobby", "", o->room);
    peer_ready(&o->alice, &o->rig, "alice", "ea");
    peer_ready(&o->bob, &o->rig, "bob", "eb");
    peer_ready(&o->carol, &o->rig, "carol", "ec");
    peer_ready(&o->second, &o->rig, "bob", "e2");
    peer_join(&o->alice, o->room);
    PEER_EXPECT(&o->alice, "200 INFO", "rpl:join 200");
    peer_join(&o->bob, o->room);
    PEER_EXPECT(&o->bob, "200 INFO", "rpl:join 200");
    PEER_EXPECT(&o->alice, "ntc:join bob");
    peer_join(&o->carol, o->room);
    PEER_EXPECT(&o->carol, "200 INFO", "rpl:join 200");
    PEER_EXPECT(&o->alice, "ntc:join carol");
    PEER_EXPECT(&o->bob, "ntc:join carol");
    *state = o;

    return 0;
}

static int tear_down(void **state)
{
    struct overload *o = *state;

    peer_close(&o->alice);
    peer_close(&o->bob);
    peer_close(&o->carol);
    peer_close(&o->second);
    rig_stop(&o->rig);
    free(o);

    return 0;
}

static void wait_for_age(struct overload *o, int64_t ms)
{
    int64_t until = clock_mono_ms() + 9000;
    struct writer_state state = {0};

    while (state.oldest_ms < ms + LOOK_MS) {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 10);
        writer_state(o->rig.writer, &state);
    }
}

static void posts_are_taken_longest(void **state)
{
    struct overload *o = *state;
    struct err e = {0};
    int64_t seconds = 0;

    assert_int_equal(db_begin(store_db(o->rig.store), &e), 0);
    peer_post(&o->alice, o->room, "held");
    wait_for_age(o, 1000);
    peer_history(&o->bob, o->room, 5);
    PEER_EXPECT(&o->bob, "200 INFO", "rpl:bccontext 503");
    wait_for_age(o, 2000);
    peer_join(&o->second, o->room);
    PEER_EXPECT(&o->second, "200 INFO", "rpl:join 503");
    peer_post(&o->bob, o->room, "taken too");
    wait_for_age(o, 4000);
    peer_post(&o->carol, o->room, "not taken");
    PEER_EXPECT(&o->carol, "503 INFO");
    assert_true(text_i64(slice_trim(sip_header(o->carol.last, "retry-after")), &seconds));
    assert_in_range(seconds, 9, 20);
    assert_string_equal(peer_next(&o->alice, 1), "nothing");
    db_rollback(store_db(o->rig.store));
    PEER_EXPECT(&o->alice, "200 INFO", "grpchat alice 1 held", "grpchat bob 2 taken too");
    PEER_EXPECT(&o->carol, "grpchat alice 1 held", "grpchat bob 2 taken too");
}

static void what_was_refused_is_taken_again(void **state)
{
    struct overload *o = *state;
    struct err e = {0};
    const char *said;

    assert_int_equal(db_begin(store_db(o->rig.store), &e), 0);
    peer_post(&o->alice, o->room, "held");
    wait_for_age(o, 1000);
    peer_part(&o->carol, o->room);
    assert_string_equal(peer_next(&o->carol, 100), "nothing");
    db_rollback(store_db(o->rig.store));
    PEER_EXPECT(&o->alice, "200 INFO", "grpchat alice 1 held");
    PEER_EXPECT(&o->bob, "grpchat alice 1 held", "ntc:part carol");
    PEER_EXPECT(&o->carol, "grpchat alice 1 held", "200 INFO", "rpl:part 200");
    do {
        peer_history(&o->bob, o->room, 5);
        PEER_EXPECT(&o->bob, "200 INFO");
        said = peer_next(&o->bob, 5000);
    } while (strcmp(said, "rpl:bccontext 503") == 0);
    assert_string_equal(said, "rpl:bccontext 200");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(posts_are_taken_longest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_refused_is_taken_again, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
