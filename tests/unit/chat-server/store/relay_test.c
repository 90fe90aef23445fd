/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The relay between a private PostgreSQL and a real broker that is killed, started again and set to
 * refuse: the log read back holds every record, in order, repeated only as contiguous runs.
 */
#include "base/clock.h"
#include "base/kafka_common.h"
#include "base/own.h"
#include "chat-server/store/relay.h"
#include "chat-server/store/writer.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

extern char **environ;

#define SOURCE SLICE("sip:pool.example.com")

enum { ROOMS = 3, PARTITIONS = 3, MAX_RECORDS = 20000 };
static const char *const rooms[ROOMS] = {"r:one", "r:two", "r:three"};

static const char *brokers, *parts, *broker_dir;
static int cases;

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        int rc_ = (call);                                                                          \
        if (rc_ < 0)                                                                               \
            fail_msg("%s: %d %s", #call, rc_, e.text);                                             \
    } while (0)

struct place {
    char url[512];
    char topic[32];
    struct writer *w;
    struct relay *r;
};

static void broker(const char *verb, const char *a, const char *b)
{
    char script[512];
    pid_t pid;
    int status = -1;
    (void)snprintf(script, sizeof script, "%s/kafka", parts);
    const char *words[] = {script, verb, broker_dir, a, b, NULL};
    assert_int_equal(posix_spawn(&pid, script, NULL, NULL, (char **)(uintptr_t)words, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static struct kafka_target target(const struct place *p)
{
    return (struct kafka_target){
        .brokers = brokers, .topic = p->topic, .group = p->topic, .single_broker = true};
}

static struct relay *start_relay(const struct place *p, size_t window)
{
    struct relay *r = NULL;
    struct relay_options o = {
        .store_url = p->url, .kafka = target(p), .window_bytes = window, .source = SOURCE};
    OK(relay_start(&r, &o, &e));
    return r;
}

static void start_writer(struct place *p)
{
    struct writer_options o = {.url = p->url};
    if (p->r) {
        o.stored = relay_stored;
        o.stored_arg = p->r;
    }
    OK(writer_start(&p->w, &o, &e));
    OK(writer_claim(p->w, SOURCE, &e));
}

static int set_up(void **state)
{
    const char *server = getenv("HOLDFAST_TEST_POSTGRES");
    struct place *p = calloc(1, sizeof *p);
    OWN(own_db) struct db *db = NULL;
    char sql[64];
    assert_true(server && p);
    cases++;
    (void)snprintf(sql, sizeof sql, "CREATE DATABASE relay%d", cases);
    OK(db_open(&db, server, 0, &e));
    OK(db_script(db, sql, &e));
    const char *at = strstr(server, "/postgres?");
    assert_non_null(at);
    (void)snprintf(p->url, sizeof p->url, "%.*s/relay%d%s", (int)(at - server), server, cases,
                   at + strlen("/postgres"));
    (void)snprintf(p->topic, sizeof p->topic, "relay%d", cases);
    broker("topic", p->topic, "3");
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    writer_stop(p->w);
    relay_stop(p->r);
    free(p);
    return 0;
}

static void add(struct place *p, int n)
{
    static int number;
    struct store_event events[100];
    struct store_result results[100];
    assert_true(n <= 100);
    for (int i = 0; i < n; i++)
        events[i] = (struct store_event){
            .source = SOURCE,
            .subject = slice_of(rooms[number++ % ROOMS]),
            .kind = RECORD_POST,
            .time_us = clock_wall_us(),
            .members = SLICE("\"participant\":\"sip:ann@example.com\",\"text\":\"hello\""),
            .numbered = true,
        };
    OK(writer_submit_wait(p->w, events, (size_t)n, results, &e));
}

/* ---- the log read back ---- */
struct seen {
    int64_t head;
    uint8_t hashes[MAX_RECORDS][SHA256_SIZE];
};
struct log {
    struct seen rooms[ROOMS];
    struct json_doc *d;
    size_t messages, repeats;
    size_t late; /* came for the first time after a later one of its room */
};

static void look(struct log *g, struct slice raw)
{
    struct record r;
    OK(record_decode(g->d, raw, &r, &e));
    for (int i = 0; i < ROOMS; i++) {
        struct seen *s = &g->rooms[i];
        if (!slice_is(r.subject, rooms[i]))
            continue;
        assert_true(r.sequence < MAX_RECORDS);
        uint8_t *hash = s->hashes[r.sequence];
        static const uint8_t none[SHA256_SIZE];
        bool known = memcmp(hash, none, SHA256_SIZE) != 0;
        if (known) {
            assert_memory_equal(hash, r.hash, SHA256_SIZE);
            g->repeats++;
        } else if (r.sequence < s->head) {
            g->late++;
        }
        memcpy(hash, r.hash, SHA256_SIZE);
        if (r.sequence > s->head)
            s->head = r.sequence;
    }
    g->messages++;
}

static int from_start(void *arg, const int32_t *partitions, int64_t *positions, size_t n)
{
    (void)arg;
    (void)partitions;
    for (size_t i = 0; i < n; i++)
        positions[i] = 0;
    return 0;
}

static void forget(void *arg, const int32_t *partitions, size_t n)
{
    (void)arg;
    (void)partitions;
    (void)n;
}

static struct log *read_log(const struct place *p)
{
    static const struct kafka_consumer_events events = {from_start, forget};
    struct kafka_target t = target(p);
    struct kafka_consumer *c = NULL;
    struct log *g = calloc(1, sizeof *g);
    int64_t left = 0;
    assert_non_null(g);
    g->d = json_doc_new();
    for (int32_t i = 0; i < PARTITIONS; i++) {
        int64_t low = 0;
        int64_t high = 0;
        OK(kafka_ends(&t, i, 10000, &low, &high, &e));
        left += high - low;
    }
    OK(kafka_consumer_open(&c, &t, &events, NULL, &e));
    int64_t until = clock_mono_ms() + 60000;
    while (left > 0 && clock_mono_ms() < until) {
        struct kafka_message m;
        struct err e = {0};
        if (kafka_consumer_poll(c, 200, &m, &e) != 0)
            continue;
        look(g, m.value);
        kafka_message_release(&m);
        left--;
    }
    kafka_consumer_close(c);
    json_doc_free(g->d);
    assert_int_equal(left, 0);
    return g;
}

/* Compares with the store: every record of the rooms is in the log with its bytes. */
static int compare(void *arg, const struct store_row *row, struct err *e)
{
    struct seen *s = arg;
    uint8_t hash[SHA256_SIZE];
    sha256(row->raw.p, row->raw.n, hash);
    if (memcmp(hash, s->hashes[row->sequence], SHA256_SIZE) != 0)
        return err_set(e, ERR_FAULT, "record %" PRId64 " is not in the log", row->sequence);
    return 0;
}

struct heads {
    struct log *g;
    int64_t ids[ROOMS], heads[ROOMS], relayed[ROOMS];
};

static int find_rooms(void *arg, const struct store_stream *st, struct err *e)
{
    struct heads *h = arg;
    (void)e;
    for (int i = 0; i < ROOMS; i++) {
        if (slice_is(st->subject, rooms[i])) {
            h->ids[i] = st->id;
            h->heads[i] = st->sequence;
            h->relayed[i] = st->relayed;
        }
    }
    return 0;
}

static struct heads compare_with_store(const struct place *p, struct log *g)
{
    OWN(own_store) struct store *s = NULL;
    struct heads h = {.g = g};
    OK(store_open_reader(&s, p->url, &e));
    OK(store_streams(s, find_rooms, &h, &e));
    for (int i = 0; i < ROOMS; i++) {
        assert_int_equal(g->rooms[i].head, h.heads[i]);
        OK(store_read_stream(s, h.ids[i], 1, h.heads[i], MAX_RECORDS, compare, &g->rooms[i], &e));
    }
    return h;
}

static void stop_both(struct place *p)
{
    writer_stop(p->w);
    p->w = NULL;
    relay_stop(p->r);
    p->r = NULL;
}

static void each_once_in_order(void **state)
{
    struct place *p = *state;
    struct relay_state rs;
    p->r = start_relay(p, 0);
    start_writer(p);
    for (int i = 0; i < 30; i++)
        add(p, 100);
    OK(relay_wait(p->r, 30000, &e));
    relay_state(p->r, &rs);
    assert_int_equal(rs.unconfirmed, 0);
    assert_int_equal(rs.oldest_us, 0);
    assert_true(rs.connected);
    assert_string_equal(rs.problem, "");
    stop_both(p);
    struct log *g = read_log(p);
    assert_int_equal(g->messages, 3000);
    assert_int_equal(g->late, 0);
    struct heads h = compare_with_store(p, g);
    for (int i = 0; i < ROOMS; i++)
        assert_int_equal(h.relayed[i], h.heads[i]);
    free(g);
}

/* What an earlier run left behind, read from the store; then more through a window that is far too
 * small. */
static void backlog_and_small_window(void **state)
{
    struct place *p = *state;
    start_writer(p);
    for (int i = 0; i < 20; i++)
        add(p, 100);
    writer_stop(p->w);
    p->w = NULL;
    p->r = start_relay(p, 2000);
    start_writer(p);
    for (int i = 0; i < 20; i++)
        add(p, 100);
    OK(relay_wait(p->r, 30000, &e));
    stop_both(p);
    struct log *g = read_log(p);
    assert_int_equal(g->messages, 4000);
    assert_int_equal(g->late, 0);
    (void)compare_with_store(p, g);
    free(g);
}

struct load {
    struct place *p;
    int rounds;
    atomic_bool done;
};

static void *load(void *arg)
{
    struct load *l = arg;
    for (int i = 0; i < l->rounds; i++) {
        add(l->p, 50);
        (void)poll(NULL, 0, 10); /* the pace of the load */
    }
    l->done = true;
    return NULL;
}

static void broker_killed_while_producing(void **state)
{
    struct place *p = *state;
    struct load l = {.p = p, .rounds = 200};
    struct relay_state rs;
    pthread_t thread;
    p->r = start_relay(p, 64 * 1024);
    start_writer(p);
    assert_int_equal(pthread_create(&thread, NULL, load, &l), 0);
    (void)poll(NULL, 0, 500);
    broker("kill", NULL, NULL);
    /* Chat goes on meanwhile, and the relay says how far it is behind. */
    int64_t until = clock_mono_ms() + 10000;
    do {
        (void)poll(NULL, 0, 20);
        relay_state(p->r, &rs);
    } while (rs.unconfirmed < 500 && clock_mono_ms() < until);
    assert_true(rs.unconfirmed >= 500 && rs.oldest_us > 0);
    broker("start", NULL, NULL);
    assert_int_equal(pthread_join(thread, NULL), 0);
    OK(relay_wait(p->r, 60000, &e));
    stop_both(p);
    struct log *g = read_log(p);
    assert_int_equal(g->late, 0);
    assert_int_equal(g->messages - g->repeats, 10000);
    (void)compare_with_store(p, g);
    free(g);
}

static void starts_without_broker(void **state)
{
    struct place *p = *state;
    struct relay_state rs;
    broker("stop", NULL, NULL);
    p->r = start_relay(p, 0);
    start_writer(p);
    add(p, 100);
    relay_state(p->r, &rs);
    assert_int_equal(rs.unconfirmed, 100);
    assert_false(rs.connected);
    assert_string_not_equal(rs.problem, "");
    assert_int_equal(relay_wait(p->r, 200, NULL), ERR_AGAIN);
    broker("start", NULL, NULL);
    OK(relay_wait(p->r, 60000, &e));
    stop_both(p);
    struct log *g = read_log(p);
    assert_int_equal(g->messages, 100);
    (void)compare_with_store(p, g);
    free(g);
}

static void second_relay_waits(void **state)
{
    struct place *p = *state;
    struct relay_state rs;
    p->r = start_relay(p, 0);
    struct relay *second = start_relay(p, 0);
    start_writer(p);
    add(p, 99);
    OK(relay_wait(p->r, 30000, &e));
    relay_state(second, &rs);
    assert_non_null(strstr(rs.problem, "another process relays"));
    relay_stop(p->r);
    p->r = NULL;
    OK(relay_wait(second, 30000, &e));
    relay_stop(second);
    writer_stop(p->w);
    p->w = NULL;
    struct log *g = read_log(p);
    assert_int_equal(g->messages, 99);
    free(g);
}

static void wrong_topic_is_refused(void **state)
{
    struct place *p = *state;
    struct relay *r = NULL;
    struct err e = {0};
    struct relay_options o = {.store_url = p->url, .kafka = target(p), .source = SOURCE};
    o.kafka.topic = "absent";
    assert_int_equal(relay_start(&r, &o, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "absent"));
}

/* ---- a killed relay ---- */
static int relay_for_ever(const char *url, const char *topic)
{
    struct relay *r = NULL;
    struct err e = {0};
    struct relay_options o = {
        .store_url = url,
        .kafka = {.brokers = getenv("HOLDFAST_TEST_KAFKA"), .topic = topic, .single_broker = true},
        .source = SOURCE};
    if (relay_start(&r, &o, &e) < 0)
        return 1;
    for (;;)
        (void)poll(NULL, 0, 1000);
}

static int64_t relayed_sum(struct store *s)
{
    int64_t sum = 0;
    OK(db_int(store_db(s), "SELECT CAST(sum(relayed) AS bigint) FROM stream", DB_NO_ARGS, 0, &sum,
              &e));
    return sum;
}

static void killed_relay_repeats_runs(void **state)
{
    struct place *p = *state;
    OWN(own_store) struct store *s = NULL;
    start_writer(p);
    for (int i = 0; i < 100; i++)
        add(p, 100);
    OK(store_open_reader(&s, p->url, &e));
    int64_t before = 0;
    for (int i = 0; i < 3 && before < 10000; i++) {
        char path[] = "/proc/self/exe";
        char *argv[] = {path, p->url, p->topic, NULL};
        pid_t pid;
        assert_int_equal(posix_spawn(&pid, path, NULL, NULL, argv, environ), 0);
        /* The first note comes with the first confirmations: most is still to be done. */
        int64_t until = clock_mono_ms() + 20000;
        while (relayed_sum(s) == before && clock_mono_ms() < until)
            (void)poll(NULL, 0, 1);
        (void)kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_true(relayed_sum(s) > before);
        before = relayed_sum(s);
        if (i == 0)
            assert_true(before < 10000);
    }
    p->r = start_relay(p, 0);
    OK(relay_wait(p->r, 30000, &e));
    stop_both(p);
    struct log *g = read_log(p);
    assert_int_equal(g->late, 0);
    assert_int_equal(g->messages - g->repeats, 10000);
    (void)compare_with_store(p, g);
    free(g);
}

/* ---- records that can't be relayed ---- */
static void set_topic_limit(const struct place *p, const char *bytes)
{
    struct kafka_target t = target(p);
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

static struct parked parked_of(const struct place *p)
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
static void told_from_the_store(struct place *p, const struct store_result *refused)
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
    struct place *p = *state;
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
    OK(relay_wait(p->r, 30000, &e));
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
    struct place *p = *state;
    OWN(own_db) struct db *db = NULL;
    start_writer(p);
    add(p, 99);
    OK(db_open(&db, p->url, 0, &e));
    OK(db_script(db,
                 "DELETE FROM chat.record WHERE sequence = 7 AND stream ="
                 " (SELECT id FROM chat.stream WHERE subject = 'r:two')",
                 &e));
    p->r = start_relay(p, 0);
    OK(relay_wait(p->r, 30000, &e));
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
    if (argc == 3)
        return relay_for_ever(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_once_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(backlog_and_small_window, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_topic_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(second_relay_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(missing_row_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(killed_relay_repeats_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(poison_is_parked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(broker_killed_while_producing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(starts_without_broker, set_up, tear_down),
    };
    brokers = getenv("HOLDFAST_TEST_KAFKA");
    parts = getenv("HOLDFAST_TEST_PARTS");
    broker_dir = getenv("HOLDFAST_TEST_KAFKA_DIR");
    if (!brokers || !parts || !broker_dir) {
        print_error("run beside private parts: tests/parts/with postgres kafka -- %s\n", argv[0]);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
