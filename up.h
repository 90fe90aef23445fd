/* SPDX-License-Identifier: Apache-2.0 */
/* The long-running commands: everything in one process, or one service each. Return exit codes. */
#ifndef UP_H
#define UP_H

#include "base/app.h"
#include "handles.h"

/* Embedded: chat server, store, capture, archiver, sweep and the control socket, until stopped. */
int up_run(struct app_io *io, struct handles *h, const struct app_command *commands);
/* Services. */
int chat_server_run(struct app_io *io, struct handles *h);
int capture_run(struct app_io *io, struct handles *h);
int archiver_run(struct app_io *io, struct handles *h);

#endif
