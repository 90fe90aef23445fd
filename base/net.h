/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets: addresses as "HOST:PORT", loopback test, Unix sockets with peer credentials, passing
 * fds. */
#ifndef BASE_NET_H
#define BASE_NET_H

#include "base/err.h"
#include "base/text.h"

#include <sys/types.h>

/* Splits "127.0.0.1:5060" or "[::1]:5060"; ERR_CONFIG otherwise. host gets no brackets. */
int net_split(struct slice address, char host[64], uint16_t *port, struct err *e);
bool net_is_loopback(const char *host); /* numeric 127.0.0.0/8 or ::1 only */
/* Connects by TCP (numeric host) with TCP_NODELAY within ms. */
int net_connect(const char *host, uint16_t port, int64_t ms, int *fd, struct err *e);

/* A listening Unix socket, mode 0600; an old file of that name is removed first. */
int net_unix_listen(const char *path, int *fd, struct err *e);
int net_unix_connect(const char *path, int *fd, struct err *e);
/* The user id of the process at the other end (SO_PEERCRED). */
int net_peer_uid(int fd, uid_t *uid, struct err *e);

/* Sends / receives one message of n bytes with up to nfds descriptors over a Unix stream socket.
 * The receiver gets CLOEXEC descriptors; *nfds is what came. */
int net_send_fds(int fd, const void *bytes, size_t n, const int *fds, size_t nfds, struct err *e);
int net_recv_fds(int fd, void *bytes, size_t n, size_t *got, int *fds, size_t max, size_t *nfds,
                 struct err *e);

#endif
