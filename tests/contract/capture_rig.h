/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the capture service: the embedded queue into SQLite, or Kafka into PostgreSQL, each
 * case with a queue and an mgccomp of its own, and capture between them when the test wants it. */
#ifndef TESTS_CONTRACT_CAPTURE_RIG_H
#define TESTS_CONTRACT_CAPTURE_RIG_H

#include "tests/contract/queues.h"
#include "tests/expect.h"

enum { PATIENCE_MS = 120000 };

struct fixture {
    bool services;
    char url[600]; /* of mgccomp */
    struct queue q;
    struct staging *st;
    struct wake captured;
    struct capture *c;
    struct err e;
};

/* What a main does first. False: no parts are there. */
bool capture_parts(const char *program);
/* For cmocka: *state is a struct fixture whose `services` is set. The topic has 3 partitions, or
 * one. */
int capture_set_up(void **state);
int capture_set_up_one(void **state);
int capture_tear_down(void **state);
#define CAPTURE(fn, fixture)                                                                       \
    {                                                                                              \
#fn, fn, capture_set_up, capture_tear_down, fixture                                        \
    }
#define CAPTURE_ONE(fn, fixture)                                                                   \
    {                                                                                              \
#fn, fn, capture_set_up_one, capture_tear_down, fixture                                    \
    }

void start_capture(struct fixture *f);
int start_capture_on(struct fixture *f, const struct kafka_target *kafka); /* as capture_start */
void stop_capture(struct fixture *f);
/* Until capture says something that has these words; "": anything. */
void wait_for_problem(struct fixture *f, const char *words);

/* Queries of mgccomp. */
int64_t number(struct fixture *f, const char *sql);
void wait_for_least(struct fixture *f, const char *sql, int64_t n);
void wait_for(struct fixture *f, const char *sql, int64_t n); /* and no more than n */
extern const char all_records[], open_incidents[];            /* how many there are */
void do_sql(const char *url, const char *sql);

void postgres(const char *verb); /* tests/parts/postgres VERB DIR */

#endif
