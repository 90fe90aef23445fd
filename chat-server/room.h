/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rooms that somebody is in, who is in them, and how everybody there is told. A room lives in
 * memory while it has members; what it is called comes from the directory at a join.
 */
#ifndef CHAT_ROOM_H
#define CHAT_ROOM_H

#include "base/digest.h"
#include "chat-server/conn.h"
#include "chat-server/xccos.h"

struct lookup_room;

struct room {
    struct room *next;
    char *uri, *name, *description;
    bool by_queue; /* see confirm.h */
    struct member *members;
    size_t people;        /* not endpoints */
    int64_t last_chat_id; /* told to everybody */
};

/* One endpoint in one room. */
struct member {
    struct room *room;
    struct conn *conn;
    struct dialog *dialog;           /* it was joined in, where notices go */
    uint8_t leave_once[SHA256_SIZE]; /* key of the leave that will end it */
    bool first_of_user;              /* the one by which its user is counted and listed */
    struct member *next_in_room;
    struct member *next_of_conn;
};

struct member *room_member(const struct conn *c, struct slice uri);
struct room *room_find(const struct chat_server *s, struct slice uri); /* NULL: nobody is there */
/* People (not endpoints) in a room; 0 when nobody is there. */
size_t room_people(const struct chat_server *s, struct slice uri);
/* A committed join becomes visible. NULL: out of memory. */
struct member *room_add(struct conn *c, struct dialog *d, const struct lookup_room *room);
void room_remove(struct member *m); /* untold; the room may go with it */

/* Tells every member, the author too. A message told before is told to nobody again. */
void room_tell_message(struct room *r, const struct xccos_message *m);
/* Tells the other people there, unless the user is there with another endpoint as well. */
void room_tell_joined(const struct member *m);

/* After a leave is on record: tells the others and removes the member. */
void room_left(struct member *m);

#endif
