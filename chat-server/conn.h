/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's connection: bytes in, messages out, and the order of things. One request is worked on
 * at a time; what comes meanwhile waits in the input buffer, then in the network. So a client is
 * answered in order, and a connection costs a bounded amount of memory.
 *
 * A connection that ends (for whatever reason) first finishes its request, then records the leaves
 * and the sign-out of its user, then goes.
 */
#ifndef CHAT_CONN_H
#define CHAT_CONN_H

#include "base/buf.h"
#include "base/digest.h"
#include "chat-server/chat.h"

struct member;

/* What must go on record at an end, tried until it is: the leaves of a connection's rooms, one
 * after the other (leave.c), then its sign-out (registrar.c). */
struct leaving {
    bool active;
    bool in_flight;
    int64_t retry_at_ms;
    const struct dialog *dialog; /* only rooms joined in it; NULL: all */
    const char *reason;
    void (*done)(void *arg);
    void *arg;
};

struct conn {
    struct chat_server *server;
    struct conn *next;
    struct stream *stream; /* NULL once closed */
    char peer[64];
    struct buf in;
    size_t in_at;      /* used up; 0 between turns */
    size_t in_need;    /* bytes that the message at in_at has, once its head is known */
    size_t in_counted; /* in server->input_bytes */
    struct buf held;   /* notices that wait for a reply to go first */
    bool holding;
    int64_t opened_ms;

    struct request *request; /* the one in work */
    bool parked;             /* it waits until an older connection of the endpoint is gone */
    bool pumping;
    bool eof;
    const char *end_reason; /* not NULL: ending */
    int64_t ended_ms;
    bool ending_started; /* leaves and sign-out are under way */
    bool gone;           /* nothing more is to be recorded */

    /* Who signed in here (registrar.c). */
    bool signed_in;
    bool signing_in; /* user and endpoint are taken, the sign-in is not decided yet */
    char user[CHAT_MAX_USER];
    char name[CHAT_MAX_NAME * 4];
    char endpoint[CHAT_MAX_ENDPOINT];
    int64_t registered_until_ms;
    uint8_t sign_out_once[SHA256_SIZE]; /* key of the sign-out that will end it */

    struct dialog *dialogs;
    size_t dialog_count;
    struct member *joined;
    size_t joined_count;
    struct leaving leaving;
    struct leaving signing; /* the sign-out after it (registrar.c) */
    uint64_t listed_in;     /* envelope whose user list this one is in, as listed_id */
    size_t listed_id;
};

/* For loop_listen. */
void conn_accepted(void *server, struct stream *s, const char *peer);
/* Sends a whole message. A client too slow to take it is cut off, and when too much waits for all
 * together the slowest. */
void conn_send(struct conn *c, struct slice message);
/* As conn_send, but waits while a reply that must go first is being made. */
void conn_notify(struct conn *c, struct slice message);
void conn_hold(struct conn *c);
void conn_release(struct conn *c); /* sends what was held */
/* The request in work is answered and freed: goes on with the next. */
void conn_next(struct conn *c);
/* Begins the end; reason goes on record ("disconnect", "timeout", ...). Safe anywhere. */
void conn_end(struct conn *c, const char *reason);
/* As conn_end, but sends nothing more, not even what waits. The end begins once the stream reports
 * that it is closed: whoever walks lists of members or connections may call it. */
void conn_cut(struct conn *c, const char *reason);
/* A line about a client, unless there were too many this second. */
void conn_log(const struct conn *c, const char *event, const char *reason);
void conn_tick(struct conn *c, int64_t now_ms);
/* Frees the connections that are over. */
void conn_reap(struct chat_server *s);

#endif
