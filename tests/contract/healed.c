/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/healed.h"

#include "base/clock.h"
#include "base/own.h"
#include "tests/contract/queues.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool healed_parts(const char *program)
{
    if (getenv("HOLDFAST_TEST_SCRATCH") && getenv("HOLDFAST_TEST_KAFKA") &&
        getenv("HOLDFAST_TEST_POSTGRES"))
        return true;
    print_error("run me through tests/parts/with postgres kafka -- %s\n", program);
    return false;
}

int healed_set_up(void **state)
{
    const char *server = getenv("HOLDFAST_TEST_POSTGRES");
    struct healed *p = calloc(1, sizeof *p);
    OWN(own_db) struct db *db = NULL;
    char sql[64];
    char control[64];
    static int cases;
    const char *scratch = getenv("HOLDFAST_TEST_SCRATCH");
    assert_true(server && scratch && p);
    cases++;
    (void)snprintf(sql, sizeof sql, "CREATE DATABASE heal%d", cases);
    OK(db_open(&db, server, 0, &e));
    OK(db_script(db, sql, &e));
    const char *at = strstr(server, "/postgres?");
    assert_non_null(at);
    (void)snprintf(p->store, sizeof p->store, "%.*s/heal%d%s", (int)(at - server), server, cases,
                   at + strlen("/postgres"));
    (void)snprintf(p->staging, sizeof p->staging, "sqlite:%s/heal%d.db", scratch, cases);
    (void)snprintf(p->topic, sizeof p->topic, "heal%d", cases);
    (void)snprintf(control, sizeof control, "%s-control", p->topic);
    queue_broker("topic", p->topic, "4");
    queue_broker("topic", control, "1");
    p->target = (struct kafka_target){.brokers = getenv("HOLDFAST_TEST_KAFKA"),
                                      .topic = p->topic,
                                      .group = p->topic,
                                      .single_broker = true};
    OK(staging_open(&p->st, p->staging, &e));
    *state = p;
    return 0;
}

void start_relay(struct healed *p)
{
    struct relay_options o = {.store_url = p->store, .kafka = p->target, .source = SOURCE};
    OK(relay_start(&p->r, &o, &e));
}

void start_writer(struct healed *p)
{
    struct writer_options o = {.url = p->store};
    if (p->r) {
        o.stored = relay_stored;
        o.stored_arg = p->r;
    }
    OK(writer_start(&p->w, &o, &e));
    OK(writer_claim(p->w, SOURCE, &e));
}

void stop_source(struct healed *p)
{
    writer_stop(p->w);
    p->w = NULL;
    relay_stop(p->r);
    p->r = NULL;
}

void start_capture(struct healed *p)
{
    struct capture_options o = {.staging = p->st, .kafka = &p->target};
    OK(capture_start(&p->c, &o, &e));
}

void stop_capture(struct healed *p)
{
    capture_stop(p->c);
    p->c = NULL;
}

void end_load(struct healed *p)
{
    if (!p->loaded)
        return;
    atomic_store(&p->stop, true);
    assert_int_equal(pthread_join(p->thread, NULL), 0);
    p->loaded = false;
}

int healed_tear_down(void **state)
{
    struct healed *p = *state;
    end_load(p);
    writer_stop(p->w);
    relay_stop(p->r);
    capture_stop(p->c);
    staging_close(p->st);
    free(p);
    return 0;
}

void add(struct healed *p)
{
    struct store_event events[GROUP];
    struct store_result results[GROUP];
    char rooms[ROOMS][16];
    for (int i = 0; i < ROOMS; i++)
        (void)snprintf(rooms[i], sizeof rooms[i], "r:%d", i);
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
    atomic_fetch_add(&p->posts, GROUP);
}

static void *load(void *arg)
{
    struct healed *p = arg;
    while (!atomic_load(&p->stop)) {
        add(p);
        (void)poll(NULL, 0, 5); /* the pace of the load */
    }
    return NULL;
}

void begin_load(struct healed *p)
{
    atomic_store(&p->stop, false);
    p->loaded = true;
    assert_int_equal(pthread_create(&p->thread, NULL, load, p), 0);
}

void wait_for_posts(struct healed *p, int more)
{
    int goal = atomic_load(&p->posts) + more;
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (atomic_load(&p->posts) < goal) {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 10);
    }
}

int64_t number(struct healed *p, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    int64_t v = -1;
    OK(staging_reader(p->st, &db, &e));
    OK(db_int(db, sql, DB_NO_ARGS, -1, &v, &e));
    return v;
}

void wait_for(struct healed *p, const char *sql, int64_t n)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (number(p, sql) != n) {
        if (clock_mono_ms() > until)
            fail_msg("%s: %" PRId64 ", not %" PRId64, sql, number(p, sql), n);
        (void)poll(NULL, 0, 50);
    }
}

const char open_incidents[] = "SELECT count(*) FROM incident WHERE closed_us IS NULL";

static const char different[] = "SELECT count(*) FROM (SELECT DISTINCT stream, sequence FROM"
                                " record WHERE stream IS NOT NULL)";

void all_is_well(struct healed *p)
{
    wait_for(p, different, atomic_load(&p->posts));
    wait_for(p, open_incidents, 0);
    assert_int_equal(number(p, "SELECT count(*) FROM record"), atomic_load(&p->posts));
    assert_int_equal(number(p, "SELECT CAST(sum(sequence) AS bigint) FROM stream"),
                     atomic_load(&p->posts));
    assert_int_equal(
        number(p, "SELECT count(*) FROM incident WHERE kind NOT IN ('gap', 'log-changed')"), 0);
}
