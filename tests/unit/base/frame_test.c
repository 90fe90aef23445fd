/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/frame.h"
#include "base/own.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

static void pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
}

static void messages_keep_their_borders(void **state)
{
    (void)state;
    int s[2];
    pair(s);
    OWN(own_buf) struct buf b;
    buf_init(&b, 100);
    assert_int_equal(frame_send(s[0], SLICE("one"), NULL), 0);
    assert_int_equal(frame_send(s[0], SLICE(""), NULL), 0);
    assert_int_equal(frame_send(s[0], SLICE("a\0b"), NULL), 0);
    assert_int_equal(frame_recv(s[1], 100, 1000, &b, NULL), 0);
    assert_true(slice_is(buf_view(&b), "one"));
    assert_int_equal(frame_recv(s[1], 100, -1, &b, NULL), 0);
    assert_int_equal(b.n, 0);
    assert_int_equal(frame_recv(s[1], 100, 1000, &b, NULL), 0);
    assert_memory_equal(b.p, "a\0b", 4);
    assert_int_equal(frame_recv(s[1], 100, 20, &b, NULL), ERR_AGAIN);
    (void)close(s[0]);
    assert_int_equal(frame_recv(s[1], 100, 1000, &b, NULL), ERR_NOT_FOUND);
    (void)close(s[1]);
}

static void broken_messages(void **state)
{
    (void)state;
    static const struct {
        struct slice sent;
        bool closed;
        int class;
    } cases[] = {
        {{"\0\0", 2}, true, ERR_RETRY},
        {{"\0\0\0\5abc", 7}, true, ERR_RETRY},
        {{"\0\0\0\5abc", 7}, false, ERR_RETRY},
        {{"\0\0\0", 3}, false, ERR_RETRY},
        {{"\xFF\xFF\xFF\xFF", 4}, false, ERR_REJECTED},
        {{"\0\0\0\x65", 4}, false, ERR_REJECTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int s[2];
        pair(s);
        OWN(own_buf) struct buf b;
        buf_init(&b, 1000);
        assert_int_equal(write(s[0], cases[i].sent.p, cases[i].sent.n), cases[i].sent.n);
        if (cases[i].closed)
            (void)close(s[0]);
        assert_int_equal(frame_recv(s[1], 100, 30, &b, NULL), cases[i].class);
        if (!cases[i].closed)
            (void)close(s[0]);
        (void)close(s[1]);
    }
}

static void a_reader_that_has_gone(void **state)
{
    (void)state;
    int s[2];
    pair(s);
    (void)close(s[1]);
    struct err e;
    assert_int_equal(frame_send(s[0], SLICE("x"), &e), ERR_RETRY);
    (void)close(s[0]);
}

static void *drain(void *arg)
{
    int fd = *(int *)arg;
    static struct buf b;
    buf_init(&b, 8 << 20);
    int rc = frame_recv(fd, 8 << 20, 5000, &b, NULL);
    bool whole = rc == 0 && b.n == 4 << 20 && b.p[b.n - 1] == 'z';
    buf_done(&b);
    return whole ? arg : NULL;
}

static void a_big_message_through_full_buffers(void **state)
{
    (void)state;
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        int s[2];
        pair(s);
        if (nonblocking)
            assert_int_equal(fcntl(s[0], F_SETFL, O_NONBLOCK), 0);
        pthread_t reader;
        void *whole = NULL;
        assert_int_equal(pthread_create(&reader, NULL, drain, &s[1]), 0);
        OWN(own_mem) char *big = malloc(4 << 20);
        memset(big, 'z', 4 << 20);
        assert_int_equal(frame_send(s[0], (struct slice){big, 4 << 20}, NULL), 0);
        assert_int_equal(pthread_join(reader, &whole), 0);
        assert_non_null(whole);
        (void)close(s[0]);
        (void)close(s[1]);
    }
}

static void pipes_work_too(void **state)
{
    (void)state;
    int p[2];
    assert_int_equal(pipe(p), 0);
    OWN(own_buf) struct buf b;
    buf_init(&b, 100);
    assert_int_equal(frame_send(p[1], SLICE("piped"), NULL), 0);
    assert_int_equal(frame_recv(p[0], 100, 1000, &b, NULL), 0);
    assert_string_equal(b.p, "piped");
    (void)close(p[0]);
    (void)close(p[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_keep_their_borders),
        cmocka_unit_test(broken_messages),
        cmocka_unit_test(a_reader_that_has_gone),
        cmocka_unit_test(a_big_message_through_full_buffers),
        cmocka_unit_test(pipes_work_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
