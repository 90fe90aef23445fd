/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A relay loses its lock while records of it are in flight, and another one relays the same source
 * meanwhile: nothing is lost, and no report that comes late is taken for a log that was cut. A real
 * broker is frozen between the sending and the reports, and the database ends the connection that
 * holds the lock.
 */
#include "base/clock.h"
#include "base/own.h"
#include "chat-server/store/heal_store.h"
#include "chat-server/store/relay.h"
#include "chat-server/store/writer.h"

#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

extern char **environ;

#define SOURCE SLICE("sip:pool.example.com")

enum { ROOMS = 3, GROUP = 90, PATIENCE_MS = 60000, LEAST_BYTES = 10000, NO_STREAM = 1 << 30 };

static const char *const rooms[ROOMS] = {"r:one", "r:two", "r:three"};
static const char *brokers;

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        int rc_ = (call);                                                                          \
        if (rc_ < 0)                                                                               \
            fail_msg("%s: %d %s", #call, rc_, e.text);                                             \
    } while (0)

struct place {
    char url[512];
    struct db *db; /* of the one who looks */
    struct writer *w;
    struct relay *first, *second;
    struct record_await asked;
    bool asks, frozen;
};

static void broker(const char *verb, const char *a, const char *b)
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

static int set_up(void **state)
{
    const char *server = getenv("HOLDFAST_TEST_POSTGRES");
    struct place *p = calloc(1, sizeof *p);
    OWN(own_db) struct db *db = NULL;
    assert_non_null(p);
    OK(db_open(&db, server, 0, &e));
    OK(db_script(db, "CREATE DATABASE relay_lock", &e));
    const char *at = strstr(server, "/postgres?");
    assert_non_null(at);
    (void)snprintf(p->url, sizeof p->url, "%.*s/relay_lock%s", (int)(at - server), server,
                   at + strlen("/postgres"));
    OK(db_open(&p->db, p->url, 0, &e));
    broker("topic", "relay-lock", "3");
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    if (p->frozen)
        broker("resume", NULL, NULL);
    if (p->asks)
        (void)relay_forget(p->first, &p->asked);
    writer_stop(p->w);
    relay_stop(p->first);
    relay_stop(p->second);
    db_close(p->db);
    free(p);
    return 0;
}

static struct kafka_target target(void)
{
    return (struct kafka_target){
        .brokers = brokers, .topic = "relay-lock", .group = "relay-lock", .single_broker = true};
}

static struct relay *start_relay(const struct place *p)
{
    struct relay *r = NULL;
    const struct relay_options o = {.store_url = p->url, .kafka = target(), .source = SOURCE};
    OK(relay_start(&r, &o, &e));
    return r;
}

static void start_writer(struct place *p)
{
    const struct writer_options o = {.url = p->url, .stored = relay_stored, .stored_arg = p->first};
    OK(writer_start(&p->w, &o, &e));
    OK(writer_claim(p->w, SOURCE, &e));
}

static void add(struct place *p)
{
    struct store_event events[GROUP];
    struct store_result results[GROUP];
    for (int i = 0; i < GROUP; i++)
        events[i] = (struct store_event){
            .source = SOURCE,
            .subject = slice_of(rooms[i % ROOMS]),
            .kind = RECORD_POST,
            .time_us = clock_wall_us(),
            .members = SLICE("\"participant\":\"sip:ann@example.com\",\"text\":\"hello\""),
            .numbered = true,
        };
    OK(writer_submit_wait(p->w, events, GROUP, results, &e));
}

static int64_t number(struct place *p, const char *sql)
{
    int64_t n = -1;
    OK(db_int(p->db, sql, DB_NO_ARGS, -1, &n, &e));
    return n;
}

static void await_number(struct place *p, const char *sql, int64_t wanted)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (number(p, sql) != wanted) {
        if (clock_mono_ms() > until)
            fail_msg("%s: %" PRId64 ", not %" PRId64, sql, number(p, sql), wanted);
        (void)poll(NULL, 0, 10);
    }
}

static long unread_in(const char *table, unsigned port)
{
    long sum = 0;
    char line[512];
    FILE *f = fopen(table, "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        unsigned local = 0;
        unsigned state = 0;
        unsigned long unread = 0;
        if (sscanf(line, " %*d: %*x:%x %*x:%*x %x %*x:%lx", &local, &state, &unread) == 3 &&
            local == port && state == 1)
            sum += (long)unread;
    }
    (void)fclose(f);
    return sum;
}

/* What lies at the broker's door: bytes that its sockets have received. */
static long unread_by_broker(void)
{
    unsigned port = (unsigned)strtoul(strrchr(brokers, ':') + 1, NULL, 10);
    return unread_in("/proc/net/tcp", port) + unread_in("/proc/net/tcp6", port);
}

static void freeze_with_records_at_the_door(struct place *p)
{
    broker("pause", NULL, NULL);
    p->frozen = true;
    long before = unread_by_broker();
    add(p);
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (unread_by_broker() < before + LEAST_BYTES) {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 5);
    }
}

/* ---- the log read back ---- */
struct log {
    struct json_doc *d;
    int64_t heads[ROOMS];
    int messages;
};

/* A room's records come in order; what was sent again begins at one that was there before. */
static void look(struct log *g, struct slice raw)
{
    struct record r;
    OK(record_decode(g->d, raw, &r, &e));
    for (int i = 0; i < ROOMS; i++) {
        if (!slice_is(r.subject, rooms[i]))
            continue;
        assert_true(r.sequence <= g->heads[i] + 1);
        if (r.sequence > g->heads[i])
            g->heads[i] = r.sequence;
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

static struct log read_log(void)
{
    static const struct kafka_consumer_events events = {from_start, forget};
    const struct kafka_target t = target();
    struct kafka_consumer *c = NULL;
    struct log g = {.d = json_doc_new()};
    int64_t left = 0;
    for (int32_t i = 0; i < ROOMS; i++) {
        int64_t low = 0;
        int64_t high = 0;
        OK(kafka_ends(&t, i, 10000, &low, &high, &e));
        left += high - low;
    }
    OK(kafka_consumer_open(&c, &t, &events, NULL, &e));
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (left > 0 && clock_mono_ms() < until) {
        struct kafka_message m;
        if (kafka_consumer_poll(c, 200, &m, NULL) != 0)
            continue;
        look(&g, m.value);
        kafka_message_release(&m);
        left--;
    }
    kafka_consumer_close(c);
    json_doc_free(g.d);
    assert_int_equal(left, 0);
    return g;
}

/* ---- */

static const char lock_count[] =
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())";

static int64_t only_lock_holder(struct place *p)
{
    assert_int_equal(number(p, lock_count), 1);
    return number(p, "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND"
                     " database = (SELECT oid FROM pg_database WHERE datname ="
                     " current_database())");
}

static void end_connection(struct place *p, int64_t pid)
{
    char sql[120];
    (void)snprintf(sql, sizeof sql,
                   "SELECT CASE WHEN pg_terminate_backend(%" PRId64 ") THEN 1 ELSE 0 END", pid);
    assert_int_equal(number(p, sql), 1);
    await_number(p, lock_count, 1); /* the writer's */
}

static void told(void *arg, int class)
{
    (void)arg;
    (void)class;
    abort(); /* nobody can know of that stream */
}

/* Has the first relay ask its store, whose connection is gone, and waits until it knows that the
 * second one has the lock. */
static void let_the_first_notice(struct place *p)
{
    struct relay_state rs;
    p->asked = (struct record_await){.stream = NO_STREAM, .sequence = 1, .done = told};
    p->asks = true;
    relay_await(p->first, &p->asked);
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    do {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 10);
        relay_state(p->first, &rs);
    } while (!strstr(rs.problem, "another process relays"));
    assert_int_equal(rs.unconfirmed, GROUP);
}

static void late_reports_are_no_cut_log(void **state)
{
    struct place *p = *state;
    struct relay_state rs;
    p->first = start_relay(p);
    int64_t holder = only_lock_holder(p);
    start_writer(p);
    add(p);
    OK(relay_wait(p->first, PATIENCE_MS, &e));
    freeze_with_records_at_the_door(p);
    end_connection(p, holder);
    p->second = start_relay(p);
    await_number(p, lock_count, 2);
    let_the_first_notice(p);
    broker("resume", NULL, NULL);
    p->frozen = false;
    OK(relay_wait(p->second, PATIENCE_MS, &e));
    relay_stop(p->second); /* notes how far the log reaches */
    p->second = NULL;
    OK(relay_wait(p->first, PATIENCE_MS, &e));
    add(p);
    OK(relay_wait(p->first, PATIENCE_MS, &e));
    relay_state(p->first, &rs);
    assert_string_equal(rs.problem, "");
    assert_true(relay_forget(p->first, &p->asked));
    p->asks = false;
    relay_stop(p->first);
    p->first = NULL;
    assert_int_equal(number(p, "SELECT count(*) FROM chat.log_change"), 0);
    assert_int_equal(number(p, "SELECT CAST(sum(relayed) AS bigint) FROM chat.stream"), 3 * GROUP);
    const struct log g = read_log();
    for (int i = 0; i < ROOMS; i++)
        assert_int_equal(g.heads[i], 3 * GROUP / ROOMS);
    /* Those at the door, and the second relay's again. */
    assert_true(g.messages >= 4 * GROUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(late_reports_are_no_cut_log, set_up, tear_down),
    };
    brokers = getenv("HOLDFAST_TEST_KAFKA");
    if (!brokers || !getenv("HOLDFAST_TEST_POSTGRES")) {
        print_error("run me through tests/parts/with postgres kafka -- relay_lock_test\n");
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
