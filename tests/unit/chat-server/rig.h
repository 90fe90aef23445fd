/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chat server in this process on a SQLite store in a scratch folder, and scripted peers that
 * speak SIP over TCP to it. What a peer receives and what the store holds are told as short lines
 * of text, so that a test reads as a list of what must happen.
 */
#ifndef TEST_CHAT_RIG_H
#define TEST_CHAT_RIG_H

#include "base/buf.h"
#include "base/xml.h"
#include "chat-server/server.h"
#include "chat-server/sip.h"

#include <pthread.h>
#include <stdatomic.h>

struct rig {
    char dir[64];
    char url[128];
    struct writer *writer;
    struct chat_server *server;
    struct store *store; /* for setting up and looking */
    /* The rig's own queue, when there is one: it confirms when it is told to. */
    bool has_queue;
    int64_t queue_wait_ms;
    pthread_mutex_t queue_lock;
    struct record_await *awaits;
    atomic_bool confirms; /* at once */
    struct record_queue queue;
    bool by_queue; /* of rooms that rig_room makes */
    atomic_bool refuse;
    atomic_bool lost; /* the server says that another is the writer now */
    struct buf lines; /* of rig_records */
};

#define RIG_POOL    "sip:chat@example.test"
#define RIG_SESSION "urn:uuid:01890a5d-0000-7000-8000-000000000001"

/* Users alice, bob, carol. */
void rig_start(struct rig *r);
/* Rooms are recorded by a queue, which confirms at once until told otherwise. */
void rig_start_queue(struct rig *r, int64_t queue_wait_ms);
/* The queue's word on everything that waits for it: 0 or why not. Returns how many were told. */
int rig_confirm(struct rig *r, int class);
void rig_start_with(struct rig *r, int64_t session_seconds, int64_t sign_in_ms);
void rig_stop_server(struct rig *r); /* as the program does: server, then writer */
void rig_stop(struct rig *r);        /* and removes the folder */
/* members: user names joined by ','; "" = open. uri gets the room. */
void rig_room(struct rig *r, const char *name, const char *members, char uri[256]);
/* The store's records of a subject in order, one a line: "join alice", "post alice 1 hello",
 * "read bob [[1,2]] 2", "leave alice part", "sign-in alice", "sign-out alice disconnect". */
const char *rig_records(struct rig *r, const char *subject);
/* Waits until rig_records says so, at most 10 s; fails the test otherwise. */
void rig_await_records(struct rig *r, const char *subject, const char *lines);

struct peer {
    int fd;
    char user[32];
    char call_id[64];
    char epid[32];
    char local_to[256]; /* To within the dialog */
    int64_t cseq;
    int64_t envid;
    struct buf in;
    struct xml_doc *xml;
    char line[1024];  /* the last message, told */
    struct sip *last; /* the message itself */
};
void peer_open(struct peer *p, struct rig *r, const char *user, const char *epid);
void peer_close(struct peer *p); /* hangs up */
void peer_send(struct peer *p, const char *bytes, size_t n);
/* The next message within ms, told: "200 REGISTER", "rpl:join 200", "ntc:join bob",
 * "grpchat alice 1 hello", "BYE", "closed", or "nothing". Requests of the server are answered. */
const char *peer_next(struct peer *p, int ms);
/* The next message must be this one. */
void peer_expect(struct peer *p, const char *line);
/* One after the other, as peer_expect. */
#define PEER_EXPECT(p, ...)                                                                        \
    do {                                                                                           \
        const char *lines_[] = {__VA_ARGS__};                                                      \
        for (size_t i_ = 0; i_ < sizeof lines_ / sizeof *lines_; i_++)                             \
            peer_expect(p, lines_[i_]);                                                            \
    } while (0)

void peer_register(struct peer *p, const char *extra);
void peer_invite(struct peer *p);
void peer_request(struct peer *p, const char *method, const char *body);
/* What is inside the xccos element; {envelope number} are the peer's own. */
void peer_xccos(struct peer *p, const char *inside);
void peer_join(struct peer *p, const char *room);
void peer_post(struct peer *p, const char *room, const char *text);
void peer_part(struct peer *p, const char *room);
void peer_history(struct peer *p, const char *room, int count);
/* Opens, signs in, invites: ready for commands. */
void peer_ready(struct peer *p, struct rig *r, const char *user, const char *epid);

#endif
