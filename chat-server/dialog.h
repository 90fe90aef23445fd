/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIP dialogs that carry XCCOS: INVITE opens one, INFO goes both ways in it, UPDATE keeps it alive,
 * BYE ends it. Known by Call-ID within its connection; the session timer is the client's to renew.
 */
#ifndef CHAT_DIALOG_H
#define CHAT_DIALOG_H

#include "chat-server/conn.h"

struct sip;

struct dialog {
    struct dialog *next;
    char *call_id;
    char *local;  /* our From: the URI that was invited, with our tag */
    char *remote; /* our To: the client's From */
    char *remote_tag;
    char *contact; /* request URI of what we send */
    char tag[24];  /* ours */
    int64_t cseq;  /* of the last request we sent */
    int64_t expires_ms;
};

struct dialog *dialog_find(struct conn *c, struct slice call_id);
/* False: its addresses are too long to be repeated in every message sent to the client. */
bool dialog_may_open(const struct sip *invite);
/* NULL: out of memory or too many. An INVITE with the Call-ID of a dialog renews that one. */
struct dialog *dialog_open(struct conn *c, const struct sip *invite);
void dialog_renew(struct conn *c, struct dialog *d);
/* Forgets it; nobody may be joined in it any more. */
void dialog_close(struct conn *c, struct dialog *d);
void dialog_free_all(struct conn *c);
bool dialog_expired(const struct conn *c, int64_t now_ms);
/* One XCCOS envelope to the client. notify: it may wait behind a reply in the making. */
void dialog_send(struct conn *c, struct dialog *d, struct slice envelope, bool notify);

#endif
