/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the relay: a store in a private PostgreSQL, a topic of a private broker that can be
 * killed and started again, and the log read back and compared with the store.
 */
#ifndef TEST_RELAY_RIG_H
#define TEST_RELAY_RIG_H

#include "chat-server/store/relay.h"
#include "chat-server/store/writer.h"
#include "tests/expect.h"

#define SOURCE SLICE("sip:pool.example.com")

enum { ROOMS = 3, PARTITIONS = 3, MAX_RECORDS = 20000 };
extern const char *const rooms[ROOMS];

struct relay_place {
    char url[512];
    char topic[32];
    struct writer *w;
    struct relay *r;
};

/* What a main does first. False: no parts are there. */
bool relay_parts(const char *program);
int relay_set_up(void **state);
int relay_tear_down(void **state);
#define ON_RELAY(fn) cmocka_unit_test_setup_teardown(fn, relay_set_up, relay_tear_down)

/* tests/parts/kafka VERB DIR [WORD...] */
void broker(const char *verb, const char *a, const char *b);
struct kafka_target target_of(const struct relay_place *p);
struct relay *start_relay(const struct relay_place *p, size_t window); /* bytes; 0: the default */
void start_writer(struct relay_place *p); /* which tells p's relay, when there is one */
void stop_both(struct relay_place *p);
void add(struct relay_place *p, int n); /* n posts, over the rooms in turn; at most 100 */

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

/* The whole topic; free() it. A record that comes again must be the same. */
struct log *read_log(const struct relay_place *p);

/* Every record of the rooms is in the log with its bytes; the store's view of the rooms. */
struct heads {
    struct log *g;
    int64_t ids[ROOMS], heads[ROOMS], relayed[ROOMS];
};
struct heads compare_with_store(const struct relay_place *p, struct log *g);

#endif
