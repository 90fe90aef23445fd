/* SPDX-License-Identifier: Apache-2.0 */
/* A tail whose place falls out of its log, with a real broker: it must say so, since what is said
 * from then on it would not hear. */
#include "base/clock.h"
#include "base/kafka.h"
#include "base/own.h"
#include "tests/expect.h"

#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

static const char *brokers;
static const char *parts;
static const char *broker_dir;

enum { PATIENCE_MS = 30000, LARGE = 8000, MANY = 400 };

/* tests/parts/kafka VERB DIR TOPIC [PARTITIONS] */
static void broker(const char *verb, const char *topic, const char *partitions)
{
    char script[512];
    pid_t pid;
    int status = -1;
    (void)snprintf(script, sizeof script, "%s/kafka", parts);
    const char *words[] = {script, verb, broker_dir, topic, partitions, NULL};
    assert_int_equal(posix_spawn(&pid, script, NULL, NULL, (char **)(uintptr_t)words, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static struct kafka_target target(const char *topic)
{
    return (struct kafka_target){.brokers = brokers, .topic = topic, .single_broker = true};
}

static void count(void *arg, const struct kafka_report *r)
{
    assert_int_equal(r->class, 0);
    ++*(int *)arg;
}

/* n messages, each of that many bytes, confirmed when it returns. */
static void say(const char *topic, int n, size_t bytes)
{
    const struct kafka_target t = target(topic);
    OWN(own_mem) char *text = calloc(1, bytes);
    struct kafka_producer *p = NULL;
    struct err e = {0};
    int confirmed = 0;
    const int64_t until = clock_mono_ms() + PATIENCE_MS;
    assert_non_null(text);
    ok(kafka_producer_open(&p, &t, count, &confirmed, &e), &e);
    for (int i = 0; i < n; i++)
        ok(kafka_producer_send(p, SLICE("k"), (struct slice){text, bytes}, NULL, &e), &e);
    while (confirmed < n && clock_mono_ms() < until)
        kafka_producer_poll(p, 50);
    assert_int_equal(confirmed, n);
    kafka_producer_close(p);
}

static struct kafka_tail *tail_of(const char *topic)
{
    const struct kafka_target t = target(topic);
    struct kafka_tail *tail = NULL;
    struct err e = {0};
    ok(kafka_tail_open(&tail, &t, &e), &e);
    return tail;
}

/* What comes until `most` came, or it hears no more. *class gets what ended it. */
static int heard(struct kafka_tail *tail, int most, int *class)
{
    const int64_t until = clock_mono_ms() + PATIENCE_MS;
    int n = 0;
    *class = 0;
    while (n < most && *class != ERR_RETRY && clock_mono_ms() < until) {
        struct kafka_message m = {0};
        *class = kafka_tail_poll(tail, 100, &m, NULL);
        n += *class == 0;
        kafka_message_release(&m);
    }
    return n;
}

/* A new one hears what is said from now on. */
static void opened_anew(const char *topic, struct kafka_tail *deaf)
{
    int class = 0;
    kafka_tail_close(deaf);
    struct kafka_tail *tail = tail_of(topic);
    say(topic, 3, 10);
    assert_int_equal(heard(tail, 3, &class), 3);
    kafka_tail_close(tail);
}

static void the_topic_is_made_again(void **state)
{
    int class = 0;
    (void)state;
    broker("topic", "again", "1");
    say("again", 50, 10);
    struct kafka_tail *tail = tail_of("again");
    say("again", 5, 10);
    assert_int_equal(heard(tail, 5, &class), 5);
    broker("drop", "again", NULL);
    broker("topic", "again", "1");
    say("again", 2, 10);
    assert_int_equal(heard(tail, 1, &class), 0);
    assert_int_equal(class, ERR_RETRY);
    opened_anew("again", tail);
}

/* More than what is read ahead, and deleted up to the end before it is read. */
static void its_messages_are_deleted(void **state)
{
    const struct kafka_target t = target("tidied");
    struct err e = {0};
    int64_t low = 0;
    int class = 0;
    (void)state;
    broker("topic", "tidied", "1");
    struct kafka_tail *tail = tail_of("tidied");
    say("tidied", MANY, LARGE);
    ok(kafka_delete_below(&t, 0, MANY, PATIENCE_MS, &low, &e), &e);
    assert_int_equal(low, MANY);
    assert_in_range(heard(tail, MANY, &class), 0, MANY - 1);
    assert_int_equal(class, ERR_RETRY);
    opened_anew("tidied", tail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_topic_is_made_again),
        cmocka_unit_test(its_messages_are_deleted),
    };
    brokers = getenv("HOLDFAST_TEST_KAFKA");
    parts = getenv("HOLDFAST_TEST_PARTS");
    broker_dir = getenv("HOLDFAST_TEST_KAFKA_DIR");
    if (!brokers || !parts || !broker_dir) {
        (void)fprintf(stderr, "run by: tests/parts/with kafka -- kafka_tail_test\n");
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
