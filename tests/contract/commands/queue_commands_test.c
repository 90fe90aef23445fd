/* SPDX-License-Identifier: Apache-2.0 */
/* `holdfast queue check` on both queues, `holdfast drain` and `holdfast ingest` with a queue: what
 * they say, and how they end. */
#include "base/clock.h"
#include "base/own.h"
#include "capture/ingest.h"
#include "capture/queue_check.h"
#include "mgccomp/incident.h"
#include "mgccomp/ledger.h"
#include "retention/drain.h"
#include "tests/caught.h"
#include "tests/contract/feed.h"
#include "tests/contract/queues.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>

enum { PATIENCE_MS = 60000 };

static const char *scratch;

struct fixture {
    bool services;
    char url[600];
    struct queue q;
    struct staging *st;
    struct caught said;
    struct err e;
};

static int set_up(void **state)
{
    struct fixture *f = *state;
    (void)snprintf(f->url, sizeof f->url, "%s", feed_database(NULL, scratch));
    ok(staging_open(&f->st, f->url, &f->e), &f->e);
    queue_make(&f->q, f->services, scratch, 1);
    caught_begin(&f->said);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    staging_close(f->st);
    queue_done(&f->q);
    caught_done(&f->said);
    return 0;
}

static void run_sql(struct fixture *f, const char *sql)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(db_run(t.db, sql, DB_NO_ARGS, NULL, &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
}

static int64_t captured(struct fixture *f)
{
    OWN(own_db) struct db *db = NULL;
    int64_t n = 0;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_int(db, "SELECT count(*) FROM record", DB_NO_ARGS, 0, &n, &f->e), &f->e);
    return n;
}

/* n more posts, captured. */
static void capture(struct fixture *f, int n)
{
    const struct capture_options o = {.staging = f->st,
                                      .embedded = f->services ? NULL : &f->q.embedded,
                                      .kafka = f->services ? &f->q.target : NULL};
    struct capture *c = NULL;
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    queue_posts(&f->q, n, 1);
    ok(capture_start(&c, &o, &f->e), &f->e);
    while (captured(f) < f->q.sent && clock_mono_ms() < until)
        (void)poll(NULL, 0, 20);
    capture_stop(c);
    assert_int_equal(captured(f), f->q.sent);
}

/* ---- queue check ---- */

/* Exit code of the command; what it said is in f->said.out. */
static int check_with(struct fixture *f, const struct kafka_target *kafka, const char *store,
                      char *word)
{
    const struct queue_check_input in = {.staging = f->st, .kafka = kafka, .store_url = store};
    char *argv[] = {word, NULL};
    caught_anew(&f->said);
    int code = queue_check_command(&f->said.io, &in, word ? 1 : 0, argv);
    caught_read(&f->said);
    return code;
}

static int check(struct fixture *f)
{
    return check_with(f, f->services ? &f->q.target : NULL, f->q.url, NULL);
}

static void the_embedded_queue_is_well_or_another(void **state)
{
    struct fixture *f = *state;
    char word[] = "now";
    assert_int_equal(check(f), APP_FAILED); /* there is no store */
    assert_said(f->said.out, "1 problem with the queue");
    queue_posts(&f->q, 3, 1);
    assert_int_equal(check(f), APP_OK);
    assert_said(f->said.out, "to be captured 3");
    capture(f, 2);
    assert_int_equal(check(f), APP_OK);
    assert_said(f->said.out, "the record before it is the one captured");
    assert_said(f->said.out, "to be captured 0");
    run_sql(f, "UPDATE position SET hash = (SELECT hash FROM record WHERE pos = 1)");
    assert_int_equal(check(f), APP_FAILED);
    assert_said(f->said.out, "the store is another one");
    assert_int_equal(check_with(f, NULL, f->q.url, word), APP_USAGE);
}

static void a_topic_is_well_or_not(void **state)
{
    struct fixture *f = *state;
    char control[80];
    (void)snprintf(control, sizeof control, "%s-control", f->q.topic);
    assert_int_equal(check(f), APP_FAILED);
    assert_said(f->said.out, control);
    assert_said(f->said.out, "nothing was captured from any queue yet");
    queue_broker("topic", control, "1");
    assert_int_equal(check(f), APP_OK);
    assert_said(f->said.out, "the queue is well");
    assert_said(f->said.out, "nothing was captured from it yet");
    capture(f, 5);
    queue_posts(&f->q, 2, 1);
    assert_int_equal(check(f), APP_OK);
    assert_said(f->said.out, "it is the queue captured before");
    assert_said(f->said.out, "to be captured 2");
    run_sql(f, "UPDATE position SET hash = (SELECT hash FROM record WHERE pos = 1)");
    assert_int_equal(check(f), APP_FAILED);
    assert_said(f->said.out, "another record lies where the last one was captured");
    run_sql(f, "UPDATE position SET pos = pos + 10");
    assert_int_equal(check(f), APP_FAILED);
    assert_said(f->said.out, "the log ends before what was captured");
    run_sql(f, "UPDATE position SET shift = 20");
    assert_int_equal(check(f), APP_FAILED);
    assert_said(f->said.out, "records before they were captured are gone");
    run_sql(f, "UPDATE queue SET identity = 'elsewhere/topic'");
    assert_int_equal(check(f), APP_FAILED);
    assert_said(f->said.out, "mgccomp was filled from elsewhere/topic");
}

static void what_was_tidied_up_is_well(void **state)
{
    struct fixture *f = *state;
    char control[80];
    int64_t low = 0;
    (void)snprintf(control, sizeof control, "%s-control", f->q.topic);
    queue_broker("topic", control, "1");
    capture(f, 5);
    queue_posts(&f->q, 2, 1);
    ok(kafka_delete_below(&f->q.target, 0, 5, 10000, &low, &f->e), &f->e);
    assert_int_equal(check(f), APP_OK);
    assert_said(f->said.out, "what lies before it was tidied up");
    ok(kafka_delete_below(&f->q.target, 0, 6, 10000, &low, &f->e), &f->e);
    assert_int_equal(check(f), APP_FAILED);
    assert_said(f->said.out, "records before they were captured are gone");
}

static void what_mgccomp_can_not_say_is_a_problem(void **state)
{
    struct fixture *f = *state;
    char control[80];
    (void)snprintf(control, sizeof control, "%s-control", f->q.topic);
    queue_broker("topic", control, "1");
    capture(f, 2);
    run_sql(f, "ALTER TABLE queue RENAME TO aside");
    run_sql(f, "ALTER TABLE position RENAME TO away");
    assert_int_equal(check(f), APP_FAILED);
    assert_said(f->said.out, "2 problems with the queue");
}

static void a_control_topic_has_one_partition(void **state)
{
    struct fixture *f = *state;
    char control[80];
    (void)snprintf(control, sizeof control, "%s-control", f->q.topic);
    queue_broker("topic", control, "2");
    assert_int_equal(check(f), APP_FAILED);
    assert_said(f->said.out, "It must have one");
}

static void brokers_that_are_not_there_are_named(void **state)
{
    struct fixture *f = *state;
    struct kafka_target nobody = f->q.target;
    nobody.brokers = "127.0.0.1:1";
    assert_int_equal(check_with(f, &nobody, NULL, NULL), APP_FAILED);
    assert_said(f->said.out, "See that the brokers run");
}

/* ---- drain ---- */

static int drain(struct fixture *f, const char *timeout)
{
    OWN(own_store) struct store *s = NULL;
    char option[] = "--timeout";
    char value[20];
    char *argv[] = {option, value, NULL};
    struct err e = {0};
    if (f->q.store)
        ok(store_open_reader(&s, f->q.url, &e), &e);
    const struct drain_input in = {
        .store = s, .staging = f->st, .kafka = f->services ? &f->q.target : NULL};
    (void)snprintf(value, sizeof value, "%s", timeout);
    caught_anew(&f->said);
    int code = drain_command(&f->said.io, &in, 2, argv);
    caught_read(&f->said);
    return code;
}

static void open_incident(struct fixture *f)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    const struct incident i = {.kind = INCIDENT_GAP,
                               .object = SLICE("a gap"),
                               .part = 0,
                               .first = 2,
                               .last = 3,
                               .detail = SLICE("two are missing")};
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(incident_open(&t, &i, NULL, &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
}

static void drain_says_what_holds_it(void **state)
{
    struct fixture *f = *state;
    char unknown[] = "--no-such-option";
    char *argv[] = {unknown, NULL};
    const struct drain_input none = {.staging = f->st};
    queue_posts(&f->q, 3, 1);
    assert_int_not_equal(drain_command(&f->said.io, &none, 1, argv), APP_OK);
    assert_int_not_equal(drain(f, "soon"), APP_OK);
    assert_said(f->said.err, "is no duration");
    assert_int_not_equal(drain(f, "300ms"), APP_OK);
    assert_said(f->said.err, "room 0#3 is not captured yet");
    capture(f, 1);
    assert_int_not_equal(drain(f, "300ms"), APP_OK);
    assert_said(f->said.err, "4 records are not deleted yet");
    ok(ledger_add(f->st, SLICE("a"), SLICE("plain"), true, 2, &f->e), &f->e);
    ok(ledger_pause(f->st, SLICE("a"), SLICE("the disk moves"), &f->e), &f->e);
    assert_int_not_equal(drain(f, "300ms"), APP_OK);
    assert_said(f->said.err, "adapter a is behind (paused): the disk moves");
    open_incident(f);
    assert_int_not_equal(drain(f, "300ms"), APP_OK);
    assert_said(f->said.err, "(gap) holds it: two are missing");
    run_sql(f, "DELETE FROM record");
    assert_int_equal(drain(f, "10s"), APP_OK);
}

static void drain_waits_for_the_queues_end(void **state)
{
    struct fixture *f = *state;
    capture(f, 3);
    queue_garbage(&f->q, SLICE("no record"));
    assert_int_not_equal(drain(f, "500ms"), APP_OK);
    assert_said(f->said.err, "the queue's end at the start is not captured yet");
}

/* ---- ingest ---- */

static void *resume_later(void *arg)
{
    (void)arg;
    (void)poll(NULL, 0, 1200); /* meanwhile the command waits */
    queue_broker("resume", NULL, NULL);
    return NULL;
}

static const struct store_limit no_limit = {.folder = "/"};

/* One record whose id is given, by a writer and a relay of its own; the broker hangs at first. */
static int ingest(struct fixture *f, int id, bool hangs)
{
    char option[] = "--source=urn:other";
    char as_json[] = "--json";
    char *argv[] = {option, as_json, NULL};
    char line[200];
    struct writer *w = NULL;
    struct relay *r = NULL;
    OWN(own_file) FILE *in = tmpfile();
    pthread_t thread;
    const struct relay_options relay = {
        .store_url = f->q.url, .kafka = f->q.target, .source = SLICE("urn:other")};
    ok(relay_start(&r, &relay, &f->e), &f->e);
    const struct writer_options writer = {.url = f->q.url, .stored = relay_stored, .stored_arg = r};
    ok(writer_start(&w, &writer, &f->e), &f->e);
    assert_non_null(in);
    (void)snprintf(line, sizeof line,
                   "{\"specversion\":\"1.0\",\"id\":\"m%d\",\"type\":\"com.example.message\","
                   "\"time\":\"2026-01-01T00:00:00Z\",\"subject\":\"room\",\"data\":{}}\n",
                   id);
    assert_true(fputs(line, in) >= 0);
    rewind(in);
    caught_anew(&f->said);
    f->said.io.in = in;
    const struct ingest_into into = {
        .writer = w, .relay = r, .limit = &no_limit, .store_url = f->q.url};
    ok(relay_wait(r, PATIENCE_MS, &f->e), &f->e);
    if (hangs) {
        queue_broker("pause", NULL, NULL);
        assert_int_equal(pthread_create(&thread, NULL, resume_later, NULL), 0);
    }
    int code = ingest_command(&f->said.io, &into, 2, argv);
    if (hangs)
        assert_int_equal(pthread_join(thread, NULL), 0);
    writer_stop(w);
    relay_stop(r);
    caught_read(&f->said);
    f->said.io.in = stdin;
    return code;
}

static void ingest_waits_for_the_queue(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ingest(f, 1, false), APP_OK);
    assert_string_equal(f->said.out, "{\"lines\":1,\"stored\":1,\"known\":0,\"bad\":0}\n");
    assert_int_equal(ingest(f, 2, true), APP_OK);
    OWN(own_db) struct db *db = NULL;
    int64_t relayed = 0;
    ok(db_open(&db, f->q.url, 0, &f->e), &f->e);
    ok(db_int(db, "SELECT relayed FROM stream WHERE subject = 'room'", DB_NO_ARGS, 0, &relayed,
              &f->e),
       &f->e);
    assert_int_equal(relayed, 2);
    ok(db_script(db, "INSERT INTO parked SELECT id, 1, 1, 'refused' FROM stream", &f->e), &f->e);
    assert_int_equal(ingest(f, 2, false), APP_FAILED);
    assert_said(f->said.err, "1 records were refused by the queue and wait for a person");
    assert_string_equal(f->said.out, "{\"lines\":1,\"stored\":0,\"known\":1,\"bad\":0}\n");
}

#define CASE(fn, f)                                                                                \
    {                                                                                              \
#fn, fn, set_up, tear_down, f                                                              \
    }

int main(void)
{
    static struct fixture embedded;
    static struct fixture services = {.services = true};
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    if (!scratch || !getenv("HOLDFAST_TEST_KAFKA")) {
        (void)fprintf(stderr, "run me through tests/parts/with kafka -- queue_commands_test\n");
        return 2;
    }
    const struct CMUnitTest tests[] = {
        CASE(the_embedded_queue_is_well_or_another, &embedded),
        CASE(drain_says_what_holds_it, &embedded),
        CASE(a_topic_is_well_or_not, &services),
        CASE(what_was_tidied_up_is_well, &services),
        CASE(what_mgccomp_can_not_say_is_a_problem, &services),
        CASE(a_control_topic_has_one_partition, &services),
        CASE(brokers_that_are_not_there_are_named, &services),
        CASE(drain_waits_for_the_queues_end, &services),
        CASE(ingest_waits_for_the_queue, &services),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
