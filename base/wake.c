/* SPDX-License-Identifier: Apache-2.0 */
/* The doorbell: an eventfd, so that a loop may wait on it together with sockets. */
#include "base/wake.h"

#include "base/clock.h"
#include "base/stop.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool wake_init(struct wake *w)
{
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return w->fd >= 0;
}

void wake_done(struct wake *w)
{
    if (w->fd >= 0)
        (void)close(w->fd);
    w->fd = -1;
}

void wake_ring(struct wake *w)
{
    uint64_t one = 1;
    if (write(w->fd, &one, sizeof one) < 0)
        return; /* full: whoever waits sees it anyway */
}

bool wake_wait(struct wake *w, int64_t ms)
{
    struct pollfd p[] = {{.fd = w->fd, .events = POLLIN}, {.fd = stop_fd(), .events = POLLIN}};
    int64_t end = clock_mono_ms() + ms;
    for (;;) {
        uint64_t count = 0;
        if (read(w->fd, &count, sizeof count) == (ssize_t)sizeof count)
            return true;
        if (stop_requested())
            return false;
        int64_t left = ms < 0 ? 60000 : end - clock_mono_ms();
        if (left <= 0)
            return false;
        (void)poll(p, 2, left > 60000 ? 60000 : (int)left);
    }
}
