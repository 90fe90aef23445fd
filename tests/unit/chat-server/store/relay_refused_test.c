/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the relay can't hand to a real broker: a topic that is not there, a record that it refuses,
 * one that the store lost. It is parked by name, others pass, and who waits for the queue's word is
 * told.
 */
#include "base/clock.h"
#include "base/kafka_common.h"
#include "base/own.h"
#include "relay_rig.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static void wrong_topic_is_refused(void **state)
{
    struct relay_place *p = *state;
    struct relay *r = NULL;
    struct err e = {0};
    struct relay_options o = {.store_url = p->url, .kafka = target_of(p), .source = SOURCE};
    o.kafka.topic = "absent";
    assert_int_equal(relay_start(&r, &o, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "absent"));
}

/* ---- records that can't be relayed ---- */
static void set_topic_limit(const struct relay_place *p, const char *bytes)
{
    struct kafka_target t = target_of(p);
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", t.brokers, text, sizeof text), 0);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    assert_non_null(rk);
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, p->topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    static const char *const others[][2] = {
        /* What is not named here would be reset. */
        {"cleanup.policy", "delete"},
        {"retention.ms", "-1"},
        {"retention.bytes", "-1"},
        {"message.timestamp.type", "LogAppendTime"},
        {"unclean.leader.election.enable", "false"},
        {"min.insync.replicas", "1"},
    };
    assert_int_equal(rd_kafka_ConfigResource_set_config(resource, "max.message.bytes", bytes), 0);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_equal(rd_kafka_ConfigResource_set_config(resource, others[i][0], others[i][1]),
                         0);
    rd_kafka_AlterConfigs(rk, &resource, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 10000);
    assert_non_null(event);
    assert_int_equal(rd_kafka_event_error(event), 0);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_destroy(rk);
}

struct parked {
    int64_t stream, sequence;
    int n;
    char reason[200];
};

static int parked_visit(void *arg, const struct store_parked *q, struct err *e)
{
    struct parked *k = arg;
    (void)e;
    k->stream = q->stream;
    k->sequence = q->sequence;
    k->n++;
    (void)slice_copy(q->reason, k->reason, sizeof k->reason);
    return 0;
}

static struct parked parked_of(const struct relay_place *p)
{
    OWN(own_store) struct store *s = NULL;
    struct parked k = {0};
    OK(store_open_reader(&s, p->url, &e));
    OK(store_parked(s, parked_visit, &k, &e));
    return k;
}

/* ---- waiting for the queue's word ---- */
struct word {
    struct record_await await;
    atomic_int class; /* UNSAID until told */
};
enum { UNSAID = 1 };

static void say(void *arg, int class)
{
    struct word *w = arg;
    atomic_store(&w->class, class);
}

static void ask(struct relay *r, struct word *w, int64_t stream, int64_t sequence)
{
    w->await = (struct record_await){.stream = stream, .sequence = sequence, .done = say, .arg = w};
    atomic_store(&w->class, UNSAID);
    relay_await(r, &w->await);
}

static int word_on(struct word *w)
{
    for (int64_t until = clock_mono_ms() + 60000; clock_mono_ms() < until;) {
        if (atomic_load(&w->class) != UNSAID)
            return atomic_load(&w->class);
        (void)poll(NULL, 0, 10);
    }
    return UNSAID;
}

/* A relay that has just started holds nothing of these streams. */
static void told_from_the_store(struct relay_place *p, const struct store_result *refused)
{
    struct word good, poison, never;
    set_topic_limit(p, "1048588"); /* or a relay would not start */
    p->r = start_relay(p, 0);
    ask(p->r, &good, refused->stream, 1);
    ask(p->r, &never, refused->stream, refused->sequence + 1000);
    ask(p->r, &poison, refused->stream, refused->sequence);
    assert_int_equal(word_on(&good), 0);
    assert_true(relay_forget(p->r, &never.await));
    assert_false(relay_forget(p->r, &never.await));
    assert_int_equal(word_on(&poison), ERR_REJECTED);
    assert_int_equal(atomic_load(&never.class), UNSAID);
    relay_stop(p->r);
    p->r = NULL;
}

static void poison_is_parked(void **state)
{
    struct relay_place *p = *state;
    OWN(own_buf) struct buf big;
    struct store_result result;
    struct relay_state rs;
    buf_init(&big, RECORD_MAX_BYTES);
    buf_text(&big, "\"participant\":\"sip:ann\",\"text\":\"");
    while (big.n < 200000)
        buf_char(&big, 'x');
    buf_char(&big, '"');
    struct store_event event = {.source = SOURCE,
                                .subject = slice_of(rooms[1]),
                                .kind = RECORD_POST,
                                .time_us = clock_wall_us(),
                                .members = buf_view(&big)};
    p->r = start_relay(p, 0);
    start_writer(p);
    add(p, 99);
    OK(relay_wait(p->r, 60000, &e));
    set_topic_limit(p, "100000");
    OK(writer_submit_wait(p->w, &event, 1, &result, &e));
    struct word poison, behind;
    ask(p->r, &poison, result.stream, result.sequence);
    ask(p->r, &behind, result.stream, result.sequence + 1);
    add(p, 99);
    OK(relay_wait(p->r, 60000, &e));
    assert_int_equal(word_on(&poison), ERR_REJECTED);
    assert_int_equal(word_on(&behind), 0);
    relay_state(p->r, &rs);
    assert_int_equal(rs.parked, 1);
    assert_int_equal(rs.unconfirmed, 0);
    stop_both(p);
    told_from_the_store(p, &result);
    struct parked k = parked_of(p);
    assert_int_equal(k.n, 1);
    assert_int_equal(k.stream, result.stream);
    assert_int_equal(k.sequence, result.sequence);
    assert_non_null(strstr(k.reason, "too large"));
    struct log *g = read_log(p);
    assert_int_equal(g->messages - g->repeats, 198);
    free(g);
}

static void missing_row_is_named(void **state)
{
    struct relay_place *p = *state;
    OWN(own_db) struct db *db = NULL;
    start_writer(p);
    add(p, 99);
    OK(db_open(&db, p->url, 0, &e));
    OK(db_script(db,
                 "DELETE FROM chat.record WHERE sequence = 7 AND stream ="
                 " (SELECT id FROM chat.stream WHERE subject = 'r:two')",
                 &e));
    p->r = start_relay(p, 0);
    OK(relay_wait(p->r, 60000, &e));
    stop_both(p);
    struct parked k = parked_of(p);
    assert_int_equal(k.n, 1);
    assert_int_equal(k.sequence, 7);
    struct log *g = read_log(p);
    assert_int_equal(g->messages, 98);
    free(g);
}

int main(int argc, char **argv)
{
    (void)argc;
    const struct CMUnitTest tests[] = {
        ON_RELAY(wrong_topic_is_refused),
        ON_RELAY(missing_row_is_named),
        ON_RELAY(poison_is_parked),
    };
    if (!relay_parts(argv[0]))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
