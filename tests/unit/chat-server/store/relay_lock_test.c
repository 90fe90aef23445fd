/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A relay loses its lock while records of it are in flight, and another one relays the same source
 * meanwhile: nothing is lost, and no report that comes late is taken for a log that was cut. A real
 * broker is frozen between the sending and the reports, and the database ends the connection that
 * holds the lock.
 */
#include "base/clock.h"
#include "base/own.h"
#include "relay_rig.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP = 90, PATIENCE_MS = 60000, LEAST_BYTES = 10000, NO_STREAM = 1 << 30 };

struct place {
    struct relay_place *at; /* with the first relay */
    struct db *db;          /* of the one who looks */
    struct relay *second;
    struct record_await asked;
    bool asks, frozen;
};

static int set_up(void **state)
{
    static struct place p;
    void *at = NULL;
    (void)relay_set_up(&at);
    p = (struct place){.at = at};
    OK(db_open(&p.db, p.at->url, 0, &e));
    *state = &p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    void *at = p->at;
    if (p->frozen)
        broker("resume", NULL, NULL);
    if (p->asks)
        (void)relay_forget(p->at->r, &p->asked);
    relay_stop(p->second);
    db_close(p->db);
    return relay_tear_down(&at);
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
static long unread_by_broker(const struct place *p)
{
    unsigned port = (unsigned)strtoul(strrchr(target_of(p->at).brokers, ':') + 1, NULL, 10);
    return unread_in("/proc/net/tcp", port) + unread_in("/proc/net/tcp6", port);
}

static void freeze_with_records_at_the_door(struct place *p)
{
    broker("pause", NULL, NULL);
    p->frozen = true;
    long before = unread_by_broker(p);
    add(p->at, GROUP);
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (unread_by_broker(p) < before + LEAST_BYTES) {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 5);
    }
}

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
    relay_await(p->at->r, &p->asked);
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    do {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 10);
        relay_state(p->at->r, &rs);
    } while (!strstr(rs.problem, "another process relays"));
    assert_int_equal(rs.unconfirmed, GROUP);
}

static void late_reports_are_no_cut_log(void **state)
{
    struct place *p = *state;
    struct relay_state rs;
    p->at->r = start_relay(p->at, 0);
    int64_t holder = only_lock_holder(p);
    start_writer(p->at);
    add(p->at, GROUP);
    OK(relay_wait(p->at->r, PATIENCE_MS, &e));
    freeze_with_records_at_the_door(p);
    end_connection(p, holder);
    p->second = start_relay(p->at, 0);
    await_number(p, lock_count, 2);
    let_the_first_notice(p);
    broker("resume", NULL, NULL);
    p->frozen = false;
    OK(relay_wait(p->second, PATIENCE_MS, &e));
    relay_stop(p->second); /* notes how far the log reaches */
    p->second = NULL;
    OK(relay_wait(p->at->r, PATIENCE_MS, &e));
    add(p->at, GROUP);
    OK(relay_wait(p->at->r, PATIENCE_MS, &e));
    relay_state(p->at->r, &rs);
    assert_string_equal(rs.problem, "");
    assert_true(relay_forget(p->at->r, &p->asked));
    p->asks = false;
    stop_both(p->at);
    assert_int_equal(number(p, "SELECT count(*) FROM chat.log_change"), 0);
    assert_int_equal(number(p, "SELECT CAST(sum(relayed) AS bigint) FROM chat.stream"), 3 * GROUP);
    struct log *g = read_log(p->at);
    assert_int_equal(g->late, 0);
    assert_int_equal(g->messages - g->repeats, 3 * GROUP);
    /* Those at the door, and the second relay's again. */
    assert_true(g->repeats >= GROUP);
    (void)compare_with_store(p->at, g);
    free(g);
}

int main(int argc, char **argv)
{
    (void)argc;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(late_reports_are_no_cut_log, set_up, tear_down),
    };
    if (!relay_parts(argv[0]))
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
