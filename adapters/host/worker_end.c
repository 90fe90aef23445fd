/* SPDX-License-Identifier: Apache-2.0 */
/* A thread of its own, since a module may hang; it touches no memory but its stack. */
#include "adapters/host/worker_end.h"

#include "adapters/host/child.h"
#include "base/clock.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

enum { STACK = 128 << 10, NOT_WATCHED = 125 };

/* The archiver writes by how much the moment moves, at first from 0. */
static int64_t later(int64_t until_ms)
{
    uint64_t more = 0;
    ssize_t n = read(CHILD_END, &more, sizeof more); /* 8 bytes, or nothing */
    (void)n;
    return more > (uint64_t)(INT64_MAX - until_ms) ? INT64_MAX : until_ms + (int64_t)more;
}

static void *watch(void *arg)
{
    int64_t until_ms = *(const int64_t *)arg;
    int64_t left = until_ms - clock_mono_ms();
    while (left > 0) {
        struct pollfd p = {.fd = CHILD_END, .events = POLLIN};
        if (poll(&p, 1, left < INT_MAX ? (int)left : INT_MAX) > 0)
            until_ms = later(until_ms);
        left = until_ms - clock_mono_ms();
    }
    (void)kill(-getpid(), SIGKILL);
    (void)kill(getpid(), SIGKILL);
    return NULL;
}

void worker_end_watch(void)
{
    static int64_t until_ms;
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all;
    sigset_t before;
    until_ms = later(0);
    if (until_ms == INT64_MAX)
        return;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_attr_init(&attr) != 0 || pthread_attr_setstacksize(&attr, STACK) != 0 ||
        pthread_create(&thread, &attr, watch, &until_ms) != 0)
        _exit(NOT_WATCHED);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_detach(thread);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}
