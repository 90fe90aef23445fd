/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets: numeric TCP addresses, and Unix sockets that carry credentials and descriptors. */
#include "base/net.h"

#include "base/clock.h"
#include "base/own.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { FDS_MAX = 16, BACKLOG = 16 };

int net_split(struct slice address, char host[64], uint16_t *port, struct err *e)
{
    struct slice all = address;
    struct slice name = {NULL, 0};
    if (address.n && address.p[0] == '[') {
        address = (struct slice){address.p + 1, address.n - 1};
        name = slice_cut(&address, ']');
        if (!slice_starts(address, ":"))
            address = (struct slice){NULL, 0};
        else
            address = (struct slice){address.p + 1, address.n - 1};
    } else {
        name = slice_cut(&address, ':');
    }
    char copy[64];
    uint64_t number = 0;
    if (!name.n || !slice_copy(name, copy, sizeof copy) || address.n > 5 ||
        !text_u64(address, &number) || number > UINT16_MAX)
        return err_set(e, ERR_CONFIG, "address '%.*s' is not HOST:PORT or [IPV6]:PORT",
                       all.n < 80 ? (int)all.n : 80, all.n ? all.p : "");
    memcpy(host, copy, sizeof copy);
    *port = (uint16_t)number;
    return 0;
}

bool net_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool numeric_address(const char *host, uint16_t port, struct sockaddr_storage *out,
                            socklen_t *n)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        memcpy(out, &v4, sizeof v4);
        *n = sizeof v4;
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6.sin6_addr) != 1)
        return false;
    memcpy(out, &v6, sizeof v6);
    *n = sizeof v6;
    return true;
}

/* Waits for a connect under way; 0 or the errno of its failure. */
static int connect_result(int fd, int64_t ms)
{
    int64_t end = clock_mono_ms() + ms;
    for (;;) {
        int64_t left = end - clock_mono_ms();
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int n = poll(&p, 1, left < 0 ? 0 : left > 60000 ? 60000 : (int)left);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0)
            break;
        if (n == 0 && left <= 0)
            return ETIMEDOUT;
    }
    int result = 0;
    socklen_t size = sizeof result;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &size) < 0 ? errno : result;
}

int net_connect(const char *host, uint16_t port, int64_t ms, int *fd, struct err *e)
{
    struct sockaddr_storage to;
    socklen_t size = 0;
    if (!numeric_address(host, port, &to, &size))
        return err_set(e, ERR_CONFIG, "connect to %s: not a numeric address", host);
    OWN(own_fd)
    int s = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0)
        return err_errno(e, ERR_RETRY, "make a socket");
    if (connect(s, (const struct sockaddr *)&to, size) < 0) {
        if (errno == EINPROGRESS || errno == EINTR)
            errno = connect_result(s, ms);
        if (errno)
            return err_errno(e, ERR_RETRY, "connect to %s port %u", host, port);
    }
    int one = 1;
    if (fcntl(s, F_SETFL, 0) < 0 || setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
        return err_errno(e, ERR_RETRY, "set up the connection to %s port %u", host, port);
    *fd = s;
    s = -1;
    return 0;
}

static int unix_address(const char *path, struct sockaddr_un *out, struct err *e)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (!*path || !slice_copy(slice_of(path), out->sun_path, sizeof out->sun_path))
        return err_set(e, ERR_CONFIG,
                       "socket %s: the path is empty or over %zu bytes. Choose a shorter folder",
                       path, sizeof out->sun_path - 1);
    return 0;
}

int net_unix_listen(const char *path, int *fd, struct err *e)
{
    struct sockaddr_un address;
    int rc = unix_address(path, &address, e);
    if (rc)
        return rc;
    struct stat old;
    if (lstat(path, &old) == 0) {
        if (!S_ISSOCK(old.st_mode))
            return err_set(e, ERR_CONFIG, "socket %s: a file of that name is in the way", path);
        if (unlink(path) < 0 && errno != ENOENT)
            return err_errno(e, ERR_CONFIG, "remove the old socket %s", path);
    }
    OWN(own_fd) int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return err_errno(e, ERR_RETRY, "make a socket");
    /* Set before bind, Linux makes the name with this mode: it is never open to others. */
    if (fchmod(s, 0600) < 0)
        return err_errno(e, ERR_RETRY, "set the mode of socket %s", path);
    if (bind(s, (const struct sockaddr *)&address, sizeof address) < 0 || listen(s, BACKLOG) < 0)
        return err_errno(e, ERR_CONFIG, "listen on socket %s", path);
    *fd = s;
    s = -1;
    return 0;
}

int net_unix_connect(const char *path, int *fd, struct err *e)
{
    struct sockaddr_un address;
    int rc = unix_address(path, &address, e);
    if (rc)
        return rc;
    OWN(own_fd) int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return err_errno(e, ERR_RETRY, "make a socket");
    while (connect(s, (const struct sockaddr *)&address, sizeof address) < 0) {
        if (errno == EINTR)
            continue;
        if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR)
            return err_errno(e, ERR_NOT_FOUND, "nobody listens on socket %s", path);
        return err_errno(e, errno == EACCES ? ERR_CONFIG : ERR_RETRY, "connect to socket %s", path);
    }
    *fd = s;
    s = -1;
    return 0;
}

int net_peer_uid(int fd, uid_t *uid, struct err *e)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return err_errno(e, ERR_RETRY, "ask who is at the other end");
    *uid = peer.uid;
    return 0;
}

int net_send_fds(int fd, const void *bytes, size_t n, const int *fds, size_t nfds, struct err *e)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(FDS_MAX * sizeof(int))] = {0};
    if (nfds > FDS_MAX || n == 0)
        return err_set(e, ERR_FAULT, "send descriptors: none to go with, or over %d", FDS_MAX);
    const char *from = bytes;
    while (n) {
        struct iovec part = {.iov_base = (void *)(uintptr_t)from, .iov_len = n};
        struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
        if (nfds) {
            m.msg_control = control;
            m.msg_controllen = CMSG_SPACE(nfds * sizeof *fds);
            struct cmsghdr *c = CMSG_FIRSTHDR(&m);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(nfds * sizeof *fds);
            memcpy(CMSG_DATA(c), fds, nfds * sizeof *fds);
        }
        ssize_t done = sendmsg(fd, &m, MSG_NOSIGNAL);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_errno(e, ERR_RETRY, "send descriptors");
        from += done;
        n -= (size_t)done;
        nfds = 0; /* they go with the first byte, once */
    }
    return 0;
}

/* Takes the descriptors out of a message: up to max into fds, closes the rest. False when there
 * were more. */
static bool take_fds(struct msghdr *m, int *fds, size_t max, size_t *nfds)
{
    bool all = !(m->msg_flags & MSG_CTRUNC);
    size_t n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int got = -1;
            memcpy(&got, CMSG_DATA(c) + i * sizeof got, sizeof got);
            if (n < max) {
                fds[n++] = got;
            } else {
                (void)close(got);
                all = false;
            }
        }
    }
    *nfds = n;
    return all;
}

int net_recv_fds(int fd, void *bytes, size_t n, size_t *got, int *fds, size_t max, size_t *nfds,
                 struct err *e)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(FDS_MAX * sizeof(int))];
    struct iovec part = {.iov_base = bytes, .iov_len = n};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control};
    m.msg_controllen = sizeof control;
    ssize_t done = 0;
    do
        done = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    while (done < 0 && errno == EINTR);
    if (done < 0)
        return err_errno(e, errno == EAGAIN || errno == EWOULDBLOCK ? ERR_AGAIN : ERR_RETRY,
                         "receive descriptors");
    size_t count = 0;
    if (!take_fds(&m, fds, max, &count)) {
        for (size_t i = 0; i < count; i++)
            (void)close(fds[i]);
        return err_set(e, ERR_REJECTED, "receive descriptors: over %zu came", max);
    }
    *got = (size_t)done;
    *nfds = count;
    return 0;
}
