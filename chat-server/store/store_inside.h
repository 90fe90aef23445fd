/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the store alone: the handle, and the steps of one append. */
#ifndef CHAT_STORE_STORE_INSIDE_H
#define CHAT_STORE_STORE_INSIDE_H

#include "chat-server/store/claim.h"
#include "chat-server/store/once.h"
#include "chat-server/store/store.h"
#include "chat-server/store/streams.h"

enum {
    STORE_MAX_GROUP = 4096,
    STORE_MAX_GROUP_BYTES = 64 * 1024 * 1024,
    STORE_KEEP_BYTES = 8 * 1024 * 1024, /* of buffers from one group to the next */
    /* Keys of producers' ids: a hash of the source, then the id, or its head and a hash. */
    STORE_KEY_SOURCE = 8,
    STORE_KEY_WHOLE = 40,
    STORE_KEY_HEAD = 24,
    SESSION_DETAILS_MAX = 16 * 1024,
    STORE_MAX_STREAMS = 100000,
    STORE_MAX_STREAM_BYTES = 48 * 1024 * 1024,
};

/* What becomes of one event on its way through an append. */
struct event_state {
    int class; /* < 0: refused, `text` says why */
    bool duplicate;
    bool has_once;
    uint8_t once[ONCE_SIZE];
    uint8_t producer[STORE_KEY_SOURCE + STORE_KEY_HEAD + SHA256_SIZE]; /* of (source, id) */
    size_t producer_n;                                                 /* 0: no producer's record */
    /* A producer's record: what it brought. subject_at: offset of a copy in store.text. */
    enum record_kind kind;
    struct record_has has;
    int64_t epoch, sequence;
    uint8_t previous[SHA256_SIZE];
    size_t subject_at, subject_n;
    /* Of the row: */
    struct stream_head *head;
    struct stream_state before;                        /* the head's, for an undo */
    int64_t stream, row_sequence, chat_id, prior, pos; /* chat_id 0: none */
    uint8_t hash[SHA256_SIZE];
    size_t record_at, record_n; /* in store.bytes */
    char text[160];
};

struct store {
    struct db *db;
    char *url;
    struct claims claims;
    struct json_doc *json;
    struct streams *streams;
    struct once *once;
    uint64_t once_mark; /* of the open transaction */
    struct buf bytes;   /* the group's records */
    struct buf text;    /* subjects of producers' records */
    struct buf members; /* of the event being built */
    store_stored_fn *stored;
    void *stored_arg;
    struct event_state *states;
    size_t states_n;
};

/* Checks an event before any transaction; leaves class and text in st. */
void event_prepare(struct store *s, const struct store_event *event, struct event_state *st);
/* Gives the event its place in its stream and appends its bytes to s->bytes. Needs the open
 * transaction (a new stream is inserted). On failure the stream's head is as before. */
int event_build(struct store *s, const struct store_event *event, struct event_state *st,
                struct err *e);
struct slice event_subject(const struct store *s, const struct store_event *event,
                           const struct event_state *st);
/* Changes who is in the room. ERR_REJECTED: a leave of one who is not in. */
int event_presence(struct store *s, const struct store_event *event, struct err *e);
/* The record a producer's id was stored as before; ERR_NOT_FOUND. With other content: ERR_REJECTED.
 */
int event_find_producer(struct store *s, const struct store_event *event, struct event_state *st,
                        struct err *e);

struct stream_key {
    struct slice source, subject;
    int64_t epoch;
};
/* The stream's head, from memory or, on first use, from the table. Chat ids go on where an earlier
 * epoch of the room ended. Needs the open transaction. */
int heads_take(struct store *s, const struct stream_key *key, struct stream_head **out,
               struct err *e);
/* The keys of the newest rows of the stream and its earlier epochs are in the window from now on.
 */
int heads_window(struct store *s, struct stream_head *head, const struct stream_key *key,
                 struct err *e);
/* Reads the epoch of a claimed source. */
int epoch_load(struct store *s, struct slice source, struct err *e);

/* More statements for a transaction of store_append_with. */
typedef int store_also_fn(struct store *s, void *arg, struct err *e);
int store_append_with(struct store *s, const struct store_event *events, size_t n,
                      struct store_result *results, store_also_fn *also, void *arg, struct err *e);

/* A session, ours or one that is to be closed, and what becomes of it. */
struct session_step {
    struct slice source, session, details;
    bool dead; /* not ours: the writer's row stays */
};
/* Records the start or stop of a session, with `also` in the same transaction. */
int session_append(struct store *s, const struct session_step *step, enum record_kind kind,
                   struct slice members, store_also_fn *also, void *arg, struct err *e);
/* Fences the lapsed sessions that share a source. ERR_CONFLICT: some are alive. */
int session_fence_shared(struct store *s, struct slice source, struct err *e);
/* Leaves for all its participants, then its session-stop and the end of its row. */
int session_close(struct store *s, struct session_step *step, const char *reason, struct err *e);

#endif
