/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of healing: a writer with its relay (PostgreSQL), a real broker and capture (into
 * SQLite), each started when the test wants it, and posts that must all arrive.
 */
#ifndef TESTS_CONTRACT_HEALED_H
#define TESTS_CONTRACT_HEALED_H

#include "base/kafka.h"
#include "capture/capture.h"
#include "chat-server/store/relay.h"
#include "chat-server/store/writer.h"
#include "tests/expect.h"

#include <pthread.h>
#include <stdatomic.h>

#define SOURCE SLICE("sip:pool.example.com")

enum { ROOMS = 12, GROUP = 24, PATIENCE_MS = 90000 };

struct healed {
    char store[512], staging[512], topic[32];
    struct kafka_target target;
    struct writer *w;
    struct relay *r;
    struct staging *st;
    struct capture *c;
    pthread_t thread;
    bool loaded;
    atomic_bool stop;
    atomic_int posts;
};

/* For cmocka: *state becomes a struct healed, with nothing running; its topic has 4 partitions. */
int healed_set_up(void **state);
int healed_tear_down(void **state);
#define HEALED(fn) cmocka_unit_test_setup_teardown(fn, healed_set_up, healed_tear_down)
/* What a main does first. False: no parts are there. */
bool healed_parts(const char *program);

void start_relay(struct healed *p);
void start_writer(struct healed *p); /* which tells the relay, when it runs */
void stop_source(struct healed *p);  /* both */
void start_capture(struct healed *p);
void stop_capture(struct healed *p);

void add(struct healed *p); /* GROUP posts, spread over ROOMS rooms */
void begin_load(struct healed *p);
void wait_for_posts(struct healed *p, int more);
void end_load(struct healed *p);

/* Queries of mgccomp. */
int64_t number(struct healed *p, const char *sql);
void wait_for(struct healed *p, const char *sql, int64_t n);
extern const char open_incidents[];
/* Every record of the store is captured, each once; nothing is wrong any more. */
void all_is_well(struct healed *p);

#endif
