/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/queues.h"

#include "base/clock.h"
#include "base/own.h"
#include "tests/contract/feed.h"
#include "tests/expect.h"

#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

void queue_broker(const char *verb, const char *a, const char *b)
{
    char script[512];
    pid_t pid;
    int status = -1;
    (void)snprintf(script, sizeof script, "%s/kafka", getenv("HOLDFAST_TEST_PARTS"));
    const char *words[] = {script, verb, getenv("HOLDFAST_TEST_KAFKA_DIR"), a, b, NULL};
    assert_int_equal(posix_spawn(&pid, script, NULL, NULL, (char **)(uintptr_t)words, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void open_writer(struct queue *q)
{
    struct err e = {0};
    if (q->store)
        return;
    ok(store_open(&q->store, q->url, &e), &e);
    ok(store_claim(q->store, SLICE("urn:test"), &e), &e);
}

void queue_make(struct queue *q, bool kafka, const char *scratch, int partitions)
{
    static int number;
    char count[8];
    *q = (struct queue){.kafka = kafka};
    assert_true(wake_init(&q->committed));
    (void)snprintf(q->url, sizeof q->url, "sqlite:%s/queue%d.db", scratch, ++number);
    q->embedded = (struct source_embedded_options){q->url, &q->committed};
    if (!kafka)
        return;
    (void)snprintf(q->topic, sizeof q->topic, "queue%d", number);
    (void)snprintf(count, sizeof count, "%d", partitions);
    queue_broker("topic", q->topic, count);
    q->target = (struct kafka_target){.brokers = getenv("HOLDFAST_TEST_KAFKA"),
                                      .topic = q->topic,
                                      .group = q->topic,
                                      .single_broker = true};
}

void queue_done(struct queue *q)
{
    store_close(q->store);
    wake_done(&q->committed);
}

struct sending {
    struct queue *q;
    struct kafka_producer *p;
    size_t waiting;
};

static void reported(void *arg, const struct kafka_report *r)
{
    struct sending *s = arg;
    if (r->class)
        fail_msg("producer: %s", r->text);
    s->waiting--;
}

static void send_begin(struct sending *s, struct queue *q)
{
    struct err e = {0};
    *s = (struct sending){.q = q};
    ok(kafka_producer_open(&s->p, &q->target, reported, s, &e), &e);
}

static void send_end(struct sending *s)
{
    int64_t until = clock_mono_ms() + 30000;
    while (s->waiting > 0) {
        assert_true(clock_mono_ms() < until);
        kafka_producer_poll(s->p, 50);
    }
    kafka_producer_close(s->p);
}

static void send_one(struct sending *s, struct slice key, struct slice value)
{
    struct err e = {0};
    s->waiting++;
    ok(kafka_producer_send(s->p, key, value, NULL, &e), &e);
}

/* Made by the store, so that the chain is what it makes. */
static void append(struct queue *q, int n, int rooms, struct sending *s)
{
    for (int i = 0; i < n; i++) {
        char room[32];
        char members[96];
        struct store_result r = {0};
        struct err e = {0};
        (void)snprintf(room, sizeof room, "room %d", i % rooms);
        (void)snprintf(members, sizeof members, "\"participant\":\"sip:a@x\",\"text\":\"%d\"", i);
        const struct store_event event = {.source = SLICE("urn:test"),
                                          .subject = slice_of(room),
                                          .kind = RECORD_POST,
                                          .time_us = clock_wall_us(),
                                          .members = slice_of(members),
                                          .numbered = true};
        ok(store_append(q->store, &event, 1, &r, &e), &e);
        assert_int_equal(r.class, 0);
        if (s)
            send_one(s, slice_of(room), r.record);
    }
    q->sent += n;
}

void queue_posts(struct queue *q, int n, int rooms)
{
    struct sending s;
    open_writer(q);
    if (q->kafka)
        send_begin(&s, q);
    append(q, n, rooms, q->kafka ? &s : NULL);
    if (q->kafka)
        send_end(&s);
    wake_ring(&q->committed);
}

void queue_garbage(struct queue *q, struct slice bytes)
{
    struct sending s;
    send_begin(&s, q);
    send_one(&s, SLICE("room 0"), bytes);
    send_end(&s);
}

void queue_take_away(struct queue *q, int64_t pos)
{
    struct err e = {0};
    ok(db_run(store_db(q->store), "DELETE FROM record WHERE pos = $1", DB_ARGS(DB_I(pos)), NULL,
              &e),
       &e);
}

void queue_recreate(struct queue *q, int n)
{
    store_close(q->store);
    q->store = NULL;
    if (q->kafka) {
        char command[64];
        (void)snprintf(command, sizeof command, "%s", q->topic);
        queue_broker("drop", command, NULL);
        queue_broker("topic", command, "1");
    }
    for (const char *const *end = (const char *const[]){"", "-wal", "-shm", NULL}; *end; end++) {
        char path[600];
        (void)snprintf(path, sizeof path, "%s%s", q->url + strlen("sqlite:"), *end);
        (void)unlink(path);
    }
    queue_posts(q, n, 1);
}

int queue_open(struct source **out, const struct queue *q, const struct source_events *events,
               void *arg, struct err *e)
{
    return q->kafka ? source_kafka_open(out, &q->target, events, arg, e)
                    : source_embedded_open(out, &q->embedded, events, arg, e);
}
