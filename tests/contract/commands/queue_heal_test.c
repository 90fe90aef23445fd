/* SPDX-License-Identifier: Apache-2.0 */
/* `holdfast queue heal` over a real store, broker and capture: what it has sent, what it says, and
 * how it ends. */
#include "base/clock.h"
#include "base/own.h"
#include "capture/capture.h"
#include "capture/queue_heal.h"
#include "chat-server/store/relay.h"
#include "mgccomp/incident.h"
#include "tests/caught.h"
#include "tests/contract/feed.h"
#include "tests/contract/queues.h"

#include <poll.h>
#include <string.h>

enum { PATIENCE_MS = 60000 };

static const char *scratch;

struct fixture {
    char staging[600], store[600], topic[40];
    struct kafka_target target;
    struct staging *st;
    struct capture *c;
    struct caught said;
    struct err e;
};

static void make_topics(struct fixture *f)
{
    char control[60];
    (void)snprintf(control, sizeof control, "%s-control", f->topic);
    queue_broker("topic", f->topic, "1");
    queue_broker("topic", control, "1");
    f->target = (struct kafka_target){.brokers = getenv("HOLDFAST_TEST_KAFKA"),
                                      .topic = f->topic,
                                      .group = f->topic,
                                      .single_broker = true};
}

static int set_up(void **state)
{
    static int number;
    struct fixture *f = *state;
    number++;
    (void)snprintf(f->staging, sizeof f->staging, "%s", feed_database(NULL, scratch));
    (void)snprintf(f->store, sizeof f->store, "sqlite:%s/heal-store%d.db", scratch, number);
    (void)snprintf(f->topic, sizeof f->topic, "heal-command%d", number);
    ok(staging_open(&f->st, f->staging, &f->e), &f->e);
    caught_begin(&f->said);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    capture_stop(f->c);
    f->c = NULL;
    staging_close(f->st);
    caught_done(&f->said);
    return 0;
}

/* ---- the store, the queue, and what was captured of it ---- */

/* n more posts of a room. */
static void posts(struct fixture *f, const char *source, int n)
{
    OWN(own_store) struct store *s = NULL;
    ok(store_open(&s, f->store, &f->e), &f->e);
    ok(store_claim(s, slice_of(source), &f->e), &f->e);
    for (int i = 0; i < n; i++) {
        struct store_result r = {0};
        const struct store_event event = {.source = slice_of(source),
                                          .subject = SLICE("room"),
                                          .kind = RECORD_POST,
                                          .time_us = clock_wall_us(),
                                          .members =
                                              SLICE("\"participant\":\"sip:a@x\",\"text\":\"x\""),
                                          .numbered = true};
        ok(store_append(s, &event, 1, &r, &f->e), &f->e);
        assert_int_equal(r.class, 0);
    }
}

static void run_in(struct fixture *f, const char *url, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    ok(db_open(&db, url, 0, &f->e), &f->e);
    ok(db_script(db, sql, &f->e), &f->e);
}

/* What the source has stored goes to the queue; its relay then ends. */
static void relay_all(struct fixture *f, const char *source)
{
    const struct relay_options o = {
        .store_url = f->store, .kafka = f->target, .source = slice_of(source)};
    struct relay *r = NULL;
    ok(relay_start(&r, &o, &f->e), &f->e);
    ok(relay_wait(r, PATIENCE_MS, &f->e), &f->e);
    relay_stop(r);
}

static void start_capture(struct fixture *f)
{
    const struct capture_options o = {.staging = f->st, .kafka = &f->target};
    ok(capture_start(&f->c, &o, &f->e), &f->e);
}

static int64_t number(struct fixture *f, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    int64_t n = 0;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_int(db, sql, DB_NO_ARGS, 0, &n, &f->e), &f->e);
    return n;
}

static void await(struct fixture *f, const char *sql, int64_t n)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (number(f, sql) != n) {
        if (clock_mono_ms() > until)
            fail_msg("%s: not %lld", sql, (long long)n);
        (void)poll(NULL, 0, 20);
    }
}

static void open_gap(struct fixture *f, const char *source)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    const struct incident i = {.kind = INCIDENT_GAP,
                               .object = slice_of(source),
                               .source = slice_of(source),
                               .subject = SLICE("room"),
                               .part = 0,
                               .first = 2,
                               .last = 3,
                               .detail = SLICE("two are missing")};
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(incident_open(&t, &i, NULL, &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
}

/* ---- the command ---- */

static int heal(struct fixture *f, const char *timeout)
{
    OWN(own_store) struct store *s = NULL;
    char word[40];
    char *argv[] = {word, NULL};
    struct err e = {0};
    ok(store_open_reader(&s, f->store, &e), &e);
    const struct queue_heal_input in = {.staging = f->st,
                                        .store = s,
                                        .store_url = f->store,
                                        .kafka = f->target.topic ? &f->target : NULL};
    (void)snprintf(word, sizeof word, "%s", timeout);
    caught_anew(&f->said);
    int code = queue_heal_command(&f->said.io, &in, 1, argv);
    caught_read(&f->said);
    return code;
}

static void nothing_to_heal(void **state)
{
    struct fixture *f = *state;
    posts(f, "urn:one", 2);
    assert_int_equal(heal(f, "--timeout=1s"), APP_OK);
    assert_string_equal(f->said.out, "nothing is missed\n");
    assert_int_equal(heal(f, "--timeout=soon"), APP_USAGE);
    assert_said(f->said.err, "a duration such as 60s");
    assert_int_equal(heal(f, "now"), APP_USAGE);
    assert_int_equal(heal(f, "--no-such-option"), APP_USAGE);
    run_in(f, f->store,
           "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)"
           " INSERT INTO stream (source, epoch, subject) SELECT 'urn:' || i, 1, 'room' FROM n;"
           "INSERT INTO record (stream, sequence, kind, prior, hash, raw) SELECT s.id, 1, r.kind, "
           "0, r.hash, r.raw FROM stream s, record r WHERE s.source <> 'urn:one' AND r.pos = 1");
    assert_int_equal(heal(f, "--timeout=1s"), APP_OK);
    assert_said(f->said.out, "more than 32 sources: the others were not asked");
    run_in(f, f->store, "DROP TABLE parked");
    assert_int_not_equal(heal(f, "--timeout=1s"), APP_OK);
    assert_said(f->said.err, "parked");
}

/* One process has store and mgccomp: there is nobody to ask. */
static void without_a_queue_nobody_is_asked(void **state)
{
    struct fixture *f = *state;
    posts(f, "urn:one", 3);
    open_gap(f, "urn:one");
    open_gap(f, "urn:elsewhere");
    assert_int_equal(heal(f, "--timeout=300ms"), APP_FAILED);
    assert_said(f->said.out, "something is still missed\n");
    assert_said(f->said.out, "1 gaps and 0 changed logs were not settled in time");
    assert_said(f->said.out, "1 gaps are of sources without a store here");
    assert_null(strstr(f->said.out, "gaps closed"));
}

/* Two sources whose relays do not run: one's gap closes but for a record that its store has lost,
 * and what the queue had refused gets through. */
static void stores_send_what_is_missing(void **state)
{
    struct fixture *f = *state;
    make_topics(f);
    posts(f, "urn:one", 5);
    posts(f, "urn:two", 5);
    run_in(f, f->store,
           "UPDATE stream SET relayed = 3;"
           "INSERT INTO parked SELECT id, 2, 1, 'refused' FROM stream WHERE source = 'urn:one';"
           "DELETE FROM record WHERE sequence = 2 AND stream ="
           " (SELECT id FROM stream WHERE source = 'urn:two')");
    relay_all(f, "urn:one");
    relay_all(f, "urn:two");
    start_capture(f);
    await(f, "SELECT count(*) FROM incident WHERE kind = 'gap' AND closed_us IS NULL", 2);
    open_gap(f, "urn:elsewhere");
    assert_int_equal(heal(f, "--timeout=40s"), APP_FAILED);
    assert_said(f->said.out,
                "gaps closed: 1, changed logs: 0, refused records that got through: 1");
    assert_said(f->said.out, "1 gaps stand: their store has not what is missing");
    assert_said(f->said.out, "1 gaps are of sources without a store here");
    assert_said(f->said.out, "Type: holdfast incident list");
    assert_null(strstr(f->said.out, "in time"));
    assert_int_equal(number(f, "SELECT count(DISTINCT stream * 100 + sequence) FROM record"), 9);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE closed_us IS NULL AND first = 2"
                               " AND last = 2 AND source = 'urn:two'"),
                     1);
}

static void without_capture_nothing_is_settled_in_time(void **state)
{
    struct fixture *f = *state;
    make_topics(f);
    posts(f, "urn:one", 5);
    relay_all(f, "urn:one");
    open_gap(f, "urn:one");
    run_in(f, f->store,
           "INSERT INTO log_change (source, part, before_offset, after_offset, opened_us)"
           " VALUES ('urn:one', 0, 9, 5, 1)");
    assert_int_equal(heal(f, "--timeout=1500ms"), APP_FAILED);
    assert_said(f->said.out,
                "1 gaps and 1 changed logs were not settled in time. Is capture running?");
}

/* The record is larger than any producer takes. The word is heard: nobody waits until the end. */
static void what_the_queue_refuses_again_is_said(void **state)
{
    struct fixture *f = *state;
    make_topics(f);
    posts(f, "urn:one", 3);
    relay_all(f, "urn:one");
    run_in(f, f->store,
           "UPDATE record SET raw = zeroblob(1100000) WHERE sequence = 2;"
           "INSERT INTO parked SELECT id, 2, 1, 'refused' FROM stream");
    int64_t began = clock_mono_ms();
    assert_int_equal(heal(f, "--timeout=60s"), APP_FAILED);
    assert_true(clock_mono_ms() - began < PATIENCE_MS);
    assert_string_equal(f->said.out, "something is still missed\n"
                                     "  1 records are refused by the queue\n"
                                     "Type: holdfast incident list\n");
}

/* What two people gave up is not asked for again, and not called missing. */
static void what_was_accepted_as_lost_is_not_missed(void **state)
{
    struct fixture *f = *state;
    posts(f, "urn:one", 3);
    open_gap(f, "urn:one");
    run_in(f, f->store, "INSERT INTO parked SELECT id, 2, 1, 'refused' FROM stream");
    run_in(f, f->staging,
           "INSERT INTO stream (source, epoch, subject, sequence, hash, captured, last_us)"
           " VALUES ('urn:one', 1, 'room', 3, x'00', 2, 1);"
           "UPDATE incident SET stream = (SELECT id FROM stream)");
    assert_int_equal(heal(f, "--timeout=300ms"), APP_FAILED);
    assert_said(f->said.out, "1 records are refused by the queue");
    run_in(f, f->staging, "UPDATE incident SET closed_us = 1, accepted_by = 'two'");
    assert_int_equal(heal(f, "--timeout=300ms"), APP_OK);
    assert_string_equal(f->said.out,
                        "nothing is missed but what was accepted as lost\n"
                        "  1 records that the queue refused were accepted as lost: nobody"
                        " waits for them\n");
}

#define CASE(fn, f)                                                                                \
    {                                                                                              \
#fn, fn, set_up, tear_down, f                                                              \
    }

int main(void)
{
    static struct fixture alone;
    static struct fixture services;
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    if (!scratch || !getenv("HOLDFAST_TEST_KAFKA")) {
        (void)fprintf(stderr, "run me through tests/parts/with kafka -- queue_heal_test\n");
        return 2;
    }
    const struct CMUnitTest tests[] = {
        CASE(nothing_to_heal, &alone),
        CASE(without_a_queue_nobody_is_asked, &alone),
        CASE(what_was_accepted_as_lost_is_not_missed, &alone),
        CASE(stores_send_what_is_missing, &services),
        CASE(without_capture_nothing_is_settled_in_time, &services),
        CASE(what_the_queue_refuses_again_is_said, &services),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
