/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to the brokers outside the flow of records, each by a client of its own that lives for
 * the call: the check of a topic, its ends, one record, deletion of what was archived.
 */
#include "base/clock.h"
#include "base/kafka_common.h"
#include "base/own.h"

#include <string.h>

static void own_event(rd_kafka_event_t **ev)
{
    if (*ev)
        rd_kafka_event_destroy(*ev);
}

static void own_queue(rd_kafka_queue_t **q)
{
    if (*q)
        rd_kafka_queue_destroy(*q);
}

static void own_resource(rd_kafka_ConfigResource_t **r)
{
    if (*r)
        rd_kafka_ConfigResource_destroy(*r);
}

static void own_metadata(const struct rd_kafka_metadata **md)
{
    if (*md)
        rd_kafka_metadata_destroy(*md);
}

static void own_topic(rd_kafka_topic_t **topic)
{
    if (*topic)
        rd_kafka_topic_destroy(*topic);
}

static void own_delete(rd_kafka_DeleteRecords_t **d)
{
    if (*d)
        rd_kafka_DeleteRecords_destroy(*d);
}

static void own_message(rd_kafka_message_t **m)
{
    if (*m)
        rd_kafka_message_destroy(*m);
}

static int left_until(int64_t until)
{
    int64_t left = until - clock_mono_ms();
    return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static int no_answer(const struct kafka_target *t, const char *what, struct err *e)
{
    return err_set(e, ERR_RETRY, "topic %s: no answer from Kafka at %s to: %s", t->topic,
                   t->brokers, what);
}

static int admin_new(const struct kafka_target *t, rd_kafka_t **out, struct err *e)
{
    rd_kafka_conf_t *conf = NULL;
    int rc = kafka_conf_new(t, NULL, 0, &conf, e);
    return rc < 0 ? rc : kafka_client_new(RD_KAFKA_PRODUCER, conf, out, e);
}

/* The event of DescribeConfigs for one topic or broker; entries point into it. */
static int describe(rd_kafka_t *rk, const struct kafka_target *t, rd_kafka_ResourceType_t type,
                    const char *name, int64_t until, rd_kafka_event_t **out, struct err *e)
{
    char why[160];
    OWN(own_queue) rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    OWN(own_resource) rd_kafka_ConfigResource_t *r = rd_kafka_ConfigResource_new(type, name);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    int ms = left_until(until);
    if (!q || !r || !options) {
        if (options)
            rd_kafka_AdminOptions_destroy(options);
        return err_memory(e, "asking Kafka for settings");
    }
    (void)rd_kafka_AdminOptions_set_request_timeout(options, ms < 1 ? 1 : ms, why, sizeof why);
    rd_kafka_DescribeConfigs(rk, &r, 1, options, q);
    rd_kafka_AdminOptions_destroy(options);
    OWN(own_event) rd_kafka_event_t *ev = rd_kafka_queue_poll(q, ms + 500);
    if (!ev)
        return no_answer(t, "describe settings", e);
    if (rd_kafka_event_error(ev))
        return err_set(e, kafka_class_of(rd_kafka_event_error(ev)), "settings of %s: %s", name,
                       rd_kafka_event_error_string(ev));
    size_t n = 0;
    const rd_kafka_ConfigResource_t **found =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(ev), &n);
    if (n != 1)
        return err_set(e, ERR_RETRY, "settings of %s: an empty answer", name);
    rd_kafka_resp_err_t code = rd_kafka_ConfigResource_error(found[0]);
    if (code)
        return err_set(e, kafka_class_of(code), "settings of %s: %s", name, rd_kafka_err2str(code));
    *out = ev;
    ev = NULL;
    return 0;
}

/* NULL when there is none of that name. */
static const char *setting(rd_kafka_event_t *ev, const char *name)
{
    size_t n = 0;
    const rd_kafka_ConfigResource_t **found =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(ev), &n);
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(found[0], &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0) {
            const char *value = rd_kafka_ConfigEntry_value(entries[i]);
            return value ? value : "";
        }
    }
    return NULL;
}

struct demand {
    const char *name;
    const char *exactly; /* or NULL: a number of at least `least` */
    int64_t least;
    const char *why;
};

static int demand_met(const struct kafka_target *t, rd_kafka_event_t *ev, const struct demand *d,
                      struct err *e)
{
    int64_t number = 0;
    char want[32];
    const char *value = setting(ev, d->name);
    bool met = value && (d->exactly ? strcmp(value, d->exactly) == 0
                                    : text_i64(slice_of(value), &number) && number >= d->least);
    if (met)
        return 0;
    if (d->exactly)
        (void)snprintf(want, sizeof want, "%s", d->exactly);
    else
        (void)snprintf(want, sizeof want, "%lld", (long long)d->least);
    return err_set(e, ERR_CONFIG,
                   "topic %s has %s=%s: %s. Type: kafka-configs.sh --bootstrap-server %s --alter"
                   " --entity-type topics --entity-name %s --add-config %s=%s",
                   t->topic, d->name, value ? value : "(unknown)", d->why, t->brokers, t->topic,
                   d->name, want);
}

static int check_settings(const struct kafka_target *t, rd_kafka_event_t *ev, struct err *e)
{
    const struct demand demands[] = {
        {"cleanup.policy", "delete", 0, "compaction would drop records"},
        {"retention.ms", "-1", 0, "records would go before they are captured"},
        {"retention.bytes", "-1", 0, "records would go before they are captured"},
        {"message.timestamp.type", "LogAppendTime", 0, "a clock that is wrong would lose records"},
        {"unclean.leader.election.enable", "false", 0, "confirmed records could be lost"},
        {"max.message.bytes", NULL, KAFKA_BATCH_BYTES + KAFKA_BATCH_SLACK,
         "our batches would be refused"},
        {"min.insync.replicas", NULL, t->single_broker ? 1 : 2,
         "a confirmed record could be on one disk only"},
    };
    for (size_t i = 0; i < sizeof demands / sizeof demands[0]; i++) {
        int rc = demand_met(t, ev, &demands[i], e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Partitions, their replicas, and a broker to ask for its settings. */
static int check_metadata(rd_kafka_t *rk, const struct kafka_target *t, int64_t until,
                          int32_t *partitions, int32_t *broker, struct err *e)
{
    OWN(own_topic) rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, t->topic, NULL);
    if (!topic)
        return err_memory(e, "asking Kafka for a topic");
    OWN(own_metadata) const struct rd_kafka_metadata *md = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(rk, 0, topic, &md, left_until(until));
    if (code == RD_KAFKA_RESP_ERR__TIMED_OUT || code == RD_KAFKA_RESP_ERR__TRANSPORT)
        return no_answer(t, "describe topic", e);
    if (!code && md->topic_cnt == 1)
        code = md->topics[0].err;
    if (kafka_class_of(code) == ERR_CONFIG)
        return err_set(e, ERR_CONFIG,
                       "topic %s at %s: %s. Type: kafka-topics.sh --bootstrap-server %s --create"
                       " --topic %s --partitions 4 --replication-factor 3; what else it needs is"
                       " said next",
                       t->topic, t->brokers, rd_kafka_err2str(code), t->brokers, t->topic);
    if (code || md->topic_cnt != 1 || md->topics[0].partition_cnt < 1 || md->broker_cnt < 1)
        return err_set(e, ERR_RETRY, "topic %s at %s: %s", t->topic, t->brokers,
                       code ? rd_kafka_err2str(code) : "an empty answer");
    for (int i = 0; i < md->topics[0].partition_cnt; i++) {
        int replicas = md->topics[0].partitions[i].replica_cnt;
        if (replicas < (t->single_broker ? 1 : 3))
            return err_set(
                e, ERR_CONFIG,
                "topic %s has %d replicas of partition %d, too few to lose a broker. Make"
                " it again with --replication-factor 3, or accept that a lost disk loses"
                " records: single-broker = yes",
                t->topic, replicas, i);
    }
    *partitions = md->topics[0].partition_cnt;
    *broker = md->brokers[0].id;
    return 0;
}

int kafka_check(const struct kafka_target *t, int64_t ms, struct kafka_facts *out, struct err *e)
{
    struct kafka_facts facts = {.topics_deletable = true};
    int64_t until = clock_mono_ms() + ms;
    int32_t broker = 0;
    char broker_name[16];
    OWN(own_rd_kafka) rd_kafka_t *rk = NULL;
    OWN(own_event) rd_kafka_event_t *settings = NULL;
    OWN(own_event) rd_kafka_event_t *of_broker = NULL;

    int rc = admin_new(t, &rk, e);
    if (rc == 0)
        rc = check_metadata(rk, t, until, &facts.partitions, &broker, e);
    if (rc == 0)
        rc = describe(rk, t, RD_KAFKA_RESOURCE_TOPIC, t->topic, until, &settings, e);
    if (rc == 0)
        rc = check_settings(t, settings, e);
    if (rc < 0)
        return rc;
    OWN(own_mem) char *cluster = rd_kafka_clusterid(rk, left_until(until));
    if (!cluster || !slice_copy(slice_of(cluster), facts.cluster, sizeof facts.cluster))
        return no_answer(t, "cluster id", e);
    (void)snprintf(broker_name, sizeof broker_name, "%d", (int)broker);
    /* Not every login may read a broker's settings; what is not known counts as the worse. */
    if (describe(rk, t, RD_KAFKA_RESOURCE_BROKER, broker_name, until, &of_broker, NULL) == 0) {
        const char *value = setting(of_broker, "delete.topic.enable");
        facts.topics_deletable = !value || strcmp(value, "false") != 0;
    }
    *out = facts;
    return 0;
}

int kafka_delete_below(const struct kafka_target *t, int32_t partition, int64_t offset, int64_t ms,
                       int64_t *low, struct err *e)
{
    if (offset < 0) /* -1 would mean everything */
        return err_set(e, ERR_FAULT, "topic %s: delete below offset %lld", t->topic,
                       (long long)offset);
    OWN(own_rd_kafka) rd_kafka_t *rk = NULL;
    int rc = admin_new(t, &rk, e);
    if (rc < 0)
        return rc;
    OWN(own_rd_list) rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, t->topic, partition)->offset = offset;
    OWN(own_queue) rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    OWN(own_delete) rd_kafka_DeleteRecords_t *d = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(rk, &d, 1, NULL, q);
    OWN(own_event) rd_kafka_event_t *ev = rd_kafka_queue_poll(q, left_until(clock_mono_ms() + ms));
    if (!ev)
        return no_answer(t, "delete records", e);
    rd_kafka_resp_err_t code = rd_kafka_event_error(ev);
    const rd_kafka_topic_partition_list_t *result =
        code ? NULL
             : rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(ev));
    if (result && result->cnt == 1)
        code = result->elems[0].err;
    else if (!code)
        code = RD_KAFKA_RESP_ERR__FAIL;
    if (code)
        return err_set(e, kafka_class_of(code), "topic %s, partition %d, delete below %lld: %s",
                       t->topic, (int)partition, (long long)offset, rd_kafka_err2str(code));
    *low = result->elems[0].offset;
    return 0;
}

static int reader_new(const struct kafka_target *t, rd_kafka_t **out, struct err *e)
{
    static const struct kafka_setting settings[] = {
        {"group.id", "holdfast-reader"}, /* asked for by the library, never joined */
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "error"},
        {"enable.partition.eof", "true"},
        {"check.crcs", "true"},
        {"fetch.wait.max.ms", "10"},
        {"queued.max.messages.kbytes", "2048"},
        {"fetch.message.max.bytes", "262144"},
    };
    rd_kafka_conf_t *conf = NULL;
    int rc = kafka_conf_new(t, settings, sizeof settings / sizeof settings[0], &conf, e);
    if (rc == 0)
        rc = kafka_client_new(RD_KAFKA_CONSUMER, conf, out, e);
    if (rc == 0)
        (void)rd_kafka_poll_set_consumer(*out);
    return rc;
}

/* The first thing the partition says from there: a record, its end (_PARTITION_EOF, whose offset is
 * the next to be written) or an error. ERR_RETRY when it says nothing in time. */
static int first_answer(rd_kafka_t *rk, const struct kafka_target *t, int32_t partition,
                        int64_t from, int64_t until, rd_kafka_message_t **out, struct err *e)
{
    OWN(own_rd_list) rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, t->topic, partition)->offset = from;
    rd_kafka_resp_err_t code = rd_kafka_assign(rk, list);
    if (code)
        return err_set(e, kafka_class_of(code), "topic %s, partition %d: %s", t->topic,
                       (int)partition, rd_kafka_err2str(code));
    do {
        OWN(own_message) rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, left_until(until));
        if (!m)
            continue;
        if (m->err && m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF &&
            kafka_class_of(m->err) == ERR_RETRY)
            continue;
        *out = m;
        m = NULL;
        return 0;
    } while (left_until(until) > 0);
    return no_answer(t, "read", e);
}

int kafka_read_one(const struct kafka_target *t, int32_t partition, int64_t offset, int64_t ms,
                   struct buf *out, struct err *e)
{
    int64_t until = clock_mono_ms() + ms;
    OWN(own_rd_kafka) rd_kafka_t *rk = NULL;
    OWN(own_message) rd_kafka_message_t *m = NULL;
    if (offset < 0)
        return err_set(e, ERR_NOT_FOUND, "topic %s: there is no offset %lld", t->topic,
                       (long long)offset);
    int rc = reader_new(t, &rk, e);
    if (rc == 0)
        rc = first_answer(rk, t, partition, offset, until, &m, e);
    if (rc < 0)
        return rc;
    bool absent = m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF || (!m->err && m->offset != offset);
    if (absent || kafka_class_of(m->err) == ERR_NOT_FOUND)
        return err_set(e, ERR_NOT_FOUND, "topic %s, partition %d: no record at offset %lld",
                       t->topic, (int)partition, (long long)offset);
    if (m->err)
        return err_set(e, kafka_class_of(m->err), "topic %s, partition %d: %s", t->topic,
                       (int)partition, rd_kafka_err2str(m->err));
    buf_add(out, m->payload, m->len);
    return buf_ok(out, "record read from Kafka", e);
}

/* Not by rd_kafka_query_watermark_offsets, which ignores its time-out when the broker hangs. */
static int one_end(rd_kafka_t *rk, const struct kafka_target *t, int32_t partition, int64_t from,
                   int64_t until, int64_t *offset, struct err *e)
{
    OWN(own_message) rd_kafka_message_t *m = NULL;
    int rc = first_answer(rk, t, partition, from, until, &m, e);
    if (rc < 0)
        return rc;
    if (m->err && m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return err_set(e, kafka_class_of(m->err), "topic %s, partition %d: %s", t->topic,
                       (int)partition, rd_kafka_err2str(m->err));
    *offset = m->offset;
    return 0;
}

int kafka_ends(const struct kafka_target *t, int32_t partition, int64_t ms, int64_t *low,
               int64_t *high, struct err *e)
{
    int64_t until = clock_mono_ms() + ms;
    int64_t first;
    int64_t next;
    OWN(own_rd_kafka) rd_kafka_t *rk = NULL;
    int rc = reader_new(t, &rk, e);
    if (rc == 0)
        rc = one_end(rk, t, partition, RD_KAFKA_OFFSET_BEGINNING, until, &first, e);
    if (rc == 0)
        rc = one_end(rk, t, partition, RD_KAFKA_OFFSET_END, until, &next, e);
    if (rc < 0)
        return rc;
    *low = first;
    *high = next;
    return 0;
}
