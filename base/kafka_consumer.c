/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The eager group consumer. Positions are the caller's (a database's); the next offset of each
 * partition is also noted here, so that a partition can be revived where it stood.
 */
#include "base/clock.h"
#include "base/kafka_common.h"
#include "base/own.h"

#include <string.h>

enum { ASK_AGAIN_MS = 1000, NUDGE_BYTES = 1024 * 1024, MAX_NUDGES = 8, SEEK_MS = 5000 };

struct part {
    int32_t partition;
    int64_t next; /* the offset to be delivered next */
    bool dead;    /* after an offset error librdkafka delivers nothing more */
};

struct kafka_consumer {
    rd_kafka_t *rk;
    rd_kafka_queue_t *nudges; /* answers nobody needs */
    int nudging;
    size_t taken; /* bytes handed out since the last one */
    struct kafka_consumer_events events;
    void *arg;
    char *topic, *group;
    struct part *parts;
    int32_t *numbers; /* theirs, as told to the caller and to be told when they go */
    size_t n;
    rd_kafka_topic_partition_list_t *waiting; /* given by the group, the caller had no positions */
    int64_t waiting_since;
    bool none; /* the group gave no partition to us; and so on: */
    bool idle; /* ... nor to anybody */
    int64_t looked_ms;
    rd_kafka_queue_t *looks; /* answers about the group */
    bool paused;
    bool closing;
    bool away; /* the brokers do not know the topic, and nothing has come since they said so */
    struct err trouble; /* told by the library between two messages; class 0: none */
};

static void own_consumer(struct kafka_consumer **c)
{
    kafka_consumer_close(*c);
}

static struct part *part_of(struct kafka_consumer *c, int32_t partition)
{
    for (size_t i = 0; i < c->n; i++) {
        if (c->parts[i].partition == partition)
            return &c->parts[i];
    }
    return NULL;
}

static int assign_parts(struct kafka_consumer *c, struct err *e)
{
    OWN(own_rd_list)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)c->n + 1);
    for (size_t i = 0; i < c->n; i++) {
        rd_kafka_topic_partition_list_add(list, c->topic, c->parts[i].partition)->offset =
            c->parts[i].next;
        c->parts[i].dead = false;
    }
    rd_kafka_resp_err_t code = rd_kafka_assign(c->rk, list);
    if (code)
        return err_set(e, kafka_class_of(code), "topic %s: assign: %s", c->topic,
                       rd_kafka_err2str(code));
    /* A partition that was paused, taken away and given back stays paused, and silent. */
    code = c->paused ? rd_kafka_pause_partitions(c->rk, list)
                     : rd_kafka_resume_partitions(c->rk, list);
    return code ? err_set(e, kafka_class_of(code), "topic %s: resume: %s", c->topic,
                          rd_kafka_err2str(code))
                : 0;
}

static void drop_parts(struct kafka_consumer *c)
{
    free(c->parts);
    free(c->numbers);
    c->parts = NULL;
    c->numbers = NULL;
    c->n = 0;
    if (c->waiting)
        rd_kafka_topic_partition_list_destroy(c->waiting);
    c->waiting = NULL;
}

/* Asks the caller for positions. Without them the group's partitions are held but not read. */
static int ask_positions(struct kafka_consumer *c, const rd_kafka_topic_partition_list_t *given,
                         struct err *e)
{
    size_t n = (size_t)given->cnt;
    OWN(own_mem) int32_t *partitions = calloc(n + 1, sizeof *partitions);
    OWN(own_mem) int64_t *positions = calloc(n + 1, sizeof *positions);
    OWN(own_mem) struct part *parts = calloc(n + 1, sizeof *parts);
    if (!partitions || !positions || !parts)
        return err_memory(e, "taking partitions");
    for (size_t i = 0; i < n; i++)
        partitions[i] = given->elems[i].partition;
    int rc = c->events.assigned(c->arg, partitions, positions, n);
    for (size_t i = 0; rc >= 0 && i < n; i++) {
        parts[i] = (struct part){.partition = partitions[i], .next = positions[i]};
        /* Negative numbers would be the library's own notions of where to begin. */
        if (positions[i] < 0)
            rc = ERR_FAULT;
    }
    if (rc < 0)
        return err_set(e, ERR_RETRY, "topic %s: no positions for %zu partitions", c->topic, n);
    drop_parts(c);
    c->parts = parts;
    c->numbers = partitions;
    c->n = n;
    parts = NULL;
    partitions = NULL;
    return assign_parts(c, e);
}

static void take(struct kafka_consumer *c, const rd_kafka_topic_partition_list_t *given)
{
    c->none = given->cnt == 0;
    c->idle = c->idle && c->none;
    c->looked_ms = clock_mono_ms();
    if (ask_positions(c, given, &c->trouble) == 0)
        return;
    rd_kafka_topic_partition_list_t *copy = rd_kafka_topic_partition_list_copy(given);
    (void)rd_kafka_assign(c->rk, NULL);
    drop_parts(c);
    c->waiting = copy;
    c->waiting_since = clock_mono_ms();
}

static void give_back(struct kafka_consumer *c)
{
    if (!c->closing && c->n > 0)
        c->events.revoked(c->arg, c->numbers, c->n);
    drop_parts(c);
    (void)rd_kafka_assign(c->rk, NULL);
}

static void rebalanced(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                       rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct kafka_consumer *c = opaque;
    (void)rk;
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && !c->closing)
        take(c, list);
    else
        give_back(c);
}

static void told(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    struct kafka_consumer *c = opaque;
    (void)rk;
    c->away = c->away || code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
              code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    (void)err_set(&c->trouble, kafka_class_of((rd_kafka_resp_err_t)code), "topic %s: %s: %s",
                  c->topic, rd_kafka_err2str((rd_kafka_resp_err_t)code), reason);
}

static int subscribe(struct kafka_consumer *c, struct err *e)
{
    OWN(own_rd_list)
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    (void)rd_kafka_topic_partition_list_add(topics, c->topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(c->rk, topics);
    return code ? err_set(e, kafka_class_of(code), "topic %s: subscribe: %s", c->topic,
                          rd_kafka_err2str(code))
                : 0;
}

/* The topic was away when its partitions were shared out: what nobody was given is shared out
 * again. Where others have partitions, having none is right. */
static void look_at_group(struct kafka_consumer *c)
{
    enum kafka_group heard = kafka_group_heard(c->looks);
    if (!c->none)
        return;
    if (heard != KAFKA_GROUP_UNKNOWN)
        c->idle = heard == KAFKA_GROUP_IDLE;
    if (heard == KAFKA_GROUP_IDLE)
        (void)subscribe(c, &c->trouble);
    if (clock_mono_ms() - c->looked_ms < KAFKA_GROUP_MS)
        return;
    c->looked_ms = clock_mono_ms();
    kafka_group_ask(c->rk, c->group, c->looks);
}

static int start(struct kafka_consumer *c, const struct kafka_target *t, struct err *e)
{
    const struct kafka_setting settings[] = {
        {"group.id", t->group},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "error"},
        {"partition.assignment.strategy", "range,roundrobin"},
        {"check.crcs", "true"},
        {"queued.max.messages.kbytes", "4096"},
        {"fetch.message.max.bytes", "262144"},
        {"session.timeout.ms", "10000"},
        {"heartbeat.interval.ms", "1000"},
        {"max.poll.interval.ms", "300000"},
    };
    rd_kafka_conf_t *conf = NULL;
    int rc = kafka_conf_new(t, settings, sizeof settings / sizeof settings[0], &conf, e);
    if (rc < 0)
        return rc;
    rd_kafka_conf_set_rebalance_cb(conf, rebalanced);
    rd_kafka_conf_set_error_cb(conf, told);
    rd_kafka_conf_set_opaque(conf, c);
    rc = kafka_client_new(RD_KAFKA_CONSUMER, conf, &c->rk, e);
    if (rc < 0)
        return rc;
    (void)rd_kafka_poll_set_consumer(c->rk);
    c->nudges = rd_kafka_queue_new(c->rk);
    c->looks = rd_kafka_queue_new(c->rk);
    return subscribe(c, e);
}

int kafka_consumer_open(struct kafka_consumer **out, const struct kafka_target *t,
                        const struct kafka_consumer_events *events, void *arg, struct err *e)
{
    if (!t->group || !*t->group)
        return err_set(e, ERR_CONFIG, "topic %s: no consumer group named", t->topic);
    OWN(own_consumer) struct kafka_consumer *c = calloc(1, sizeof *c);
    if (!c)
        return err_memory(e, "opening a Kafka consumer");
    c->events = *events;
    c->arg = arg;
    c->topic = strdup(t->topic);
    c->group = strdup(t->group);
    if (!c->topic || !c->group)
        return err_memory(e, "opening a Kafka consumer");
    int rc = start(c, t, e);
    if (rc < 0)
        return rc;
    *out = c;
    c = NULL;
    return 0;
}

static void ask_again(struct kafka_consumer *c)
{
    if (!c->waiting || clock_mono_ms() - c->waiting_since < ASK_AGAIN_MS)
        return;
    c->waiting_since = clock_mono_ms();
    rd_kafka_topic_partition_list_t *given = c->waiting;
    c->waiting = NULL;
    take(c, given);
    rd_kafka_topic_partition_list_destroy(given);
}

static int nothing(struct kafka_consumer *c, struct err *e)
{
    if (!c->trouble.class && c->idle)
        return err_set(e, ERR_RETRY,
                       "topic %s: nobody in group %s was given a partition; they are shared out"
                       " again",
                       c->topic, c->group);
    if (!c->trouble.class)
        return err_set(e, ERR_AGAIN, "topic %s: no message", c->topic);
    struct err trouble = c->trouble;
    c->trouble.class = 0;
    return err_set(e, trouble.class, "%s", trouble.text);
}

static int seek_live(struct kafka_consumer *c, const struct part *part, struct err *e)
{
    OWN(own_rd_list)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, c->topic, part->partition)->offset = part->next;
    rd_kafka_error_t *error = rd_kafka_seek_partitions(c->rk, list, SEEK_MS);
    rd_kafka_resp_err_t code = error ? rd_kafka_error_code(error) : list->elems[0].err;
    rd_kafka_error_destroy(error);
    if (code)
        return err_set(e, ERR_RETRY, "topic %s, partition %d: seek to %lld: %s", c->topic,
                       (int)part->partition, (long long)part->next, rd_kafka_err2str(code));
    return 0;
}

/* The library goes on behind a batch whose checksum is wrong; we read it again, until it is right
 * or a person has seen the error. */
static int read_again(struct kafka_consumer *c, struct part *part, struct err *e)
{
    int rc = seek_live(c, part, e);
    if (rc < 0)
        return rc;
    return err_set(e, ERR_RETRY, "topic %s, partition %d: damaged record batch at offset %lld",
                   c->topic, (int)part->partition, (long long)part->next);
}

static int message_error(struct kafka_consumer *c, const rd_kafka_message_t *m,
                         struct kafka_message *out, struct err *e)
{
    struct part *part = m->rkt ? part_of(c, m->partition) : NULL;
    if (part && m->err == RD_KAFKA_RESP_ERR__BAD_MSG)
        return read_again(c, part, e);
    int class = kafka_class_of(m->err);
    if (class == ERR_NOT_FOUND && part) {
        part->dead = true;
        *out = (struct kafka_message){.partition = m->partition, .offset = part->next};
        return err_set(e, ERR_NOT_FOUND, "topic %s, partition %d: offset %lld is outside the log",
                       c->topic, (int)m->partition, (long long)part->next);
    }
    return err_set(e, class == ERR_NOT_FOUND ? ERR_RETRY : class, "topic %s: %s", c->topic,
                   rd_kafka_err2str(m->err));
}

/* At its prefetch limit a broker thread sleeps for up to a second unless it has an answer to read
 * or a request to send: this is a small request to every broker whose answer nobody waits for.
 * Whenever the caller has made that much room the thread is made to look. */
static void nudge(struct kafka_consumer *c)
{
    if (c->taken < NUDGE_BYTES)
        return;
    c->taken = 0;
    rd_kafka_event_t *ev = rd_kafka_queue_poll(c->nudges, 0);
    while (ev) {
        rd_kafka_event_destroy(ev);
        c->nudging--;
        ev = rd_kafka_queue_poll(c->nudges, 0);
    }
    if (c->nudging >= MAX_NUDGES)
        return;
    rd_kafka_ListConsumerGroups(c->rk, NULL, c->nudges);
    c->nudging++;
}

int kafka_consumer_poll(struct kafka_consumer *c, int64_t ms, struct kafka_message *out,
                        struct err *e)
{
    ask_again(c);
    look_at_group(c);
    rd_kafka_message_t *m = rd_kafka_consumer_poll(c->rk, ms > INT32_MAX ? INT32_MAX : (int)ms);
    if (m && c->trouble.class == ERR_CONFIG) {
        rd_kafka_message_destroy(m); /* of whose log? */
        m = NULL;
    }
    if (!m)
        return nothing(c, e);
    if (m->err) {
        int rc = message_error(c, m, out, e);
        rd_kafka_message_destroy(m);
        return rc;
    }
    rd_kafka_timestamp_type_t type;
    struct part *part = part_of(c, m->partition);
    if (part)
        part->next = m->offset + 1;
    c->away = false;
    c->taken += m->len;
    nudge(c);
    *out = (struct kafka_message){
        .partition = m->partition,
        .offset = m->offset,
        .queued_us = rd_kafka_message_timestamp(m, &type) * 1000,
        .key = {m->key, m->key_len},
        .value = {m->payload, m->len},
        .handle = m,
    };
    return 0;
}

void kafka_message_release(struct kafka_message *m)
{
    if (m->handle)
        rd_kafka_message_destroy(m->handle);
    *m = (struct kafka_message){.handle = NULL};
}

int kafka_consumer_seek(struct kafka_consumer *c, int32_t partition, int64_t offset, struct err *e)
{
    struct part *part = part_of(c, partition);
    if (!part)
        return err_set(e, ERR_CONFLICT, "topic %s: partition %d is not assigned to us", c->topic,
                       (int)partition);
    if (offset < 0)
        return err_set(e, ERR_FAULT, "topic %s, partition %d: seek to %lld", c->topic,
                       (int)partition, (long long)offset);
    part->next = offset;
    /* Seeking in a dead partition reports success and delivers nothing; assigning again works. */
    return part->dead ? assign_parts(c, e) : seek_live(c, part, e);
}

int kafka_consumer_pause(struct kafka_consumer *c, bool paused, struct err *e)
{
    OWN(own_rd_list)
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)c->n + 1);
    for (size_t i = 0; i < c->n; i++)
        (void)rd_kafka_topic_partition_list_add(list, c->topic, c->parts[i].partition);
    rd_kafka_resp_err_t code =
        paused ? rd_kafka_pause_partitions(c->rk, list) : rd_kafka_resume_partitions(c->rk, list);
    if (code)
        return err_set(e, kafka_class_of(code), "topic %s: %s: %s", c->topic,
                       paused ? "pause" : "resume", rd_kafka_err2str(code));
    c->paused = paused;
    return 0;
}

void kafka_consumer_close(struct kafka_consumer *c)
{
    if (!c)
        return;
    c->closing = true;
    if (c->rk)
        (void)rd_kafka_consumer_close(c->rk);
    if (c->nudges)
        rd_kafka_queue_destroy(c->nudges);
    if (c->looks)
        rd_kafka_queue_destroy(c->looks);
    /* librdkafka 2.0.2 waits for ever for a client's end whose topic is away. It has left its group
     * and reads nothing: better a client too many than a service that can't be stopped. */
    if (c->rk && !c->away)
        rd_kafka_destroy(c->rk);
    drop_parts(c);
    free(c->topic);
    free(c->group);
    free(c);
}
