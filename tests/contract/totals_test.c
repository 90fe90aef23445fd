/* SPDX-License-Identifier: Apache-2.0 */
/* Signed control totals against what was captured, on SQLite and on a private PostgreSQL. */
#include "base/clock.h"
#include "mgccomp/record_totals.h"
#include "mgccomp/totals.h"
#include "tests/contract/stage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SECOND INT64_C(1000000)
#define POOL   "sip:pool.example.test"

struct fixture {
    struct stage s;
    struct feed_stream session;
    struct sign_key key;
    struct totals_source source;
    int64_t now_us;
    size_t incidents;
    struct buf lines;
};

static int set_up(void **state)
{
    struct fixture *f = *state;
    void *stage = &f->s;
    const uint8_t secret[SIGN_KEY_SIZE] = {1, 2, 3};
    (void)stage_set_up(&stage);
    ok(sign_key_from(&f->key, secret, &f->s.e), &f->s.e);
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
    void *stage = &f->s;
    buf_done(&f->lines);
    return stage_tear_down(&stage);
}

/* What the source says of a stream as it stands at the source. */
static void name_head(struct fixture *f, const struct feed_stream *s)
{
    struct totals_line line = {
        .epoch = 1, .sequence = s->sequence, .count = 1, .subject = slice_of(s->subject)};
    memcpy(line.hash, s->previous, sizeof line.hash);
    totals_put_line(&f->lines, &line);
}

static void put_part_for(struct fixture *f, struct slice source, int64_t time_us, int64_t next_us,
                         int part, bool last)
{
    OWN(own_buf) struct buf statement;
    OWN(own_buf) struct buf members;
    const struct totals_head head = {source, time_us, next_us, part, last};
    buf_init(&statement, 100000);
    buf_init(&members, RECORD_MAX_BYTES);
    totals_put_head(&statement, &head);
    buf_slice(&statement, buf_view(&f->lines));
    ok(totals_members(&members, buf_view(&statement), &f->key, &f->s.e), &f->s.e);
    feed_put(&f->s.feed, feed_make(&f->s.feed, &f->session, RECORD_TOTALS, members.p));
    buf_clear(&f->lines);
}

static void put_part(struct fixture *f, int64_t time_us, int64_t next_us, int part, bool last)
{
    put_part_for(f, SLICE(POOL), time_us, next_us, part, last);
}

/* Captures totals of the room's head, made now, the next due in a minute. */
static void totals(struct fixture *f)
{
    name_head(f, &f->s.room);
    put_part(f, f->now_us, f->now_us + 60 * SECOND, 1, true);
    capture(&f->s);
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
    ok(totals_run(f->s.st, &c, &f->incidents, &f->s.e), &f->s.e);
}

static int64_t open_of(struct fixture *f, const char *kind)
{
    char sql[160];
    (void)snprintf(sql, sizeof sql,
                   "SELECT count(*) FROM incident WHERE kind = '%s' AND closed_us IS NULL", kind);
    return number(&f->s, sql);
}

static int64_t complete_us(struct fixture *f)
{
    return number(&f->s, "SELECT max(complete_us) FROM source");
}

static void heads_that_agree_are_complete(void **state)
{
    struct fixture *f = *state;
    put_posts(&f->s, 3);
    name_head(f, &f->s.room);
    put_posts(&f->s, 2); /* went on since */
    put_part(f, f->now_us, f->now_us + 60 * SECOND, 1, true);
    capture(&f->s);
    int64_t said = f->now_us;
    run(f, 1);
    assert_int_equal(complete_us(f), said);
    assert_int_equal(number(&f->s, "SELECT count(*) FROM totals"), 0);
    assert_int_equal(number(&f->s, "SELECT count(*) FROM incident"), 0);
}

/* The key is the right one, and so is the record's place: the statement is not about it. */
static void what_was_signed_for_another_source_is_no_proof(void **state)
{
    struct fixture *f = *state;
    put_posts(&f->s, 3);
    name_head(f, &f->s.room);
    put_part_for(f, SLICE("sip:another"), f->now_us, f->now_us + 60 * SECOND, 1, true);
    capture(&f->s);
    run(f, 1);
    assert_int_equal(open_of(f, "altered"), 1);
    assert_true(complete_us(f) <= 0);
    assert_int_equal(number(&f->s, "SELECT count(*) FROM totals"), 0);
}

static void a_missing_tail_is_a_gap_until_it_comes(void **state)
{
    struct fixture *f = *state;
    put_posts(&f->s, 2);
    capture(&f->s);
    put_posts(&f->s, 2); /* made, and held back */
    struct slice third = f->s.feed.items[0].raw;
    struct slice fourth = f->s.feed.items[1].raw;
    feed_clear(&f->s.feed);
    f->s.feed.pos -= 2;
    totals(f);
    run(f, 1); /* they may be on their way */
    assert_int_equal(open_of(f, "gap"), 0);
    run(f, 20);
    assert_int_equal(f->incidents, 1);
    assert_int_equal(open_of(f, "gap"), 1);
    assert_int_equal(number(&f->s, "SELECT first FROM incident"), 3);
    assert_int_equal(number(&f->s, "SELECT last FROM incident"), 4);
    assert_int_equal(complete_us(f), 0);
    feed_put(&f->s.feed, third);
    capture(&f->s);
    run(f, 3);
    assert_int_equal(number(&f->s, "SELECT first FROM incident"), 4);
    feed_put(&f->s.feed, fourth);
    capture(&f->s);
    run(f, 3);
    assert_int_equal(open_of(f, "gap"), 0);
    assert_true(complete_us(f) > 0);
    assert_int_equal(number(&f->s, "SELECT count(*) FROM incident"), 1);
}

/* Two records of the room are captured, two more are missed by the totals. */
static void miss_two(struct fixture *f)
{
    put_posts(&f->s, 2);
    capture(&f->s);
    f->s.room.sequence += 2;
    totals(f);
    run(f, 20);
    assert_int_equal(open_of(f, "gap"), 1);
}

/* PostgreSQL knows people by their roles, and here is one: whoever proposed gets another name. */
static void accept_one(struct fixture *f, int64_t id, uid_t uid)
{
    char words[3][40] = {"", "--reason", "gone"};
    char *argv[] = {words[0], words[1], words[2], NULL};
    OWN(own_file) FILE *out = fopen("/dev/null", "w");
    struct app_io io = {.out = out, .err = out, .uid = uid};
    run_sql(&f->s, "UPDATE incident SET proposed_by = 'another' WHERE proposed_by IS NOT NULL"
                   " AND closed_us IS NULL");
    (void)snprintf(words[0], sizeof words[0], "%" PRId64, id);
    assert_int_equal(incident_accept_command(&io, f->s.st, 3, argv), APP_OK);
}

static void accept_gap(struct fixture *f, int64_t first)
{
    char sql[120];
    (void)snprintf(sql, sizeof sql,
                   "SELECT id FROM incident WHERE closed_us IS NULL AND kind = 'gap' AND first ="
                   " %" PRId64,
                   first);
    int64_t id = number(&f->s, sql);
    accept_one(f, id, 1000);
    accept_one(f, id, 1001);
}

static int64_t losses(struct fixture *f)
{
    int64_t all = number(&f->s, "SELECT value FROM tally WHERE name = 'accepted_losses'");
    assert_int_equal(number(&f->s, "SELECT CAST(COALESCE(sum(lost), 0) AS bigint) FROM incident"),
                     all);
    return all;
}

/* It is the same gap, with what people did about it. */
static void a_record_behind_it_makes_it_a_gap_like_others(void **state)
{
    struct fixture *f = *state;
    miss_two(f);
    int64_t id = number(&f->s, "SELECT id FROM incident");
    accept_one(f, id, 1000);
    put_posts(&f->s, 1);
    capture(&f->s);
    run(f, 3);
    assert_int_equal(number(&f->s, "SELECT count(*) FROM incident WHERE kind = 'gap'"), 1);
    assert_int_equal(number(&f->s, "SELECT id FROM incident WHERE closed_us IS NULL AND first = 3"
                                   " AND last = 4 AND object NOT LIKE 'tail%'"),
                     id);
    accept_one(f, id, 1001);
    assert_int_equal(losses(f), 2);
    assert_int_equal(open_of(f, "gap"), 0);
}

static void a_loss_that_was_accepted_is_not_missed_again(void **state)
{
    struct fixture *f = *state;
    miss_two(f);
    accept_gap(f, 3);
    assert_int_equal(losses(f), 2);
    put_posts(&f->s, 1);
    capture(&f->s);
    run(f, 3);
    assert_int_equal(open_of(f, "gap"), 0);
    assert_int_equal(losses(f), 2);
    /* What is missing besides counts once, too. */
    f->s.room.sequence += 3;
    totals(f);
    run(f, 20);
    assert_int_equal(number(&f->s, "SELECT first FROM incident WHERE closed_us IS NULL"), 6);
    accept_gap(f, 6);
    assert_int_equal(losses(f), 5);
    f->s.room.sequence += 1;
    totals(f);
    run(f, 20);
    assert_int_equal(number(&f->s, "SELECT first FROM incident WHERE closed_us IS NULL"), 9);
    put_posts(&f->s, 1);
    capture(&f->s);
    run(f, 3);
    assert_int_equal(number(&f->s, "SELECT first FROM incident WHERE closed_us IS NULL"), 6);
    accept_gap(f, 6); /* 6..9, of which 9 is new */
    assert_int_equal(losses(f), 6);
}

/* What comes lies in the middle of what the totals miss. */
static void the_end_of_a_missing_tail_counts_for_itself(void **state)
{
    struct fixture *f = *state;
    put_posts(&f->s, 2);
    capture(&f->s);
    f->s.room.sequence += 7;
    totals(f);
    run(f, 20);
    f->s.room.sequence = 4;
    put_posts(&f->s, 1);
    capture(&f->s);
    int64_t id = number(&f->s, "SELECT id FROM incident WHERE last = 4");
    accept_one(f, id, 1000);
    accept_one(f, id, 1001);
    assert_int_equal(losses(f), 2);
    run(f, 3);
    accept_gap(f, 6);
    assert_int_equal(losses(f), 6);
}

/* Two who accept must have known of all of it. */
static void a_gap_that_grows_is_proposed_anew(void **state)
{
    struct fixture *f = *state;
    miss_two(f);
    accept_one(f, number(&f->s, "SELECT id FROM incident"), 1000);
    f->s.room.sequence += 5;
    totals(f);
    run(f, 20);
    assert_int_equal(number(&f->s, "SELECT last FROM incident WHERE proposed_by IS NULL"), 9);
    accept_gap(f, 3);
    assert_int_equal(losses(f), 7);
}

static void a_room_that_never_came_is_a_gap(void **state)
{
    struct fixture *f = *state;
    put_posts(&f->s, 2);
    feed_clear(&f->s.feed);
    f->s.feed.pos = 0;
    totals(f);
    run(f, 20);
    assert_int_equal(open_of(f, "gap"), 1);
    assert_int_equal(number(&f->s, "SELECT last FROM incident"), 2);
    accept_gap(f, 1);
    put_posts(&f->s, 1);
    capture(&f->s);
    run(f, 3);
    assert_int_equal(open_of(f, "gap"), 0);
    assert_int_equal(losses(f), 2);
}

static void another_hash_is_altered(void **state)
{
    struct fixture *f = *state;
    put_posts(&f->s, 2);
    capture(&f->s);
    f->s.room.previous[0] ^= 1;
    totals(f);
    run(f, 1);
    assert_int_equal(open_of(f, "altered"), 1);
    /* Also of a record that is not the head any more. */
    f->s.room.previous[0] ^= 1;
    f->s.room.sequence--;
    f->now_us += SECOND;
    totals(f);
    run(f, 1);
    assert_int_equal(open_of(f, "altered"), 2);
}

static void a_false_signature_is_altered(void **state)
{
    struct fixture *f = *state;
    const uint8_t secret[SIGN_KEY_SIZE] = {9};
    put_posts(&f->s, 1);
    ok(sign_key_from(&f->key, secret, &f->s.e), &f->s.e);
    totals(f);
    run(f, 1);
    assert_int_equal(open_of(f, "altered"), 1);
    assert_int_equal(number(&f->s, "SELECT count(*) FROM source"), 0);
    assert_int_equal(number(&f->s, "SELECT count(*) FROM totals"), 0);
}

static void undeclared_sources_are_not_judged(void **state)
{
    struct fixture *f = *state;
    put_posts(&f->s, 1);
    f->source.name = SLICE("sip:somebody.else");
    f->s.room.sequence = 99;
    totals(f);
    run(f, 1);
    assert_int_equal(open_of(f, "gap") + open_of(f, "altered"), 0);
    assert_int_equal(number(&f->s, "SELECT count(*) FROM totals"), 0);
}

static void who_promised_and_says_nothing_is_silent(void **state)
{
    struct fixture *f = *state;
    put_posts(&f->s, 1);
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
    capture(&f->s);
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
    put_posts(&f->s, 2);
    f->now_us += month;
    totals(f);
    run(f, 1);
    assert_true(number(&f->s, "SELECT complete_us FROM source") > f->now_us - 2 * SECOND);
    f->now_us -= month;
    put_posts(&f->s, 2);
    totals(f);
    int64_t told = f->now_us;
    run(f, 1);
    assert_int_equal(number(&f->s, "SELECT complete_us FROM source"), told);
    assert_int_equal(number(&f->s, "SELECT due_us FROM source"), told + 60 * SECOND);
    assert_int_equal(number(&f->s, "SELECT count(*) FROM totals"), 0);
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
    put_posts(&f->s, 1);
    name_head(f, &f->s.room);
    put_part(f, said, said + 60 * SECOND, 1, false);
    capture(&f->s);
    run(f, 1);
    assert_int_equal(complete_us(f), 0);
    put_part(f, said, said + 60 * SECOND, 2, true);
    capture(&f->s);
    run(f, 1);
    assert_int_equal(complete_us(f), said);
}

static void a_lost_part_is_not_complete(void **state)
{
    struct fixture *f = *state;
    put_part(f, f->now_us, f->now_us + 60 * SECOND, 2, true);
    capture(&f->s);
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

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    static struct fixture sqlite;
    static struct fixture pg;
    struct parts p;
    const struct CMUnitTest cases[] = {
        CASE(heads_that_agree_are_complete),
        CASE(a_missing_tail_is_a_gap_until_it_comes),
        CASE(a_record_behind_it_makes_it_a_gap_like_others),
        CASE(a_loss_that_was_accepted_is_not_missed_again),
        CASE(the_end_of_a_missing_tail_counts_for_itself),
        CASE(a_gap_that_grows_is_proposed_anew),
        CASE(a_room_that_never_came_is_a_gap),
        CASE(another_hash_is_altered),
        CASE(a_false_signature_is_altered),
        CASE(what_was_signed_for_another_source_is_no_proof),
        CASE(undeclared_sources_are_not_judged),
        CASE(who_promised_and_says_nothing_is_silent),
        CASE(who_promised_nothing_is_not_silent),
        CASE(a_clock_set_back_promises_anew),
        CASE(a_source_never_heard_is_silent),
        CASE(all_parts_make_it_complete),
        CASE(a_lost_part_is_not_complete),
        CASE(statements_are_read_strictly),
    };
    if (!parts_find(&p))
        return 2;
    sqlite.s.scratch = pg.s.scratch = p.scratch;
    pg.s.postgres = p.postgres;
    return both_run(cases, sizeof cases / sizeof cases[0], &sqlite, &pg) ? 1 : 0;
}
