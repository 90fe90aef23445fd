/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader of partition 0 from its end, in no group: for a topic on which processes talk to each
 * other, where only what is said from now on matters.
 */
#include "base/kafka_common.h"
#include "base/own.h"

#include <string.h>

enum { END_MS = 5000 };

struct kafka_tail {
    rd_kafka_t *rk;
};

static void own_tail(struct kafka_tail **t)
{
    kafka_tail_close(*t);
}

static int assign(rd_kafka_t *rk, const char *topic, int64_t offset, struct err *e)
{
    OWN(own_rd_list) rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = offset;
    rd_kafka_resp_err_t code = rd_kafka_assign(rk, list);
    return code ? err_set(e, kafka_class_of(code), "topic %s: %s", topic, rd_kafka_err2str(code))
                : 0;
}

int kafka_tail_open(struct kafka_tail **out, const struct kafka_target *t, struct err *e)
{
    static const struct kafka_setting settings[] = {
        {"group.id", "holdfast-tail"}, /* required; nothing is ever committed under it */
        {"enable.auto.commit", "false"},        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "error"},         {"check.crcs", "true"},
        {"queued.max.messages.kbytes", "1024"}, {"fetch.message.max.bytes", "262144"},
    };
    OWN(own_tail) struct kafka_tail *tail = calloc(1, sizeof *tail);
    rd_kafka_conf_t *conf = NULL;
    int64_t low = 0;
    int64_t high = 0;
    if (!tail)
        return err_memory(e, "reading a topic's end");
    /* Where the topic ends is asked for now: left to the library it would be asked for later, and
     * what is said in between would be missed. */
    int rc = kafka_ends(t, 0, END_MS, &low, &high, e);
    if (rc == 0)
        rc = kafka_conf_new(t, settings, sizeof settings / sizeof settings[0], &conf, e);
    if (rc == 0)
        rc = kafka_client_new(RD_KAFKA_CONSUMER, conf, &tail->rk, e);
    if (rc < 0)
        return rc;
    (void)rd_kafka_poll_set_consumer(tail->rk);
    rc = assign(tail->rk, t->topic, high, e);
    if (rc < 0)
        return rc;
    *out = tail;
    tail = NULL;
    return 0;
}

int kafka_tail_poll(struct kafka_tail *t, int64_t ms, struct kafka_message *out, struct err *e)
{
    rd_kafka_message_t *m = rd_kafka_consumer_poll(t->rk, (int)ms);
    if (!m)
        return err_set(e, ERR_AGAIN, "no message");
    if (m->err) {
        /* After an offset outside the log the library delivers nothing more: to be opened anew. */
        const int class = kafka_class_of(m->err) == ERR_NOT_FOUND ? ERR_RETRY : ERR_AGAIN;
        int rc = err_set(e, class, "%s", rd_kafka_err2str(m->err));
        rd_kafka_message_destroy(m);
        return rc;
    }
    *out = (struct kafka_message){
        .partition = m->partition,
        .offset = m->offset,
        .key = {m->key, m->key_len},
        .value = {m->payload, m->len},
        .handle = m,
    };
    return 0;
}

void kafka_tail_close(struct kafka_tail *t)
{
    if (!t)
        return;
    if (t->rk)
        rd_kafka_destroy_flags(t->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    free(t);
}
