/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIP messages to whom they concern, and the life of a request: it is the connection's one request
 * in work until request_end, whatever happens to the connection meanwhile.
 */
#ifndef CHAT_DISPATCH_H
#define CHAT_DISPATCH_H

#include "chat-server/conn.h"
#include "chat-server/sip.h"
#include "chat-server/xccos.h"

struct lookup;

struct request {
    struct chat_server *server;
    struct conn *conn;
    struct sip *sip;
    struct dialog *dialog;  /* of INFO, UPDATE, BYE */
    struct xccos_request x; /* of INFO */
    struct xml_doc *doc;    /* that x points into */
    bool answered;
    /* join and bjoin (join.c) */
    struct lookup *lookup;
    int codes[XCCOS_MAX_ROOMS];
    bool fresh[XCCOS_MAX_ROOMS]; /* joined by this request: others are told */
    size_t waiting;              /* events not yet decided */
};

/* Takes m. Answers it, or leaves it as the connection's request in work. */
void dispatch_message(struct conn *c, struct sip *m);
/* Tries the parked request again / gives it up unanswered. */
void dispatch_retry(struct conn *c);
void dispatch_drop(struct conn *c);

/* The SIP answer; extra header lines ("Name: value\r\n") may be "". Only the first counts. */
void request_answer(struct request *q, int status, const char *extra);
void request_answer_body(struct request *q, int status, const char *extra, const char *type,
                         struct slice body);
void request_end(struct request *q); /* frees it; the connection goes on */
/* Both. */
void request_finish(struct request *q, int status);

#endif
