/* SPDX-License-Identifier: Apache-2.0 */
/* What producer, consumer and the small admin clients share. */
#include "base/kafka_common.h"

#include "base/own.h"

#include <string.h>

int kafka_class_of(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return 0;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        return ERR_AGAIN;
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
    case RD_KAFKA_RESP_ERR__DESTROY:
        return ERR_STOPPED;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
        return ERR_REJECTED;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR__NO_OFFSET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        return ERR_NOT_FOUND;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR_SECURITY_DISABLED:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
        return ERR_CONFIG;
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR__STATE:
    case RD_KAFKA_RESP_ERR__CONFLICT:
    case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
        return ERR_FAULT;
    default:
        return ERR_RETRY;
    }
}

static void quiet(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

static void own_conf(rd_kafka_conf_t **conf)
{
    if (*conf)
        rd_kafka_conf_destroy(*conf);
}

static int set(rd_kafka_conf_t *conf, const char *name, const char *value, struct err *e)
{
    char why[160];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK)
        return err_set(e, ERR_CONFIG, "kafka setting %s: %s", name, why);
    return 0;
}

/* A topic beginning with ^ would be taken for a pattern when subscribed to. */
static bool topic_name(const char *name)
{
    size_t n = name ? strlen(name) : 0;
    return n > 0 && n < 250 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

int kafka_conf_new(const struct kafka_target *t, const struct kafka_setting *settings, size_t n,
                   rd_kafka_conf_t **out, struct err *e)
{
    static const struct kafka_setting common[] = {
        {"client.id", "holdfast"},
        /* A frozen leader keeps its partitions 60 s by default, long after another stood in. */
        {"socket.timeout.ms", "10000"},
        {"reconnect.backoff.max.ms", "1000"},
        {"topic.metadata.refresh.interval.ms", "10000"},
        {"log.connection.close", "false"},
    };
    if (!topic_name(t->topic))
        return err_set(e, ERR_CONFIG, "not the name of a Kafka topic: %.64s",
                       t->topic ? t->topic : "");
    if (!t->brokers || !*t->brokers)
        return err_set(e, ERR_CONFIG, "topic %s: no Kafka brokers named", t->topic);
    OWN(own_conf) rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (!conf)
        return err_memory(e, "setting up a Kafka client");
    int rc = set(conf, "bootstrap.servers", t->brokers, e);
    for (size_t i = 0; rc == 0 && i < sizeof common / sizeof common[0]; i++)
        rc = set(conf, common[i].name, common[i].value, e);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = set(conf, settings[i].name, settings[i].value, e);
    if (rc < 0)
        return rc;
    rd_kafka_conf_set_log_cb(conf, quiet);
    *out = conf;
    conf = NULL;
    return 0;
}

int kafka_client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_t **out, struct err *e)
{
    char why[256];
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        return err_set(e, ERR_RETRY, "start a Kafka client: %s", why);
    }
    *out = rk;
    return 0;
}
