/* SPDX-License-Identifier: Apache-2.0 */
/* Frames over sockets and pipes, whether the descriptor blocks or not. */
#include "base/frame.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 4 };

/* 0 ready, ERR_AGAIN when the time is up. end_ms < 0: for ever. */
static int await(int fd, short events, int64_t end_ms, struct err *e)
{
    for (;;) {
        int64_t left = end_ms < 0 ? -1 : end_ms - clock_mono_ms();
        if (end_ms >= 0 && left < 0)
            left = 0;
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, left > 60000 ? 60000 : (int)left);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return err_errno(e, ERR_RETRY, "poll");
        if (n == 0 && left == 0)
            return err_set(e, ERR_AGAIN, "nothing within the time");
    }
}

/* Without SIGPIPE where the descriptor allows: a module's process may not have it ignored. */
static ssize_t put(int fd, const void *bytes, size_t n)
{
    ssize_t done = send(fd, bytes, n, MSG_NOSIGNAL);
    if (done < 0 && errno == ENOTSOCK)
        done = write(fd, bytes, n);
    return done;
}

static int put_all(int fd, const char *bytes, size_t n, struct err *e)
{
    while (n) {
        ssize_t done = put(fd, bytes, n);
        if (done > 0) {
            bytes += done;
            n -= (size_t)done;
            continue;
        }
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
            return err_errno(e, ERR_RETRY, "send a message");
        int rc = await(fd, POLLOUT, -1, e);
        if (rc)
            return rc;
    }
    return 0;
}

int frame_send(int fd, struct slice message, struct err *e)
{
    if (message.n > UINT32_MAX)
        return err_set(e, ERR_REJECTED, "message: over %u bytes", UINT32_MAX);
    unsigned char header[HEADER];
    for (int i = 0; i < HEADER; i++)
        header[i] = (unsigned char)(message.n >> (24 - 8 * i));
    int rc = put_all(fd, (const char *)header, sizeof header, e);
    return rc ? rc : put_all(fd, message.p, message.n, e);
}

/* Fills out[n]. *got counts what came, also when it fails. */
static int get_all(int fd, char *out, size_t n, int64_t end_ms, size_t *got, struct err *e)
{
    *got = 0;
    while (*got < n) {
        int rc = await(fd, POLLIN, end_ms, e);
        if (rc)
            return rc;
        ssize_t done = read(fd, out + *got, n - *got);
        if (done > 0)
            *got += (size_t)done;
        else if (done == 0 || errno == ECONNRESET)
            return err_set(e, ERR_NOT_FOUND, "the other end has closed");
        else if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)
            return err_errno(e, ERR_RETRY, "receive a message");
    }
    return 0;
}

int frame_recv(int fd, size_t max, int64_t ms, struct buf *out, struct err *e)
{
    buf_clear(out);
    int64_t end_ms = ms < 0 ? -1 : clock_mono_ms() + ms;
    unsigned char header[HEADER];
    size_t got = 0;
    int rc = get_all(fd, (char *)header, sizeof header, end_ms, &got, e);
    if (rc && got == 0)
        return rc;
    if (rc)
        return err_set(e, ERR_RETRY, "a message was cut off in its length");
    size_t n = (size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 |
               (size_t)header[3];
    if (n > max)
        return err_set(e, ERR_REJECTED, "a message of %zu bytes, over %zu", n, max);
    char *room = buf_reserve(out, n);
    if (!room)
        return buf_ok(out, "message", e);
    rc = get_all(fd, room, n, end_ms, &got, e);
    if (rc)
        return err_set(e, ERR_RETRY, "a message was cut off after %zu of %zu bytes", got, n);
    buf_commit(out, n);
    return 0;
}
