/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Length-prefixed messages over a stream descriptor: four bytes big-endian length, then the bytes.
 * Used between the archiver and its workers and on the control socket.
 */
#ifndef BASE_FRAME_H
#define BASE_FRAME_H

#include "base/buf.h"
#include "base/err.h"

int frame_send(int fd, struct slice message, struct err *e);
/* Reads one message of at most max bytes into out (cleared first). ERR_NOT_FOUND = orderly end of
 * the stream before a message; ERR_AGAIN = nothing within ms (ms < 0: for ever). */
int frame_recv(int fd, size_t max, int64_t ms, struct buf *out, struct err *e);

#endif
