/* SPDX-License-Identifier: Apache-2.0 */
/* How the line-mode client shows what others wrote: nothing in a text can move the cursor, turn
 * the writing direction or look like a line of somebody else. */
#ifndef CHAT_CLIENT_VIEW_H
#define CHAT_CLIENT_VIEW_H

#include "chat-server/xccos.h"

#include <stdio.h>

/* Control characters, bidirectional marks and line separators become visible escapes. With
 * lines, a line break is a new line that begins with "    | ". */
void view_text(FILE *out, struct slice text, bool lines);
/* "#17 12:03 Alice: text", time of day in the local zone, the record's number in the room. */
void view_message(FILE *out, const struct xccos_message *m);

#endif
