/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The idempotent producer. Outages need nothing: librdkafka waits and goes on in order. A failed
 * report is the owner's business, who purges and rewinds.
 */
#include "base/kafka_common.h"
#include "base/own.h"

#include <string.h>

struct kafka_producer {
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    kafka_report_fn *report;
    void *arg;
};

static void own_producer(struct kafka_producer **p)
{
    kafka_producer_close(*p);
}

/* The message's own text would be its payload when it failed: only the code is told. */
static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    const struct kafka_producer *p = opaque;
    struct kafka_report r = {
        .tag = m->_private,
        .class = kafka_class_of(m->err),
        .maybe = m->err && rd_kafka_message_status(m) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED,
        .partition = m->partition,
        .offset = m->offset,
    };
    (void)rk;
    if (m->err)
        (void)snprintf(r.text, sizeof r.text, "%s", rd_kafka_err2str(m->err));
    p->report(p->arg, &r);
}

int kafka_producer_open(struct kafka_producer **out, const struct kafka_target *t,
                        kafka_report_fn *report, void *arg, struct err *e)
{
    static const struct kafka_setting settings[] = {
        {"enable.idempotence", "true"},          {"acks", "all"},
        {"partitioner", "murmur2_random"},       {"message.timeout.ms", "0"},
        {"queue.buffering.max.kbytes", "32768"}, {"queue.buffering.max.messages", "100000"},
        {"request.timeout.ms", "10000"},         {"batch.size", "1000000"},
        {"message.max.bytes", "1000000"},
    };
    _Static_assert(KAFKA_BATCH_BYTES == 1000000, "as in the settings");
    OWN(own_producer) struct kafka_producer *p = calloc(1, sizeof *p);
    rd_kafka_conf_t *conf = NULL;
    if (!p)
        return err_memory(e, "opening a Kafka producer");
    p->report = report;
    p->arg = arg;
    int rc = kafka_conf_new(t, settings, sizeof settings / sizeof settings[0], &conf, e);
    if (rc < 0)
        return rc;
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_conf_set_opaque(conf, p);
    rc = kafka_client_new(RD_KAFKA_PRODUCER, conf, &p->rk, e);
    if (rc < 0)
        return rc;
    p->topic = rd_kafka_topic_new(p->rk, t->topic, NULL);
    if (!p->topic)
        return err_set(e, kafka_class_of(rd_kafka_last_error()), "topic %s: %s", t->topic,
                       rd_kafka_err2str(rd_kafka_last_error()));
    *out = p;
    p = NULL;
    return 0;
}

int kafka_producer_send(struct kafka_producer *p, struct slice key, struct slice value, void *tag,
                        struct err *e)
{
    /* With RD_KAFKA_MSG_F_COPY librdkafka only reads what it is given. */
    void *payload = (void *)(uintptr_t)(value.p ? value.p : "");
    if (rd_kafka_produce(p->topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, payload, value.n,
                         key.p, key.n, tag) == 0)
        return 0;
    rd_kafka_resp_err_t code = rd_kafka_last_error();
    int class = kafka_class_of(code);
    if (class == ERR_CONFIG) /* a topic that is away for a moment; the check at start says more */
        class = ERR_RETRY;
    return err_set(e, class, "topic %s: %s", rd_kafka_topic_name(p->topic), rd_kafka_err2str(code));
}

void kafka_producer_poll(struct kafka_producer *p, int64_t ms)
{
    (void)rd_kafka_poll(p->rk, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

void kafka_producer_purge(struct kafka_producer *p)
{
    /* In flight too: purging only the queue leaves requests that may yet reach the log after the
     * rewind. Reports come inside flush; a purged queue empties at once, brokers or not. */
    (void)rd_kafka_purge(p->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (rd_kafka_outq_len(p->rk) > 0)
        (void)rd_kafka_flush(p->rk, 1000);
}

rd_kafka_t *kafka_producer_client(struct kafka_producer *p)
{
    return p->rk;
}

bool kafka_producer_fatal(const struct kafka_producer *p)
{
    return rd_kafka_fatal_error(p->rk, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR;
}

void kafka_producer_close(struct kafka_producer *p)
{
    if (!p)
        return;
    if (p->rk)
        kafka_producer_purge(p);
    if (p->topic)
        rd_kafka_topic_destroy(p->topic);
    if (p->rk)
        rd_kafka_destroy(p->rk);
    free(p);
}
