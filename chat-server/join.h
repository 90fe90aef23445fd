/* SPDX-License-Identifier: Apache-2.0 */
/* The commands join, bjoin and part: recorded, answered, then told to the others. */
#ifndef CHAT_JOIN_H
#define CHAT_JOIN_H

#include "chat-server/dispatch.h"

void join_command(struct request *q);
void join_part_command(struct request *q);

#endif
