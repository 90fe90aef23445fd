/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rooms and users, kept in the store's database. Administration through these functions; rights are
 * the chat server's business. Any store handle; one thread at a time.
 */
#ifndef CHAT_STORE_DIRECTORY_H
#define CHAT_STORE_DIRECTORY_H

#include "chat-server/store/store.h"

struct directory_room {
    struct slice uri;         /* ma-chan://<domain>/<lower-case uuid> */
    struct slice name;        /* unique, at most 256 characters */
    struct slice description; /* at most 256 characters */
    struct slice members; /* user URIs joined by ' '; empty = open to every user of the domain */
    int64_t created_us;
    bool by_queue; /* recorded = queue: answered once the queue has it; else once the store has */
};
struct directory_user {
    struct slice uri;  /* sip:name@domain, lower case */
    struct slice name; /* display name */
    int64_t created_us;
};
typedef int directory_room_fn(void *arg, const struct directory_room *r, struct err *e);
typedef int directory_user_fn(void *arg, const struct directory_user *u, struct err *e);

/* ERR_CONFLICT: a room of that name exists. uri is made from a new UUID and written to uri_out. */
int directory_add_room(struct store *s, struct slice domain, struct slice name,
                       struct slice description, struct slice members, bool by_queue,
                       char uri_out[256], struct err *e);
int directory_add_user(struct store *s, struct slice uri, struct slice name, struct err *e);
/* ERR_NOT_FOUND when there is none; visit is called once. */
int directory_find_room(struct store *s, struct slice uri, directory_room_fn *visit, void *arg,
                        struct err *e);
int directory_find_room_named(struct store *s, struct slice name, directory_room_fn *visit,
                              void *arg, struct err *e);
int directory_find_user(struct store *s, struct slice uri, directory_user_fn *visit, void *arg,
                        struct err *e);
int directory_rooms(struct store *s, directory_room_fn *visit, void *arg, struct err *e);
int directory_users(struct store *s, directory_user_fn *visit, void *arg, struct err *e);

#endif
