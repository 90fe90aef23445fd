/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the chat server's files share: the server's state and its limits. Everything here belongs
 * to the loop's thread, except what is marked atomic.
 */
#ifndef CHAT_CHAT_H
#define CHAT_CHAT_H

#include "base/err.h"
#include "base/xml.h"
#include "chat-server/loop.h"
#include "chat-server/server.h"

#include <pthread.h>
#include <stdatomic.h>

struct conn;
struct dialog;
struct event;
struct reader;
struct request;
struct room;

enum {
    CHAT_MAX_CONNS = 1000,              /* fewer where the process may not open so many files */
    CHAT_SPARE_CONNS = 64,              /* above it, while those that gave way are being closed */
    CHAT_OTHER_FILES = 128,             /* open files that are no connections */
    CHAT_MAX_ENDPOINTS = 32,            /* of a user, signed in at once */
    CHAT_MAX_DIALOGS = 8,               /* of a connection */
    CHAT_MAX_JOINED = 64,               /* rooms of an endpoint */
    CHAT_MAX_QUEUE = 2 * 1024 * 1024,   /* bytes waiting for a slow client */
    CHAT_MAX_OUTPUT = 64 * 1024 * 1024, /* the same of all together */
    CHAT_MAX_HELD = 32 * 1024 * 1024,   /* notices that wait for replies, of all together */
    CHAT_MAX_INPUT = 64 * 1024 * 1024,  /* unfinished requests of all together */
    CHAT_MAX_PAGES = 64 * 1024 * 1024,  /* pages of history being recorded, of all together */
    CHAT_LOG_LINES = 20,                /* about clients, in a second */
    CHAT_MAX_HISTORY = 100,             /* messages in a page */
    CHAT_MAX_PAGE = 512 * 1024,         /* bytes of a page */
    CHAT_REGISTER_SECONDS = 7200,
    CHAT_SESSION_SECONDS = 1800,
    CHAT_SIGN_IN_MS = 30 * 1000, /* for a connection that nobody signed in on */
    CHAT_CLOSE_MS = 3 * 1000,    /* for the last answer to be taken */
    CHAT_QUEUE_MS = 10 * 1000,   /* for the queue to confirm what must be in it */
    CHAT_STOP_MS = 10 * 1000,    /* for the leaves of everybody, at stop */
    CHAT_TICK_MS = 100,
    /* Age of the oldest record that waits to be stored, above which such requests get 503. */
    CHAT_READ_MS = 1000,
    CHAT_JOIN_MS = 2000,
    CHAT_POST_MS = 4000,
    CHAT_MAX_RETRY_AFTER = 120, /* seconds */
    CHAT_RETRY_MS = 500,        /* pause before a leave that failed is recorded again */
    CHAT_KEPT_DOCS = 8,
    CHAT_ROOM_BUCKETS = 1024,
    CHAT_MAX_USER = 256,
    CHAT_MAX_NAME = 256,
    CHAT_MAX_ENDPOINT = 128,
};

struct chat_server {
    char host[64];
    char via[80];
    char domain[256];
    char pool[512];
    char session[128];
    struct writer *writer;
    bool (*must_refuse)(void *arg);
    void *must_refuse_arg;
    void (*lost_fn)(void *arg);
    void *lost_arg;
    const struct record_queue *queue; /* NULL: what is stored is in the queue */
    int64_t queue_wait_ms;
    int64_t session_seconds;
    int64_t sign_in_ms;

    struct loop *loop;
    struct reader *reader;
    pthread_t thread;
    uint16_t port;
    struct loop_call stop_call;

    struct conn *conns; /* the newest first */
    size_t conn_count, max_conns;
    size_t input_bytes, held_bytes, page_bytes; /* against CHAT_MAX_INPUT, _HELD, _PAGES */
    struct xml_doc *docs[CHAT_KEPT_DOCS];       /* parsers that no request uses */
    size_t doc_count;
    int64_t log_since_ms;
    size_t log_lines, log_hushed;
    struct room *rooms[CHAT_ROOM_BUCKETS];
    uint64_t last_envid;
    size_t in_flight;                             /* events that are not decided */
    struct event *unconfirmed, *last_unconfirmed; /* of rooms that wait for the queue (confirm.c) */
    size_t overdue;                               /* of them, whose time is up */
    bool stopping;
    int64_t stop_by_ms;
    bool lost;            /* another server writes this source now */
    int64_t store_age_ms; /* how long the oldest record waits to be stored, and how many do */
    size_t store_waiting;

    /* For chat_server_state. */
    atomic_size_t shown_conns, shown_users, shown_rooms;
    atomic_uint_fast64_t shown_posts;
    atomic_bool shown_lost;
};

/* In the order in which they are given up when the store is slow. */
enum chat_act { CHAT_READ, CHAT_JOIN, CHAT_POST };
/* True when such requests are to be answered 503. */
bool chat_refuses(const struct chat_server *s, enum chat_act act);
/* Seconds that who got 503 is to wait. */
int64_t chat_retry_after(const struct chat_server *s);
/* False: too many lines about clients this second. */
bool chat_may_log(struct chat_server *s);
/* The store has another writer: nothing more is answered, everybody is cut off. */
void chat_lost(struct chat_server *s);

#endif
