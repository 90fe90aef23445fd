/* SPDX-License-Identifier: Apache-2.0 */
/* Sending and hearing on the control topic. */
#include "chat-server/store/heal_line.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"

#include <string.h>

enum { CHECK_MS = 3000, ROOM_MS = 2000, MESSAGE_BYTES = 64 * 1024 };

struct heal_line {
    char topic[HEAL_TOPIC_SIZE];
    struct kafka_producer *producer;
    struct kafka_tail *tail;
    struct kafka_message held;
    struct json_doc *doc;
};

int heal_topic(const char *topic, char out[HEAL_TOPIC_SIZE], struct err *e)
{
    int n = snprintf(out, HEAL_TOPIC_SIZE, "%s-control", topic);
    if (n < 0 || n >= 250)
        return err_set(e, ERR_CONFIG, "the name of topic %.64s... leaves no room for -control",
                       topic);
    return 0;
}

void heal_line_close(struct heal_line *l)
{
    if (!l)
        return;
    kafka_message_release(&l->held);
    kafka_tail_close(l->tail);
    kafka_producer_close(l->producer);
    json_doc_free(l->doc);
    free(l);
}

/* What did not get through is asked for again by whoever misses it. */
static void reported(void *arg, const struct kafka_report *report)
{
    (void)arg;
    (void)report;
}

int heal_line_open(struct heal_line **out, const struct kafka_target *records, struct err *e)
{
    struct kafka_facts facts = {.partitions = 0};
    OWN(own_heal_line) struct heal_line *l = calloc(1, sizeof *l);
    if (!l)
        return err_memory(e, "opening the control topic");
    struct kafka_target t = *records;
    t.topic = l->topic;
    l->doc = json_doc_new();
    if (!l->doc)
        return err_memory(e, "opening the control topic");
    int rc = heal_topic(records->topic, l->topic, e);
    if (rc == 0)
        rc = kafka_check(&t, CHECK_MS, &facts, e);
    if (rc == 0 && facts.partitions != 1)
        rc = err_set(e, ERR_CONFIG, "topic %s has %d partitions; it must have one", l->topic,
                     (int)facts.partitions);
    if (rc == 0)
        rc = kafka_tail_open(&l->tail, &t, e);
    if (rc == 0)
        rc = kafka_producer_open(&l->producer, &t, reported, l, e);
    if (rc < 0)
        return rc;
    *out = l;
    l = NULL;
    return 0;
}

int heal_line_send(struct heal_line *l, const struct heal_message *m, struct err *e)
{
    OWN(own_buf) struct buf b = {0};
    int64_t until = clock_mono_ms() + ROOM_MS;
    buf_init(&b, MESSAGE_BYTES);
    heal_write(&b, m);
    int rc = buf_ok(&b, "a message of the control topic", e);
    if (rc < 0)
        return rc;
    do {
        rc = kafka_producer_send(l->producer, m->source, buf_view(&b), NULL, e);
        kafka_producer_poll(l->producer, rc == ERR_AGAIN ? 50 : 0);
    } while (rc == ERR_AGAIN && clock_mono_ms() < until);
    return rc < 0 ? err_set(e, ERR_RETRY, "topic %s: a message was not sent", l->topic) : 0;
}

int heal_line_next(struct heal_line *l, struct heal_message *m, struct err *e)
{
    kafka_producer_poll(l->producer, 0);
    if (kafka_producer_fatal(l->producer))
        return err_set(e, ERR_RETRY, "topic %s: the producer failed for good", l->topic);
    for (;;) {
        kafka_message_release(&l->held);
        int rc = kafka_tail_poll(l->tail, 0, &l->held, e);
        if (rc < 0)
            return rc;
        /* Anybody may write there: what is no message is passed over. */
        if (heal_read(l->doc, l->held.value, m, NULL) == 0)
            return 0;
    }
}
