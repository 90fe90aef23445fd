/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control topic, `<topic>-control` of one partition: on it capture and the relays of each
 * source settle what the queue lost and a store still has. Every message may be lost or come twice:
 * whoever needs an answer asks again.
 *
 *   here       relay: it listens from now on; what it was asked before, it may not have heard
 *   ask        capture: every relay is to offer (its log is another one)
 *   offer      relay: this stream is confirmed up to `last`; then offer-end
 *   want       capture: first..last of a stream are not captured; after offers: want-end
 *   answer     relay: what became of first..last: sent, parked, not-held
 *   healed     relay: everything wanted in the round `token` is in the log again
 */
#ifndef CHAT_STORE_HEAL_LINE_H
#define CHAT_STORE_HEAL_LINE_H

#include "base/kafka.h"

enum heal_type {
    HEAL_HERE,
    HEAL_ASK,
    HEAL_OFFER,
    HEAL_OFFER_END,
    HEAL_WANT,
    HEAL_WANT_END,
    HEAL_ANSWER,
    HEAL_HEALED,
};

#define HEAL_SENT     "sent"
#define HEAL_PARKED   "parked"   /* the queue refuses it */
#define HEAL_NOT_HELD "not-held" /* the store has no such record */

struct heal_message {
    enum heal_type type;
    struct slice token; /* of the round */
    struct slice source, subject;
    int64_t epoch, first, last;
    struct slice result;
};

/* Appends the message's bytes. */
void heal_write(struct buf *out, const struct heal_message *m);
/* Slices point into the text or into d. ERR_REJECTED: no such message. */
struct json_doc;
int heal_read(struct json_doc *d, struct slice text, struct heal_message *m, struct err *e);

struct heal_line;
enum { HEAL_TOPIC_SIZE = 260 };
/* ERR_CONFIG when the name would be too long. */
int heal_topic(const char *topic, char out[HEAL_TOPIC_SIZE], struct err *e);
/* What is said from now on is heard. ERR_CONFIG: the control topic does not exist or is not fit.
 * ERR_RETRY: no broker answers. */
int heal_line_open(struct heal_line **out, const struct kafka_target *records, struct err *e);
void heal_line_close(struct heal_line *l);
/* ERR_RETRY: not sent. */
int heal_line_send(struct heal_line *l, const struct heal_message *m, struct err *e);
/* 0: a message, valid until the next call. ERR_AGAIN: none now. ERR_RETRY: open it anew. */
int heal_line_next(struct heal_line *l, struct heal_message *m, struct err *e);

static inline void own_heal_line(struct heal_line **l)
{
    heal_line_close(*l);
}

#endif
