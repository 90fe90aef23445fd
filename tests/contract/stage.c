/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/stage.h"

#include "base/clock.h"
#include "mgccomp/lease.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { LEASE_FOR_MS = 3600 * 1000, TOGETHER = 5000, PATIENCE_MS = 30000 };

const struct ledger_due everything = {.records = 100000, .bytes = 1 << 30, .now = true};

void stage_open(struct stage *f)
{
    int64_t generation = 0;
    ok(staging_open(&f->st, f->url, &f->e), &f->e);
    ok(lease_take(f->st, LEASE_FOR_MS, &f->e), &f->e);
    ok(staging_queue(f->st, SLICE("embedded"), SLICE("test"), &generation, &f->e), &f->e);
    ok(capture_writer_new(&f->w, f->st, generation, &f->e), &f->e);
}

void stage_close(struct stage *f)
{
    capture_writer_free(f->w);
    if (f->st)
        lease_give(f->st);
    staging_close(f->st);
    f->w = NULL;
    f->st = NULL;
}

int stage_set_up(void **state)
{
    struct stage *f = *state;
    (void)snprintf(f->url, sizeof f->url, "%s", feed_database(f->postgres, f->scratch));
    stage_open(f);
    f->at[0] = (struct staging_position){.part = 0};
    f->at[1] = (struct staging_position){.part = 1};
    f->feed = (struct feed){0};
    f->room = (struct feed_stream){
        .source = "sip:pool.example.test", .subject = "ma-chan://example.test/one", .epoch = 1};
    f->other = f->room;
    f->other.subject = "ma-chan://example.test/two";
    return 0;
}

int stage_tear_down(void **state)
{
    struct stage *f = *state;
    stage_close(f);
    feed_done(&f->feed);
    return 0;
}

int stage_main(const struct CMUnitTest *cases, size_t n, struct stage *sqlite, struct stage *pg)
{
    struct parts p;
    if (!parts_find(&p))
        return 2;
    sqlite->scratch = pg->scratch = p.scratch;
    pg->postgres = p.postgres;
    return both_run(cases, n, sqlite, pg) ? 1 : 0;
}

/* ---- capturing ---- */

void put_posts(struct stage *f, int n)
{
    for (int i = 0; i < n; i++)
        feed_post(&f->feed, &f->room);
}

void capture_into(struct stage *f, int part)
{
    f->out = (struct capture_outcome){0};
    ok(feed_write(f->w, f->feed.items, f->feed.n, &f->at[part], 1, &f->out, &f->e), &f->e);
    feed_clear(&f->feed);
}

void capture(struct stage *f)
{
    capture_into(f, 0);
}

void posts(struct stage *f, struct feed_stream *s, int n)
{
    for (int i = 0; i < n; i++) {
        feed_post(&f->feed, s);
        if (f->feed.n == TOGETHER)
            capture(f);
    }
    if (f->feed.n > 0)
        capture(f);
}

/* ---- the database ---- */

int64_t number(struct stage *f, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    int64_t v = -1;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_int(db, sql, DB_NO_ARGS, -1, &v, &f->e), &f->e);
    return v;
}

void await(struct stage *f, const char *sql, int64_t value)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (number(f, sql) != value) {
        if (clock_mono_ms() > until)
            fail_msg("%s: not %lld", sql, (long long)value);
        (void)poll(NULL, 0, 10);
    }
}

void run_sql(struct stage *f, const char *sql)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(db_run(t.db, sql, DB_NO_ARGS, NULL, &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
}

void change(struct stage *f, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    ok(db_open(&db, f->url, 0, &f->e), &f->e);
    ok(db_script(db, sql, &f->e), &f->e);
}

void assert_no_incident(struct stage *f)
{
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 0);
}

/* ---- the ledger ---- */

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

struct ledger_instance instance(struct stage *f, const char *name)
{
    OWN(own_db) struct db *db = NULL;
    struct wanted w = {.name = name};
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(ledger_instances(db, true, find_instance, &w, &f->e), &f->e);
    assert_true(w.found.id > 0);
    return w.found;
}

struct ledger_instance added(struct stage *f, const char *name, bool required, int32_t readback)
{
    ok(ledger_add(f->st, slice_of(name), SLICE("plain"), required, readback, &f->e), &f->e);
    return instance(f, name);
}

int cut(struct stage *f, const struct ledger_instance *i, const struct ledger_due *due)
{
    return ledger_cut(f->st, i, due, NULL, &f->batch, &f->e);
}

void deliver(struct stage *f, struct ledger_batch *b)
{
    struct slice none = {0};
    ok(ledger_attempt(f->st, b, &f->e), &f->e);
    ok(ledger_settle(f->st, b, 0, b->records - 1, "done", SLICE("[]"), none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, b, "settled", none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, b, "verified", none, &f->e), &f->e);
}

void archive(struct stage *f)
{
    deliver(f, &f->batch);
}

void archive_all(struct stage *f, const struct ledger_instance *i)
{
    ok(cut(f, i, &everything), &f->e);
    archive(f);
}
