/* SPDX-License-Identifier: Apache-2.0 */
/* Hands a mail to a server through libcurl, and judges the answer. The only file on libcurl. */
#ifndef ADAPTERS_SMTP_SEND_H
#define ADAPTERS_SMTP_SEND_H

#include "adapters/smtp/smtp_mail.h"

struct smtp_link; /* a connection, kept from mail to mail */

enum { SMTP_REPLY_MAX = 240 };
struct smtp_outcome {
    char reply[SMTP_REPLY_MAX]; /* the server's last line, printable ASCII only */
    bool about_message;         /* a failure is of this mail, not of the server or the set-up */
};

/* ERR_CONFIG: no name or address of a server. */
int smtp_link_check(const char *server, struct err *e);
/* server: HOST or HOST:PORT; timeout_ms: of connecting, and of any one command's answer. */
int smtp_link_open(struct smtp_link **out, const char *server, int64_t timeout_ms, struct err *e);
void smtp_link_close(struct smtp_link *l);

/* 0: the server took responsibility for the mail. ERR_RETRY, ERR_REJECTED (this mail, for ever),
 * ERR_CONFIG (it refuses us or the addresses), ERR_STOPPED. deadline_ms: of the monotonic clock, 0
 * none. */
int smtp_link_send(struct smtp_link *l, const struct smtp_addresses *a, struct smtp_mail *m,
                   int64_t deadline_ms, struct smtp_outcome *o, struct err *e);

/* What an exchange that did not succeed means. whole: the mail was sent to its end. reply: the
 * server's last code, 0 when there was none. result: a CURLcode. */
int smtp_class_of(int result, long reply, bool whole);

static inline void own_smtp_link(struct smtp_link **l)
{
    smtp_link_close(*l);
}

#endif
