/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page of a room's history: read beside the loop, then recorded as read by this user (the ranges
 * of chat ids, also when there are none), and only then shown.
 */
#ifndef CHAT_HISTORY_H
#define CHAT_HISTORY_H

#include "chat-server/dispatch.h"

/* bccontext; takes q, whose user is joined in q->x.rooms[0]. */
void history_command(struct request *q);

#endif
