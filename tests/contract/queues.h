/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: the two queues that capture reads, filled as their real producers fill them. */
#ifndef TESTS_CONTRACT_QUEUES_H
#define TESTS_CONTRACT_QUEUES_H

#include "base/kafka.h"
#include "base/wake.h"
#include "capture/capture.h"
#include "chat-server/store/store.h"

struct queue {
    bool kafka;
    char url[512]; /* the store */
    char topic[64];
    struct kafka_target target;
    struct wake committed;
    struct source_embedded_options embedded;
    struct store *store;
    int64_t sent;
    struct wake confirmed; /* kafka */
};

/* An empty queue of its own: a store file that is not there yet, or a topic of so many partitions.
 */
void queue_make(struct queue *q, bool kafka, const char *scratch, int partitions);
void queue_done(struct queue *q);
/* n posts, spread over rooms 0 .. rooms - 1, durable when it returns. */
void queue_posts(struct queue *q, int n, int rooms);
/* One message of any bytes (Kafka) or one record taken away (embedded). */
void queue_garbage(struct queue *q, struct slice bytes);
void queue_take_away(struct queue *q, int64_t pos);
/* The same name, but another log, with n posts in it. */
void queue_recreate(struct queue *q, int n);
/* tests/parts/kafka VERB DIR [WORD...] */
void queue_broker(const char *verb, const char *a, const char *b);

int queue_open(struct source **out, const struct queue *q, const struct source_events *events,
               void *arg, struct err *e);

#endif
