/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks a Kafka broker what the tests need of it, through librdkafka, without Kafka's own tools.
 *   kafka-topic BOOTSTRAP ready CLUSTER PID SECONDS    until the broker of that cluster id answers
 *   kafka-topic BOOTSTRAP create TOPIC PARTITIONS [SETTING=VALUE...]    until each has a leader
 *   kafka-topic BOOTSTRAP grow TOPIC PARTITIONS                         likewise
 *   kafka-topic BOOTSTRAP delete TOPIC
 * Exit 0 when it is so, 1 with one line of reason otherwise.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CALL_MS = 1000, WAIT_S = 30, PAUSE_MS = 50 };

static void quiet(const rd_kafka_t *rk, int level, const char *fac, const char *text)
{
    (void)rk;
    (void)level;
    (void)fac;
    (void)text;
}

static time_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

static void pause_briefly(void)
{
    struct timespec ts = {.tv_nsec = PAUSE_MS * 1000000L};

    nanosleep(&ts, NULL);
}

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "kafka-topic: %s: %s\n", what, why);
    return 1;
}

static rd_kafka_t *client(const char *bootstrap)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    rd_kafka_conf_set_log_cb(conf, quiet);
    if (rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, text, sizeof text) ||
        rd_kafka_conf_set(conf, "reconnect.backoff.ms", "20", text, sizeof text) ||
        rd_kafka_conf_set(conf, "reconnect.backoff.max.ms", "100", text, sizeof text)) {
        fail(bootstrap, text);
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!rk) {
        fail(bootstrap, text);
        rd_kafka_conf_destroy(conf);
    }
    return rk;
}

static int ready(rd_kafka_t *rk, const char *cluster, pid_t pid, int seconds)
{
    const time_t until = now() + seconds;

    while (now() < until) {
        const struct rd_kafka_metadata *md = NULL;

        if (kill(pid, 0) && errno == ESRCH)
            return fail("broker", "its process ended");
        if (!rd_kafka_metadata(rk, 0, NULL, &md, CALL_MS)) {
            char *id = rd_kafka_clusterid(rk, CALL_MS);
            int ours = md->broker_cnt > 0 && id && !strcmp(id, cluster);

            rd_kafka_metadata_destroy(md);
            if (id)
                rd_kafka_mem_free(rk, id);
            if (ours)
                return 0;
        }
        pause_briefly();
    }
    return fail("broker", "did not answer in time");
}

/* Sends one admin request and says what became of its only topic. */
static int result_of(rd_kafka_queue_t *queue, const char *topic)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_S * 1000);

    if (!event)
        return fail(topic, "no answer");
    if (rd_kafka_event_error(event)) {
        int rc = fail(topic, rd_kafka_event_error_string(event));

        rd_kafka_event_destroy(event);
        return rc;
    }
    size_t n = 0;
    const rd_kafka_topic_result_t **results;
    if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_CREATEPARTITIONS_RESULT)
        results = rd_kafka_CreatePartitions_result_topics(
            rd_kafka_event_CreatePartitions_result(event), &n);
    else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_CREATETOPICS_RESULT)
        results =
            rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n);
    else
        results =
            rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &n);
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        if (rd_kafka_topic_result_error(results[i])) {
            const char *why = rd_kafka_topic_result_error_string(results[i]);

            rc = fail(topic, why ? why : rd_kafka_err2str(rd_kafka_topic_result_error(results[i])));
        }
    }
    rd_kafka_event_destroy(event);
    return rc;
}

static int leaders(const struct rd_kafka_metadata *md, int partitions)
{
    if (md->topic_cnt != 1 || md->topics[0].err || md->topics[0].partition_cnt != partitions)
        return 0;
    for (int i = 0; i < partitions; i++) {
        if (md->topics[0].partitions[i].err || md->topics[0].partitions[i].leader < 0)
            return 0;
    }
    return 1;
}

static int wait_for_leaders(rd_kafka_t *rk, const char *topic, int partitions)
{
    const time_t until = now() + WAIT_S;
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
    int done = 0;

    while (rkt && !done && now() < until) {
        const struct rd_kafka_metadata *md = NULL;

        if (!rd_kafka_metadata(rk, 0, rkt, &md, CALL_MS)) {
            done = leaders(md, partitions);
            rd_kafka_metadata_destroy(md);
        }
        if (!done)
            pause_briefly();
    }
    if (rkt)
        rd_kafka_topic_destroy(rkt);
    return done ? 0 : fail(topic, "not every partition has a leader");
}

static int settings(rd_kafka_NewTopic_t *nt, char **argv)
{
    for (; *argv; argv++) {
        char *value = strchr(*argv, '=');

        if (!value)
            return fail(*argv, "not of the form SETTING=VALUE");
        *value++ = '\0';
        if (rd_kafka_NewTopic_set_config(nt, *argv, value))
            return fail(*argv, "setting refused");
    }
    return 0;
}

static int create(rd_kafka_t *rk, const char *topic, int partitions, char **argv)
{
    char text[256];
    rd_kafka_NewTopic_t *nt = rd_kafka_NewTopic_new(topic, partitions, -1, text, sizeof text);

    if (!nt)
        return fail(topic, text);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    int rc = settings(nt, argv);
    if (!rc) {
        rd_kafka_CreateTopics(rk, &nt, 1, NULL, queue);
        rc = result_of(queue, topic);
    }
    if (!rc)
        rc = wait_for_leaders(rk, topic, partitions);
    rd_kafka_NewTopic_destroy(nt);
    rd_kafka_queue_destroy(queue);
    return rc;
}

static int drop(rd_kafka_t *rk, const char *topic)
{
    rd_kafka_DeleteTopic_t *dt = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);

    rd_kafka_DeleteTopics(rk, &dt, 1, NULL, queue);
    int rc = result_of(queue, topic);
    rd_kafka_DeleteTopic_destroy(dt);
    rd_kafka_queue_destroy(queue);
    return rc;
}

static int grow(rd_kafka_t *rk, const char *topic, int partitions)
{
    char text[256];
    rd_kafka_NewPartitions_t *np =
        rd_kafka_NewPartitions_new(topic, (size_t)partitions, text, sizeof text);

    if (!np)
        return fail(topic, text);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_CreatePartitions(rk, &np, 1, NULL, queue);
    int rc = result_of(queue, topic);
    if (!rc)
        rc = wait_for_leaders(rk, topic, partitions);
    rd_kafka_NewPartitions_destroy(np);
    rd_kafka_queue_destroy(queue);
    return rc;
}

static int run(rd_kafka_t *rk, int argc, char **argv)
{
    if (argc == 6 && !strcmp(argv[2], "ready"))
        return ready(rk, argv[3], (pid_t)strtol(argv[4], NULL, 10), (int)strtol(argv[5], NULL, 10));
    if (argc >= 5 && !strcmp(argv[2], "create"))
        return create(rk, argv[3], (int)strtol(argv[4], NULL, 10), argv + 5);
    if (argc == 5 && !strcmp(argv[2], "grow"))
        return grow(rk, argv[3], (int)strtol(argv[4], NULL, 10));
    if (argc == 4 && !strcmp(argv[2], "delete"))
        return drop(rk, argv[3]);
    return fail("usage", "kafka-topic BOOTSTRAP ready|create|grow|delete ...");
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return fail("usage", "kafka-topic BOOTSTRAP ready|create|grow|delete ...");
    rd_kafka_t *rk = client(argv[1]);
    if (!rk)
        return 1;
    int rc = run(rk, argc, argv);
    rd_kafka_destroy(rk);
    return rc;
}
