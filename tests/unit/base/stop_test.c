/* SPDX-License-Identifier: Apache-2.0 */
/* Stop and wake. Each case that stops runs in a process of its own: a request can't be taken back.
 */
#include "base/clock.h"
#include "base/stop.h"
#include "base/wake.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Runs fn in a child; returns its exit code, or 1000 + the signal that ended it. */
static int in_child(int (*fn)(void))
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn());
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static int a_signal_asks(void)
{
    stop_install();
    if (stop_requested() || readable(stop_fd()) || stop_wait(1))
        return 1;
    (void)raise(SIGTERM);
    if (!stop_requested() || !readable(stop_fd()) || !stop_wait(-1))
        return 2;
    return readable(stop_fd()) ? 0 : 3;
}

static int a_second_signal_ends(void)
{
    stop_install();
    (void)raise(SIGINT);
    (void)raise(SIGINT);
    return 1;
}

static int a_broken_pipe_is_an_error(void)
{
    int p[2];
    stop_install();
    if (pipe(p))
        return 1;
    (void)close(p[0]);
    return write(p[1], "x", 1) == -1 ? 0 : 2;
}

static void *ask(void *arg)
{
    stop_request();
    return arg;
}

static int another_thread_asks(void)
{
    pthread_t t;
    if (pthread_create(&t, NULL, ask, NULL))
        return 1;
    bool stopped = stop_wait(10000);
    (void)pthread_join(t, NULL);
    return stopped ? 0 : 2;
}

static int stopping_ends_a_wait(void)
{
    pthread_t t;
    struct wake w;
    if (!wake_init(&w) || pthread_create(&t, NULL, ask, NULL))
        return 1;
    bool rung = wake_wait(&w, 10000);
    (void)pthread_join(t, NULL);
    if (rung)
        return 2;
    wake_ring(&w); /* what was rung is still said */
    return wake_wait(&w, 10000) && !wake_wait(&w, 10000) ? 0 : 3;
}

static void stopping(void **state)
{
    (void)state;
    assert_int_equal(in_child(a_signal_asks), 0);
    assert_int_equal(in_child(a_second_signal_ends), 128 + SIGINT);
    assert_int_equal(in_child(a_broken_pipe_is_an_error), 0);
    assert_int_equal(in_child(another_thread_asks), 0);
    assert_int_equal(in_child(stopping_ends_a_wait), 0);
}

static void *ring(void *arg)
{
    wake_ring(arg);
    return NULL;
}

static void a_doorbell(void **state)
{
    (void)state;
    struct wake w;
    pthread_t t;
    assert_true(wake_init(&w));
    assert_false(wake_wait(&w, 0));
    int64_t start = clock_mono_ms();
    assert_false(wake_wait(&w, 30));
    assert_true(clock_mono_ms() - start >= 29);
    wake_ring(&w);
    wake_ring(&w);
    assert_true(readable(w.fd));
    assert_true(wake_wait(&w, 0));
    assert_false(wake_wait(&w, 0));
    assert_int_equal(pthread_create(&t, NULL, ring, &w), 0);
    assert_true(wake_wait(&w, 10000));
    assert_int_equal(pthread_join(t, NULL), 0);
    wake_done(&w);
    wake_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopping),
        cmocka_unit_test(a_doorbell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
