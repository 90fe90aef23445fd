/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only pair of files on librdkafka: an idempotent producer, an eager consumer whose positions
 * the caller keeps, and the checks of topic and broker. Settings and their reasons:
 * docs/decisions.md.
 */
#ifndef BASE_KAFKA_H
#define BASE_KAFKA_H

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"

struct kafka_target {
    const char *brokers; /* bootstrap servers */
    const char *topic;
    const char *group;  /* consumer only */
    bool single_broker; /* allows one replica and min.insync.replicas=1 */
};

/* Reads the topic's settings and refuses (ERR_CONFIG, naming setting, value and what to set) what
 * would lose records: cleanup.policy, retention, timestamp type, unclean election, replicas. Writes
 * the cluster id and the partition count. ERR_RETRY when no broker answers within ms. */
struct kafka_facts {
    char cluster[64];
    int32_t partitions;
    bool topics_deletable; /* delete.topic.enable of a broker */
};
int kafka_check(const struct kafka_target *t, int64_t ms, struct kafka_facts *out, struct err *e);

/* ---- producer ---- */
struct kafka_producer;

/* Classes of a failed report: ERR_REJECTED: this message can't be stored as it is (too large);
 * ERR_STOPPED: purged; others (ERR_RETRY, ERR_CONFIG: topic away): purge and rewind.
 * A report for every message, in the thread that calls kafka_producer_poll or _purge. offset < 0:
 * unknown although delivered. class 0 = durable in the log (acks=all), else why not; maybe = it may
 * be in the log all the same. */
struct kafka_report {
    void *tag;
    int class;
    bool maybe;
    int32_t partition;
    int64_t offset;
    char text[160];
};
typedef void kafka_report_fn(void *arg, const struct kafka_report *r);

int kafka_producer_open(struct kafka_producer **out, const struct kafka_target *t,
                        kafka_report_fn *report, void *arg, struct err *e);
/* Queues a copy (up to 32 MiB or 100,000 messages wait). ERR_AGAIN: queue full, poll and try again.
 * ERR_REJECTED: this message can't be sent (too large). Other errors: stop at this message. */
int kafka_producer_send(struct kafka_producer *p, struct slice key, struct slice value, void *tag,
                        struct err *e);
void kafka_producer_poll(struct kafka_producer *p, int64_t ms);
/* Every message not yet confirmed gets its report (failed) before this returns: for a rewind. */
void kafka_producer_purge(struct kafka_producer *p);
bool kafka_producer_fatal(const struct kafka_producer *p); /* only a new instance helps */
void kafka_producer_close(struct kafka_producer *p);       /* purges first */

/* ---- consumer ---- */
struct kafka_consumer;

/* Called inside kafka_consumer_poll. assigned: fill positions[i] for partitions[i] (the next offset
 * to be captured; reading begins there); < 0 return = assign nothing now: asked again by a poll a
 * second later. revoked: forget what was collected from these partitions; not called by close. */
struct kafka_consumer_events {
    int (*assigned)(void *arg, const int32_t *partitions, int64_t *positions, size_t n);
    void (*revoked)(void *arg, const int32_t *partitions, size_t n);
};
struct kafka_message {
    int32_t partition;
    int64_t offset;
    int64_t queued_us; /* the log's time stamp */
    struct slice key;
    struct slice value;
    void *handle; /* for kafka_message_release */
};

int kafka_consumer_open(struct kafka_consumer **out, const struct kafka_target *t,
                        const struct kafka_consumer_events *events, void *arg, struct err *e);
/* 0: a message in *out, to be released. ERR_AGAIN: none within ms. ERR_NOT_FOUND: the position of
 * out->partition (out->offset) is outside the log: records are gone or the log is another one; that
 * partition delivers nothing more until kafka_consumer_seek. ERR_RETRY: brokers away, a damaged
 * batch (it is read again), nobody of the group was given a partition (asked for anew: the topic
 * was away meanwhile), go on polling. ERR_CONFIG: the topic is not known to the brokers (also
 * for a moment while they start) or the login refused: see what kafka_check says, and seek before
 * going on; what came meanwhile was dropped, it may be of another log. */
int kafka_consumer_poll(struct kafka_consumer *c, int64_t ms, struct kafka_message *out,
                        struct err *e);
void kafka_message_release(struct kafka_message *m);
/* The next message of the partition is the one at offset. ERR_CONFLICT: it is not assigned now.
 * ERR_RETRY: not done, try again. */
int kafka_consumer_seek(struct kafka_consumer *c, int32_t partition, int64_t offset, struct err *e);
int kafka_consumer_pause(struct kafka_consumer *c, bool paused, struct err *e); /* all assigned */
/* Reads the one message at an offset with a small client of its own: ERR_NOT_FOUND when it is not
 * there. value is appended to out. */
int kafka_read_one(const struct kafka_target *t, int32_t partition, int64_t offset, int64_t ms,
                   struct buf *out, struct err *e);
/* First offset kept and next offset to be written of a partition, asked with a client of its own
 * that reads up to one message. ERR_RETRY when there is no answer within ms. */
int kafka_ends(const struct kafka_target *t, int32_t partition, int64_t ms, int64_t *low,
               int64_t *high, struct err *e);
/* Deletes the records below the offset (0 or more); *low gets the log's new first offset.
 * ERR_NOT_FOUND: the log ends before the offset. */
int kafka_delete_below(const struct kafka_target *t, int32_t partition, int64_t offset, int64_t ms,
                       int64_t *low, struct err *e);
void kafka_consumer_close(struct kafka_consumer *c); /* release its messages before */

/* ---- the end of a topic's partition 0, in no group ---- */
struct kafka_tail;
/* Reads what is written from now on. */
int kafka_tail_open(struct kafka_tail **out, const struct kafka_target *t, struct err *e);
/* 0: a message in *out, to be released. ERR_AGAIN: none within ms, whatever the brokers' trouble.
 * ERR_RETRY: it hears no more and is to be opened anew. */
int kafka_tail_poll(struct kafka_tail *t, int64_t ms, struct kafka_message *out, struct err *e);
void kafka_tail_close(struct kafka_tail *t);

#endif
