/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: one append-only table in which the record, the message and the outbox are the same
 * row. SQLite in the embedded set-up, PostgreSQL in services. Rooms and users: directory.h.
 *
 * A stream is (source, epoch, subject). The record's sequence, previous hash and bytes are made
 * inside the transaction that stores it, from heads the store keeps in memory for the streams it
 * writes; memory changes only after the commit. Key (stream, sequence). A post also gets a chat id,
 * counted apart.
 *
 * A struct store is one connection for one thread at a time.
 */
#ifndef CHAT_STORE_STORE_H
#define CHAT_STORE_STORE_H

#include "base/db.h"
#include "mgccomp/record.h"

struct store;

/* Opens and migrates. url as in base/db.h. */
int store_open(struct store **out, const char *url, struct err *e);
/* For reading only: writes, migrates and checkpoints nothing. The store must exist. */
int store_open_reader(struct store **out, const char *url, struct err *e);
void store_close(struct store *s);
struct db *store_db(struct store *s);
bool store_broken(const struct store *s);

/* Makes this connection the only writer of a source (another one: ERR_CONFLICT). Kept until close.
 */
int store_claim(struct store *s, struct slice source, struct err *e);

/* Who is in a room changes in the transaction of the record that says so. */
enum store_presence { STORE_PRESENCE_NONE, STORE_PRESENCE_JOIN, STORE_PRESENCE_LEAVE };

/* What is to be recorded. Slices are borrowed for the call. */
struct store_event {
    struct slice source;  /* claimed */
    struct slice subject; /* room URI, or a session's URI */
    enum record_kind kind;
    int64_t time_us;
    struct slice
        members;   /* members of `data` without braces; "chatId" is added in front for posts */
    bool numbered; /* gets a chat id (posts) */
    bool has_once;
    uint8_t once[SHA256_SIZE]; /* not stored again while it is among the newest (once.h) */
    /* A producer's record (ingest) instead of kind, time and members: completed with what it lacks.
     */
    struct slice raw;
    /* Presence: needs session, participant and endpoint. */
    enum store_presence presence;
    struct slice session, participant, endpoint, name;
};

struct store_result {
    int class;      /* 0: durable. ERR_REJECTED: this event can't be stored. ERR_CONFLICT: another
                       session      owns its room. else as store_append */
    bool duplicate; /* `once` was there already: sequence and chat_id are those of the first time */
    int64_t stream; /* the store's number of the stream */
    int64_t sequence, chat_id;
    int64_t pos;         /* SQLite: row number, the embedded queue's position; 0 in PostgreSQL */
    struct slice record; /* the bytes stored; valid until the next append; absent for a duplicate */
    uint8_t hash[SHA256_SIZE];
    char text[160]; /* why class is not 0 */
};

/* Stores a group in one transaction; results[i] belongs to events[i]. When the group fails on one
 * event's data it is retried one by one from the durable heads, so that the others go in. A lost
 * connection or full disk: every result is ERR_RETRY; nothing was stored. An unknown commit
 * outcome: ERR_DOUBT; close and open, then look stream, sequence and hash up.
 * ERR_STOPPED: the writer row is no longer ours (another server took over): end the process. The
 * return value is 0 or the class that hit the whole group. A JOIN of one who is in already is
 * recorded again and changes nothing else; a LEAVE of one who is not in is ERR_REJECTED. */
int store_append(struct store *s, const struct store_event *events, size_t n,
                 struct store_result *results, struct err *e);

/* Called after each commit for each record it stored, in order, also for those the store writes
 * itself (leaves and stops of sessions). Must be brief and not use the store. */
typedef void store_stored_fn(void *arg, struct slice subject, const struct store_result *r);
void store_on_stored(struct store *s, store_stored_fn *stored, void *arg);

/* ---- server sessions ---- */
/* Claims the source, gives every participant of dead sessions of it a `leave` record (reason
 * "server-stopped"; each in the transaction that removes the participant) and each such session its
 * session-stop record, then records the new session's session-start. session: a URI
 * ("urn:uuid:..."). members: more members for session-start's data. Until store_end_session every
 * store_append of this handle first checks under a row lock that the session is still the writer.
 */
int store_begin_session(struct store *s, struct slice source, struct slice session,
                        struct slice members, struct err *e);
/* After a reconnect: this handle goes on writing for a session begun by a former one. ERR_STOPPED:
 * another session has taken over. ERR_CONFLICT: the source is still locked, perhaps by our own
 * former connection; try again. */
int store_resume_session(struct store *s, struct slice source, struct slice session, struct err *e);
/* Leaves for all its participants (reason "server-stopped"), then session-stop. */
int store_end_session(struct store *s, struct err *e);

/* ---- several servers at once (PostgreSQL; ERR_CONFIG in SQLite) ----
 * Sessions that share a source instead of being its one writer: each is a row leased by the
 * database's clock and renewed by every append. Each stream has one owner among them, taken by the
 * first append, with a term that rises at every change of owner and is never part of a record. Only
 * the owner appends: an event for another's room is ERR_CONFLICT, alone. A session that was closed
 * by another, having been silent for longer than its lease, is ERR_STOPPED in all it does. */
/* Records the session's start. ERR_CONFLICT: the source has an exclusive writer. */
int store_share_session(struct store *s, struct slice source, struct slice session,
                        struct slice members, int64_t lease_ms, struct err *e);
/* For a timer, well within the lease. */
int store_renew_session(struct store *s, struct err *e);
/* Closes one session of the source whose lease has lapsed: fences it by compare-and-swap, then
 * records leaves for its participants and its session-stop; goes on where another closer died.
 * ERR_NOT_FOUND: there is none. ERR_CONFLICT: another is at it, or owns a room of it. */
int store_close_lapsed(struct store *s, struct err *e);
/* Makes this session the owner of a room before anything is appended to it. ERR_CONFLICT. */
int store_own_room(struct store *s, struct slice room, struct err *e);
/* Who owns a room of the source, by any handle. session is appended to; 0 bytes: nobody ever. */
int store_owner(struct store *s, struct slice source, struct slice room, struct buf *session,
                int64_t *term, struct err *e);

/* ---- reading (any handle; a reader has its own and holds nothing open between calls) ---- */
struct store_row {
    int64_t pos, stream, sequence, chat_id;
    enum record_kind kind;
    struct slice raw;
};
/* Return < 0 from the visitor to stop with that class. The row is valid during the call. */
typedef int store_visit_fn(void *arg, const struct store_row *row, struct err *e);

/* Embedded queue: rows with pos >= from in order, at most max rows and about max_bytes. */
int store_read_from(struct store *s, int64_t from, size_t max, size_t max_bytes,
                    store_visit_fn *visit, void *arg, struct err *e);
/* Highest pos, 0 when empty. */
int store_last_pos(struct store *s, int64_t *pos, struct err *e);
/* One stream's records first..last by sequence, in order. */
int store_read_stream(struct store *s, int64_t stream, int64_t first, int64_t last, size_t max,
                      store_visit_fn *visit, void *arg, struct err *e);
/* The last `count` posts of a room below chat id `before` (0: the newest), oldest first, over all
 * its epochs. */
int store_read_posts(struct store *s, struct slice source, struct slice room, int64_t before,
                     size_t count, store_visit_fn *visit, void *arg, struct err *e);
/* Participants now in a room: visit gets one call each. */
struct store_member {
    struct slice participant, endpoint, name, session;
    int64_t joined_us;
};
typedef int store_member_fn(void *arg, const struct store_member *m, struct err *e);
int store_members(struct store *s, struct slice room, store_member_fn *visit, void *arg,
                  struct err *e);

/* Every stream with its head, for status and relay: epoch, subject, head and what the queue
 * confirmed (relayed; embedded: 0). Paged inside; cost grows with the number of streams only. */
struct store_stream {
    int64_t id, epoch, sequence, relayed;
    int64_t source_epoch; /* in which the source is now: of its earlier ones nothing is added */
    struct slice source, subject;
    uint8_t hash[SHA256_SIZE];
};
typedef int store_stream_fn(void *arg, const struct store_stream *st, struct err *e);
int store_streams(struct store *s, store_stream_fn *visit, void *arg, struct err *e);
int store_relayed(struct store *s, int64_t stream, int64_t *sequence, struct err *e);
/* Notes that the queue has confirmed a stream up to sequence. */
int store_set_relayed(struct store *s, int64_t stream, int64_t sequence, struct err *e);

/* A record that the queue refused twice alone, or that the store no longer holds: named here, and
 * passed over by the relay. store_park notes it and moves the stream's `relayed` in one step. */
struct store_parked {
    int64_t stream, epoch, sequence, since_us;
    struct slice source, subject, reason;
};
typedef int store_parked_fn(void *arg, const struct store_parked *p, struct err *e);
int store_park(struct store *s, int64_t stream, int64_t sequence, struct slice reason,
               struct err *e);
/* The queue took them after all; *n gets how many of first..last were parked. */
int store_unpark(struct store *s, int64_t stream, int64_t first, int64_t last, int64_t *n,
                 struct err *e);
int store_is_parked(struct store *s, int64_t stream, int64_t sequence, bool *parked, struct err *e);
int store_parked(struct store *s, store_parked_fn *visit, void *arg, struct err *e);

static inline void own_store(struct store **s)
{
    store_close(*s);
}

#endif
