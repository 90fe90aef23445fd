/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the ledger and the sweep refuse, and what they do at their limits, on SQLite and on a
 * private PostgreSQL: bad names, rows that somebody changed, too many of anything.
 */
#include "mgccomp/incident.h"
#include "mgccomp/kept.h"
#include "retention/sweep.h"
#include "retention/sweep_hashes.h"
#include "tests/contract/stage.h"

#include <stdio.h>
#include <string.h>

static void posts_in(struct stage *f, struct feed_stream *s, int n, int part)
{
    f->feed.part = part;
    f->feed.pos = f->at[part].pos;
    for (int i = 0; i < n; i++)
        feed_post(&f->feed, s);
    capture_into(f, part);
}

static int add(struct stage *f, struct slice name, struct slice module)
{
    return ledger_add(f->st, name, module, true, LEDGER_READBACK_FULL, &f->e);
}

static int sweep(struct stage *f)
{
    int64_t rows = 0;
    return sweep_once(f->st, &rows, &f->e);
}

/* ---- names and texts ---- */

static void names_are_plain(void **state)
{
    struct stage *f = *state;
    char longer[200];
    bool any = false;
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    struct slice fits = {longer, LEDGER_MAX_NAME};
    assert_int_equal(add(f, (struct slice){longer, LEDGER_MAX_NAME + 1}, SLICE("plain")),
                     ERR_CONFIG);
    assert_int_equal(add(f, slice_of(longer), SLICE("plain")), ERR_CONFIG);
    assert_int_equal(add(f, (struct slice){0}, SLICE("plain")), ERR_CONFIG);
    assert_int_equal(add(f, SLICE("a"), SLICE("../plain")), ERR_CONFIG);
    const struct ledger_new bad[] = {{SLICE("a"), SLICE("plain"), true, 2},
                                     {SLICE("b c"), SLICE("plain"), true, 2}};
    assert_int_equal(ledger_add_first(f->st, bad, 2, &any, &f->e), ERR_CONFIG);
    assert_int_equal(number(f, "SELECT count(*) FROM instance"), 0);
    ok(add(f, fits, SLICE("plain")), &f->e);
    ok(ledger_add_first(f->st, bad, 1, &any, &f->e), &f->e);
    assert_false(any);
    assert_int_equal(number(f, "SELECT count(*) FROM instance"), 1);
}

static void a_name_becomes_part_of_file_names(void **state)
{
    struct stage *f = *state;
    struct ledger_instance i = added(f, "a.b_c", true, LEDGER_READBACK_FULL);
    posts(f, &f->room, 1);
    ok(cut(f, &i, &everything), &f->e);
    assert_non_null(strstr(f->batch.stem, "-a-b-c-"));
}

static void nobody_of_that_name(void **state)
{
    struct stage *f = *state;
    struct slice none = {0};
    assert_int_equal(ledger_retire(f->st, none, SLICE("x"), &f->e), ERR_NOT_FOUND);
    assert_int_equal(ledger_pause(f->st, none, SLICE("x"), &f->e), ERR_NOT_FOUND);
    assert_int_equal(ledger_resume(f->st, SLICE("zzz"), &f->e), ERR_NOT_FOUND);
    assert_non_null(strstr(f->e.text, "zzz"));
    struct ledger_instance i = added(f, "a", true, LEDGER_READBACK_FULL);
    assert_int_equal(ledger_resume(f->st, SLICE("a"), &f->e), ERR_CONFLICT);
    ok(ledger_retire(f->st, SLICE("a"), SLICE("x"), &f->e), &f->e);
    assert_int_equal(ledger_failed(f->st, i.id, SLICE("x"), 1, &f->e), ERR_NOT_FOUND);
    assert_int_equal(ledger_instance_state(f->st, i.id, "failed", none, &f->e), ERR_NOT_FOUND);
}

/* A reason is cut at a whole character, and what can't be shown is shown as '?'. */
static void reasons_are_cut_and_cleaned(void **state)
{
    struct stage *f = *state;
    struct ledger_instance i = added(f, "a", true, LEDGER_READBACK_FULL);
    char text[602] = "\x7f";
    for (size_t n = 1; n + 2 < sizeof text; n += 2)
        memcpy(text + n, "\xc3\xa9", 2);
    ok(ledger_pause(f->st, SLICE("a"), slice_of(text), &f->e), &f->e);
    i = instance(f, "a");
    assert_int_equal(i.reason[0], '?');
    assert_true(strlen(i.reason) >= 297 && utf8_valid(slice_of(i.reason)));
    assert_memory_equal(i.reason + strlen(i.reason) - 2, "\xc3\xa9", 2);
}

/* ---- limits ---- */

static void so_many_adapters_and_no_more(void **state)
{
    struct stage *f = *state;
    char name[16];
    for (int n = 0; n < LEDGER_MAX_INSTANCES; n++) {
        (void)snprintf(name, sizeof name, "a%d", n);
        ok(add(f, slice_of(name), SLICE("plain")), &f->e);
    }
    assert_int_equal(add(f, SLICE("one-more"), SLICE("plain")), ERR_CONFIG);
    posts(f, &f->room, 1);
    ok(sweep(f), &f->e);
    run_sql(f, "INSERT INTO instance (name, module, required, readback, state, base, archived,"
               " batches, added_us, failures, next_try_us)"
               " VALUES ('by-hand', 'plain', 1, 2, 'active', 0, 0, 0, 0, 0, 0)");
    assert_int_equal(sweep(f), ERR_FAULT);
    assert_non_null(strstr(f->e.text, "64"));
}

static void a_batch_has_so_many_ranges(void **state)
{
    struct stage *f = *state;
    struct ledger_instance i = added(f, "a", true, LEDGER_READBACK_FULL);
    posts(f, &f->room, 1);
    ok(cut(f, &i, &everything), &f->e);
    run_sql(f, "INSERT INTO batch_range (batch, generation, part, from_pos, to_pos)"
               " WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 256)"
               " SELECT b.id, 1, n, 0, 1 FROM n, batch b");
    assert_int_equal(ledger_open_batch(f->st, i.id, &f->batch, &f->e), ERR_FAULT);
}

/* A full batch leaves the other partition to the next one. */
static void limits_end_a_batch_in_its_first_partition(void **state)
{
    struct stage *f = *state;
    struct ledger_instance i = added(f, "a", true, LEDGER_READBACK_FULL);
    const struct ledger_due three = {.records = 3, .bytes = 1 << 20};
    posts_in(f, &f->room, 5, 0);
    posts_in(f, &f->other, 5, 1);
    ok(ledger_cut(f->st, &i, &three, NULL, &f->batch, &f->e), &f->e);
    assert_int_equal(f->batch.records, 3);
    assert_int_equal(number(f, "SELECT count(*) FROM batch_range"), 1);
}

/* ---- rows that somebody changed ---- */

static int stop_at_record(void *arg, const struct ledger_record *r, struct err *e)
{
    (void)arg;
    (void)r;
    return err_set(e, ERR_STOPPED, "enough");
}

static int stop_at_settlement(void *arg, const struct ledger_settlement *s, struct err *e)
{
    (void)arg;
    (void)s;
    return err_set(e, ERR_STOPPED, "enough");
}

static int stop_at_instance(void *arg, const struct ledger_instance *i, struct err *e)
{
    (void)arg;
    (void)i;
    return err_set(e, ERR_STOPPED, "enough");
}

static void a_visitor_can_stop(void **state)
{
    struct stage *f = *state;
    OWN(own_db) struct db *db = NULL;
    struct ledger_instance i = added(f, "a", true, LEDGER_READBACK_FULL);
    posts(f, &f->room, 2);
    archive_all(f, &i);
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    assert_int_equal(ledger_batch_records(db, &f->batch, stop_at_record, NULL, &f->e), ERR_STOPPED);
    assert_int_equal(ledger_settlements(db, &f->batch, stop_at_settlement, NULL, &f->e),
                     ERR_STOPPED);
    assert_int_equal(ledger_instances(db, true, stop_at_instance, NULL, &f->e), ERR_STOPPED);
}

static void what_was_changed_by_hand_is_refused(void **state)
{
    struct stage *f = *state;
    OWN(own_db) struct db *db = NULL;
    OWN(own_buf) struct buf roster;
    struct slice none = {0};
    struct ledger_instance i = added(f, "a", true, LEDGER_READBACK_FULL);
    struct ledger_batch gone;
    buf_init(&roster, 1000);
    posts(f, &f->room, 2);
    ok(cut(f, &i, &everything), &f->e);
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    gone = f->batch;
    gone.id[0] = 'x';
    assert_int_equal(ledger_batch_roster(db, &gone, &roster, &f->e), ERR_NOT_FOUND);
    assert_int_equal(ledger_batch_state(f->st, &gone, "settled", none, &f->e), ERR_NOT_FOUND);
    assert_int_equal(ledger_settle(f->st, &gone, 0, 0, "done", none, none, &f->e), ERR_NOT_FOUND);
    run_sql(f, "UPDATE batch SET digest = substr(digest, 1, 5)");
    assert_int_equal(ledger_open_batch(f->st, i.id, &gone, &f->e), ERR_FAULT);
    run_sql(f, "UPDATE record SET hash = substr(hash, 1, 5)");
    assert_int_equal(ledger_batch_records(db, &f->batch, stop_at_record, NULL, &f->e), ERR_FAULT);
}

static void a_record_without_its_hash_is_not_deleted(void **state)
{
    struct stage *f = *state;
    struct ledger_instance i = added(f, "a", true, LEDGER_READBACK_FULL);
    posts(f, &f->room, 3);
    archive_all(f, &i);
    run_sql(f, "UPDATE record SET hash = substr(hash, 1, 5) WHERE pos = 1");
    assert_int_equal(sweep(f), ERR_FAULT);
    assert_non_null(strstr(f->e.text, "position 1"));
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 3);
}

/* ---- read-back ---- */

static void less_read_back_than_before_takes_nothing_back(void **state)
{
    struct stage *f = *state;
    struct ledger_instance i = added(f, "a", true, LEDGER_READBACK_FULL);
    posts(f, &f->room, 2);
    archive_all(f, &i);
    ok(ledger_instance_readback(f->st, i.id, 1, &f->e), &f->e);
    ok(sweep(f), &f->e);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 2);
    ok(ledger_instance_readback(f->st, i.id, LEDGER_READBACK_FULL, &f->e), &f->e);
    ok(sweep(f), &f->e);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 2);
}

/* ---- many rows ---- */

static void many_partitions_are_swept_page_by_page(void **state)
{
    struct stage *f = *state;
    struct ledger_instance i = added(f, "a", true, LEDGER_READBACK_FULL);
    posts_in(f, &f->room, 3, 1);
    archive_all(f, &i);
    run_sql(f, "INSERT INTO position (part, pos, captured_us)"
               " WITH RECURSIVE n(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < 300)"
               " SELECT n, 0, 0 FROM n");
    ok(sweep(f), &f->e);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 0);
}

static void old_hashes_are_forgotten_page_by_page(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 1);
    run_sql(f, "INSERT INTO deleted (stream, first, last, hashes, deleted_us)"
               " WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10001)"
               " SELECT 1, n, n, (SELECT hash FROM stream LIMIT 1), n FROM n");
    ok(sweep_prune(f->st, 1000000, &f->e), &f->e);
    assert_int_equal(number(f, "SELECT count(*) FROM deleted"), 0);
}

/* ---- the thread ---- */

static void shut(struct stage *f)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    const struct incident i = {
        .kind = INCIDENT_GAP, .object = SLICE("here"), .part = 0, .detail = SLICE("a test")};
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(incident_open(&t, &i, NULL, &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
}

static void mend(struct stage *f)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(incident_close(&t, INCIDENT_GAP, SLICE("here"), "mended", &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
}

static void a_sweep_keeps_what_is_shut_until_it_is_mended(void **state)
{
    struct stage *f = *state;
    struct ledger_instance i = added(f, "a", true, LEDGER_READBACK_FULL);
    const struct sweep_options o = {.staging = f->st};
    struct sweep *s = NULL;
    posts(f, &f->room, 3);
    archive_all(f, &i);
    shut(f);
    ok(sweep_start(&s, &o, &f->e), &f->e);
    await(f, "SELECT count(*) FROM kept", 3);
    sweep_stop(s);
    mend(f);
    ok(sweep_start(&s, &o, &f->e), &f->e);
    await(f, "SELECT count(*) FROM kept", 0);
    sweep_stop(s);
    sweep_stop(NULL);
}

/* Partition 0 was not read back; what lies in the other one goes all the same, pass by pass. */
static void a_sweep_passes_by_what_is_stuck(void **state)
{
    struct stage *f = *state;
    struct ledger_instance i = added(f, "a", true, LEDGER_READBACK_FULL);
    struct wake archived = {.fd = -1};
    const struct sweep_options o = {.staging = f->st, .archived = &archived};
    struct sweep *s = NULL;
    assert_true(wake_init(&archived));
    ok(ledger_instance_readback(f->st, i.id, 1, &f->e), &f->e);
    posts(f, &f->room, 2);
    archive_all(f, &i);
    ok(ledger_instance_readback(f->st, i.id, LEDGER_READBACK_FULL, &f->e), &f->e);
    posts_in(f, &f->other, 2, 1);
    archive_all(f, &i);
    ok(sweep_start(&s, &o, &f->e), &f->e);
    await(f, "SELECT count(*) FROM record", 2);
    posts_in(f, &f->other, 2, 1);
    archive_all(f, &i);
    wake_ring(&archived);
    await(f, "SELECT count(*) FROM record", 2);
    sweep_stop(s);
    wake_done(&archived);
    assert_int_equal(number(f, "SELECT count(*) FROM record WHERE part = 0"), 2);
}

int main(void)
{
    static struct stage sqlite;
    static struct stage pg;
    const struct CMUnitTest cases[] = {
        ON_STAGE(names_are_plain),
        ON_STAGE(a_name_becomes_part_of_file_names),
        ON_STAGE(nobody_of_that_name),
        ON_STAGE(reasons_are_cut_and_cleaned),
        ON_STAGE(so_many_adapters_and_no_more),
        ON_STAGE(a_batch_has_so_many_ranges),
        ON_STAGE(limits_end_a_batch_in_its_first_partition),
        ON_STAGE(a_visitor_can_stop),
        ON_STAGE(what_was_changed_by_hand_is_refused),
        ON_STAGE(a_record_without_its_hash_is_not_deleted),
        ON_STAGE(less_read_back_than_before_takes_nothing_back),
        ON_STAGE(many_partitions_are_swept_page_by_page),
        ON_STAGE(old_hashes_are_forgotten_page_by_page),
        ON_STAGE(a_sweep_keeps_what_is_shut_until_it_is_mended),
        ON_STAGE(a_sweep_passes_by_what_is_stuck),
    };
    return stage_main(cases, sizeof cases / sizeof cases[0], &sqlite, &pg);
}
