/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rooms with `recorded = queue`: what happens in them is answered and shown only once the queue has
 * the record; what the store alone has does not count there. When the queue does not say so in time
 * the answer is no, and until it has caught up nothing more of such rooms is even stored, but
 * leaves. The record stays: it is in the store, goes to the queue later, and then a post is shown
 * to whoever is in the room, as history and archive have it.
 */
#ifndef CHAT_CONFIRM_H
#define CHAT_CONFIRM_H

#include "chat-server/conn.h"

struct event;

/* True when posts, joins and reads of such rooms are to be answered 503. */
bool confirm_refuses(const struct chat_server *s, bool by_queue);
/* In the loop. Before an event of such a room is handed to the writer / when it was not taken, or
 * everything is known of it. */
void confirm_begin(struct event *ev);
void confirm_end(struct event *ev);
/* In the writer's thread: it is stored. */
void confirm_stored(struct event *ev);
void confirm_tick(struct chat_server *s, int64_t now_ms);

#endif
