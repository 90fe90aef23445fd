/* SPDX-License-Identifier: Apache-2.0 */
/* The stop flag and its descriptor. An eventfd, because writing one is async-signal-safe and it
 * stays readable for every poller as long as nobody reads it. */
#include "base/stop.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static _Atomic int requested;
static _Atomic int bell = -1;
static pthread_once_t bell_once = PTHREAD_ONCE_INIT;

static void make_bell(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        abort(); /* a program that can't be stopped must not start */
    atomic_store(&bell, fd);
}

static void ring(void)
{
    uint64_t one = 1;
    int fd = atomic_load(&bell);
    if (fd >= 0 && write(fd, &one, sizeof one) < 0)
        return; /* full: it is readable already */
}

static void on_signal(int signal_number)
{
    int saved = errno;
    if (atomic_exchange(&requested, 1))
        _exit(128 + signal_number);
    ring();
    errno = saved;
}

void stop_install(void)
{
    (void)pthread_once(&bell_once, make_bell);
    /* Restarted calls: an interrupted write or fsync is no reason to fail; loops poll stop_fd. */
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    (void)sigemptyset(&stop.sa_mask);
    (void)sigaction(SIGINT, &stop, NULL);
    (void)sigaction(SIGTERM, &stop, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigemptyset(&ignore.sa_mask);
    (void)sigaction(SIGPIPE, &ignore, NULL);
}

bool stop_requested(void)
{
    return atomic_load(&requested) != 0;
}

void stop_request(void)
{
    (void)pthread_once(&bell_once, make_bell);
    atomic_store(&requested, 1);
    ring();
}

int stop_fd(void)
{
    (void)pthread_once(&bell_once, make_bell);
    return atomic_load(&bell);
}

bool stop_wait(int64_t ms)
{
    struct pollfd p = {.fd = stop_fd(), .events = POLLIN};
    int64_t end = clock_mono_ms() + ms;
    while (!stop_requested()) {
        int64_t left = ms < 0 ? -1 : end - clock_mono_ms();
        if (ms >= 0 && left <= 0)
            return false;
        (void)poll(&p, 1, left > 60000 ? 60000 : (int)left);
    }
    return true;
}
