/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/faults/path_steps.h"

#include "base/clock.h"
#include "base/own.h"
#include "mgccomp/drain_request.h"
#include "mgccomp/incident.h"
#include "mgccomp/lease.h"
#include "mgccomp/record_totals.h"
#include "mgccomp/totals.h"
#include "retention/sweep.h"
#include "retention/sweep_hashes.h"
#include "tests/contract/feed.h"
#include "tests/expect.h"

#include <stdio.h>
#include <string.h>

#define POOL "sip:pool.example.test"
#define WHO(name)                                                                                  \
    "\"participant\":\"sip:" name "@example.test\",\"endpoint\":\"e\",\"name\":\"" name "\""

static struct feed first, second, third;
static struct sign_key key;
static struct totals_source source;
static int64_t began_us;

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

void path_records(void)
{
    const uint8_t secret[SIGN_KEY_SIZE] = {1, 2, 3};
    struct err e = {0};
    ok(sign_key_from(&key, secret, &e), &e);
    source = (struct totals_source){.name = SLICE(POOL), .cadence_ms = 60000};
    memcpy(source.public_key, key.public_key, SIGN_KEY_SIZE);
    began_us = clock_wall_us();
    make_records();
}

void path_records_done(void)
{
    feed_done(&first);
    feed_done(&second);
    feed_done(&third);
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

void path_close(struct path *p)
{
    db_close(p->reader);
    capture_writer_free(p->w);
    staging_close(p->st);
    p->reader = NULL;
    p->w = NULL;
    p->st = NULL;
}

#define STEP(fn, ...)                                                                              \
    {                                                                                              \
        .name = #fn, .run = fn, __VA_ARGS__                                                        \
    }
const struct faults_step path_steps[] = {
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
const size_t path_step_count = sizeof path_steps / sizeof path_steps[0];
