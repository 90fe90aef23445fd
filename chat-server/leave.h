/* SPDX-License-Identifier: Apache-2.0 */
/* How a connection's rooms are left when its dialog or itself ends: on record first. */
#ifndef CHAT_LEAVE_H
#define CHAT_LEAVE_H

#include "chat-server/conn.h"

/* Records the leaves of a connection's rooms (of one dialog, or all) and tells the others; goes on
 * trying until they are recorded, then calls done(arg). One at a time for a connection. */
void leave_rooms(struct conn *c, const struct dialog *d, const char *reason,
                 void (*done)(void *arg), void *arg);
void leave_tick(struct conn *c, int64_t now_ms);

#endif
