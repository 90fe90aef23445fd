/* SPDX-License-Identifier: Apache-2.0 */
/* The commands' wire names, by enum xccos_command. For the files of XCCOS alone. */
#ifndef CHAT_XCCOS_TABLE_H
#define CHAT_XCCOS_TABLE_H

#include "chat-server/xccos.h"

struct xccos_names {
    const char *command, *reply;
};
extern const struct xccos_names xccos_table[XCCOS_COMMANDS];

#endif
