/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What feeds the record and asks for what it lacks, with every statement of mgccomp and every
 * allocation failing once: `ingest`, `ingest --check` and `queue heal` say that they failed, and
 * what capture notes of its questions is noted or not.
 */
#include "base/clock.h"
#include "base/own.h"
#include "capture/heal_incident.h"
#include "capture/ingest.h"
#include "capture/ingest_check.h"
#include "capture/queue_heal.h"
#include "mgccomp/incident.h"
#include "tests/contract/faults/faults.h"
#include "tests/contract/feed.h"
#include "tests/expect.h"

#include <stdlib.h>
#include <string.h>

#define SOURCE "urn:other"
#define LINE(id, room)                                                                             \
    "{\"specversion\":\"1.0\",\"id\":\"" id "\",\"type\":\"com.example.message\","                 \
    "\"time\":\"2026-01-01T00:00:00Z\",\"subject\":\"" room "\",\"data\":{\"text\":\"x\"}}\n"
#define NUMBERED                                                                                   \
    "{\"specversion\":\"1.0\",\"id\":\"n\",\"source\":\"s\",\"type\":\"com.example.message\","     \
    "\"time\":\"2026-01-01T00:00:00Z\",\"subject\":\"room\",\"epoch\":1,\"sequence\":\""           \
    "00000000000000000007\",\"previous\":\""                                                       \
    "0000000000000000000000000000000000000000000000000000000000000000\"}\n"

struct place {
    char mgccomp[400], chat[400], file[400];
    struct staging *st;
    struct store *reader;
    struct writer *w;
    struct err e;
};
static struct place place;

/* ERR_RETRY: it said that it failed by what fails here. */
static int outcome(int code, const char *said)
{
    bool failed = strstr(said, "by the test") || strstr(said, "out of memory");
    if (failed == (code == APP_OK))
        fail_msg("exit code %d: %s", code, said);
    return failed ? ERR_RETRY : 0;
}

static int ingest(void *arg)
{
    static char source[] = "--source=" SOURCE;
    static char lines[] = LINE("a", "one") LINE("b", "two");
    static const struct store_limit none = {.folder = "/"};
    struct place *p = arg;
    char said[2000] = "";
    char *argv[] = {source, NULL};
    OWN(own_file) FILE *in = fmemopen(lines, sizeof lines - 1, "r");
    OWN(own_file) FILE *out = fmemopen(said, sizeof said, "w");
    struct app_io io = {.in = in, .out = out, .err = out};
    const struct ingest_into into = {.writer = p->w, .limit = &none, .store_url = p->chat};
    assert_true(in && out);
    int code = ingest_command(&io, &into, 1, argv);
    (void)fflush(out);
    return outcome(code, said);
}

static int check(void *arg)
{
    static char lines[] = LINE("a", "one") NUMBERED;
    char name[] = "-";
    char said[2000] = "";
    char *argv[] = {name, NULL};
    OWN(own_file) FILE *in = fmemopen(lines, sizeof lines - 1, "r");
    OWN(own_file) FILE *out = fmemopen(said, sizeof said, "w");
    struct app_io io = {.in = in, .out = out, .err = out};
    (void)arg;
    assert_true(in && out);
    int code = ingest_check_command(&io, 1, argv);
    (void)fflush(out);
    return outcome(code, said);
}

/* There is nothing to heal at this queue, which is the store itself. */
static int heal(void *arg)
{
    struct place *p = arg;
    const struct queue_heal_input in = {.staging = p->st, .store = p->reader, .store_url = p->chat};
    char option[] = "--timeout=1ms";
    char said[2000] = "";
    char *argv[] = {option, NULL};
    OWN(own_file) FILE *out = fmemopen(said, sizeof said, "w");
    struct app_io io = {.out = out, .err = out};
    assert_non_null(out);
    int code = queue_heal_command(&io, &in, 1, argv);
    (void)fflush(out);
    return strstr(said, "by the test") || strstr(said, "out of memory") ? outcome(code, said) : 0;
}

/* ---- what capture notes ---- */

static int gaps_due(void *arg)
{
    struct place *p = arg;
    struct heal_gaps gaps = {.n = 0};
    int rc = heal_gaps_due(p->st, true, &gaps, &p->e);
    if (rc == 0)
        assert_int_equal(gaps.n, 1);
    heal_gaps_clear(&gaps);
    return rc;
}

static int gaps_of(void *arg)
{
    struct place *p = arg;
    struct heal_gaps gaps = {.n = 0};
    int rc = heal_gaps_of(p->st, SLICE("sip:pool"), &gaps, &p->e);
    if (rc == 0)
        assert_int_equal(gaps.n, 1);
    heal_gaps_clear(&gaps);
    return rc;
}

static int logs_open(void *arg)
{
    struct place *p = arg;
    struct heal_logs logs = {.n = 0};
    int rc = heal_logs_open(p->st, true, &logs, &p->e);
    if (rc == 0)
        assert_int_equal(logs.n, 1);
    return rc;
}

static int reread(void *arg)
{
    struct place *p = arg;
    struct staging_position at = {.part = 0};
    int rc = staging_positions(p->st, &at, 1, &p->e);
    return rc == 0 ? heal_reread(p->st, &at, 0, &p->e) : rc;
}

static int answered(void *arg)
{
    struct place *p = arg;
    return heal_gap_answered(p->st, SLICE("sip:pool"), 1, SLICE("room"), 1, 9, SLICE("no"), &p->e);
}

static int log_close(void *arg)
{
    struct place *p = arg;
    const struct heal_log l = {.part = 0};
    return heal_log_close(p->st, &l, "it is the right one again", &p->e);
}

static void each(const struct faults_step *s)
{
    faults_sweep(FAULT_STATEMENT, s, &place);
    faults_sweep(FAULT_ANSWER, s, &place);
    faults_sweep(FAULT_MEMORY, s, &place);
}

static void what_capture_asks_is_noted(void **state)
{
    (void)state;
    each(&(struct faults_step){.name = "gaps_due", .run = gaps_due});
    each(&(struct faults_step){.name = "gaps_of", .run = gaps_of});
    each(&(struct faults_step){.name = "logs_open", .run = logs_open});
    each(&(struct faults_step){.name = "reread", .run = reread});
    each(&(struct faults_step){.name = "answered", .run = answered});
    each(&(struct faults_step){.name = "log_close", .run = log_close});
}

static void commands_say_that_they_failed(void **state)
{
    (void)state;
    /* What the store could not take is given again. */
    faults_sweep(FAULT_MEMORY,
                 &(struct faults_step){.name = "ingest", .run = ingest, .spares = true}, &place);
    faults_sweep(FAULT_MEMORY, &(struct faults_step){.name = "check", .run = check}, &place);
    each(&(struct faults_step){.name = "heal", .run = heal});
}

static void do_sql(struct place *p, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    ok(db_open(&db, p->mgccomp, 0, &p->e), &p->e);
    ok(db_script(db, sql, &p->e), &p->e);
}

/* A gap, and a log that changed. */
static void capture(struct place *p)
{
    struct feed f = {0};
    struct feed_stream room = {.source = "sip:pool", .subject = "room", .epoch = 1};
    struct capture_writer *w = NULL;
    struct capture_outcome out;
    struct staging_position at = {.part = 0};
    int64_t generation = 0;
    ok(staging_queue(p->st, SLICE("embedded"), SLICE("test"), &generation, &p->e), &p->e);
    ok(capture_writer_new(&w, p->st, generation, &p->e), &p->e);
    feed_post(&f, &room);
    (void)feed_make(&f, &room, RECORD_POST, "\"participant\":\"sip:a\",\"text\":\"x\"");
    feed_post(&f, &room);
    ok(feed_write(w, f.items, f.n, &at, 1, &out, &p->e), &p->e);
    do_sql(p, "INSERT INTO incident (kind, object, part, first, last, opened_us, detail)"
              " VALUES ('log-changed', 'partition 0', 0, 1, 2, 1, 'a test')");
    capture_writer_free(w);
    feed_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_say_that_they_failed),
        cmocka_unit_test(what_capture_asks_is_noted),
    };
    const char *scratch = getenv("HOLDFAST_TEST_SCRATCH");
    const struct writer_options o = {.url = place.chat};
    if (!scratch) {
        (void)fprintf(stderr, "run me through tests/parts/with postgres -- feeding_faults_test\n");
        return 2;
    }
    (void)snprintf(place.chat, sizeof place.chat, "sqlite:%s/chat.db", scratch);
    (void)snprintf(place.mgccomp, sizeof place.mgccomp, "%s", feed_database(NULL, scratch));
    ok(staging_open(&place.st, place.mgccomp, &place.e), &place.e);
    ok(writer_start(&place.w, &o, &place.e), &place.e);
    ok(store_open_reader(&place.reader, place.chat, &place.e), &place.e);
    capture(&place);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    store_close(place.reader);
    writer_stop(place.w);
    staging_close(place.st);
    return failed ? 1 : 0;
}
