/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting batches on SQLite and on a private PostgreSQL: when one is due, what is frozen in it, and
 * that it comes again as it was, whatever was killed between any two of its steps.
 */
#include "base/json.h"
#include "mgccomp/lease.h"
#include "tests/contract/stage.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

static struct listed records(struct stage *f, const struct ledger_batch *b)
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
    struct stage *f = *state;
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
    struct stage *f = *state;
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

/* A day's records would otherwise wait until that day comes again. */
static void a_clock_set_back_holds_nothing_up(void **state)
{
    struct stage *f = *state;
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
    struct stage *f = *state;
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
    struct stage *f = *state;
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
    struct stage *f = *state;
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
    struct stage *f = *state;
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
    assert_int_equal(number(f, "SELECT pos FROM cursor WHERE part = 1"), 2);
    assert_int_equal(number(f, "SELECT pos FROM cursor WHERE part = 0"), 1);
}

enum { MANY = LEDGER_MAX_RANGES + 40 };

/* One record each into the partitions from..to. */
static void spread(struct stage *f, struct staging_position *at, int32_t from, int32_t to)
{
    f->out = (struct capture_outcome){0};
    for (int32_t p = from; p < to; p++) {
        f->feed.part = p;
        f->feed.pos = at[p].pos;
        feed_post(&f->feed, &f->room);
    }
    ok(feed_write(f->w, f->feed.items, f->feed.n, at + from, (size_t)(to - from), &f->out, &f->e),
       &f->e);
    feed_clear(&f->feed);
    assert_int_equal(f->out.stored, to - from);
}

/* A batch names no more partitions than that; those it always had a record of would keep the others
 * waiting for ever. */
static void more_busy_partitions_than_fit_take_turns(void **state)
{
    struct stage *f = *state;
    struct ledger_instance i = added(f, "a", true, 2);
    struct staging_position at[MANY] = {0};
    for (int32_t p = 0; p < MANY; p++)
        at[p].part = p;
    ok(staging_positions(f->st, at, MANY, &f->e), &f->e);
    spread(f, at, 0, MANY);
    ok(cut(f, &i, &everything), &f->e);
    assert_int_equal(f->batch.range_count, LEDGER_MAX_RANGES);
    archive(f);
    assert_int_equal(number(f, "SELECT count(*) FROM cursor WHERE pos = 1"), LEDGER_MAX_RANGES);
    spread(f, at, 0, LEDGER_MAX_RANGES);
    ok(cut(f, &i, &everything), &f->e);
    assert_int_equal(f->batch.range_count, LEDGER_MAX_RANGES);
    archive(f);
    assert_int_equal(number(f, "SELECT count(*) FROM cursor WHERE pos >= 1"), MANY);
    ok(cut(f, &i, &everything), &f->e);
    archive(f);
    assert_int_equal(cut(f, &i, &everything), ERR_NOT_FOUND);
    assert_int_equal(instance(f, "a").archived, MANY + LEDGER_MAX_RANGES);
}

static void positions_without_records_are_passed_over(void **state)
{
    struct stage *f = *state;
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
    struct stage *f = *state;
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
    struct stage *f = *state;
    struct ledger_batch again;
    struct ledger_instance i = added(f, "a", true, 2);
    posts(f, &f->room, 7);
    ok(cut(f, &i, &everything), &f->e);
    posts(f, &f->room, 3);
    assert_int_equal(cut(f, &i, &everything), ERR_NOT_FOUND);
    stage_close(f);
    stage_open(f);
    ok(ledger_open_batch(f->st, i.id, &again, &f->e), &f->e);
    assert_string_equal(again.state, "frozen");
    assert_int_equal(again.records, 7);
    struct listed l = records(f, &again);
    assert_memory_equal(l.digest, again.digest, SHA256_SIZE);
}

/* The steps of a batch, the process ending after `steps` of them; 0 when all were done. */
static int steps_then_die(struct stage *f, int64_t instance_id, int steps)
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

static int in_child(struct stage *f, int64_t instance_id, int steps)
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
    struct stage *f = *state;
    struct ledger_batch again;
    struct ledger_instance i = added(f, "a", true, 2);
    posts(f, &f->room, 4);
    posts(f, &f->other, 4);
    stage_close(f);
    for (int steps = 1; steps <= 5; steps++) {
        int status = in_child(f, i.id, steps);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        stage_open(f);
        ok(ledger_open_batch(f->st, i.id, &again, &f->e), &f->e);
        if (steps > 1) {
            assert_string_equal(again.id, f->batch.id);
            assert_memory_equal(again.digest, f->batch.digest, SHA256_SIZE);
        }
        f->batch = again;
        assert_memory_equal(records(f, &again).digest, again.digest, SHA256_SIZE);
        assert_int_equal(number(f, "SELECT count(*) FROM batch"), 1);
        stage_close(f);
    }
    assert_int_equal(in_child(f, i.id, 0), 0);
    stage_open(f);
    assert_int_equal(instance(f, "a").archived, 8);
    assert_int_equal(number(f, "SELECT count(*) FROM settlement"), 2);
}

int main(void)
{
    static struct stage sqlite;
    static struct stage pg;
    const struct CMUnitTest cases[] = {
        ON_STAGE(nothing_is_cut_before_it_is_due),
        ON_STAGE(bytes_and_time_make_a_batch_due),
        ON_STAGE(a_clock_set_back_holds_nothing_up),
        ON_STAGE(a_batch_holds_at_least_one_record),
        ON_STAGE(records_are_frozen_in_their_rooms_order),
        ON_STAGE(every_record_is_in_one_batch),
        ON_STAGE(the_partition_that_waited_longest_goes_first),
        ON_STAGE(more_busy_partitions_than_fit_take_turns),
        ON_STAGE(positions_without_records_are_passed_over),
        ON_STAGE(the_roster_is_who_was_there_before),
        ON_STAGE(an_open_batch_comes_again_as_it_was),
        ON_STAGE(a_kill_between_any_two_steps_leaves_the_same_batch),
    };
    return stage_main(cases, sizeof cases / sizeof cases[0], &sqlite, &pg);
}
