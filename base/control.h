/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: a command typed by the operator runs inside the service. The client sends the
 * words and its standard streams as descriptors (SCM_RIGHTS); the service checks the peer's user
 * id, runs the function in a thread of its own over those streams and sends the exit code.
 *
 * The streams of a command that runs in the service are buffered FILEs without a descriptor (fileno
 * gives -1). When the client dies, reads and writes of its command fail (errno ECANCELED), as do
 * reads once stop was requested: no command hangs on a pipe that nobody serves.
 */
#ifndef BASE_CONTROL_H
#define BASE_CONTROL_H

#include "base/app.h"

struct control;

/* Listens on path; commands are found in table (those with APP_REMOTE only) and get `open`. Peers
 * of another user id than ours (or root) are refused. At most 16 at once; a further one waits. */
int control_start(struct control **out, const char *path, const struct app_command *table,
                  void *open, struct err *e);
/* Stops accepting, waits for the running commands (they see stop_requested), removes the socket. */
void control_stop(struct control *c);

/* Runs a command in the service: *exit_code gets its answer. ERR_NOT_FOUND: nobody listens there.
 * in_fd, out_fd, err_fd are passed on. */
int control_call(const char *path, int argc, char **argv, int in_fd, int out_fd, int err_fd,
                 int *exit_code, struct err *e);

#endif
