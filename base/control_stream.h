/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's stream as a FILE of the service: it fails instead of waiting for ever when the client
 * has gone, and reading fails once stop was requested. Private to the control socket.
 */
#ifndef BASE_CONTROL_STREAM_H
#define BASE_CONTROL_STREAM_H

#include <stdio.h>

/* Takes *fd on success (and sets it to -1). `client` is the control connection, which must outlive
 * the stream and on which nothing more is to come. mode is "r" or "w". NULL: out of memory. */
FILE *control_stream_open(int *fd, int client, const char *mode);

#endif
