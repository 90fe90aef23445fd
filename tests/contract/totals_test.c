/* SPDX-License-Identifier: Apache-2.0 */
/* Signed control totals against what was captured, on SQLite and on a private PostgreSQL. */
#include "base/clock.h"
#include "base/own.h"
#include "mgccomp/record_totals.h"
#include "mgccomp/totals.h"
#include "tests/contract/feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define POOL   "sip:pool.example.test"

static const char *scratch;

struct fixture {
    const char *postgres;
    char url[600];
    struct staging *st;
    struct capture_writer *w;
    struct staging_position at;
    struct feed feed;
    struct feed_stream room, session;
    struct sign_key key;
    struct totals_source source;
    int64_t now_us;
    size_t incidents;
    struct buf lines;
    struct err e;
};

static void ok(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s: %s", err_class_name(rc), e->text);
}

static int set_up(void **state)
{
    struct fixture *f = *state;
    const uint8_t secret[SIGN_KEY_SIZE] = {1, 2, 3};
    (void)snprintf(f->url, sizeof f->url, "%s", feed_database(f->postgres, scratch));
    ok(staging_open(&f->st, f->url, &f->e), &f->e);
    ok(capture_writer_new(&f->w, f->st, 1, &f->e), &f->e);
    ok(sign_key_from(&f->key, secret, &f->e), &f->e);
    f->at = (struct staging_position){.part = 0};
    f->feed = (struct feed){0};
    f->room = (struct feed_stream){.source = POOL, .subject = "ma-chan://a/room", .epoch = 1};
    f->session = (struct feed_stream){.source = POOL, .subject = "urn:uuid:1", .epoch = 1};
    f->source = (struct totals_source){.name = SLICE(POOL), .cadence_ms = 60000};
    memcpy(f->source.public_key, f->key.public_key, SIGN_KEY_SIZE);
    f->now_us = clock_wall_us();
    buf_init(&f->lines, 100000);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    capture_writer_free(f->w);
    staging_close(f->st);
    feed_done(&f->feed);
    buf_done(&f->lines);
    return 0;
}

static void capture(struct fixture *f)
{
    struct capture_outcome out;
    ok(feed_write(f->w, f->feed.items, f->feed.n, &f->at, 1, &out, &f->e), &f->e);
    feed_clear(&f->feed);
}

static void posts(struct fixture *f, int n)
{
    for (int i = 0; i < n; i++)
        feed_post(&f->feed, &f->room);
}

/* What the source says of a stream as it stands at the source. */
static void name_head(struct fixture *f, const struct feed_stream *s)
{
    struct totals_line line = {
        .epoch = 1, .sequence = s->sequence, .count = 1, .subject = slice_of(s->subject)};
    memcpy(line.hash, s->previous, sizeof line.hash);
    totals_put_line(&f->lines, &line);
}

static void put_part(struct fixture *f, int64_t time_us, int64_t next_us, int part, bool last)
{
    OWN(own_buf) struct buf statement;
    OWN(own_buf) struct buf members;
    const struct totals_head head = {SLICE(POOL), time_us, next_us, part, last};
    buf_init(&statement, 100000);
    buf_init(&members, RECORD_MAX_BYTES);
    totals_put_head(&statement, &head);
    buf_slice(&statement, buf_view(&f->lines));
    ok(totals_members(&members, buf_view(&statement), &f->key, &f->e), &f->e);
    feed_put(&f->feed, feed_make(&f->feed, &f->session, RECORD_TOTALS, members.p));
    buf_clear(&f->lines);
}

/* Captures totals of the room's head, made now, the next due in a minute. */
static void totals(struct fixture *f)
{
    name_head(f, &f->room);
    put_part(f, f->now_us, f->now_us + 60 * SECOND, 1, true);
    capture(f);
}

/* Time passes, and capture compares. */
static void run(struct fixture *f, int64_t seconds)
{
    f->now_us += seconds * SECOND;
    const struct totals_check c = {.sources = &f->source,
                                   .n = 1,
                                   .now_us = f->now_us,
                                   .since_us = f->now_us - 3600 * SECOND,
                                   .patience_ms = 10000,
                                   .caught_up = true};
    f->incidents = 0;
    ok(totals_run(f->st, &c, &f->incidents, &f->e), &f->e);
}

static int64_t number(struct fixture *f, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    int64_t v = -1;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_int(db, sql, DB_NO_ARGS, -1, &v, &f->e), &f->e);
    return v;
}

static int64_t open_of(struct fixture *f, const char *kind)
{
    char sql[160];
    (void)snprintf(sql, sizeof sql,
                   "SELECT count(*) FROM incident WHERE kind = '%s' AND closed_us IS NULL", kind);
    return number(f, sql);
}

static int64_t complete_us(struct fixture *f)
{
    return number(f, "SELECT max(complete_us) FROM source");
}

static void heads_that_agree_are_complete(void **state)
{
    struct fixture *f = *state;
    posts(f, 3);
    name_head(f, &f->room);
    posts(f, 2); /* went on since */
    put_part(f, f->now_us, f->now_us + 60 * SECOND, 1, true);
    capture(f);
    int64_t said = f->now_us;
    run(f, 1);
    assert_int_equal(complete_us(f), said);
    assert_int_equal(number(f, "SELECT count(*) FROM totals"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 0);
}

static void a_missing_tail_is_a_gap_until_it_comes(void **state)
{
    struct fixture *f = *state;
    posts(f, 2);
    capture(f);
    posts(f, 2); /* made, and held back */
    struct slice third = f->feed.items[0].raw;
    struct slice fourth = f->feed.items[1].raw;
    feed_clear(&f->feed);
    f->feed.pos -= 2;
    totals(f);
    run(f, 1); /* they may be on their way */
    assert_int_equal(open_of(f, "gap"), 0);
    run(f, 20);
    assert_int_equal(f->incidents, 1);
    assert_int_equal(open_of(f, "gap"), 1);
    assert_int_equal(number(f, "SELECT first FROM incident"), 3);
    assert_int_equal(number(f, "SELECT last FROM incident"), 4);
    assert_int_equal(complete_us(f), 0);
    feed_put(&f->feed, third);
    capture(f);
    run(f, 3);
    assert_int_equal(number(f, "SELECT first FROM incident"), 4);
    feed_put(&f->feed, fourth);
    capture(f);
    run(f, 3);
    assert_int_equal(open_of(f, "gap"), 0);
    assert_true(complete_us(f) > 0);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 1);
}

static void a_room_that_never_came_is_a_gap(void **state)
{
    struct fixture *f = *state;
    posts(f, 2);
    feed_clear(&f->feed);
    f->feed.pos = 0;
    totals(f);
    run(f, 20);
    assert_int_equal(open_of(f, "gap"), 1);
    assert_int_equal(number(f, "SELECT last FROM incident"), 2);
}

static void another_hash_is_altered(void **state)
{
    struct fixture *f = *state;
    posts(f, 2);
    capture(f);
    f->room.previous[0] ^= 1;
    totals(f);
    run(f, 1);
    assert_int_equal(open_of(f, "altered"), 1);
    /* Also of a record that is not the head any more. */
    f->room.previous[0] ^= 1;
    f->room.sequence--;
    f->now_us += SECOND;
    totals(f);
    run(f, 1);
    assert_int_equal(open_of(f, "altered"), 2);
}

static void a_false_signature_is_altered(void **state)
{
    struct fixture *f = *state;
    const uint8_t secret[SIGN_KEY_SIZE] = {9};
    posts(f, 1);
    ok(sign_key_from(&f->key, secret, &f->e), &f->e);
    totals(f);
    run(f, 1);
    assert_int_equal(open_of(f, "altered"), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM source"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM totals"), 0);
}

static void undeclared_sources_are_not_judged(void **state)
{
    struct fixture *f = *state;
    posts(f, 1);
    f->source.name = SLICE("sip:somebody.else");
    f->room.sequence = 99;
    totals(f);
    run(f, 1);
    assert_int_equal(open_of(f, "gap") + open_of(f, "altered"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM totals"), 0);
}

static void who_promised_and_says_nothing_is_silent(void **state)
{
    struct fixture *f = *state;
    posts(f, 1);
    totals(f);
    run(f, 1);
    assert_int_equal(open_of(f, "silent"), 0);
    run(f, 200);
    assert_int_equal(open_of(f, "silent"), 1);
    totals(f);
    run(f, 1);
    assert_int_equal(open_of(f, "silent"), 0);
    /* It stopped in order: nothing is due. */
    f->now_us += SECOND;
    put_part(f, f->now_us, 0, 1, true);
    capture(f);
    run(f, 86400);
    assert_int_equal(open_of(f, "silent"), 0);
}

/* As one that ingest signs for. */
static void who_promised_nothing_is_not_silent(void **state)
{
    struct fixture *f = *state;
    f->source.cadence_ms = 0;
    run(f, 100000);
    assert_int_equal(open_of(f, "silent"), 0);
    totals(f); /* now it has */
    run(f, 100);
    assert_int_equal(open_of(f, "silent"), 1);
}

/* The source's clock was a month ahead and is right again. */
static void a_clock_set_back_promises_anew(void **state)
{
    struct fixture *f = *state;
    const int64_t month = 30 * 86400 * SECOND;
    posts(f, 2);
    f->now_us += month;
    totals(f);
    run(f, 1);
    assert_true(number(f, "SELECT complete_us FROM source") > f->now_us - 2 * SECOND);
    f->now_us -= month;
    posts(f, 2);
    totals(f);
    int64_t told = f->now_us;
    run(f, 1);
    assert_int_equal(number(f, "SELECT complete_us FROM source"), told);
    assert_int_equal(number(f, "SELECT due_us FROM source"), told + 60 * SECOND);
    assert_int_equal(number(f, "SELECT count(*) FROM totals"), 0);
    run(f, 60 + 31);
    assert_int_equal(open_of(f, INCIDENT_SILENT), 1);
    totals(f);
    run(f, 1);
    assert_int_equal(open_of(f, INCIDENT_SILENT), 0);
}

static void a_source_never_heard_is_silent(void **state)
{
    struct fixture *f = *state;
    run(f, 1);
    assert_int_equal(open_of(f, "silent"), 1);
    assert_int_equal(f->incidents, 1);
    run(f, 1);
    assert_int_equal(f->incidents, 0);
}

static void all_parts_make_it_complete(void **state)
{
    struct fixture *f = *state;
    int64_t said = f->now_us;
    posts(f, 1);
    name_head(f, &f->room);
    put_part(f, said, said + 60 * SECOND, 1, false);
    capture(f);
    run(f, 1);
    assert_int_equal(complete_us(f), 0);
    put_part(f, said, said + 60 * SECOND, 2, true);
    capture(f);
    run(f, 1);
    assert_int_equal(complete_us(f), said);
}

static void a_lost_part_is_not_complete(void **state)
{
    struct fixture *f = *state;
    put_part(f, f->now_us, f->now_us + 60 * SECOND, 2, true);
    capture(f);
    run(f, 1);
    assert_int_equal(complete_us(f), 0);
}

static void statements_are_read_strictly(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "holdfast totals 2\n",
        "holdfast totals 1\nsource \ntime 2026-01-01T00:00:00Z\nnext -\npart 1 last\n",
        "holdfast totals 1\nsource s\ntime now\nnext -\npart 1 last\n",
        "holdfast totals 1\nsource s\ntime 2026-01-01T00:00:00Z\nnext -\npart 0 last\n",
        "holdfast totals 1\nsource s\ntime 2026-01-01T00:00:00Z\nnext -\npart 1 of 2\n",
    };
    struct totals_head head;
    struct totals_line line;
    struct slice rest = {0};
    struct err e = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(totals_read_head(slice_of(wrong[i]), &head, &rest, &e), ERR_REJECTED);
    rest = SLICE("1 2 3 zz room\n");
    assert_int_equal(totals_next_line(&rest, &line, &e), ERR_REJECTED);
    rest = (struct slice){0};
    assert_int_equal(totals_next_line(&rest, &line, &e), 0);
}

#define CASE(f, fixture) cmocka_unit_test_prestate_setup_teardown(f, set_up, tear_down, fixture)
#define CASES(fixture)                                                                             \
    CASE(heads_that_agree_are_complete, fixture),                                                  \
        CASE(a_missing_tail_is_a_gap_until_it_comes, fixture),                                     \
        CASE(a_room_that_never_came_is_a_gap, fixture), CASE(another_hash_is_altered, fixture),    \
        CASE(a_false_signature_is_altered, fixture),                                               \
        CASE(undeclared_sources_are_not_judged, fixture),                                          \
        CASE(who_promised_and_says_nothing_is_silent, fixture),                                    \
        CASE(a_clock_set_back_promises_anew, fixture),                                             \
        CASE(a_source_never_heard_is_silent, fixture),                                             \
        CASE(who_promised_nothing_is_not_silent, fixture),                                         \
        CASE(all_parts_make_it_complete, fixture), CASE(a_lost_part_is_not_complete, fixture),     \
        CASE(statements_are_read_strictly, fixture)

int main(void)
{
    static struct fixture sqlite;
    static struct fixture pg;
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    pg.postgres = getenv("HOLDFAST_TEST_POSTGRES");
    if (!scratch || !pg.postgres) {
        (void)fprintf(stderr, "run me through tests/parts/with postgres -- totals_test\n");
        return 2;
    }
    const struct CMUnitTest on_sqlite[] = {CASES(&sqlite)};
    const struct CMUnitTest on_postgres[] = {CASES(&pg)};
    int failed = cmocka_run_group_tests_name("SQLite", on_sqlite, NULL, NULL);
    failed += cmocka_run_group_tests_name("PostgreSQL", on_postgres, NULL, NULL);
    return failed ? 1 : 0;
}
