/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the directory says of rooms and users, asked beside the loop. A room that does not exist,
 * one of another domain and one the user may not see look alike.
 */
#ifndef CHAT_LOOKUP_H
#define CHAT_LOOKUP_H

#include "chat-server/dispatch.h"

enum { LOOKUP_MAX_ROOMS = 999 };

struct lookup_room {
    char uri[XCCOS_MAX_URI];
    char *name, *description; /* NULL: no such room for this user */
    bool open;
    bool by_queue; /* see confirm.h */
};
struct lookup {
    struct request *q;
    void (*found)(struct request *q);
    enum { LOOKUP_ROOMS, LOOKUP_LIST, LOOKUP_USER } what;
    int class; /* 0, ERR_NOT_FOUND (a user), or why the directory could not be asked */
    char user[CHAT_MAX_USER];
    char user_name[CHAT_MAX_NAME * 4];
    struct lookup_room *rooms; /* as in the request, or the list */
    size_t count, space;
};

/* The request's rooms, as its user may see them. found is called in the loop with the answer in
 * q->lookup. < 0: nothing is under way. */
int lookup_rooms(struct request *q, void (*found)(struct request *q), struct err *e);
/* All rooms its user may see, at most LOOKUP_MAX_ROOMS. */
int lookup_list(struct request *q, void (*found)(struct request *q), struct err *e);
/* A user's display name. */
int lookup_user(struct request *q, struct slice user, void (*found)(struct request *q),
                struct err *e);
void lookup_free(struct lookup *l);

#endif
