/* SPDX-License-Identifier: Apache-2.0 */
/* The operator's chat commands, over open handles. Each returns an exit code and prints to io. */
#ifndef CHAT_COMMANDS_H
#define CHAT_COMMANDS_H

#include "base/app.h"
#include "chat-server/store/store.h"

int room_add_command(struct app_io *io, struct store *s, const char *domain, int argc, char **argv);
int room_list_command(struct app_io *io, struct store *s, int argc, char **argv);
int user_add_command(struct app_io *io, struct store *s, const char *domain, int argc, char **argv);
int user_list_command(struct app_io *io, struct store *s, int argc, char **argv);

/* `holdfast chat NAME [ROOM]`: a small line-mode client over the real protocol. server is
 * "host:port". */
int chat_client_command(struct app_io *io, const char *server, const char *domain, int argc,
                        char **argv);

#endif
