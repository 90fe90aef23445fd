/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The relay between a private PostgreSQL and a real broker that is killed and started again: the
 * log read back holds every record, in order, repeated only as contiguous runs.
 */
#include "base/clock.h"
#include "base/own.h"
#include "relay_rig.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

enum { PATIENCE_MS = 60000 };

static void each_once_in_order(void **state)
{
    struct relay_place *p = *state;
    struct relay_state rs;
    p->r = start_relay(p, 0);
    start_writer(p);
    for (int i = 0; i < 30; i++)
        add(p, 100);
    OK(relay_wait(p->r, PATIENCE_MS, &e));
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
    struct relay_place *p = *state;
    start_writer(p);
    for (int i = 0; i < 20; i++)
        add(p, 100);
    writer_stop(p->w);
    p->w = NULL;
    p->r = start_relay(p, 2000);
    start_writer(p);
    for (int i = 0; i < 20; i++)
        add(p, 100);
    OK(relay_wait(p->r, PATIENCE_MS, &e));
    stop_both(p);
    struct log *g = read_log(p);
    assert_int_equal(g->messages, 4000);
    assert_int_equal(g->late, 0);
    (void)compare_with_store(p, g);
    free(g);
}

struct load {
    struct relay_place *p;
    atomic_int rounds; /* done */
    atomic_bool killed;
};
enum { ROUNDS = 200, ROUND = 50 };

/* Half of it at most comes before the broker is killed. */
static void *load(void *arg)
{
    struct load *l = arg;
    for (int i = 0; i < ROUNDS; i++) {
        while (i == ROUNDS / 2 && !atomic_load(&l->killed))
            (void)poll(NULL, 0, 5);
        add(l->p, ROUND);
        atomic_fetch_add(&l->rounds, 1);
        (void)poll(NULL, 0, 10); /* the pace of the load */
    }
    return NULL;
}

static void broker_killed_while_producing(void **state)
{
    struct relay_place *p = *state;
    struct load l = {.p = p};
    struct relay_state rs;
    pthread_t thread;
    p->r = start_relay(p, 64 * 1024);
    start_writer(p);
    assert_int_equal(pthread_create(&thread, NULL, load, &l), 0);
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (atomic_load(&l.rounds) < ROUNDS / 4) {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 5);
    }
    broker("kill", NULL, NULL);
    atomic_store(&l.killed, true);
    /* Chat goes on meanwhile, and the relay says how far it is behind. */
    do {
        (void)poll(NULL, 0, 20);
        relay_state(p->r, &rs);
    } while (rs.unconfirmed < 500 && clock_mono_ms() < until);
    assert_true(rs.unconfirmed >= 500 && rs.oldest_us > 0);
    broker("start", NULL, NULL);
    assert_int_equal(pthread_join(thread, NULL), 0);
    OK(relay_wait(p->r, PATIENCE_MS, &e));
    stop_both(p);
    struct log *g = read_log(p);
    assert_int_equal(g->late, 0);
    assert_int_equal(g->messages - g->repeats, ROUNDS * ROUND);
    (void)compare_with_store(p, g);
    free(g);
}

static void starts_without_broker(void **state)
{
    struct relay_place *p = *state;
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
    OK(relay_wait(p->r, PATIENCE_MS, &e));
    stop_both(p);
    struct log *g = read_log(p);
    assert_int_equal(g->messages, 100);
    (void)compare_with_store(p, g);
    free(g);
}

static void second_relay_waits(void **state)
{
    struct relay_place *p = *state;
    struct relay_state rs;
    p->r = start_relay(p, 0);
    struct relay *second = start_relay(p, 0);
    start_writer(p);
    add(p, 99);
    OK(relay_wait(p->r, PATIENCE_MS, &e));
    relay_state(second, &rs);
    assert_non_null(strstr(rs.problem, "another process relays"));
    relay_stop(p->r);
    p->r = NULL;
    OK(relay_wait(second, PATIENCE_MS, &e));
    relay_stop(second);
    writer_stop(p->w);
    p->w = NULL;
    struct log *g = read_log(p);
    assert_int_equal(g->messages, 99);
    free(g);
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
    struct relay_place *p = *state;
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
        int64_t until = clock_mono_ms() + PATIENCE_MS;
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
    OK(relay_wait(p->r, PATIENCE_MS, &e));
    stop_both(p);
    struct log *g = read_log(p);
    assert_int_equal(g->late, 0);
    assert_int_equal(g->messages - g->repeats, 10000);
    (void)compare_with_store(p, g);
    free(g);
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return relay_for_ever(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        ON_RELAY(each_once_in_order),
        ON_RELAY(backlog_and_small_window),
        ON_RELAY(second_relay_waits),
        ON_RELAY(killed_relay_repeats_runs),
        ON_RELAY(broker_killed_while_producing),
        ON_RELAY(starts_without_broker),
    };
    if (!relay_parts(argv[0]))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
