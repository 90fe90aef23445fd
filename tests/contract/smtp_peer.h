/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An SMTP server that answers as it is told: for the replies that a real one can't be made to give.
 * One thread, one connection at a time.
 */
#ifndef TESTS_CONTRACT_SMTP_PEER_H
#define TESTS_CONTRACT_SMTP_PEER_H

#include <stddef.h>

enum { PEER_MAILS_MAX = 16 };

/* NULL: the usual answer. "": none, and the connection stays open. "drop": it is closed. */
struct peer_script {
    const char *greeting, *hello, *mail, *rcpt, *data;
    const char *end[PEER_MAILS_MAX]; /* after the n-th mail's end */
    int bell;                        /* a byte is written to it when no answer is given; 0: none */
};

struct peer;
struct peer *peer_start(const struct peer_script *script);
void peer_stop(struct peer *p);
const char *peer_address(const struct peer *p); /* host:port */
/* Only after peer_stop or once the client is gone: mails received whole, whatever was answered. */
int peer_mails(struct peer *p);
const char *peer_mail(const struct peer *p, int i, size_t *n);
void peer_free(struct peer *p);

#endif
