/* SPDX-License-Identifier: Apache-2.0 */
#include "scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct scene *empty(void **state)
{
    struct scene *s = calloc(1, sizeof *s);

    assert_non_null(s);
    s->alice.fd = -1;
    s->bob.fd = -1;
    *state = s;

    return s;
}

int scene_set_up(void **state)
{
    struct scene *s = empty(state);

    rig_start(&s->rig);
    rig_room(&s->rig, "Lobby", "", s->lobby);

    return 0;
}

int scene_set_up_short(void **state)
{
    struct scene *s = empty(state);

    rig_start_with(&s->rig, 1, 300);
    rig_room(&s->rig, "Lobby", "", s->lobby);

    return 0;
}

int scene_set_up_queue(void **state, int64_t queue_wait_ms)
{
    struct scene *s = empty(state);

    rig_start_queue(&s->rig, queue_wait_ms);
    rig_room(&s->rig, "Desk", "", s->desk);
    s->rig.by_queue = false;
    rig_room(&s->rig, "Lobby", "", s->lobby);

    return 0;
}

int scene_tear_down(void **state)
{
    struct scene *s = *state;

    peer_close(&s->alice);
    peer_close(&s->bob);
    rig_stop(&s->rig);
    free(s);

    return 0;
}

void both_in(struct scene *s, const char *room)
{
    peer_ready(&s->alice, &s->rig, "alice", "ea");
    peer_join(&s->alice, room);
    PEER_EXPECT(&s->alice, "200 INFO", "rpl:join 200");
    peer_ready(&s->bob, &s->rig, "bob", "eb");
    peer_join(&s->bob, room);
    PEER_EXPECT(&s->bob, "200 INFO", "rpl:join 200");
    PEER_EXPECT(&s->alice, "ntc:join bob");
}
