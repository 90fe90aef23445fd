/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XCCOS: the XML that chat clients and server carry in SIP INFO. Reading (xccos.c) and writing
 * (xccos_write.c) for both sides; no policy. Each envelope holds one block.
 *
 * What a reader returns points into the xml_doc it was parsed with, and is valid until that is
 * used again.
 */
#ifndef CHAT_XCCOS_H
#define CHAT_XCCOS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "base/xml.h"

enum {
    XCCOS_MAX_ROOMS = 64, /* in one bjoin */
    XCCOS_MAX_URI = 256,
    XCCOS_MAX_TEXT = 8000, /* characters of a message */
    XCCOS_MAX_ENVELOPE = 192 * 1024,
};

enum xccos_command {
    XCCOS_UNKNOWN,
    XCCOS_REQURI,
    XCCOS_GETSERVERINFO,
    XCCOS_GETASSOCIATIONS,
    XCCOS_CHANSRCH,
    XCCOS_JOIN,
    XCCOS_BJOIN,
    XCCOS_PART,
    XCCOS_BCCONTEXT,
    XCCOS_GETINV,
    XCCOS_GRPCHAT,
    XCCOS_COMMANDS
};

/* Result codes of a reply. */
enum xccos_code {
    XCCOS_OK = 200,
    XCCOS_INVALID = 400,
    XCCOS_FORBIDDEN = 403,
    XCCOS_NO_NODE = 404,
    XCCOS_NOT_SUPPORTED = 405,
    XCCOS_NOT_JOINED = 412,
    XCCOS_LIMIT = 413,
    XCCOS_FAULT = 500,
    XCCOS_UNAVAILABLE = 503,
};
const char *xccos_code_text(int code); /* "SUCCESS_OK"; never NULL */

/* ---- requests, as the server reads them ---- */
struct xccos_request {
    enum xccos_command command;
    struct slice id; /* "cmd:join", as it came */
    struct slice envid, seqid;
    size_t room_count;
    /* Canonical room URIs; "" where the client's were none ("ma-chan://domain/uuid", lower case).
     */
    char rooms[XCCOS_MAX_ROOMS][XCCOS_MAX_URI];
    bool too_many_rooms;
    struct slice domain;
    int64_t count;         /* bccontext: messages wanted, -1 when not said */
    struct slice criteria; /* chansrch */
    struct slice info_type;
    bool member_list;  /* getassociations: rooms the user is a member of, else manages */
    struct slice text; /* grpchat */
};
/* ERR_REJECTED: not XML, no xccos envelope, or not exactly one block in it. */
int xccos_read_request(struct xml_doc *d, struct slice body, struct xccos_request *out,
                       struct err *e);
/* "ma-chan://domain/uuid" into its parts; false when it is none. */
bool xccos_split_room(struct slice uri, struct slice *domain, struct slice *id);

/* ---- what the server says, as a client reads it ---- */
enum xccos_said {
    XCCOS_SAID_OTHER,
    XCCOS_SAID_REPLY,
    XCCOS_SAID_JOIN,
    XCCOS_SAID_PART,
    XCCOS_SAID_MESSAGE
};
struct xccos_answer {
    enum xccos_said said;
    enum xccos_command command; /* of a reply */
    int64_t code;
    struct slice code_text;
    const struct xml_node *data;
};
int xccos_read_answer(struct xml_doc *d, struct slice body, struct xccos_answer *out,
                      struct err *e);

struct xccos_user {
    struct slice uri, name;
};
struct xccos_room {
    struct slice uri, name, description;
    int64_t users;
};
struct xccos_message {
    struct slice room, author, author_name, text;
    int64_t time_us;
    int64_t chat_id;
    int64_t sequence; /* the record's number, 0 when not said */
};
/* Walks the blocks in a reply's or notice's data; start with *at = NULL. False: no more. */
bool xccos_next_user(const struct xccos_answer *a, const struct xml_node **at,
                     struct xccos_user *out);
bool xccos_next_room(const struct xccos_answer *a, const struct xml_node **at,
                     struct xccos_room *out);
/* The messages of a history page, or the one of a grpchat. */
bool xccos_next_message(const struct xccos_answer *a, const struct xml_node **at,
                        struct xccos_message *out);
/* Room of a join or part notice (the first). */
bool xccos_notice_room(const struct xccos_answer *a, char out[XCCOS_MAX_URI]);

/* ---- writing; the caller checks buf_ok ---- */
struct xccos_ref { /* the block that is answered */
    enum xccos_command command;
    struct slice id, envid, seqid;
};
void xccos_open_reply(struct buf *b, uint64_t envid, const struct xccos_ref *ref, int code);
void xccos_close_reply(struct buf *b);
void xccos_put_server(struct buf *b, struct slice uri);
void xccos_put_info(struct buf *b, struct slice domain, struct slice info_type, int64_t now_us);
void xccos_put_user(struct buf *b, const struct xccos_user *u, size_t id);
/* ids: which of the xccos_put_user blocks are in the room. */
void xccos_put_joined_room(struct buf *b, const struct xccos_room *r, const size_t *ids, size_t n);
void xccos_put_listed_room(struct buf *b, const struct xccos_room *r, bool open);
void xccos_put_room_uri(struct buf *b, struct slice uri);
void xccos_put_failed_room(struct buf *b, struct slice uri);
void xccos_open_history(struct buf *b, struct slice room);
void xccos_close_history(struct buf *b);
void xccos_put_message(struct buf *b, const struct xccos_message *m, size_t number);

void xccos_write_message(struct buf *b, uint64_t envid, const struct xccos_message *m);
void xccos_write_joined(struct buf *b, uint64_t envid, const struct xccos_user *u,
                        struct slice room);
void xccos_write_parted(struct buf *b, uint64_t envid, struct slice user, struct slice room);

/* A client's requests. */
void xccos_write_command(struct buf *b, uint64_t envid, enum xccos_command command,
                         struct slice room, int64_t count);
void xccos_write_post(struct buf *b, uint64_t envid, struct slice room, struct slice author,
                      struct slice text);

#endif
