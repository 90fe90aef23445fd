/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger on SQLite and on a private PostgreSQL: when a batch is cut, what is frozen in it, how
 * it is settled, what holds the low water, and what a kill between any two steps leaves behind.
 */
#include "mgccomp/ledger.h"

#include "base/json.h"
#include "base/own.h"
#include "mgccomp/incident.h"
#include "mgccomp/lease.h"
#include "tests/contract/feed.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

static const char *scratch;
static const struct ledger_due everything = {.records = 10000, .bytes = 4 << 20, .now = true};

struct fixture {
    const char *postgres; /* NULL: SQLite */
    char url[600];
    struct staging *st;
    struct capture_writer *w;
    struct staging_position at[2];
    struct feed feed;
    struct feed_stream room, other;
    struct ledger_batch batch, again;
    struct err e;
};

static void ok(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s: %s", err_class_name(rc), e->text);
}

static void open_staging(struct fixture *f)
{
    int64_t generation = 0;
    ok(staging_open(&f->st, f->url, &f->e), &f->e);
    ok(lease_take(f->st, LEASE_MS, &f->e), &f->e);
    ok(staging_queue(f->st, SLICE("embedded"), SLICE("test"), &generation, &f->e), &f->e);
    ok(capture_writer_new(&f->w, f->st, generation, &f->e), &f->e);
}

static void close_staging(struct fixture *f)
{
    capture_writer_free(f->w);
    lease_give(f->st);
    staging_close(f->st);
    f->w = NULL;
    f->st = NULL;
}

static int set_up(void **state)
{
    struct fixture *f = *state;
    (void)snprintf(f->url, sizeof f->url, "%s", feed_database(f->postgres, scratch));
    open_staging(f);
    f->at[0] = (struct staging_position){.part = 0};
    f->at[1] = (struct staging_position){.part = 1};
    f->feed = (struct feed){0};
    f->room = (struct feed_stream){.source = "sip:pool.example.test",
                                   .subject = "ma-chan://example.test/one"};
    f->other = (struct feed_stream){.source = "sip:pool.example.test",
                                    .subject = "ma-chan://example.test/two"};
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    close_staging(f);
    feed_done(&f->feed);
    return 0;
}

static void capture_into(struct fixture *f, int part)
{
    struct capture_outcome out;
    ok(feed_write(f->w, f->feed.items, f->feed.n, &f->at[part], 1, &out, &f->e), &f->e);
    feed_clear(&f->feed);
}

static void posts(struct fixture *f, struct feed_stream *s, int n)
{
    for (int i = 0; i < n; i++)
        feed_post(&f->feed, s);
    capture_into(f, 0);
}

static int64_t number(struct fixture *f, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    int64_t v = -1;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_int(db, sql, DB_NO_ARGS, -1, &v, &f->e), &f->e);
    return v;
}

struct wanted {
    const char *name;
    struct ledger_instance found;
};

static int find_instance(void *arg, const struct ledger_instance *i, struct err *e)
{
    struct wanted *w = arg;
    (void)e;
    if (strcmp(i->name, w->name) == 0)
        w->found = *i;
    return 0;
}

static struct ledger_instance instance(struct fixture *f, const char *name)
{
    OWN(own_db) struct db *db = NULL;
    struct wanted w = {.name = name};
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(ledger_instances(db, true, find_instance, &w, &f->e), &f->e);
    assert_true(w.found.id > 0);
    return w.found;
}

static struct ledger_instance added(struct fixture *f, const char *name, bool required,
                                    int32_t readback)
{
    ok(ledger_add(f->st, slice_of(name), SLICE("plain"), required, readback, &f->e), &f->e);
    return instance(f, name);
}

static int cut(struct fixture *f, const struct ledger_instance *i, const struct ledger_due *due)
{
    return ledger_cut(f->st, i, due, NULL, &f->batch, &f->e);
}

/* Takes the fixture's batch all the way. */
static void archive(struct fixture *f)
{
    struct slice none = {0};
    ok(ledger_attempt(f->st, &f->batch, &f->e), &f->e);
    ok(ledger_settle(f->st, &f->batch, 0, f->batch.records - 1, "done", SLICE("[]"), none, &f->e),
       &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "settled", none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "verified", none, &f->e), &f->e);
}

/* Up to where the holders let records of a partition go, and who holds it there; the sweep asks for
 * each record (retention/gate.c). */
static int low_water_of(struct staging_txn *t, int64_t generation, int32_t part, int64_t *pos,
                        char why[200], struct err *e)
{
    struct ledger_holder holders[LEDGER_MAX_INSTANCES];
    size_t n = 0;
    int64_t oldest = 0;
    bool full = false;
    int rc = ledger_holders(t->db, generation, part, holders, &n, e);
    if (rc == 0)
        rc = db_int(t->db,
                    "SELECT COALESCE((SELECT min(r.pos) FROM record r WHERE r.generation = $1"
                    " AND r.part = $2), (SELECT p.pos FROM position p WHERE p.part = $2), 0)",
                    DB_ARGS(DB_I(generation), DB_I(part)), 0, &oldest, e);
    if (rc < 0)
        return rc;
    const struct ledger_holder *last = NULL;
    for (size_t i = 0; i < n; i++) {
        full = full || holders[i].readback == LEDGER_READBACK_FULL;
        if (!last || holders[i].pos < last->pos)
            last = &holders[i];
    }
    if (!last || !full) {
        *pos = oldest;
        (void)snprintf(why, 200, "%s",
                       last ? "no required adapter reads back what it wrote"
                            : "no adapter is required");
        return 0;
    }
    *pos = last->pos;
    (void)snprintf(why, 200, "adapter %s is at %lld", last->name, (long long)last->pos);
    return 0;
}

static int64_t low_water(struct fixture *f, int32_t part, char why[200])
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t pos = -1;
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(staging_lock_gate(&t, &f->e), &f->e);
    ok(low_water_of(&t, 1, part, &pos, why, &f->e), &f->e);
    return pos;
}

struct listed {
    char text[4000];
    uint8_t digest[SHA256_SIZE];
    struct sha256 *sum;
    int n;
};

/* Streams are called by the last word of their subject: "one#1 one#2 two#1". */
static int list_record(void *arg, const struct ledger_record *r, struct err *e)
{
    struct listed *l = arg;
    size_t n = strlen(l->text);
    uint8_t length[8] = {0};
    (void)e;
    (void)snprintf(l->text + n, sizeof l->text - n, "%lld#%lld ", (long long)r->stream,
                   (long long)r->sequence);
    for (int i = 0; i < 8; i++)
        length[7 - i] = (uint8_t)(r->raw.n >> (8 * i));
    sha256_add(l->sum, length, 8);
    sha256_add(l->sum, r->raw.p, r->raw.n);
    l->n++;
    return 0;
}

static struct listed records(struct fixture *f, const struct ledger_batch *b)
{
    OWN(own_db) struct db *db = NULL;
    struct listed l = {.sum = sha256_new()};
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(ledger_batch_records(db, b, list_record, &l, &f->e), &f->e);
    sha256_end(l.sum, l.digest);
    sha256_free(l.sum);
    return l;
}

static void nothing_is_cut_before_it_is_due(void **state)
{
    struct fixture *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    struct ledger_due due = {.records = 5, .bytes = 1 << 20, .interval_ms = 24 * 3600 * 1000};
    assert_int_equal(cut(f, &i, &everything), ERR_NOT_FOUND);
    posts(f, &f->room, 4);
    assert_int_equal(cut(f, &i, &due), ERR_NOT_FOUND);
    assert_int_equal(number(f, "SELECT count(*) FROM batch"), 0);
    posts(f, &f->room, 1);
    ok(cut(f, &i, &due), &f->e);
    assert_int_equal(f->batch.records, 5);
    assert_int_equal(f->batch.number, 1);
    archive(f);
    posts(f, &f->room, 1);
    assert_int_equal(cut(f, &i, &due), ERR_NOT_FOUND);
    due.interval_ms = 0;
    ok(cut(f, &i, &due), &f->e);
    assert_int_equal(f->batch.records, 1);
}

static void bytes_and_time_make_a_batch_due(void **state)
{
    struct fixture *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    struct ledger_due due = {.records = 100, .bytes = 600, .interval_ms = 24 * 3600 * 1000};
    posts(f, &f->room, 3);
    ok(cut(f, &i, &due), &f->e);
    assert_in_range(f->batch.records, 1, 2);
    assert_true(f->batch.bytes <= 600);
    archive(f);
    /* The boundary before now lies behind the record's capture soon enough: within 1 ms. */
    due = (struct ledger_due){.records = 100, .bytes = 1 << 20, .interval_ms = 1};
    ok(cut(f, &i, &due), &f->e);
    assert_int_equal(number(f, "SELECT CAST(sum(records) AS BIGINT) FROM batch"), 3);
}

static void run_sql(struct fixture *f, const char *sql)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(db_run(t.db, sql, DB_NO_ARGS, NULL, &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
}

/* A day's records would otherwise wait until that day comes again. */
static void a_clock_set_back_holds_nothing_up(void **state)
{
    struct fixture *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    struct ledger_due due = {.records = 100, .bytes = 1 << 20, .interval_ms = 3600 * 1000};
    posts(f, &f->room, 2);
    assert_int_equal(cut(f, &i, &due), ERR_NOT_FOUND);
    run_sql(f, "UPDATE record SET captured_us = captured_us + 86400000000");
    ok(cut(f, &i, &due), &f->e);
    assert_int_equal(f->batch.records, 2);
}

static void a_batch_holds_at_least_one_record(void **state)
{
    struct fixture *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    struct ledger_due due = {.records = 10, .bytes = 1, .now = true};
    posts(f, &f->room, 2);
    for (int n = 0; n < 2; n++) {
        ok(cut(f, &i, &due), &f->e);
        assert_int_equal(f->batch.records, 1);
        archive(f);
    }
    assert_int_equal(cut(f, &i, &due), ERR_NOT_FOUND);
}

static void records_are_frozen_in_their_rooms_order(void **state)
{
    struct fixture *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    for (int n = 0; n < 3; n++) {
        feed_post(&f->feed, &f->room);
        feed_post(&f->feed, &f->other);
    }
    feed_put(&f->feed, SLICE("not a record"));
    capture_into(f, 0);
    ok(cut(f, &i, &everything), &f->e);
    struct listed l = records(f, &f->batch);
    assert_string_equal(l.text, "1#1 1#2 1#3 2#1 2#2 2#3 0#0 ");
    assert_memory_equal(l.digest, f->batch.digest, SHA256_SIZE);
    assert_int_equal(f->batch.range_count, 1);
    assert_int_equal(f->batch.ranges[0].from, 0);
    assert_int_equal(f->batch.ranges[0].to, 7);
    assert_true(strncmp(f->batch.stem + 16, "-a-000000001-", 13) == 0);
    assert_int_equal(f->batch.stem[8], 'T');
}

static void every_record_is_in_one_batch(void **state)
{
    struct fixture *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    struct ledger_due due = {.records = 10, .bytes = 1 << 20, .now = true};
    const int64_t wanted[] = {10, 10, 6};
    posts(f, &f->room, 25);
    for (int n = 0; n < 3; n++) {
        ok(cut(f, &i, &due), &f->e);
        /* Captured while the batch is under way: in a later one. */
        if (n == 0)
            posts(f, &f->room, 1);
        assert_int_equal(f->batch.records, wanted[n]);
        assert_int_equal(f->batch.ranges[0].from, n * 10);
        archive(f);
    }
    assert_int_equal(cut(f, &i, &due), ERR_NOT_FOUND);
    assert_int_equal(instance(f, "a").archived, 26);
    assert_int_equal(number(f, "SELECT records FROM archived"), 26);
    assert_int_equal(number(f, "SELECT pos FROM cursor"), 26);
}

static void the_partition_that_waited_longest_goes_first(void **state)
{
    struct fixture *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    struct ledger_due due = {.records = 3, .bytes = 1 << 20, .now = true};
    f->feed.part = 1;
    feed_post(&f->feed, &f->other);
    feed_post(&f->feed, &f->other);
    capture_into(f, 1);
    f->feed = (struct feed){.owned = f->feed.owned,
                            .owned_n = f->feed.owned_n,
                            .owned_room = f->feed.owned_room,
                            .items = f->feed.items,
                            .room = f->feed.room};
    posts(f, &f->room, 5);
    ok(cut(f, &i, &due), &f->e);
    assert_int_equal(f->batch.range_count, 2);
    assert_int_equal(f->batch.records, 3);
    archive(f);
    char why[200];
    assert_int_equal(low_water(f, 1, why), 2);
    assert_int_equal(low_water(f, 0, why), 1);
}

static void positions_without_records_are_passed_over(void **state)
{
    struct fixture *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    feed_post(&f->feed, &f->room);
    struct slice raw = f->feed.items[0].raw;
    capture_into(f, 0);
    ok(cut(f, &i, &everything), &f->e);
    archive(f);
    feed_put(&f->feed, raw);
    feed_put(&f->feed, raw);
    capture_into(f, 0);
    assert_int_equal(cut(f, &i, &everything), ERR_NOT_FOUND);
    assert_int_equal(number(f, "SELECT pos FROM cursor"), 3);
}

static void the_roster_is_who_was_there_before(void **state)
{
    struct fixture *f = *state;
    OWN(own_buf) struct buf json;
    OWN(own_db) struct db *db = NULL;
    struct ledger_instance i = added(f, "a", true, 2);
    struct ledger_due due = {.records = 4, .bytes = 1 << 20, .now = true};
#define WHO(name) "\"participant\":\"sip:" name "@x.test\",\"endpoint\":\"e\",\"name\":\"" name "\""
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN, WHO("ann")));
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN, WHO("bob")));
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN, WHO("cyd")));
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_LEAVE, WHO("bob")));
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_LEAVE, WHO("cyd")));
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN, WHO("dan")));
    feed_put(&f->feed, feed_make(&f->feed, &f->other, RECORD_JOIN, WHO("eve")));
    capture_into(f, 0);
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    for (int n = 0; n < 2; n++) {
        buf_init(&json, 1 << 16);
        ok(cut(f, &i, &due), &f->e);
        ok(ledger_batch_roster(db, &f->batch, &json, &f->e), &f->e);
        if (n == 0)
            assert_non_null(strstr(json.p, "\"rosters\":[]"));
        archive(f);
        if (n == 0)
            buf_done(&json);
    }
    /* The second batch begins with cyd's leave: ann and cyd were there, bob had gone. */
    assert_non_null(strstr(json.p, "\"first\":5,\"records\":2"));
    assert_non_null(strstr(json.p, "[0,\"sip:ann@x.test\",\"ann\""));
    assert_non_null(strstr(json.p, "[0,\"sip:cyd@x.test\",\"cyd\""));
    assert_null(strstr(json.p, "sip:bob@x.test"));
    assert_null(strstr(json.p, "sip:dan@x.test"));
    assert_null(strstr(json.p, "sip:eve@x.test"));
}

static void an_open_batch_comes_again_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    posts(f, &f->room, 7);
    ok(cut(f, &i, &everything), &f->e);
    posts(f, &f->room, 3);
    assert_int_equal(cut(f, &i, &everything), ERR_NOT_FOUND);
    close_staging(f);
    open_staging(f);
    ok(ledger_open_batch(f->st, i.id, &f->again, &f->e), &f->e);
    assert_string_equal(f->again.state, "frozen");
    assert_int_equal(f->again.records, 7);
    struct listed l = records(f, &f->again);
    assert_memory_equal(l.digest, f->again.digest, SHA256_SIZE);
}

static void what_is_settled_stays_settled(void **state)
{
    struct fixture *f = *state;
    struct slice none = {0};
    struct ledger_batch *b = &f->batch;
    struct ledger_instance i = added(f, "a", true, 2);
    posts(f, &f->room, 6);
    ok(cut(f, &i, &everything), &f->e);
    ok(ledger_attempt(f->st, b, &f->e), &f->e);
    ok(ledger_settle(f->st, b, 0, 2, "done", SLICE("[]"), none, &f->e), &f->e);
    ok(ledger_settle(f->st, b, 0, 2, "done", SLICE("[]"), none, &f->e), &f->e);
    assert_int_equal(number(f, "SELECT count(*) FROM settlement"), 1);
    assert_int_equal(ledger_settle(f->st, b, 0, 2, "rejected", SLICE("[]"), none, &f->e),
                     ERR_CONFLICT);
    assert_int_equal(ledger_settle(f->st, b, 2, 3, "done", SLICE("[]"), none, &f->e), ERR_CONFLICT);
    assert_int_equal(ledger_settle(f->st, b, 3, 6, "done", SLICE("[]"), none, &f->e), ERR_REJECTED);
    assert_int_equal(ledger_settle(f->st, b, -1, 6, "done", SLICE("[]"), none, &f->e),
                     ERR_REJECTED);
    assert_int_equal(ledger_settle(f->st, b, 4, 3, "done", SLICE("[]"), none, &f->e), ERR_REJECTED);
    assert_int_equal(ledger_batch_state(f->st, b, "settled", none, &f->e), ERR_CONFLICT);
    assert_int_equal(ledger_batch_state(f->st, b, "verified", none, &f->e), ERR_CONFLICT);
    run_sql(f, "UPDATE batch SET state = 'parked'");
    assert_int_equal(ledger_settle(f->st, b, 3, 5, "done", SLICE("[]"), none, &f->e), ERR_CONFLICT);
    run_sql(f, "UPDATE batch SET state = 'frozen'");
    ok(ledger_settle(f->st, b, 3, 5, "done", SLICE("[]"), none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, b, "settled", none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, b, "settled", none, &f->e), &f->e);
    assert_int_equal(ledger_attempt(f->st, b, &f->e), ERR_CONFLICT);
    assert_int_equal(instance(f, "a").archived, 0);
    ok(ledger_batch_state(f->st, b, "verified", none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, b, "verified", none, &f->e), &f->e);
    assert_int_equal(instance(f, "a").archived, 6);
    assert_int_equal(ledger_batch_state(f->st, b, "parked", none, &f->e), ERR_CONFLICT);
    assert_int_equal(ledger_settle(f->st, b, 0, 5, "done", SLICE("[]"), none, &f->e), ERR_CONFLICT);
}

static int64_t open_incidents(struct fixture *f)
{
    return number(f, "SELECT count(*) FROM incident WHERE closed_us IS NULL AND kind = 'parked'");
}

static void a_parked_batch_waits_for_a_person(void **state)
{
    struct fixture *f = *state;
    struct slice none = {0};
    char why[200];
    struct ledger_instance i = added(f, "a", true, 2);
    posts(f, &f->room, 4);
    ok(cut(f, &i, &everything), &f->e);
    ok(ledger_attempt(f->st, &f->batch, &f->e), &f->e);
    ok(ledger_settle(f->st, &f->batch, 0, 1, "done", SLICE("[]"), none, &f->e), &f->e);
    ok(ledger_settle(f->st, &f->batch, 2, 3, "rejected", SLICE("[]"), SLICE("552 too big"), &f->e),
       &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "parked", SLICE("552 \xff\n too big"), &f->e), &f->e);
    assert_int_equal(open_incidents(f), 1);
    posts(f, &f->room, 4);
    assert_int_equal(cut(f, &i, &everything), ERR_NOT_FOUND);
    assert_int_equal(ledger_open_batch(f->st, i.id, &f->again, &f->e), ERR_NOT_FOUND);
    assert_int_equal(low_water(f, 0, why), 0);

    run_sql(f, "UPDATE batch SET state = 'frozen' WHERE state = 'parked'");
    ok(ledger_open_batch(f->st, i.id, &f->batch, &f->e), &f->e);
    ok(ledger_attempt(f->st, &f->batch, &f->e), &f->e);
    assert_int_equal(f->batch.attempts, 2);
    assert_int_equal(number(f, "SELECT count(*) FROM settlement"), 1);
    ok(ledger_settle(f->st, &f->batch, 2, 3, "done", SLICE("[]"), none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "settled", none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "verified", none, &f->e), &f->e);
    assert_int_equal(open_incidents(f), 0);
    assert_int_equal(low_water(f, 0, why), 4);
}

static void refuted_receipts_count_no_longer(void **state)
{
    struct fixture *f = *state;
    struct slice none = {0};
    struct ledger_instance i = added(f, "a", true, 2);
    posts(f, &f->room, 2);
    ok(cut(f, &i, &everything), &f->e);
    ok(ledger_attempt(f->st, &f->batch, &f->e), &f->e);
    ok(ledger_settle(f->st, &f->batch, 0, 1, "done", SLICE("[]"), none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "settled", none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "parked", SLICE("damaged"), &f->e), &f->e);
    run_sql(f, "UPDATE batch SET state = 'frozen' WHERE state = 'parked'");
    assert_int_equal(ledger_batch_state(f->st, &f->batch, "settled", none, &f->e), ERR_CONFLICT);
    ok(ledger_attempt(f->st, &f->batch, &f->e), &f->e);
    assert_int_equal(number(f, "SELECT count(*) FROM settlement"), 0);
}

static void the_low_water_is_the_slowest_required_one(void **state)
{
    struct fixture *f = *state;
    char why[200];
    posts(f, &f->room, 5);
    assert_int_equal(low_water(f, 0, why), 0);
    assert_non_null(strstr(why, "no adapter is required"));

    struct ledger_instance mail = added(f, "mail", true, 1);
    ok(cut(f, &mail, &everything), &f->e);
    archive(f);
    assert_int_equal(low_water(f, 0, why), 0);
    assert_non_null(strstr(why, "reads back"));

    struct ledger_instance tar = added(f, "tar", true, 2);
    struct ledger_instance optional = added(f, "optional", false, 2);
    assert_int_equal(low_water(f, 0, why), 0);
    assert_non_null(strstr(why, "tar"));
    ok(cut(f, &tar, &everything), &f->e);
    assert_int_equal(low_water(f, 0, why), 0);
    archive(f);
    assert_int_equal(low_water(f, 0, why), 5);
    posts(f, &f->room, 5);
    ok(cut(f, &tar, &everything), &f->e);
    archive(f);
    assert_int_equal(low_water(f, 0, why), 5);
    assert_non_null(strstr(why, "mail"));
    ok(ledger_retire(f->st, SLICE("mail"), SLICE("moved away"), &f->e), &f->e);
    assert_int_equal(low_water(f, 0, why), 10);
    ok(ledger_instance_state(f->st, optional.id, "failed", SLICE("x"), &f->e), &f->e);
    assert_int_equal(cut(f, &optional, &everything), ERR_NOT_FOUND);
    assert_int_equal(cut(f, &mail, &everything), ERR_NOT_FOUND);
}

static void a_retired_ones_batch_is_nobodys_to_see_to(void **state)
{
    struct fixture *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    posts(f, &f->room, 2);
    ok(cut(f, &i, &everything), &f->e);
    ok(ledger_retire(f->st, SLICE("a"), SLICE("moved away"), &f->e), &f->e);
    assert_int_equal(ledger_batch_state(f->st, &f->batch, "parked", SLICE("its rows went"), &f->e),
                     ERR_NOT_FOUND);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 0);
}

static void an_instance_starts_at_the_oldest_record(void **state)
{
    struct fixture *f = *state;
    char why[200];
    struct ledger_instance a = added(f, "a", true, 2);
    posts(f, &f->room, 6);
    run_sql(f, "DELETE FROM record WHERE pos < 2");
    run_sql(f, "UPDATE cursor SET pos = 2");
    run_sql(f, "UPDATE tally SET value = 2 WHERE name = 'deleted'");
    run_sql(f, "INSERT INTO cursor (instance, generation, part, pos) SELECT id, 1, 0, 2 FROM "
               "instance WHERE NOT EXISTS"
               " (SELECT 1 FROM cursor)");
    struct ledger_instance b = added(f, "b", true, 2);
    assert_int_equal(b.base, 2);
    ok(cut(f, &a, &everything), &f->e);
    archive(f);
    assert_int_equal(low_water(f, 0, why), 2);
    ok(cut(f, &b, &everything), &f->e);
    assert_int_equal(f->batch.records, 4);
    archive(f);
    assert_int_equal(low_water(f, 0, why), 6);
    assert_int_equal(ledger_add(f->st, SLICE("a"), SLICE("plain"), true, 2, &f->e), ERR_CONFLICT);
    assert_int_equal(ledger_add(f->st, SLICE("a b"), SLICE("plain"), true, 2, &f->e), ERR_CONFIG);
    assert_int_equal(ledger_add(f->st, SLICE("../a"), SLICE("plain"), true, 2, &f->e), ERR_CONFIG);
    assert_int_equal(ledger_retire(f->st, SLICE("zzz"), SLICE("x"), &f->e), ERR_NOT_FOUND);
}

static void failures_are_kept_until_a_success(void **state)
{
    struct fixture *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    ok(ledger_failed(f->st, i.id, SLICE("550\r\nno such \xfe mailbox"), 77, &f->e), &f->e);
    i = instance(f, "a");
    assert_int_equal(i.failures, 1);
    assert_int_equal(i.next_try_us, 77);
    assert_string_equal(i.last_error, "550??no such ? mailbox");
    /* A long one is cut between two characters, wherever its end falls. */
    for (int shift = 0; shift < 2; shift++) {
        char text[1002] = "x";
        for (size_t n = (size_t)shift; n + 2 < sizeof text; n += 2)
            memcpy(text + n, "\xc3\xa9", 3);
        ok(ledger_failed(f->st, i.id, slice_of(text), 77, &f->e), &f->e);
        const struct ledger_instance now = instance(f, "a");
        struct slice kept = slice_of(now.last_error);
        assert_in_range(kept.n, 100, 999);
        assert_int_equal((kept.n - (size_t)shift) % 2, 0);
        assert_memory_equal(kept.p, text, kept.n);
    }
    posts(f, &f->room, 1);
    ok(cut(f, &i, &everything), &f->e);
    archive(f);
    i = instance(f, "a");
    assert_int_equal(i.failures, 0);
    assert_string_equal(i.last_error, "");
}

static void read_back_counts_as_declared(void **state)
{
    struct fixture *f = *state;
    struct ledger_instance i = added(f, "a", true, 0);
    ok(ledger_instance_readback(f->st, i.id, 1, &f->e), &f->e);
    assert_int_equal(instance(f, "a").readback, 1);
    ok(ledger_instance_readback(f->st, i.id, 2, &f->e), &f->e);
    assert_int_equal(instance(f, "a").readback, 2);
}

/* The steps of a batch, the process ending after `steps` of them; 0 when all were done. */
static int steps_then_die(struct fixture *f, int64_t instance_id, int steps)
{
    struct slice none = {0};
    struct ledger_instance i = {.id = instance_id, .name = "a"};
    struct ledger_batch *b = &f->batch;
    struct staging *st = NULL;
    struct err e = {0};
    if (staging_open(&st, f->url, &e) < 0 || lease_take(st, LEASE_MS, &e) < 0)
        _exit(9);
    int rc = ledger_open_batch(st, i.id, b, &e);
    if (rc == ERR_NOT_FOUND)
        rc = ledger_cut(st, &i, &everything, NULL, b, &e);
    for (int n = 1; rc == 0 && n <= 6; n++) {
        if (n == steps)
            (void)raise(SIGKILL);
        if (n == 1 && strcmp(b->state, "frozen") == 0)
            rc = ledger_attempt(st, b, &e);
        if ((n == 2 || n == 3) && strcmp(b->state, "frozen") == 0)
            rc = ledger_settle(st, b, (n - 2) * 4, (n - 2) * 4 + 3, "done", SLICE("[]"), none, &e);
        if (n == 4)
            rc = ledger_batch_state(st, b, "settled", none, &e);
        if (n == 5)
            rc = ledger_batch_state(st, b, "verified", none, &e);
    }
    lease_give(st);
    _exit(rc == 0 ? 0 : 8);
}

static int in_child(struct fixture *f, int64_t instance_id, int steps)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        steps_then_die(f, instance_id, steps);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void a_kill_between_any_two_steps_leaves_the_same_batch(void **state)
{
    struct fixture *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    posts(f, &f->room, 4);
    posts(f, &f->other, 4);
    close_staging(f);
    for (int steps = 1; steps <= 5; steps++) {
        int status = in_child(f, i.id, steps);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        open_staging(f);
        ok(ledger_open_batch(f->st, i.id, &f->again, &f->e), &f->e);
        if (steps > 1) {
            assert_string_equal(f->again.id, f->batch.id);
            assert_memory_equal(f->again.digest, f->batch.digest, SHA256_SIZE);
        }
        f->batch = f->again;
        assert_memory_equal(records(f, &f->again).digest, f->again.digest, SHA256_SIZE);
        assert_int_equal(number(f, "SELECT count(*) FROM batch"), 1);
        close_staging(f);
    }
    assert_int_equal(in_child(f, i.id, 0), 0);
    open_staging(f);
    assert_int_equal(instance(f, "a").archived, 8);
    assert_int_equal(number(f, "SELECT count(*) FROM settlement"), 2);
}

#define CASE(f, fn)                                                                                \
    {                                                                                              \
#fn, fn, set_up, tear_down, f                                                              \
    }
#define CASES(f)                                                                                   \
    CASE(f, nothing_is_cut_before_it_is_due), CASE(f, bytes_and_time_make_a_batch_due),            \
        CASE(f, a_clock_set_back_holds_nothing_up), CASE(f, a_batch_holds_at_least_one_record),    \
        CASE(f, records_are_frozen_in_their_rooms_order), CASE(f, every_record_is_in_one_batch),   \
        CASE(f, the_partition_that_waited_longest_goes_first),                                     \
        CASE(f, positions_without_records_are_passed_over),                                        \
        CASE(f, the_roster_is_who_was_there_before), CASE(f, an_open_batch_comes_again_as_it_was), \
        CASE(f, what_is_settled_stays_settled), CASE(f, a_parked_batch_waits_for_a_person),        \
        CASE(f, refuted_receipts_count_no_longer),                                                 \
        CASE(f, the_low_water_is_the_slowest_required_one),                                        \
        CASE(f, a_retired_ones_batch_is_nobodys_to_see_to),                                        \
        CASE(f, an_instance_starts_at_the_oldest_record),                                          \
        CASE(f, failures_are_kept_until_a_success), CASE(f, read_back_counts_as_declared),         \
        CASE(f, a_kill_between_any_two_steps_leaves_the_same_batch)

int main(void)
{
    static struct fixture sqlite;
    static struct fixture pg;
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    pg.postgres = getenv("HOLDFAST_TEST_POSTGRES");
    if (!scratch || !pg.postgres) {
        (void)fprintf(stderr, "run me through tests/parts/with postgres -- ledger_test\n");
        return 2;
    }
    const struct CMUnitTest on_sqlite[] = {CASES(&sqlite)};
    const struct CMUnitTest on_postgres[] = {CASES(&pg)};
    int failed = cmocka_run_group_tests_name("SQLite", on_sqlite, NULL, NULL);
    failed += cmocka_run_group_tests_name("PostgreSQL", on_postgres, NULL, NULL);
    return failed ? 1 : 0;
}
