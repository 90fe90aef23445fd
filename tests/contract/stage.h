/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: an mgccomp of its own for each case on either database, records captured into it, and
 * batches of its ledger taken all the way. */
#ifndef TESTS_CONTRACT_STAGE_H
#define TESTS_CONTRACT_STAGE_H

#include "base/own.h"
#include "mgccomp/ledger.h"
#include "tests/contract/both.h"
#include "tests/contract/feed.h"

struct stage {
    const char *scratch, *postgres; /* postgres NULL: SQLite */
    char url[600];
    struct staging *st;
    struct capture_writer *w;
    struct staging_position at[2]; /* of partitions 0 and 1 */
    struct capture_outcome out;    /* of the last capture */
    struct feed feed;
    struct feed_stream room, other;  /* ma-chan://example.test/one, two */
    struct ledger_instance instance; /* for a test that works with one */
    struct ledger_batch batch;       /* the last one cut */
    struct err e;
};

/* For cmocka: *state is a struct stage that begins anew, or begins with one. */
int stage_set_up(void **state);
int stage_tear_down(void **state);
#define ON_STAGE(fn) cmocka_unit_test_setup_teardown(fn, stage_set_up, stage_tear_down)
/* What a main returns: the cases on both databases. */
int stage_main(const struct CMUnitTest *cases, size_t n, struct stage *sqlite, struct stage *pg);

/* Opens and leads; gives the lead up and closes. */
void stage_open(struct stage *f);
void stage_close(struct stage *f);

void put_posts(struct stage *f, int n);                    /* of the room, not captured yet */
void capture_into(struct stage *f, int part);              /* what was put */
void capture(struct stage *f);                             /* into partition 0 */
void posts(struct stage *f, struct feed_stream *s, int n); /* captured */

int64_t number(struct stage *f, const char *sql);
void await(struct stage *f, const char *sql, int64_t value); /* until it is that number */
void run_sql(struct stage *f, const char *sql); /* a statement by the staging's own connection */
void change(struct stage *f, const char *sql);  /* a script by another one */
void assert_no_incident(struct stage *f);

struct ledger_instance instance(struct stage *f, const char *name);
struct ledger_instance added(struct stage *f, const char *name, bool required, int32_t readback);
extern const struct ledger_due everything;
int cut(struct stage *f, const struct ledger_instance *i, const struct ledger_due *due);
void deliver(struct stage *f, struct ledger_batch *b); /* to its end: all verified */
void archive(struct stage *f);                         /* delivers the batch that was cut */
void archive_all(struct stage *f, const struct ledger_instance *i); /* cuts everything first */

#endif
