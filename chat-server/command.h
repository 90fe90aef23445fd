/* SPDX-License-Identifier: Apache-2.0 */
/* The XCCOS commands: one table of what there is, who may use it and who does it. */
#ifndef CHAT_COMMAND_H
#define CHAT_COMMAND_H

#include "chat-server/dispatch.h"

/* Takes q, whose envelope was read. */
void command_run(struct request *q);

/* Begins a reply to q's command in b (which it initialises); returns the envelope's number. */
uint64_t command_open(struct request *q, struct buf *b, int code);
/* Ends it; sends the SIP 200, then the reply. */
void command_reply(struct request *q, struct buf *b);
/* A reply of nothing but a code. */
void command_refuse(struct request *q, int code);
/* That, and the end of q. */
void command_finish(struct request *q, int code);

#endif
