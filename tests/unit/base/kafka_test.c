/* SPDX-License-Identifier: Apache-2.0 */
/* base/kafka.h against a real broker, which is frozen, killed and started again. */
#include "base/clock.h"
#include "base/kafka.h"
#include "base/kafka_common.h"
#include "base/own.h"
#include "tests/expect.h"

#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

static const char *brokers;
static const char *parts;
static const char *broker_dir;

enum { PARTITIONS = 4, PATIENCE_MS = 30000 };

/* tests/parts/kafka VERB DIR [WORD...] */
static void broker(const char *verb, const char *a, const char *b, const char *c)
{
    char script[512];
    pid_t pid;
    int status = -1;
    (void)snprintf(script, sizeof script, "%s/kafka", parts);
    const char *words[] = {script, verb, broker_dir, a, b, c, NULL};
    assert_int_equal(posix_spawn(&pid, script, NULL, NULL, (char **)(uintptr_t)words, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static struct kafka_target target(const char *topic)
{
    return (struct kafka_target){
        .brokers = brokers, .topic = topic, .group = topic, .single_broker = true};
}

struct reports {
    size_t n;
    size_t confirmed;
    size_t maybe;
    int class; /* the last failure's */
    int64_t last[PARTITIONS];
    uint8_t seen[100000];
};

static void report(void *arg, const struct kafka_report *r)
{
    struct reports *s = arg;
    uintptr_t tag = (uintptr_t)r->tag;
    s->n++;
    s->maybe += r->maybe;
    assert_true(tag < sizeof s->seen);
    s->seen[tag]++;
    if (r->class) {
        s->class = r->class;
        assert_true(r->text[0] != '\0');
        return;
    }
    s->confirmed++;
    if (r->offset >= 0) {
        assert_true(r->offset > s->last[r->partition]);
        s->last[r->partition] = r->offset;
    }
}

static struct reports *reports_new(void)
{
    struct reports *s = calloc(1, sizeof *s);
    assert_non_null(s);
    for (int i = 0; i < PARTITIONS; i++)
        s->last[i] = -1;
    return s;
}

static struct kafka_producer *producer(const char *topic, struct reports *s)
{
    struct kafka_target t = target(topic);
    struct kafka_producer *p = NULL;
    struct err e = {0};
    ok(kafka_producer_open(&p, &t, report, s, &e), &e);
    return p;
}

static void send_one(struct kafka_producer *p, int number)
{
    struct err e = {0};
    char key[16];
    char value[32];
    (void)snprintf(key, sizeof key, "room%d", number % 16);
    (void)snprintf(value, sizeof value, "%d", number);
    ok(kafka_producer_send(p, slice_of(key), slice_of(value), (void *)(uintptr_t)number, &e), &e);
}

static void wait_confirmed(struct kafka_producer *p, const struct reports *s, size_t n)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (s->confirmed < n) {
        assert_true(clock_mono_ms() < until);
        kafka_producer_poll(p, 50);
    }
}

static void fill(const char *topic, int n)
{
    OWN(own_mem) struct reports *s = reports_new();
    struct kafka_producer *p = producer(topic, s);
    for (int i = 0; i < n; i++)
        send_one(p, i);
    wait_confirmed(p, s, (size_t)n);
    assert_int_equal(s->n, n);
    kafka_producer_close(p);
    assert_int_equal(s->n, n);
}

/* A consumer with its positions, as a database would keep them. */
struct taker {
    struct kafka_consumer *c;
    int64_t next[PARTITIONS];
    bool mine[PARTITIONS];
    int assigns;
    int revokes;
    int refuse;
    size_t got;
};

static int assigned(void *arg, const int32_t *partitions, int64_t *positions, size_t n)
{
    struct taker *t = arg;
    if (t->refuse > 0) {
        t->refuse--;
        return ERR_RETRY;
    }
    t->assigns++;
    for (size_t i = 0; i < n; i++) {
        positions[i] = t->next[partitions[i]];
        t->mine[partitions[i]] = true;
    }
    return 0;
}

static void revoked(void *arg, const int32_t *partitions, size_t n)
{
    struct taker *t = arg;
    t->revokes++;
    for (size_t i = 0; i < n; i++)
        t->mine[partitions[i]] = false;
}

static void taker_open(struct taker *t, const char *topic)
{
    static const struct kafka_consumer_events events = {assigned, revoked};
    struct kafka_target where = target(topic);
    struct err e = {0};
    ok(kafka_consumer_open(&t->c, &where, &events, t, &e), &e);
}

static int mine(const struct taker *t)
{
    int n = 0;
    for (int i = 0; i < PARTITIONS; i++)
        n += t->mine[i];
    return n;
}

/* Takes one message in order; returns the class of what else came. */
static int take_one(struct taker *t, int64_t ms, struct kafka_message *lost)
{
    struct kafka_message m = {0};
    struct err e = {0};
    int rc = kafka_consumer_poll(t->c, ms, &m, &e);
    if (rc < 0) {
        if (rc != ERR_AGAIN && rc != ERR_RETRY && rc != ERR_NOT_FOUND)
            fail_msg("%s: %s", err_class_name(rc), e.text);
        if (lost)
            *lost = m;
        return rc;
    }
    assert_true(t->mine[m.partition]);
    assert_int_equal(m.offset, t->next[m.partition]);
    assert_true(m.queued_us > 1700000000LL * 1000000);
    t->next[m.partition] = m.offset + 1;
    t->got++;
    kafka_message_release(&m);
    assert_null(m.handle);
    return 0;
}

static void take_until(struct taker *t, size_t got)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (t->got < got) {
        if (clock_mono_ms() > until)
            fail_msg("%zu of %zu messages came", t->got, got);
        (void)take_one(t, 100, NULL);
    }
    assert_int_equal(t->got, got);
}

/* To where the taker stands; a busy machine may need more than one try. */
static void seek(struct taker *t, int32_t part)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    struct err e = {0};
    int rc = ERR_RETRY;
    while (rc == ERR_RETRY && clock_mono_ms() < until)
        rc = kafka_consumer_seek(t->c, part, t->next[part], &e);
    ok(rc, &e);
}

static void nothing_for(struct taker *t, int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;
    while (clock_mono_ms() < until) {
        int rc = take_one(t, 50, NULL);
        assert_true(rc == ERR_AGAIN || rc == ERR_RETRY);
    }
}

static void classes(void **state)
{
    static const struct {
        rd_kafka_resp_err_t code;
        int class;
    } map[] = {
        {RD_KAFKA_RESP_ERR_NO_ERROR, 0},
        {RD_KAFKA_RESP_ERR__QUEUE_FULL, ERR_AGAIN},
        {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, ERR_REJECTED},
        {RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, ERR_REJECTED},
        {RD_KAFKA_RESP_ERR_INVALID_RECORD, ERR_REJECTED},
        {RD_KAFKA_RESP_ERR__PURGE_QUEUE, ERR_STOPPED},
        {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, ERR_STOPPED},
        {RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, ERR_NOT_FOUND},
        {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, ERR_CONFIG},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, ERR_CONFIG},
        {RD_KAFKA_RESP_ERR__TRANSPORT, ERR_RETRY},
        {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, ERR_RETRY},
        {RD_KAFKA_RESP_ERR__FATAL, ERR_RETRY},
        {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, ERR_RETRY},
        {RD_KAFKA_RESP_ERR__STATE, ERR_FAULT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
        assert_int_equal(kafka_class_of(map[i].code), map[i].class);
}

static void each_setting_is_demanded(void **state)
{
    static const struct {
        const char *topic, *setting, *type;
    } bad[] = {
        {"bad1", "cleanup.policy=compact", "--add-config cleanup.policy=delete"},
        {"bad2", "cleanup.policy=compact,delete", "--add-config cleanup.policy=delete"},
        {"bad3", "retention.ms=60000", "--add-config retention.ms=-1"},
        {"bad4", "retention.bytes=1000000", "--add-config retention.bytes=-1"},
        {"bad5", "message.timestamp.type=CreateTime",
         "--add-config message.timestamp.type=LogAppendTime"},
        {"bad6", "unclean.leader.election.enable=true",
         "--add-config unclean.leader.election.enable=false"},
        {"bad7", "max.message.bytes=500000", "--add-config max.message.bytes="},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct kafka_facts facts = {.partitions = 0};
        struct kafka_target t = target(bad[i].topic);
        struct err e = {0};
        broker("topic", bad[i].topic, "1", bad[i].setting);
        assert_int_equal(kafka_check(&t, 10000, &facts, &e), ERR_CONFIG);
        if (!strstr(e.text, bad[i].setting) || !strstr(e.text, bad[i].type))
            fail_msg("%s: %s", bad[i].setting, e.text);
    }
}

static void topics_are_checked(void **state)
{
    struct kafka_facts facts = {.partitions = 0};
    struct kafka_target t = target("good");
    struct err e = {0};
    (void)state;
    broker("topic", "good", "4", NULL);
    ok(kafka_check(&t, 10000, &facts, &e), &e);
    assert_int_equal(facts.partitions, 4);
    assert_true(facts.topics_deletable);
    assert_int_equal(strlen(facts.cluster), 22);

    t.single_broker = false;
    assert_int_equal(kafka_check(&t, 10000, &facts, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "replicas"));
    t = target("absent");
    assert_int_equal(kafka_check(&t, 10000, &facts, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "absent"));
    t = target("^.*");
    assert_int_equal(kafka_check(&t, 10000, &facts, &e), ERR_CONFIG);
    t = target("good");
    t.brokers = "127.0.0.1:1";
    int64_t start = clock_mono_ms();
    assert_int_equal(kafka_check(&t, 1000, &facts, &e), ERR_RETRY);
    assert_true(clock_mono_ms() - start < 5000);
}

static void what_goes_in_comes_out_in_order(void **state)
{
    struct taker t = {.c = NULL};
    struct err e = {0};
    (void)state;
    broker("topic", "flow", "4", NULL);
    fill("flow", 5000);
    taker_open(&t, "flow");
    take_until(&t, 2000);
    take_until(&t, 5000);
    assert_int_equal(mine(&t), 4);
    assert_int_equal(t.assigns, 1);
    nothing_for(&t, 300);

    /* A refused compare-and-swap: back to what the database has. */
    int64_t end = t.next[1];
    assert_true(end > 10);
    t.next[1] = end - 10;
    seek(&t, 1);
    take_until(&t, 5010);
    assert_int_equal(kafka_consumer_seek(t.c, 9, 0, &e), ERR_CONFLICT);

    ok(kafka_consumer_pause(t.c, true, &e), &e);
    fill("flow", 100);
    nothing_for(&t, 500);
    ok(kafka_consumer_pause(t.c, false, &e), &e);
    take_until(&t, 5110);
    kafka_consumer_close(t.c);
    assert_int_equal(t.revokes, 0);
}

static void ends_and_single_records(void **state)
{
    struct kafka_target t = target("ends");
    struct err e = {0};
    OWN(own_buf) struct buf value;
    int64_t low = -1;
    int64_t high = -1;
    (void)state;
    broker("topic", "ends", "1", NULL);
    ok(kafka_ends(&t, 0, 10000, &low, &high, &e), &e);
    assert_int_equal(low, 0);
    assert_int_equal(high, 0);
    fill("ends", 100);
    buf_init(&value, 1000);
    ok(kafka_read_one(&t, 0, 41, 10000, &value, &e), &e);
    assert_true(slice_is(buf_view(&value), "41"));
    assert_int_equal(kafka_read_one(&t, 0, 100, 10000, &value, &e), ERR_NOT_FOUND);
    assert_int_equal(kafka_read_one(&t, 0, 5000, 10000, &value, &e), ERR_NOT_FOUND);
    assert_int_equal(kafka_delete_below(&t, 0, -1, 10000, &low, &e), ERR_FAULT);
    ok(kafka_delete_below(&t, 0, 60, 10000, &low, &e), &e);
    assert_int_equal(low, 60);
    assert_int_equal(kafka_delete_below(&t, 0, 101, 10000, &low, &e), ERR_NOT_FOUND);
    ok(kafka_ends(&t, 0, 10000, &low, &high, &e), &e);
    assert_int_equal(low, 60);
    assert_int_equal(high, 100);
    assert_int_equal(kafka_read_one(&t, 0, 59, 10000, &value, &e), ERR_NOT_FOUND);
    assert_true(slice_is(buf_view(&value), "41"));
    t = target("absent");
    int rc = kafka_ends(&t, 0, 2000, &low, &high, &e);
    assert_true(rc == ERR_CONFIG || rc == ERR_RETRY);
}

static void position_outside_the_log(void **state)
{
    struct kafka_target where = target("outside");
    struct taker t = {.next = {5}};
    struct kafka_message lost = {.partition = -1};
    struct err e = {0};
    int64_t low;
    int rc;
    (void)state;
    broker("topic", "outside", "2", NULL);
    fill("outside", 1000);
    ok(kafka_delete_below(&where, 0, 20, 10000, &low, &e), &e);
    taker_open(&t, "outside");
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    do {
        rc = take_one(&t, 100, &lost);
        assert_true(clock_mono_ms() < until);
    } while (rc != ERR_NOT_FOUND);
    assert_int_equal(lost.partition, 0);
    assert_int_equal(lost.offset, 5);
    /* Told once; the other partition goes on. */
    until = clock_mono_ms() + 1500;
    while (clock_mono_ms() < until)
        assert_int_not_equal(take_one(&t, 50, &lost), ERR_NOT_FOUND);
    assert_true(t.next[1] > 100);
    assert_int_equal(t.next[0], 5);
    size_t others = t.got;
    t.next[0] = 20;
    seek(&t, 0);
    take_until(&t, others + (1000 - (size_t)t.next[1] - 20));
    kafka_consumer_close(t.c);
}

static void await_parts(struct taker *a, int n, struct taker *b, int m)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (mine(a) != n || (b && mine(b) != m)) {
        assert_true(clock_mono_ms() < until);
        (void)take_one(a, 50, NULL);
        if (b)
            (void)take_one(b, 50, NULL);
    }
}

static void a_group_shares_and_recovers(void **state)
{
    struct taker a = {.refuse = 1};
    struct taker b = {.c = NULL};
    struct err e = {0};
    (void)state;
    broker("topic", "group", "4", NULL);
    fill("group", 400);
    taker_open(&a, "group");
    /* The database was away at first: asked again without a new rebalance. */
    take_until(&a, 400);
    assert_int_equal(a.assigns, 1);
    ok(kafka_consumer_pause(a.c, true, &e), &e);
    memcpy(b.next, a.next, sizeof b.next);
    taker_open(&b, "group");
    await_parts(&a, 2, &b, 2);
    assert_true(a.revokes >= 1);
    for (int i = 0; i < PARTITIONS; i++)
        assert_true(a.mine[i] != b.mine[i]);
    ok(kafka_consumer_pause(a.c, false, &e), &e);
    kafka_consumer_close(b.c);
    await_parts(&a, 4, NULL, 0);
    fill("group", 100);
    take_until(&a, 500);
    kafka_consumer_close(a.c);
}

static void too_large_is_refused_alone(void **state)
{
    OWN(own_mem) struct reports *s = reports_new();
    OWN(own_mem) char *big = calloc(1, 1100000);
    struct err e = {0};
    (void)state;
    assert_non_null(big);
    broker("topic", "large", "1", NULL);
    struct kafka_producer *p = producer("large", s);
    struct slice key = SLICE("k");
    assert_int_equal(kafka_producer_send(p, key, (struct slice){big, 1100000}, NULL, &e),
                     ERR_REJECTED);
    for (int i = 0; i < 6; i++)
        ok(kafka_producer_send(p, key, (struct slice){big, 512 * 1024}, (void *)(uintptr_t)i, &e),
           &e);
    wait_confirmed(p, s, 6);
    assert_false(kafka_producer_fatal(p));
    kafka_producer_close(p);
    assert_int_equal(s->n, 6);
}

static void frozen_broker_fills_the_queue(void **state)
{
    OWN(own_mem) struct reports *s = reports_new();
    struct kafka_target t = target("frozen");
    struct err e = {0};
    char value[700];
    int64_t low;
    int64_t high;
    int n = 0;
    (void)state;
    broker("topic", "frozen", "1", NULL);
    fill("frozen", 10);
    memset(value, 'x', sizeof value);
    struct kafka_producer *p = producer("frozen", s);
    send_one(p, n++);
    wait_confirmed(p, s, 1);
    broker("pause", NULL, NULL, NULL);
    int64_t start = clock_mono_ms();
    assert_int_equal(kafka_ends(&t, 0, 1000, &low, &high, &e), ERR_RETRY);
    assert_true(clock_mono_ms() - start < 5000);
    int rc = 0;
    while (rc == 0 && n < 100000) {
        rc = kafka_producer_send(p, SLICE("k"), (struct slice){value, sizeof value},
                                 (void *)(uintptr_t)n, &e);
        n += rc == 0;
    }
    assert_int_equal(rc, ERR_AGAIN);
    assert_in_range(n, 30000, 60000);
    start = clock_mono_ms();
    kafka_producer_purge(p);
    assert_true(clock_mono_ms() - start < 5000);
    assert_int_equal(s->n, n);
    assert_int_equal(s->class, ERR_STOPPED);
    for (int i = 0; i < n; i++)
        assert_int_equal(s->seen[i], 1);
    broker("resume", NULL, NULL, NULL);
    size_t before = s->confirmed;
    send_one(p, 0);
    wait_confirmed(p, s, before + 1);
    assert_false(kafka_producer_fatal(p));
    kafka_producer_close(p);
}

static void after_a_fatal_error_a_new_instance_works(void **state)
{
    OWN(own_mem) struct reports *s = reports_new();
    struct err e = {0};
    (void)state;
    broker("topic", "fatal", "4", NULL);
    struct kafka_producer *p = producer("fatal", s);
    send_one(p, 0);
    wait_confirmed(p, s, 1);
    assert_int_equal(rd_kafka_test_fatal_error(kafka_producer_client(p),
                                               RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                                               "test"),
                     0);
    assert_true(kafka_producer_fatal(p));
    assert_int_equal(kafka_producer_send(p, SLICE("k"), SLICE("v"), NULL, &e), ERR_RETRY);
    kafka_producer_close(p);
    assert_int_equal(s->n, 1);
    p = producer("fatal", s);
    for (int i = 1; i < 100; i++)
        send_one(p, i);
    wait_confirmed(p, s, 100);
    kafka_producer_close(p);
    assert_int_equal(s->n, 100);
}

static void killed_broker_comes_back(void **state)
{
    OWN(own_mem) struct reports *s = reports_new();
    struct taker t = {.c = NULL};
    struct taker other = {.c = NULL};
    (void)state;
    broker("topic", "killed", "4", NULL);
    fill("killed", 100);
    taker_open(&t, "killed");
    take_until(&t, 100);
    memcpy(other.next, t.next, sizeof other.next);
    taker_open(&other, "killed");
    await_parts(&t, 2, &other, 2);
    struct kafka_producer *p = producer("killed", s);
    broker("kill", NULL, NULL, NULL);
    for (int i = 0; i < 1000; i++)
        send_one(p, i);
    int64_t start = clock_mono_ms();
    kafka_consumer_close(other.c);
    assert_true(clock_mono_ms() - start < 10000);
    nothing_for(&t, 1000);
    assert_int_equal(s->n, 0);
    broker("start", NULL, NULL, NULL);
    wait_confirmed(p, s, 1000);
    assert_int_equal(s->n, 1000);
    take_until(&t, 1100);
    kafka_producer_close(p);
    kafka_consumer_close(t.c);
}

/* Both are in the group, and have been for a while. */
static void both_joined(struct taker *a, struct taker *b)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (a->assigns < 1 || b->assigns < 1 || mine(a) + mine(b) != 1) {
        assert_true(clock_mono_ms() < until);
        (void)take_one(a, 50, NULL);
        (void)take_one(b, 50, NULL);
    }
}

static void who_has_rightly_none_disturbs_nobody(void **state)
{
    struct taker a = {.c = NULL};
    struct taker b = {.c = NULL};
    (void)state;
    broker("topic", "narrow", "1", NULL);
    taker_open(&a, "narrow");
    taker_open(&b, "narrow");
    both_joined(&a, &b);
    int64_t until = clock_mono_ms() + 2 * KAFKA_GROUP_MS + 1000;
    const int assigns = a.assigns + b.assigns;
    while (clock_mono_ms() < until) {
        assert_int_equal(take_one(&a, 50, NULL), ERR_AGAIN);
        assert_int_equal(take_one(&b, 50, NULL), ERR_AGAIN);
    }
    assert_int_equal(a.assigns + b.assigns, assigns);
    fill("narrow", 100);
    struct taker *reader = mine(&a) ? &a : &b;
    take_until(reader, 100);
    kafka_consumer_close(reader->c);
    struct taker *other = reader == &a ? &b : &a;
    memcpy(other->next, reader->next, sizeof other->next);
    await_parts(other, 1, NULL, 0);
    kafka_consumer_close(other->c);
}

static void a_topic_that_is_not_there_is_told_of(void **state)
{
    struct taker t = {.c = NULL};
    struct kafka_message m;
    struct err e = {0};
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    (void)state;
    taker_open(&t, "nowhere");
    while (kafka_consumer_poll(t.c, 50, &m, &e) != ERR_CONFIG)
        assert_true(clock_mono_ms() < until);
    assert_non_null(strstr(e.text, "nowhere"));
    kafka_consumer_close(t.c);
}

/* The group waits some seconds for members before partitions are shared out; as brokers do that
 * are not a test's. */
static void broker_takes_its_time(void)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/server.properties", broker_dir);
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    (void)fprintf(f, "group.initial.rebalance.delay.ms=2000\n");
    assert_int_equal(fclose(f), 0);
    broker("restart", NULL, NULL, NULL);
}

/* It is there when the consumer joins and when its metadata is read again, and was away only when
 * they were shared out: to the library nothing has changed. */
static void partitions_shared_out_while_the_topic_was_away(void **state)
{
    struct taker t = {.c = NULL};
    (void)state;
    broker_takes_its_time();
    broker("topic", "blink", "4", NULL);
    taker_open(&t, "blink");
    nothing_for(&t, 1000);
    assert_int_equal(t.assigns, 0);
    broker("drop", "blink", NULL, NULL);
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (t.assigns == 0) {
        assert_true(clock_mono_ms() < until);
        (void)take_one(&t, 20, NULL);
    }
    assert_int_equal(mine(&t), 0);
    broker("topic", "blink", "4", NULL);
    fill("blink", 100);
    take_until(&t, 100);
    assert_int_equal(mine(&t), 4);
    kafka_consumer_close(t.c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(topics_are_checked),
        cmocka_unit_test(each_setting_is_demanded),
        cmocka_unit_test(what_goes_in_comes_out_in_order),
        cmocka_unit_test(ends_and_single_records),
        cmocka_unit_test(position_outside_the_log),
        cmocka_unit_test(a_group_shares_and_recovers),
        cmocka_unit_test(too_large_is_refused_alone),
        cmocka_unit_test(frozen_broker_fills_the_queue),
        cmocka_unit_test(after_a_fatal_error_a_new_instance_works),
        cmocka_unit_test(killed_broker_comes_back),
        cmocka_unit_test(who_has_rightly_none_disturbs_nobody),
        cmocka_unit_test(a_topic_that_is_not_there_is_told_of),
        cmocka_unit_test(partitions_shared_out_while_the_topic_was_away),
    };
    brokers = getenv("HOLDFAST_TEST_KAFKA");
    parts = getenv("HOLDFAST_TEST_PARTS");
    broker_dir = getenv("HOLDFAST_TEST_KAFKA_DIR");
    if (!brokers || !parts || !broker_dir) {
        (void)fprintf(stderr, "run by: tests/parts/with kafka -- kafka_test\n");
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
