/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/net.h"
#include "base/own.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

static char dir[] = "/tmp/hf-net.XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL);
}

static void addresses_are_split(void **state)
{
    (void)state;
    char host[64];
    uint16_t port = 0;
    assert_int_equal(net_split(SLICE("127.0.0.1:5060"), host, &port, NULL), 0);
    assert_string_equal(host, "127.0.0.1");
    assert_int_equal(port, 5060);
    assert_int_equal(net_split(SLICE("[::1]:65535"), host, &port, NULL), 0);
    assert_string_equal(host, "::1");
    assert_int_equal(port, 65535);
    static const char *const bad[] = {"",      ":1",     "h:",      "h",    "h:65536",
                                      "::1:5", "[::1]5", "[::1",    "[]:1", "h:-1",
                                      "h: 1",  "h:1x",   "h:000001"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(net_split(slice_of(bad[i]), host, &port, NULL), ERR_CONFIG);
    assert_int_equal(port, 65535);
}

static void loopback_is_numeric_only(void **state)
{
    (void)state;
    assert_true(net_is_loopback("127.0.0.1"));
    assert_true(net_is_loopback("127.255.0.9"));
    assert_true(net_is_loopback("::1"));
    assert_false(net_is_loopback("localhost"));
    assert_false(net_is_loopback("0.0.0.0"));
    assert_false(net_is_loopback("::"));
    assert_false(net_is_loopback("128.0.0.1"));
    assert_false(net_is_loopback("127.0.0.1.example"));
}

static void tcp_connects_or_says_why(void **state)
{
    (void)state;
    OWN(own_fd) int s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s, 1), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&a, &n), 0);
    OWN(own_fd) int c = -1;
    assert_int_equal(net_connect("127.0.0.1", ntohs(a.sin_port), 2000, &c, NULL), 0);
    assert_int_equal(fcntl(c, F_GETFL) & O_NONBLOCK, 0);
    (void)close(s);
    s = -1;
    int none = -1;
    struct err e;
    assert_int_equal(net_connect("127.0.0.1", ntohs(a.sin_port), 2000, &none, &e), ERR_RETRY);
    assert_int_equal(e.errnum, ECONNREFUSED);
    assert_int_equal(net_connect("localhost", 1, 2000, &none, &e), ERR_CONFIG);
    assert_int_equal(none, -1);
}

static void unix_sockets_are_private(void **state)
{
    (void)state;
    char path[128];
    struct stat s;
    struct err e;
    (void)snprintf(path, sizeof path, "%s/sock", dir);
    for (int i = 0; i < 2; i++) { /* the second time over the dead name of the first */
        int server = -1;
        int client = -1;
        assert_int_equal(net_unix_listen(path, &server, &e), 0);
        assert_int_equal(lstat(path, &s), 0);
        assert_int_equal(s.st_mode & 0777, 0600);
        assert_int_equal(net_unix_connect(path, &client, &e), 0);
        uid_t uid = 12345;
        assert_int_equal(net_peer_uid(client, &uid, &e), 0);
        assert_int_equal(uid, geteuid());
        (void)close(client);
        (void)close(server);
    }
    int none = -1;
    assert_int_equal(net_unix_connect(path, &none, &e), ERR_NOT_FOUND);
    (void)unlink(path);
    assert_int_equal(net_unix_connect(path, &none, &e), ERR_NOT_FOUND);
    assert_int_equal(file_replace(path, SLICE("precious"), 0600, NULL), 0);
    assert_int_equal(net_unix_listen(path, &none, &e), ERR_CONFIG);
    assert_int_equal(lstat(path, &s), 0);
    char big[200];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    assert_int_equal(net_unix_listen(big, &none, &e), ERR_CONFIG);
    assert_int_equal(net_unix_connect(big, &none, &e), ERR_CONFIG);
}

static void descriptors_travel(void **state)
{
    (void)state;
    int s[2];
    int p[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    assert_int_equal(pipe(p), 0);
    assert_int_equal(net_send_fds(s[0], "hi", 2, (int[]){p[1]}, 1, NULL), 0);
    char text[8];
    size_t got = 0;
    size_t n = 0;
    int fds[3] = {-1, -1, -1};
    assert_int_equal(net_recv_fds(s[1], text, sizeof text, &got, fds, 3, &n, NULL), 0);
    assert_int_equal(got, 2);
    assert_int_equal(n, 1);
    assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
    assert_int_equal(write(fds[0], "x", 1), 1);
    assert_int_equal(read(p[0], text, 8), 1);
    (void)close(fds[0]);
    for (int i = 0; i < 2; i++)
        (void)close(p[i]);
    (void)close(s[0]);
    assert_int_equal(net_recv_fds(s[1], text, sizeof text, &got, fds, 3, &n, NULL), 0);
    assert_int_equal(got, 0);
    (void)close(s[1]);
}

static int open_descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 100; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void too_many_descriptors_are_closed(void **state)
{
    (void)state;
    int s[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    int before = open_descriptors();
    char text[8];
    size_t got = 77;
    size_t n = 77;
    int fds[2] = {-1, -1};
    assert_int_equal(net_send_fds(s[0], "hi", 2, (int[]){0, 1, 2}, 3, NULL), 0);
    assert_int_equal(net_recv_fds(s[1], text, sizeof text, &got, fds, 2, &n, NULL), ERR_REJECTED);
    assert_int_equal(n, 77);
    assert_int_equal(open_descriptors(), before);
    (void)close(s[0]);
    (void)close(s[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_split),
        cmocka_unit_test(loopback_is_numeric_only),
        cmocka_unit_test(tcp_connects_or_says_why),
        cmocka_unit_test(unix_sockets_are_private),
        cmocka_unit_test(descriptors_travel),
        cmocka_unit_test(too_many_descriptors_are_closed),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
