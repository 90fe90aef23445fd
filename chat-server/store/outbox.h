/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is stored and not yet confirmed by the queue, in memory: for each stream how far it is
 * stored, sent and confirmed, and a window of records within a limit of bytes. A record that found
 * no room in the window is read from the store again. The caller locks.
 */
#ifndef CHAT_STORE_OUTBOX_H
#define CHAT_STORE_OUTBOX_H

#include "base/text.h"

/* A record in the window. */
struct outbox_record {
    struct outbox_record *next;
    int64_t sequence;
    int64_t stored_us;
    struct slice bytes; /* behind this struct */
};

enum { OUTBOX_UNKNOWN = -1 };

struct outbox_stream {
    int64_t id;
    int64_t head;      /* stored up to here */
    int64_t sent;      /* handed to the producer up to here; >= confirmed */
    int64_t confirmed; /* OUTBOX_UNKNOWN: to be asked of the store */
    int64_t told;      /* the first sequence told of; 0: none yet */
    int64_t noted;     /* confirmed, as the store knows it */
    int64_t behind_us; /* the oldest unconfirmed record was stored then or later; 0: none, or not
                          known yet */
    /* The relay's: */
    int64_t suspect_until; /* up to here records are sent alone */
    int refusals;          /* of record confirmed + 1, alone */
    size_t in_flight;
    int32_t partition; /* -1: not known */
    bool dirty;        /* confirmed > noted: is in the list of those to be noted */
    struct outbox_stream *next_dirty;
    /* The outbox's: */
    struct outbox_record *first, *last;
    bool waiting; /* in the list of streams with something to send */
    struct outbox_stream *next_waiting;
    struct outbox_stream *next; /* same bucket */
    size_t subject_n;
    char subject[];
};

struct outbox;
/* NULL when out of memory. */
struct outbox *outbox_new(size_t window_bytes, size_t max_streams);
void outbox_free(struct outbox *o);

/* NULL: not in memory. */
struct outbox_stream *outbox_find(const struct outbox *o, int64_t id);
/* Finds or adds. NULL: no room (or memory): the caller must look at the store again later. */
struct outbox_stream *outbox_take(struct outbox *o, int64_t id, struct slice subject);
/* A record was stored. The window gets a copy if there is room. */
void outbox_stored(struct outbox *o, struct outbox_stream *st, int64_t sequence,
                   struct slice record, int64_t now_us);
/* It is stored up to head, and in the queue up to confirmed. */
void outbox_found(struct outbox *o, struct outbox_stream *st, int64_t head, int64_t confirmed);
/* The next stream with something to send, taken out of the list; NULL. */
struct outbox_stream *outbox_next(struct outbox *o);
/* Puts it at the list's end if there is something to send. */
void outbox_wait(struct outbox *o, struct outbox_stream *st);
/* The window's record of that sequence if it comes first there; older ones are dropped. */
const struct outbox_record *outbox_peek(struct outbox *o, struct outbox_stream *st,
                                        int64_t sequence);
void outbox_sent(struct outbox *o, struct outbox_stream *st, int64_t sequence);
/* The queue has it, or it was parked: moves `confirmed` if it is the next one. stored_us: its time.
 */
void outbox_confirmed(struct outbox *o, struct outbox_stream *st, int64_t sequence,
                      int64_t stored_us);
/* Everything not confirmed is to be sent again. */
void outbox_rewind(struct outbox *o);
/* Forgets streams with nothing to send or to note while there are more than half the maximum. */
void outbox_trim(struct outbox *o);
bool outbox_has_waiting(const struct outbox *o);
bool outbox_full(const struct outbox *o); /* more than half the maximum */

/* Kept as it changes: cheap however many streams there are. */
uint64_t outbox_unconfirmed(const struct outbox *o);
struct outbox_sum {
    uint64_t unconfirmed;
    int64_t oldest_us;
};
/* Looks at every stream. */
void outbox_sum(const struct outbox *o, struct outbox_sum *out);
/* Visits every stream. */
void outbox_each(const struct outbox *o, void (*visit)(void *arg, struct outbox_stream *st),
                 void *arg);

#endif
