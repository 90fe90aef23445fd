/* SPDX-License-Identifier: Apache-2.0 */
/* The line-mode client's own state and what its files do for each other. */
#ifndef CHAT_CLIENT_H
#define CHAT_CLIENT_H

#include "base/app.h"
#include "chat-server/client_link.h"

enum {
    CLIENT_HISTORY = 20,
    CLIENT_MAX_LINE = 64 * 1024,
    CLIENT_ONE_ROW = 79, /* bytes that fit into one row of any terminal */
    CLIENT_MAX_PEOPLE = 10000,
};

struct person {
    char *uri, *name;
};

struct client {
    struct app_io *io;
    struct link link;
    bool tty;        /* a person at both ends */
    bool typed_last; /* the last row of the terminal is what was typed, and only that */
    bool failed;
    bool quit;
    struct buf line;
    bool input_ended;

    char room[XCCOS_MAX_URI]; /* "" = in none */
    char room_name[1200];
    struct person *people;
    size_t count, space;

    /* The reply that is waited for. */
    enum xccos_command awaited;
    bool replied;
    int64_t code;
    bool listing;       /* show the rooms of the list */
    const char *wanted; /* name or URI of the room looked for; NULL: the only one */
    size_t found;       /* rooms in the list (that match) */
    char found_uri[XCCOS_MAX_URI];
    uint64_t own_echoes;
    int64_t update_at_ms, register_at_ms;
};
/* client_heard.c: what the server says, shown and remembered. */
void client_say(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* On standard error; the exit code will say that something failed. */
void client_complain(struct client *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void client_heard(void *client, const struct xccos_answer *a); /* for link.answered */
void client_show_people(struct client *c);
void client_forget_people(struct client *c);

/* client_act.c: things done with the server; each waits until it is done. ERR_REJECTED: refused,
 * the session goes on. Others: it is over. */
int client_sign_in(struct client *c, struct err *e);
void client_sign_out(struct client *c); /* then leave and sign-out are on record */
int client_keep_alive(struct client *c, struct err *e);
/* Counts into found the rooms that are (or are called) `wanted`; NULL: all. */
int client_list(struct client *c, const char *wanted, bool show, struct err *e);
int client_enter(struct client *c, struct err *e); /* the room found; leaves the one before */
int client_join(struct client *c, const char *name, struct err *e);
int client_leave(struct client *c, struct err *e);
int client_history(struct client *c, int64_t count, struct err *e);
int client_post(struct client *c, struct slice text, struct err *e);

#endif
