/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the store to Kafka, keyed by room (subject), in stream order: a thread with an idempotent
 * producer and a reading connection. Committed records arrive from the writer into a bounded
 * window; what does not fit, and what an earlier run left unconfirmed, is read from the store by
 * key range. After a failed report it rewinds to the lowest unconfirmed record. A record refused
 * twice alone is parked and named. Confirmed sequences are noted in the store a few times a second.
 */
#ifndef CHAT_STORE_RELAY_H
#define CHAT_STORE_RELAY_H

#include "base/kafka.h"
#include "chat-server/store/await.h"
#include "chat-server/store/store.h"

struct relay;

struct relay_options {
    const char *store_url;
    struct kafka_target kafka;
    size_t window_bytes; /* 0: 16 MiB */
    /* Only streams of this source are relayed (each source's writer relays its own). */
    struct slice source;
};

/* ERR_CONFIG: the topic is not fit to hold records. Brokers that are away and another process that
 * still relays the source are waited for by the thread, and shown by relay_state. */
int relay_start(struct relay **out, const struct relay_options *o, struct err *e);
void relay_stop(struct relay *r); /* waits up to 10 s for what is in flight */

/* For writer_options.stored. */
void relay_stored(void *relay, struct slice subject, const struct store_result *r);

/* Waits until everything stored before the call is confirmed by the queue. ERR_AGAIN: not within
 * ms. */
int relay_wait(struct relay *r, int64_t ms, struct err *e);

/* For struct record_queue. All must have been told or forgotten before relay_stop. */
void relay_await(void *relay, struct record_await *a);
bool relay_forget(void *relay, struct record_await *a);

struct relay_state {
    uint64_t unconfirmed; /* records stored but not confirmed */
    int64_t oldest_us;    /* time of the oldest such record, 0 = none */
    bool connected;       /* the last thing heard from the brokers was good */
    uint64_t parked;
    char problem[200]; /* "" or what is wrong */
};
void relay_state(struct relay *r, struct relay_state *out); /* looks at every stream */
uint64_t relay_unconfirmed(struct relay *r);                /* for whoever asks often */

#endif
