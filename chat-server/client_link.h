/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's connection to a chat server: SIP over TCP by poll(), one dialog that carries XCCOS.
 * What the server says is handed to two callbacks; requests of the server are answered here.
 */
#ifndef CHAT_CLIENT_LINK_H
#define CHAT_CLIENT_LINK_H

#include "chat-server/sip.h"
#include "chat-server/xccos.h"

struct link {
    int fd;
    char user[256];   /* sip:alice@example.test */
    char domain[200]; /* example.test */
    char via[80];     /* our end of the connection */
    char epid[13];
    char tag[17];
    char call_id[40];   /* of REGISTER and SUBSCRIBE */
    char dialog_id[40]; /* Call-ID of the dialog */
    char pool[256];     /* whom we invited */
    char target[256];   /* request URI within the dialog */
    char remote[512];   /* To within the dialog */
    int64_t cseq;
    uint64_t envid;
    struct buf in;
    struct xml_doc *xml;
    int64_t session_seconds; /* the server's session timer */
    bool ended;              /* the server closed the dialog or the connection */

    void (*answered)(void *arg, const struct xccos_answer *a);
    void *arg;
    /* The last final response: which request, what it said. */
    int64_t response_cseq;
    int status;
    struct sip *response;
};

/* Connects; address "127.0.0.1:5060". user is a name or a sip: URI. */
int link_open(struct link *l, const char *address, const char *domain, const char *user,
              struct err *e);
void link_close(struct link *l); /* l may be zeroed or half-open */

/* Reads what is there, waits up to ms for it. other (-1: none) is watched as well; *other_ready
 * says whether it can be read. ERR_RETRY: the server is gone. */
int link_poll(struct link *l, int64_t ms, int other, bool *other_ready, struct err *e);

/* Each sends one request and returns its CSeq, or < 0. */
int64_t link_register(struct link *l, bool sign_out, struct err *e);
int64_t link_subscribe(struct link *l, struct err *e);
int64_t link_invite(struct link *l, struct err *e);
int64_t link_ack(struct link *l, int64_t cseq, struct err *e);
int64_t link_update(struct link *l, struct err *e);
int64_t link_bye(struct link *l, struct err *e);
int64_t link_command(struct link *l, enum xccos_command command, struct slice room, int64_t count,
                     struct err *e);
int64_t link_post(struct link *l, struct slice room, struct slice text, struct err *e);

/* Waits until the request is answered finally; the status, or < 0 (ERR_AGAIN: not in time). */
int link_await(struct link *l, int64_t cseq, struct err *e);

static inline void own_link(struct link *l)
{
    link_close(l);
}

#endif
