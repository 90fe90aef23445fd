/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a person types, with every statement and every allocation failing once: the command says
 * that it failed and why, and typed again it does what it is for.
 */
#include "adapters/host/archiver.h"
#include "base/clock.h"
#include "base/own.h"
#include "base/stop.h"
#include "mgccomp/check.h"
#include "mgccomp/incident.h"
#include "mgccomp/ledger.h"
#include "retention/drain.h"
#include "tests/contract/faults/faults.h"
#include "tests/contract/feed.h"
#include "tests/expect.h"

#include <stdlib.h>
#include <string.h>

enum { SAID = 16000 };

struct desk {
    char mgccomp[400], chat[400];
    struct staging *st;
    struct store *store;
    uid_t uid;
    struct err e;
};
static struct desk desk;

typedef int typed_fn(struct desk *d, struct app_io *io, int argc, char **argv);

static void do_sql(struct desk *d, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    ok(db_open(&db, d->mgccomp, 0, &d->e), &d->e);
    ok(db_script(db, sql, &d->e), &d->e);
}

/* ERR_RETRY: it said that it failed by what fails here. */
static int type(struct desk *d, typed_fn *command, const char *one, const char *two,
                const char *must_say)
{
    static char said[SAID];
    char words[2][40];
    char *argv[] = {words[0], words[1], NULL};
    (void)snprintf(words[0], sizeof words[0], "%s", one);
    (void)snprintf(words[1], sizeof words[1], "%s", two);
    memset(said, 0, sizeof said);
    OWN(own_file) FILE *f = fmemopen(said, sizeof said, "w");
    struct app_io io = {.out = f, .err = f, .uid = d->uid};
    assert_non_null(f);
    int code = command(d, &io, *two ? 2 : *one ? 1 : 0, argv);
    (void)fflush(f);
    if (strstr(said, "by the test") || strstr(said, "out of memory")) {
        assert_int_not_equal(code, APP_OK);
        return ERR_RETRY;
    }
    if (!strstr(said, must_say))
        fail_msg("\"%s\" is not in: %s", must_say, said);
    return 0;
}

/* ---- incidents ---- */

static const struct incident_others nobody = {NULL, NULL};

static int list(struct desk *d, struct app_io *io, int argc, char **argv)
{
    return incident_list_command(io, d->st, &nobody, argc, argv);
}

static int show(struct desk *d, struct app_io *io, int argc, char **argv)
{
    return incident_show_command(io, d->st, &nobody, argc, argv);
}

static int retry(struct desk *d, struct app_io *io, int argc, char **argv)
{
    return incident_retry_command(io, d->st, argc, argv);
}

static int accept(struct desk *d, struct app_io *io, int argc, char **argv)
{
    return incident_accept_command(io, d->st, argc, argv);
}

static int list_open(void *arg)
{
    return type(arg, list, "", "", "3 open incidents");
}

static int list_all_as_json(void *arg)
{
    return type(arg, list, "--all", "--json", "\"kind\":\"parked\"");
}

static int show_one(void *arg)
{
    return type(arg, show, "1", "", "incident 1: gap, open");
}

static int retry_gap(void *arg)
{
    return type(arg, retry, "1", "", "asked for again");
}

static int retry_log(void *arg)
{
    return type(arg, retry, "2", "--json", "\"retried\":true");
}

static int retry_batch(void *arg)
{
    return type(arg, retry, "3", "", "is tried again");
}

static int propose(void *arg)
{
    struct desk *d = arg;
    d->uid = 1;
    return type(d, accept, "1", "--reason=lost", "Another person must type");
}

static int accept_one(void *arg)
{
    struct desk *d = arg;
    d->uid = 2;
    return type(d, accept, "1", "--reason=lost", "is closed: accepted, records lost: 2");
}

static int accept_json(struct desk *d, struct app_io *io, int argc, char **argv)
{
    io->json = true;
    return accept(d, io, argc, argv);
}

static int propose_json(void *arg)
{
    struct desk *d = arg;
    d->uid = 1;
    return type(d, accept_json, "1", "--reason=lost", "\"proposed\":true,\"accepted\":false");
}

static void nobody_proposed(void *arg)
{
    do_sql(arg, "UPDATE incident SET closed_us = NULL, proposed_us = NULL, proposed_by = NULL,"
                " accepted_by = NULL WHERE id = 1");
}

static void one_proposed(void *arg)
{
    nobody_proposed(arg);
    do_sql(arg, "UPDATE incident SET proposed_us = 1, proposed_by = 'user 1' WHERE id = 1");
}

static void is_parked(void *arg)
{
    do_sql(arg, "UPDATE batch SET state = 'parked'");
}

/* One that the relay has seen, as the wiring gives it. */
static int one_elsewhere(void *arg, struct db *staging, bool all, incident_visit_fn *visit,
                         void *visit_arg, struct err *e)
{
    const struct incident i = {.kind = INCIDENT_LOG_CHANGED,
                               .elsewhere = "L4",
                               .source = SLICE("sip:pool"),
                               .part = 2,
                               .opened_us = 1,
                               .detail = SLICE("a test")};
    (void)arg;
    (void)staging;
    (void)all;
    return visit(visit_arg, &i, e);
}

static int list_with_others(struct desk *d, struct app_io *io, int argc, char **argv)
{
    static const struct incident_others others = {one_elsewhere, NULL};
    return incident_list_command(io, d->st, &others, argc, argv);
}

/* What can't be done is said, and does nothing. */
static void refused(struct desk *d, typed_fn *command, const char *one, const char *two,
                    const char *why)
{
    ok(type(d, command, one, two, why), &d->e);
}

static void wrong_words(void **state)
{
    struct desk *d = &desk;
    (void)state;
    refused(d, list_with_others, "--json", "", "\"id\":\"L4\"");
    refused(d, list, "now", "", "incident list takes no words");
    refused(d, show, "1", "2", "give one incident");
    refused(d, retry, "one", "", "give one incident's number");
    refused(d, retry, "99", "", "there is no incident 99");
    do_sql(d, "INSERT INTO incident (id, kind, object, part, opened_us, closed_us, detail)"
              " VALUES (50, 'gap', 'before', -1, 1, 2, 'a test')");
    refused(d, retry, "50", "", "incident 50 is closed already");
    refused(d, accept, "50", "--reason=lost", "incident 50 is closed already");
    do_sql(d, "DELETE FROM incident WHERE id = 50");
}

/* The output's disk is full. */
static void what_can_not_be_written(void **state)
{
    OWN(own_file) FILE *full = fopen("/dev/full", "w");
    OWN(own_file) FILE *none = fopen("/dev/null", "w");
    struct app_io io = {.out = full, .err = none};
    (void)state;
    assert_true(full && none);
    (void)setvbuf(full, NULL, _IONBF, 0);
    assert_int_equal(incident_list_command(&io, desk.st, &nobody, 0, NULL), APP_FAILED);
}

/* ---- others ---- */

static int check(struct desk *d, struct app_io *io, int argc, char **argv)
{
    return staging_check_command(io, d->st, argc, argv);
}

static int check_staging(void *arg)
{
    return type(arg, check, "", "", "records");
}

static int adapters(struct desk *d, struct app_io *io, int argc, char **argv)
{
    return adapter_list_command(io, d->st, argc, argv);
}

static int list_adapters(void *arg)
{
    return type(arg, adapters, "", "", "a ");
}

static int drain(struct desk *d, struct app_io *io, int argc, char **argv)
{
    const struct drain_input in = {.store = d->store, .staging = d->st};
    return drain_command(io, &in, argc, argv);
}

/* There is no time to wait: it says what is not archived yet. */
static int drain_at_once(void *arg)
{
    return type(arg, drain, "--timeout=1ms", "", "");
}

/* The last one: a program that is to stop stays so. */
static void a_stop_ends_a_drain(void **state)
{
    (void)state;
    stop_request();
    ok(type(&desk, drain, "--timeout=1m", "", "stopped before everything was archived"), &desk.e);
}

static void each(const struct faults_step *s)
{
    faults_sweep(FAULT_STATEMENT, s, &desk);
    faults_sweep(FAULT_MEMORY, s, &desk);
}

static void incidents(void **state)
{
    (void)state;
    each(&(struct faults_step){.name = "list_open", .run = list_open});
    each(&(struct faults_step){.name = "list_all_as_json", .run = list_all_as_json});
    each(&(struct faults_step){.name = "show_one", .run = show_one});
    each(&(struct faults_step){.name = "retry_gap", .run = retry_gap});
    each(&(struct faults_step){.name = "retry_log", .run = retry_log});
    each(&(struct faults_step){.name = "retry_batch", .run = retry_batch, .ready = is_parked});
    each(&(struct faults_step){.name = "propose", .run = propose, .ready = nobody_proposed});
    each(&(struct faults_step){.name = "accept", .run = accept_one, .ready = one_proposed});
    each(&(struct faults_step){
        .name = "propose_json", .run = propose_json, .ready = nobody_proposed});
}

static void the_others(void **state)
{
    (void)state;
    each(&(struct faults_step){.name = "check_staging", .run = check_staging});
    each(&(struct faults_step){.name = "list_adapters", .run = list_adapters});
    each(&(struct faults_step){.name = "drain", .run = drain_at_once});
}

/* ---- what they are typed over ---- */

static void append(struct desk *d)
{
    struct store_result r[2];
    struct store_event events[2] = {{.source = SLICE("sip:pool"),
                                     .subject = SLICE("ma-chan://x/one"),
                                     .kind = RECORD_POST,
                                     .time_us = clock_wall_us(),
                                     .members = SLICE("\"participant\":\"sip:a\",\"text\":\"x\""),
                                     .numbered = true}};
    events[1] = events[0];
    events[1].subject = SLICE("ma-chan://x/two");
    OWN(own_store) struct store *s = NULL;
    ok(store_open(&s, d->chat, &d->e), &d->e);
    ok(store_claim(s, SLICE("sip:pool"), &d->e), &d->e);
    ok(store_append(s, events, 2, r, &d->e), &d->e);
}

/* A gap of two records, a log that changed, a batch that was refused. */
static void capture(struct desk *d)
{
    struct feed f = {0};
    struct feed_stream room = {.source = "sip:pool", .subject = "ma-chan://x/one"};
    struct capture_writer *w = NULL;
    struct capture_outcome out;
    struct staging_position at = {.part = 0};
    struct ledger_batch batch;
    const struct ledger_due due = {.records = 100, .bytes = 1 << 20, .now = true};
    const struct ledger_instance a = {.id = 1, .name = "a", .required = true};
    int64_t generation = 0;
    ok(staging_queue(d->st, SLICE("embedded"), SLICE("test"), &generation, &d->e), &d->e);
    ok(ledger_add(d->st, SLICE("a"), SLICE("plain"), true, 2, &d->e), &d->e);
    ok(capture_writer_new(&w, d->st, generation, &d->e), &d->e);
    feed_post(&f, &room);
    (void)feed_make(&f, &room, RECORD_POST, "\"participant\":\"sip:a\",\"text\":\"x\"");
    (void)feed_make(&f, &room, RECORD_POST, "\"participant\":\"sip:a\",\"text\":\"y\"");
    feed_post(&f, &room);
    ok(feed_write(w, f.items, f.n, &at, 1, &out, &d->e), &d->e);
    do_sql(d, "INSERT INTO incident (kind, object, part, first, last, opened_us, detail)"
              " VALUES ('log-changed', 'partition 0', 0, 1, 2, 1, 'a test')");
    ok(ledger_cut(d->st, &a, &due, NULL, &batch, &d->e), &d->e);
    ok(ledger_attempt(d->st, &batch, &d->e), &d->e);
    ok(ledger_batch_state(d->st, &batch, "parked", SLICE("552 too big"), &d->e), &d->e);
    capture_writer_free(w);
    feed_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_words),         cmocka_unit_test(what_can_not_be_written),
        cmocka_unit_test(incidents),           cmocka_unit_test(the_others),
        cmocka_unit_test(a_stop_ends_a_drain),
    };
    const char *scratch = getenv("HOLDFAST_TEST_SCRATCH");
    if (!scratch) {
        (void)fprintf(stderr, "run me through tests/parts/with postgres -- command_faults_test\n");
        return 2;
    }
    (void)snprintf(desk.chat, sizeof desk.chat, "sqlite:%s/chat.db", scratch);
    (void)snprintf(desk.mgccomp, sizeof desk.mgccomp, "%s", feed_database(NULL, scratch));
    ok(staging_open(&desk.st, desk.mgccomp, &desk.e), &desk.e);
    append(&desk);
    ok(store_open_reader(&desk.store, desk.chat, &desk.e), &desk.e);
    capture(&desk);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    store_close(desk.store);
    staging_close(desk.st);
    return failed ? 1 : 0;
}
