/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CHAT_POST_H
#define CHAT_POST_H

#include "chat-server/dispatch.h"

/* Takes q, whose sender is joined in q->x.rooms[0]. What can't be recorded is answered 503. */
void publish_post(struct request *q);

#endif
