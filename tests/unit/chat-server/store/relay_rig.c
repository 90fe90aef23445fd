/* SPDX-License-Identifier: Apache-2.0 */
#include "relay_rig.h"

#include "base/clock.h"
#include "base/own.h"

#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

const char *const rooms[ROOMS] = {"r:one", "r:two", "r:three"};

static const char *brokers, *parts, *broker_dir;

bool relay_parts(const char *program)
{
    brokers = getenv("HOLDFAST_TEST_KAFKA");
    parts = getenv("HOLDFAST_TEST_PARTS");
    broker_dir = getenv("HOLDFAST_TEST_KAFKA_DIR");
    if (brokers && parts && broker_dir)
        return true;
    print_error("run beside private parts: tests/parts/with postgres kafka -- %s\n", program);
    return false;
}

void broker(const char *verb, const char *a, const char *b)
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

struct kafka_target target_of(const struct relay_place *p)
{
    return (struct kafka_target){
        .brokers = brokers, .topic = p->topic, .group = p->topic, .single_broker = true};
}

struct relay *start_relay(const struct relay_place *p, size_t window)
{
    struct relay *r = NULL;
    struct relay_options o = {
        .store_url = p->url, .kafka = target_of(p), .window_bytes = window, .source = SOURCE};
    OK(relay_start(&r, &o, &e));
    return r;
}

void start_writer(struct relay_place *p)
{
    struct writer_options o = {.url = p->url};
    if (p->r) {
        o.stored = relay_stored;
        o.stored_arg = p->r;
    }
    OK(writer_start(&p->w, &o, &e));
    OK(writer_claim(p->w, SOURCE, &e));
}

int relay_set_up(void **state)
{
    const char *server = getenv("HOLDFAST_TEST_POSTGRES");
    struct relay_place *p = calloc(1, sizeof *p);
    OWN(own_db) struct db *db = NULL;
    char sql[64];
    static int cases;
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

int relay_tear_down(void **state)
{
    struct relay_place *p = *state;
    writer_stop(p->w);
    relay_stop(p->r);
    free(p);
    return 0;
}

void stop_both(struct relay_place *p)
{
    writer_stop(p->w);
    p->w = NULL;
    relay_stop(p->r);
    p->r = NULL;
}

void add(struct relay_place *p, int n)
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

struct log *read_log(const struct relay_place *p)
{
    static const struct kafka_consumer_events events = {from_start, forget};
    struct kafka_target t = target_of(p);
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

struct heads compare_with_store(const struct relay_place *p, struct log *g)
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
