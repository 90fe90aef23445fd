/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way from capture to deletion, on SQLite and on a private PostgreSQL, with every statement and
 * every commit's answer failing once, on SQLite every connection and allocation too: each failure
 * is a clean error, the step that failed can be done again, and in the end mgccomp holds the same
 * as without any fault.
 */
#include "base/clock.h"
#include "base/own.h"
#include "mgccomp/drain_request.h"
#include "mgccomp/incident.h"
#include "mgccomp/lease.h"
#include "mgccomp/ledger.h"
#include "mgccomp/record_totals.h"
#include "mgccomp/totals.h"
#include "retention/sweep.h"
#include "retention/sweep_hashes.h"
#include "tests/contract/faults/faults.h"
#include "tests/contract/feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define POOL "sip:pool.example.test"
#define WHO(name)                                                                                  \
    "\"participant\":\"sip:" name "@example.test\",\"endpoint\":\"e\",\"name\":\"" name "\""

static const char *scratch;

/* The same records in every run. */
static struct feed first, second, third;
static struct sign_key key;
static struct totals_source source;
static int64_t began_us;

struct path {
    char url[600];
    struct staging *st;
    struct capture_writer *w;
    struct db *reader;
    struct staging_position at;
    struct ledger_instance tar, mail;
    struct ledger_batch batch;
    int64_t rows;
    struct err e;
};

static void ok(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s: %s", err_class_name(rc), e->text);
}

/* ---- what is captured ---- */

static void put_totals(struct feed *f, const struct feed_stream *room)
{
    OWN(own_buf) struct buf statement;
    OWN(own_buf) struct buf members;
    struct err e = {0};
    struct feed_stream session = {.source = POOL, .subject = "urn:uuid:1", .epoch = 1};
    const struct totals_head head = {SLICE(POOL), began_us, began_us + 60000000, 1, true};
    struct totals_line line = {
        .epoch = 1, .sequence = room->sequence + 2, .count = 1, .subject = slice_of(room->subject)};
    buf_init(&statement, 100000);
    buf_init(&members, RECORD_MAX_BYTES);
    totals_put_head(&statement, &head);
    totals_put_line(&statement, &line);
    ok(totals_members(&members, buf_view(&statement), &key, &e), &e);
    feed_put(f, feed_make(f, &session, RECORD_TOTALS, members.p));
}

static void make_records(void)
{
    struct feed *f = &first;
    struct feed_stream room = {.source = POOL, .subject = "ma-chan://example.test/one"};
    struct feed_stream other = {.source = POOL, .subject = "ma-chan://example.test/two"};
    feed_put(f, feed_make(f, &room, RECORD_JOIN, WHO("ann")));
    feed_put(f, feed_make(f, &room, RECORD_JOIN, WHO("bob")));
    feed_post(f, &room);
    feed_put(f, feed_make(f, &other, RECORD_JOIN, WHO("ann")));
    feed_post(f, &other);
    struct feed_stream forked = room;
    struct slice held = feed_make(f, &room, RECORD_POST, WHO("bob") ",\"text\":\"held back\"");
    struct slice altered = feed_make(f, &room, RECORD_POST, WHO("bob") ",\"text\":\"held too\"");
    feed_put(f, feed_make(f, &room, RECORD_LEAVE, WHO("bob")));
    feed_put(f, f->items[2].raw); /* a duplicate */
    feed_put(f, SLICE("{\"this\":"));
    feed_put(f, SLICE("{\"specversion\":\"1.0\",\"id\":\"a\",\"source\":\"irc\",\"type\":\"x.y\","
                      "\"time\":\"2026-11-24T07:00:00Z\",\"subject\":\"irc:#one\"}"));
    struct feed_stream far = room;
    far.sequence += 2000000;
    feed_post(f, &far);
    put_totals(f, &room);
    second.pos = f->pos;
    f = &second;
    feed_put(f, held);
    forked.previous[0] ^= 1;
    forked.sequence++;
    feed_put(f, feed_make(f, &forked, RECORD_POST, WHO("bob") ",\"text\":\"not the one\""));
    feed_put(f, altered);
    feed_put(f, held);
    room.previous[3] ^= 1;
    feed_post(f, &room);
    feed_post(f, &other);
    third.pos = f->pos;
    feed_post(&third, &other);
    feed_post(&third, &other);
}

/* ---- the steps ---- */

enum { LEASE_FOR_MS = 3600 * 1000 };

static int open_staging(void *arg)
{
    struct path *p = arg;
    int rc = p->st ? 0 : staging_open(&p->st, p->url, &p->e);
    return rc == 0 ? lease_take(p->st, LEASE_FOR_MS, &p->e) : rc;
}

static int name_queue(void *arg)
{
    struct path *p = arg;
    int64_t generation = 0;
    return staging_queue(p->st, SLICE("embedded"), SLICE("test"), &generation, &p->e);
}

static int new_writer(void *arg)
{
    struct path *p = arg;
    return capture_writer_new(&p->w, p->st, 1, &p->e);
}

static int positions(void *arg)
{
    struct path *p = arg;
    return staging_positions(p->st, &p->at, 1, &p->e);
}

static int capture(struct path *p, const struct feed *f)
{
    struct capture_outcome out;
    return feed_write(p->w, f->items, f->n, &p->at, 1, &out, &p->e);
}

static int capture_first(void *arg)
{
    return capture(arg, &first);
}

static int capture_second(void *arg)
{
    return capture(arg, &second);
}

static int capture_third(void *arg)
{
    return capture(arg, &third);
}

static int add_first(void *arg)
{
    struct path *p = arg;
    const struct ledger_new all[] = {{SLICE("tar"), SLICE("tar"), true, 2},
                                     {SLICE("xml"), SLICE("xml"), false, 1}};
    bool added = false;
    return ledger_add_first(p->st, all, 2, &added, &p->e);
}

static int add_mail(void *arg)
{
    struct path *p = arg;
    return ledger_add(p->st, SLICE("mail"), SLICE("smtp"), true, 1, &p->e);
}

static int pick(void *arg, const struct ledger_instance *i, struct err *e)
{
    struct path *p = arg;
    (void)e;
    if (strcmp(i->name, "tar") == 0)
        p->tar = *i;
    if (strcmp(i->name, "mail") == 0)
        p->mail = *i;
    return 0;
}

static int new_reader(void *arg)
{
    struct path *p = arg;
    db_close(p->reader);
    p->reader = NULL;
    return staging_reader(p->st, &p->reader, &p->e);
}

static int read_instances(void *arg)
{
    struct path *p = arg;
    int rc = new_reader(p);
    return rc == 0 ? ledger_instances(p->reader, false, pick, p, &p->e) : rc;
}

static int pause_mail(void *arg)
{
    struct path *p = arg;
    return ledger_pause(p->st, SLICE("mail"), SLICE("moving"), &p->e);
}

static int resume_mail(void *arg)
{
    struct path *p = arg;
    return ledger_resume(p->st, SLICE("mail"), &p->e);
}

static int fail_mail(void *arg)
{
    struct path *p = arg;
    return ledger_failed(p->st, p->mail.id, SLICE("421 later"), 7, &p->e);
}

static int stop_mail(void *arg)
{
    struct path *p = arg;
    return ledger_instance_state(p->st, p->mail.id, "failed", SLICE("535 who?"), &p->e);
}

static int retire_mail(void *arg)
{
    struct path *p = arg;
    return ledger_retire(p->st, SLICE("mail"), SLICE("not wanted"), &p->e);
}

static int reads_back(void *arg)
{
    struct path *p = arg;
    return ledger_instance_readback(p->st, p->mail.id, LEDGER_READBACK_FULL, &p->e);
}

static int cut_for(struct path *p, const struct ledger_instance *i)
{
    const struct ledger_due due = {.records = 100, .bytes = 1 << 20, .now = true};
    int rc = ledger_open_batch(p->st, i->id, &p->batch, &p->e);
    return rc == ERR_NOT_FOUND ? ledger_cut(p->st, i, &due, NULL, &p->batch, &p->e) : rc;
}

static int cut_tar(void *arg)
{
    struct path *p = arg;
    return cut_for(p, &p->tar);
}

static int cut_mail(void *arg)
{
    struct path *p = arg;
    return cut_for(p, &p->mail);
}

static int nothing_due(void *arg)
{
    struct path *p = arg;
    const struct ledger_due due = {.records = 100, .bytes = 1 << 20, .interval_ms = 86400000};
    struct ledger_batch none;
    int rc = ledger_cut(p->st, &p->tar, &due, NULL, &none, &p->e);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int count_record(void *arg, const struct ledger_record *r, struct err *e)
{
    int64_t *n = arg;
    (void)r;
    (void)e;
    ++*n;
    return 0;
}

static int read_batch(void *arg)
{
    struct path *p = arg;
    OWN(own_buf) struct buf roster;
    int64_t n = 0;
    buf_init(&roster, 1 << 20);
    int rc = new_reader(p);
    if (rc == 0)
        rc = ledger_batch_records(p->reader, &p->batch, count_record, &n, &p->e);
    if (rc == 0)
        rc = ledger_batch_roster(p->reader, &p->batch, &roster, &p->e);
    if (rc == 0)
        assert_int_equal(n, p->batch.records);
    return rc;
}

static int attempt(void *arg)
{
    struct path *p = arg;
    return ledger_attempt(p->st, &p->batch, &p->e);
}

static int settle(struct path *p, const char *verdict)
{
    return ledger_settle(p->st, &p->batch, 0, p->batch.records - 1, verdict, SLICE("[]"),
                         SLICE("250 ok"), &p->e);
}

static int settle_done(void *arg)
{
    return settle(arg, "done");
}

static int settle_rejected(void *arg)
{
    return settle(arg, "rejected");
}

static int count_settlement(void *arg, const struct ledger_settlement *s, struct err *e)
{
    (void)arg;
    (void)s;
    (void)e;
    return 0;
}

static int read_settlements(void *arg)
{
    struct path *p = arg;
    int rc = new_reader(p);
    return rc == 0 ? ledger_settlements(p->reader, &p->batch, count_settlement, NULL, &p->e) : rc;
}

static int settled(void *arg)
{
    struct path *p = arg;
    return ledger_batch_state(p->st, &p->batch, "settled", (struct slice){0}, &p->e);
}

static int verified(void *arg)
{
    struct path *p = arg;
    return ledger_batch_state(p->st, &p->batch, "verified", (struct slice){0}, &p->e);
}

static int parked(void *arg)
{
    struct path *p = arg;
    return ledger_batch_state(p->st, &p->batch, "parked", SLICE("552 too big"), &p->e);
}

static int compare_totals(void *arg)
{
    struct path *p = arg;
    const struct totals_check c = {.sources = &source,
                                   .n = 1,
                                   .now_us = began_us + INT64_C(1000000000),
                                   .since_us = began_us,
                                   .patience_ms = 1000,
                                   .caught_up = true};
    size_t opened = 0;
    return totals_run(p->st, &c, &opened, &p->e);
}

static int see_source(void *arg, struct slice name, const struct totals_known *k, struct err *e)
{
    (void)arg;
    (void)name;
    (void)k;
    (void)e;
    return 0;
}

static int read_sources(void *arg)
{
    struct path *p = arg;
    int rc = new_reader(p);
    return rc == 0 ? totals_each(p->reader, see_source, NULL, &p->e) : rc;
}

struct open {
    char kind[32], object[100];
};

struct opens {
    struct open all[16];
    size_t n;
};

static int note_open(void *arg, const struct incident *i, struct err *e)
{
    struct opens *o = arg;
    (void)e;
    assert_true(o->n < 16);
    (void)snprintf(o->all[o->n].kind, sizeof o->all[0].kind, "%s", i->kind);
    (void)snprintf(o->all[o->n].object, sizeof o->all[0].object, "%.*s", SLICE_ARG(i->object));
    o->n++;
    return 0;
}

static int close_incidents(void *arg)
{
    struct path *p = arg;
    struct opens open = {0};
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = new_reader(p);
    if (rc == 0)
        rc = incident_each(p->reader, false, note_open, &open, &p->e);
    if (rc == 0)
        rc = staging_begin(p->st, &t, &p->e);
    for (size_t i = 0; rc == 0 && i < open.n; i++)
        rc = incident_close(&t, open.all[i].kind, slice_of(open.all[i].object), "mended", &p->e);
    return rc == 0 ? staging_commit(&t, &p->e) : rc;
}

static int sweep(void *arg)
{
    struct path *p = arg;
    return sweep_once(p->st, &p->rows, &p->e);
}

static int prune(void *arg)
{
    struct path *p = arg;
    return sweep_prune(p->st, -1, &p->e);
}

static int wish(void *arg)
{
    struct path *p = arg;
    return drain_request(p->st, began_us + 1000000, &p->e);
}

static int wished(void *arg)
{
    struct path *p = arg;
    bool yes = false;
    int rc = new_reader(p);
    if (rc == 0)
        rc = drain_requested(p->reader, began_us, &yes, &p->e);
    if (rc == 0)
        assert_true(yes);
    return rc;
}

static int close_all(void *arg)
{
    struct path *p = arg;
    db_close(p->reader);
    capture_writer_free(p->w);
    staging_close(p->st);
    p->reader = NULL;
    p->w = NULL;
    p->st = NULL;
    return 0;
}

#define STEP(fn, ...)                                                                              \
    {                                                                                              \
        .name = #fn, .run = fn, __VA_ARGS__                                                        \
    }
static const struct faults_step steps[] = {
    STEP(open_staging),
    STEP(name_queue),
    STEP(positions),
    STEP(new_writer),
    STEP(capture_first, .again = ERR_CONFLICT),
    STEP(positions),
    STEP(add_first),
    STEP(add_mail, .again = ERR_CONFLICT),
    STEP(read_instances),
    STEP(nothing_due),
    STEP(pause_mail, .again = ERR_CONFLICT),
    STEP(resume_mail, .again = ERR_CONFLICT),
    STEP(cut_tar),
    STEP(read_batch),
    STEP(attempt),
    STEP(settle_done),
    STEP(read_settlements),
    STEP(settled),
    STEP(verified),
    STEP(capture_second, .again = ERR_CONFLICT),
    STEP(positions),
    STEP(compare_totals),
    STEP(read_sources),
    STEP(reads_back),
    STEP(cut_mail),
    STEP(attempt),
    STEP(settle_rejected),
    STEP(parked),
    STEP(fail_mail),
    STEP(stop_mail),
    STEP(sweep),
    STEP(retire_mail, .again = ERR_NOT_FOUND),
    STEP(cut_tar),
    STEP(attempt),
    STEP(settle_done),
    STEP(settled),
    STEP(verified),
    STEP(sweep),
    STEP(close_incidents),
    STEP(sweep),
    STEP(capture_third, .again = ERR_CONFLICT),
    STEP(positions),
    STEP(cut_tar),
    STEP(attempt),
    STEP(settle_done),
    STEP(settled),
    STEP(verified),
    STEP(sweep),
    STEP(prune),
    STEP(wish),
    STEP(wished),
};

/* ---- what is there in the end ---- */

static const char *const told[] = {
    "SELECT count(*) FROM record",
    "SELECT CAST(sum(flags * 1000 + pos) AS bigint) FROM record",
    "SELECT count(*) FROM kept",
    "SELECT CAST(sum(flags * 1000 + pos) AS bigint) FROM kept",
    "SELECT count(*) FROM deleted",
    "SELECT CAST(sum(sequence) AS bigint) FROM stream",
    "SELECT CAST(sum(records) AS bigint) FROM swept",
    "SELECT pos FROM position",
    "SELECT count(*) FROM presence",
    "SELECT count(*) FROM presence WHERE left_at IS NULL",
    "SELECT count(*) FROM incident WHERE kind = 'gap'",
    "SELECT count(*) FROM incident WHERE kind = 'gap' AND closed_us IS NULL",
    "SELECT count(*) FROM incident WHERE kind = 'altered'",
    "SELECT count(*) FROM incident WHERE kind = 'fork'",
    "SELECT count(*) FROM incident WHERE kind = 'far-ahead'",
    "SELECT count(*) FROM incident WHERE kind = 'unreadable'",
    "SELECT count(*) FROM incident WHERE kind = 'parked' AND closed_us IS NOT NULL",
    "SELECT count(*) FROM incident WHERE closed_us IS NULL",
    "SELECT count(*) FROM batch WHERE state = 'verified'",
    "SELECT count(*) FROM batch WHERE state = 'parked'",
    "SELECT count(*) FROM settlement",
    "SELECT CAST(sum(archived) AS bigint) FROM instance",
    "SELECT CAST(sum(missed) AS bigint) FROM instance",
    "SELECT value FROM tally WHERE name = 'captured'",
    "SELECT value FROM tally WHERE name = 'duplicates'",
    "SELECT value FROM tally WHERE name = 'exceptions'",
    "SELECT value FROM tally WHERE name = 'deleted'",
};
enum { TOLD = sizeof told / sizeof told[0] };

static void tell(const struct path *p, int64_t out[TOLD])
{
    OWN(own_db) struct db *db = NULL;
    struct err e = {0};
    ok(db_open(&db, p->url, DB_READ_ONLY, &e), &e);
    for (size_t i = 0; i < TOLD; i++) {
        int rc = db_int(db, told[i], DB_NO_ARGS, 0, &out[i], &e);
        if (rc == ERR_NOT_FOUND)
            out[i] = -1;
        else
            ok(rc, &e);
    }
}

static void walk(const char *postgres, enum fault_kind kind, int64_t out[TOLD])
{
    struct path p = {0};
    (void)snprintf(p.url, sizeof p.url, "%s", feed_database(postgres, scratch));
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        faults_sweep(kind, &steps[i], &p);
    (void)close_all(&p);
    tell(&p, out);
}

static void same_in_spite_of(const char *postgres, enum fault_kind kind)
{
    int64_t wanted[TOLD];
    int64_t found[TOLD];
    walk(postgres, FAULT_NONE, wanted);
    walk(postgres, kind, found);
    for (size_t i = 0; i < TOLD; i++) {
        if (found[i] != wanted[i])
            fail_msg("%s: %lld, not %lld", told[i], (long long)found[i], (long long)wanted[i]);
    }
    /* It was a way worth walking. */
    assert_true(wanted[TOLD - 1] > 15);
}

static void every_statement_may_fail(void **state)
{
    same_in_spite_of(*state, FAULT_STATEMENT);
}

static void every_connection_may_break(void **state)
{
    same_in_spite_of(*state, FAULT_LINK);
}

static void every_commit_may_be_in_doubt(void **state)
{
    same_in_spite_of(*state, FAULT_ANSWER);
}

static void memory_may_run_out_anywhere(void **state)
{
    same_in_spite_of(*state, FAULT_MEMORY);
}

#define CASE(fn, url) cmocka_unit_test_prestate(fn, url)
#define CASES(url)    CASE(every_statement_may_fail, url), CASE(every_commit_may_be_in_doubt, url)

int main(void)
{
    char *postgres = getenv("HOLDFAST_TEST_POSTGRES");
    const uint8_t secret[SIGN_KEY_SIZE] = {1, 2, 3};
    struct err e = {0};
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    if (!scratch || !postgres || sign_key_from(&key, secret, &e) < 0) {
        (void)fprintf(stderr, "run me through tests/parts/with postgres -- path_faults_test\n");
        return 2;
    }
    source = (struct totals_source){.name = SLICE(POOL), .cadence_ms = 60000};
    memcpy(source.public_key, key.public_key, SIGN_KEY_SIZE);
    began_us = clock_wall_us();
    make_records();
    const struct CMUnitTest on_sqlite[] = {CASES(NULL), CASE(every_connection_may_break, NULL),
                                           CASE(memory_may_run_out_anywhere, NULL)};
    const struct CMUnitTest on_postgres[] = {CASES(postgres)};
    int failed = cmocka_run_group_tests_name("SQLite", on_sqlite, NULL, NULL);
    failed += cmocka_run_group_tests_name("PostgreSQL", on_postgres, NULL, NULL);
    feed_done(&first);
    feed_done(&second);
    feed_done(&third);
    return failed ? 1 : 0;
}
