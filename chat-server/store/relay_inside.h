/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the relay alone. */
#ifndef CHAT_STORE_RELAY_INSIDE_H
#define CHAT_STORE_RELAY_INSIDE_H

#include "base/backoff.h"
#include "chat-server/store/outbox.h"
#include "chat-server/store/relay.h"

#include <pthread.h>

enum {
    RELAY_STREAMS = 200000,
    RELAY_WINDOW = 16 * 1024 * 1024,
    RELAY_PARTITIONS = 4096, /* partitions above share the last place */
    RELAY_PART_BYTES = 4 * 1024 * 1024,
    RELAY_PART_COUNT = 10000,
    RELAY_ROWS = 200, /* read from the store at once */
};

/* One message in the producer's hands: the tag of its report. */
struct relay_flight {
    struct outbox_stream *stream; /* NULL: sent again for capture, aside of its stream */
    int64_t sequence;
    int64_t stored_us; /* its time, or of one before it; 0: not known */
    size_t bytes;
    int32_t partition; /* place in relay.parts it was counted in */
};

struct relay_part {
    size_t in_flight, bytes;
    int64_t last_offset;        /* the last confirmed; -1: none yet */
    int64_t noted_offset;       /* as the store knows it; -1: not known */
    int64_t fell_from, fell_to; /* -1: did not fall, or that was written down */
};

struct relay {
    char *store_url, *brokers, *topic, *source;
    struct kafka_target target;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t work;     /* for the thread: something was stored, or a stop */
    pthread_cond_t progress; /* for relay_wait */
    /* Under the mutex: */
    struct outbox *outbox;
    bool stopping, scanned, rescan, scanning, connected;
    int64_t stop_ms;
    uint64_t parked;
    char problem[200];
    struct record_await *awaits, *awaits_last; /* who waits for the queue's word */
    bool awaits_fresh;                         /* somebody came, or could not be told yet */
    /* The thread's own: */
    struct store *store;
    struct json_doc *json;
    struct kafka_producer *producer;
    struct backoff backoff;
    bool checked; /* the topic was found fit */
    int32_t partitions;
    struct relay_part parts[RELAY_PARTITIONS];
    int32_t parts_seen; /* places used */
    bool ends_moved;    /* an offset is to be written down */
    bool fallen;        /* what the log lost is to be sent again */
    struct relay_heal *heal;
    size_t in_flight;
    bool failed; /* a report was bad: rewind */
    bool progressed;
    int64_t quiet_ms; /* since when nothing was confirmed while something is in flight */
    int64_t noted_ms, scanned_ms, asked_ms;
    struct outbox_stream *dirty;
};

/* relay.c */
void *relay_run(void *relay); /* the thread */

/* relay_lock.c */
void relay_lock(struct relay *r);
void relay_unlock(struct relay *r);
/* Says what is wrong, once in the log when it changes. NULL: nothing is. */
void relay_problem(struct relay *r, const struct err *e);
/* Waits for a condition, under the mutex. */
void relay_wait_ms(struct relay *r, pthread_cond_t *cond, int64_t ms);
/* Waits, ended early by a stop. */
void relay_pause(struct relay *r, int64_t ms);
/* True once the thread is to end whatever is open. */
bool relay_over(struct relay *r);

/* relay_send.c: hands one record to the producer. ERR_AGAIN: its queue or the partition's share is
 * full. */
int relay_send(struct relay *r, struct outbox_stream *st, const struct outbox_record *record,
               struct err *e);
/* Hands over a record that was confirmed before; its report goes to relay_heal_report. */
int relay_send_again(struct relay *r, struct slice subject, struct slice record, struct err *e);
void relay_on_report(void *relay, const struct kafka_report *report);
/* Takes back what is in flight: afterwards every report is in, and sending goes on behind what is
 * confirmed. */
void relay_take_back(struct relay *r);

/* relay_connect.c: opens what is not open: store, topic check, producer. < 0: not now. */
int relay_connect(struct relay *r, struct err *e);
int relay_open_store(struct relay *r, struct err *e);
int relay_check_topic(struct relay *r, struct err *e);

/* relay_note.c: the log put a record there. */
void relay_offset_seen(struct relay *r, int32_t partition, int64_t offset);
int relay_ends_load(struct relay *r, struct err *e);
/* Writes down what was confirmed, when it is time or `now`. */
void relay_note(struct relay *r, bool now);

/* relay_repair.c: takes back what is not confirmed; then sends the records that were refused one by
 * one, and parks those refused twice alone. */
void relay_repair(struct relay *r);
/* Names a record that can't be relayed and goes on behind it. */
int relay_park(struct relay *r, struct outbox_stream *st, int64_t sequence, const char *reason,
               struct err *e);

/* relay_await.c: tells those who wait for records confirmed since the last turn. */
void relay_await_turn(struct relay *r);

#endif
