/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the chat server: a room or two, and alice and bob to be in them. */
#ifndef TEST_CHAT_SCENE_H
#define TEST_CHAT_SCENE_H

#include "rig.h"

struct scene {
    struct rig rig;
    char lobby[256]; /* recorded by the store */
    char desk[256];  /* recorded by the queue, where there is one */
    struct peer alice, bob;
};

/* For cmocka: *state becomes a struct scene. */
int scene_set_up(void **state);
int scene_set_up_short(void **state); /* sessions last 1 s, signing in 300 ms */
int scene_set_up_queue(void **state, int64_t queue_wait_ms);
int scene_tear_down(void **state);

/* Alice joins, then bob; each has been told. */
void both_in(struct scene *s, const char *room);

#endif
