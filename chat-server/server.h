/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chat server: XCCOS over SIP on TCP, one libuv loop in a thread of its own. Loopback addresses
 * only. What it does is recorded through the writer before anybody is told.
 */
#ifndef CHAT_SERVER_H
#define CHAT_SERVER_H

#include "chat-server/store/await.h"
#include "chat-server/store/writer.h"

struct chat_server;

struct chat_options {
    const char *host;      /* numeric loopback address; others are refused (ERR_CONFIG) */
    uint16_t port;         /* 0: any free one, see chat_server_port */
    const char *domain;    /* SIP domain of users and rooms, "example.test" */
    const char *pool;      /* the pool's SIP URI; also the source of its records */
    const char *session;   /* this server session's URI, begun by the caller through the writer */
    const char *store_url; /* for reading handles of its own */
    struct writer *writer;
    /* Called when records can't be accepted because the queue behind is too far back; may be NULL.
     */
    bool (*must_refuse)(void *arg);
    void *must_refuse_arg;
    /* Called once, in the server's thread, when another server became the writer of this source:
     * nothing is answered any more and the program must end. May be NULL. */
    void (*lost)(void *arg);
    void *lost_arg;
    /* Of rooms with `recorded = queue` records count once it has them. NULL: the store's table is
     * the queue. Stays until chat_server_stop. */
    const struct record_queue *queue;
    int64_t queue_wait_ms;   /* how long such a request waits for it. 0: 10 s */
    int64_t session_seconds; /* a dialog ends when its client is silent for so long. 0: 1800 */
    int64_t sign_in_ms;      /* time to sign in on a new connection. 0: 30 s */
};

int chat_server_start(struct chat_server **out, const struct chat_options *o, struct err *e);
uint16_t chat_server_port(const struct chat_server *c);
/* Stops accepting, records the leaves and sign-outs of everybody connected, closes. */
void chat_server_stop(struct chat_server *c);

struct chat_state {
    size_t connections, users, rooms_open;
    uint64_t posts;
    bool lost; /* see chat_options.lost */
};
void chat_server_state(struct chat_server *c, struct chat_state *out);

#endif
