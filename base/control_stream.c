/* SPDX-License-Identifier: Apache-2.0 */
/* stdio over a descriptor that somebody else's process gave us, by fopencookie. */
#include "base/control_stream.h"

#include "base/stop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

enum { STOP_GRACE_MS = 2000 };

struct stream {
    int fd;
    int client;
    bool broken; /* waited in vain once: no further write waits again */
};

/* False when it should not be waited for any longer. */
static bool await(struct stream *s, short events)
{
    while (!s->broken) {
        /* Once stop was requested its descriptor is readable for ever: then waiting is by time. */
        bool stopping = stop_requested();
        if (stopping && events == POLLIN)
            return false;
        struct pollfd p[] = {{.fd = s->fd, .events = events},
                             {.fd = s->client, .events = POLLIN},
                             {.fd = stopping ? -1 : stop_fd(), .events = POLLIN}};
        int n = poll(p, 3, stopping ? STOP_GRACE_MS : -1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || p[1].revents)
            s->broken = true;
        else if (p[0].revents)
            return true;
    }
    return false;
}

static ssize_t stream_read(void *cookie, char *bytes, size_t n)
{
    struct stream *s = cookie;
    for (;;) {
        if (!await(s, POLLIN))
            break;
        ssize_t got = read(s->fd, bytes, n);
        if (got >= 0 || (errno != EINTR && errno != EAGAIN))
            return got;
    }
    errno = ECANCELED;
    return -1;
}

static ssize_t stream_write(void *cookie, const char *bytes, size_t n)
{
    struct stream *s = cookie;
    size_t done = 0;
    while (done < n) {
        if (!await(s, POLLOUT)) {
            errno = ECANCELED;
            break;
        }
        /* A pipe that polls writable takes this much without blocking. */
        size_t part = n - done < PIPE_BUF ? n - done : PIPE_BUF;
        ssize_t put = write(s->fd, bytes + done, part);
        if (put > 0)
            done += (size_t)put;
        else if (put < 0 && errno != EINTR && errno != EAGAIN)
            break;
    }
    /* fopencookie wants 0, not -1, for a failed write. */
    return (ssize_t)done;
}

static int stream_close(void *cookie)
{
    struct stream *s = cookie;
    int rc = close(s->fd);
    free(s);
    return rc;
}

FILE *control_stream_open(int *fd, int client, const char *mode)
{
    struct stream *s = malloc(sizeof *s);
    if (!s)
        return NULL;
    *s = (struct stream){.fd = *fd, .client = client};
    FILE *f = fopencookie(
        s, mode,
        (cookie_io_functions_t){.read = stream_read, .write = stream_write, .close = stream_close});
    if (!f) {
        free(s);
        return NULL;
    }
    *fd = -1;
    return f;
}
