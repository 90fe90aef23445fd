/* SPDX-License-Identifier: Apache-2.0 */
/* What `holdfast status` sees in mgccomp, on SQLite and on a private PostgreSQL. */
#include "audit/status_look.h"

#include "base/own.h"
#include "mgccomp/lease.h"
#include "retention/sweep.h"
#include "tests/contract/feed.h"
#include "tests/expect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *scratch;

struct fixture {
    const char *postgres; /* NULL: SQLite */
    char url[600];
    struct staging *st;
    struct capture_writer *w;
    struct store *store;
    struct staging_position at[3];
    struct feed feed;
    struct err e;
};

static int set_up(void **state)
{
    struct fixture *f = *state;
    int64_t generation = 0;
    (void)snprintf(f->url, sizeof f->url, "%s", feed_database(f->postgres, scratch));
    ok(staging_open(&f->st, f->url, &f->e), &f->e);
    ok(staging_queue(f->st, SLICE("embedded"), SLICE("test"), &generation, &f->e), &f->e);
    ok(capture_writer_new(&f->w, f->st, generation, &f->e), &f->e);
    ok(store_open(&f->store, feed_database(NULL, scratch), &f->e), &f->e);
    for (int32_t p = 0; p < 3; p++)
        f->at[p] = (struct staging_position){.part = p};
    f->feed = (struct feed){0};
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    capture_writer_free(f->w);
    staging_close(f->st);
    store_close(f->store);
    feed_done(&f->feed);
    return 0;
}

/* One record of a room of its own at the start of a partition, made at that time. */
static void record_at(struct fixture *f, int32_t part, const char *subject, const char *time)
{
    char raw[1000];
    struct capture_outcome out;
    (void)snprintf(raw, sizeof raw,
                   "{\"specversion\":\"1.0\",\"id\":\"%d\",\"source\":\"urn:s\",\"type\":"
                   "\"com.example.x\",\"time\":\"%s\",\"subject\":\"%s\"}",
                   (int)part, time, subject);
    f->feed.part = part;
    f->feed.pos = 0;
    feed_put(&f->feed, feed_keep(&f->feed, slice_of(raw)));
    ok(feed_write(f->w, f->feed.items, f->feed.n, &f->at[part], 1, &out, &f->e), &f->e);
    feed_clear(&f->feed);
}

static int64_t oldest(struct fixture *f)
{
    static const struct store_limit limit = {.folder = "."};
    OWN(own_db) struct db *db = NULL;
    OWN(own_mem) struct look *k = calloc(1, sizeof *k);
    assert_non_null(k);
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    const struct status_input in = {.store = f->store, .staging = db, .limit = &limit};
    ok(status_look(k, &in, &f->e), &f->e);
    return k->oldest_us;
}

/* Whichever partition holds it. */
static void the_oldest_record_is_that_of_all_partitions(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(oldest(f), 0);
    record_at(f, 0, "urn:a", "1970-01-01T00:00:30Z");
    assert_int_equal(oldest(f), 30000000);
    record_at(f, 2, "urn:c", "1970-01-01T00:00:10Z");
    record_at(f, 1, "urn:b", "1970-01-01T00:00:20Z");
    assert_int_equal(oldest(f), 10000000);
}

/* The batch that holds it is parked: it is kept, and still not archived. */
static void what_is_parked_is_not_archived(void **state)
{
    static const struct ledger_due everything = {.records = 10, .bytes = 1 << 20, .now = true};
    struct fixture *f = *state;
    struct ledger_instance i = {.id = 1, .name = "a", .required = true};
    struct ledger_batch b;
    int64_t rows = 0;
    ok(lease_take(f->st, LEASE_LONGEST_MS, &f->e), &f->e);
    ok(ledger_add(f->st, SLICE("a"), SLICE("plain"), true, 2, &f->e), &f->e);
    record_at(f, 0, "urn:a", "1970-01-01T00:00:10Z");
    ok(ledger_cut(f->st, &i, &everything, NULL, &b, &f->e), &f->e);
    ok(ledger_batch_state(f->st, &b, "parked", SLICE("552 too big"), &f->e), &f->e);
    record_at(f, 1, "urn:b", "1970-01-01T00:00:20Z");
    ok(sweep_once(f->st, &rows, &f->e), &f->e);
    assert_int_equal(oldest(f), 10000000);
    ok(ledger_retire(f->st, SLICE("a"), SLICE("test"), &f->e), &f->e);
    assert_int_equal(oldest(f), 20000000);
}

#define CASE(f, fn)                                                                                \
    {                                                                                              \
#fn, fn, set_up, tear_down, f                                                              \
    }

int main(void)
{
    static struct fixture sqlite;
    static struct fixture pg;
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    pg.postgres = getenv("HOLDFAST_TEST_POSTGRES");
    if (!scratch || !pg.postgres) {
        (void)fprintf(stderr, "run me through tests/parts/with postgres -- status_test\n");
        return 2;
    }
    const struct CMUnitTest tests[] = {
        CASE(&sqlite, the_oldest_record_is_that_of_all_partitions),
        CASE(&pg, the_oldest_record_is_that_of_all_partitions),
        CASE(&sqlite, what_is_parked_is_not_archived),
        CASE(&pg, what_is_parked_is_not_archived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
