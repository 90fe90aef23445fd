/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What capturing says of a record by its number and hash, on SQLite and on a private PostgreSQL:
 * the next one, a repeat, missing, another one, altered, far ahead, or without a number.
 */
#include "mgccomp/incident.h"
#include "tests/contract/stage.h"

#include <string.h>

struct seen {
    const char *kind;
    int64_t first, last;
    int open, closed;
};

static int see(void *arg, const struct incident *i, struct err *e)
{
    struct seen *s = arg;
    (void)e;
    if (strcmp(i->kind, s->kind) != 0)
        return 0;
    if (i->closed_us) {
        s->closed++;
    } else {
        s->open++;
        s->first = i->first;
        s->last = i->last;
    }
    return 0;
}

/* The newest open incident of the kind. */
static struct seen incidents(struct stage *f, const char *kind)
{
    OWN(own_db) struct db *db = NULL;
    struct seen s = {.kind = kind};
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(incident_each(db, true, see, &s, &f->e), &f->e);
    return s;
}

static void duplicates_are_dropped(void **state)
{
    struct stage *f = *state;
    put_posts(f, 3);
    struct slice second = f->feed.items[1].raw;
    feed_put(&f->feed, second); /* in the batch */
    capture(f);
    assert_int_equal(f->out.duplicates, 1);
    feed_put(&f->feed, second); /* in the table */
    capture(f);
    assert_int_equal(f->out.duplicates, 1);
    assert_int_equal(f->out.stored, 0);
    assert_int_equal(f->at[0].pos, 5);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 3);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'duplicates'"), 2);
    assert_no_incident(f);
}

/* As the sweep leaves it: rows gone, hashes of 1..3 packed. */
static void delete_three(struct stage *f)
{
    OWN(own_db) struct db *db = NULL;
    OWN(own_db_rows) struct db_rows *r = NULL;
    char hashes[3 * SHA256_SIZE];
    ok(db_open(&db, f->url, 0, &f->e), &f->e);
    ok(db_query(db, "SELECT hash FROM record ORDER BY sequence", DB_NO_ARGS, &r, &f->e), &f->e);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(db_rows_next(r, &f->e), 1);
        memcpy(hashes + i * SHA256_SIZE, db_rows_slice(r, 0).p, SHA256_SIZE);
    }
    db_rows_free(r);
    r = NULL;
    ok(db_run(db,
              "INSERT INTO deleted (stream, first, last, hashes, deleted_us)"
              " SELECT id, 1, 3, $1, 0 FROM stream",
              DB_ARGS(DB_B(((struct slice){hashes, sizeof hashes}))), NULL, &f->e),
       &f->e);
    ok(db_script(db, "DELETE FROM record", &f->e), &f->e);
}

static void duplicates_of_deleted_records_are_dropped(void **state)
{
    struct stage *f = *state;
    put_posts(f, 3);
    struct slice third = f->feed.items[2].raw;
    capture(f);
    delete_three(f);
    feed_put(&f->feed, third);
    capture(f);
    assert_int_equal(f->out.duplicates, 1);
    assert_no_incident(f);

    struct feed_stream liar = {"sip:pool.example.test", "ma-chan://example.test/one", 1, 1, {0}};
    feed_post(&f->feed, &liar); /* another record 2 */
    capture(f);
    assert_int_equal(f->out.stored, 1);
    assert_int_equal(incidents(f, INCIDENT_FORK).open, 1);
}

static void a_number_older_than_memory_is_a_repeat(void **state)
{
    struct stage *f = *state;
    put_posts(f, 3);
    struct slice third = f->feed.items[2].raw;
    capture(f);
    OWN(own_db) struct db *db = NULL;
    ok(db_open(&db, f->url, 0, &f->e), &f->e);
    ok(db_script(db, "DELETE FROM record", &f->e), &f->e);
    feed_put(&f->feed, third);
    capture(f);
    assert_int_equal(f->out.stored, 1);
    assert_int_equal(incidents(f, INCIDENT_REPEAT).first, 3);
    assert_int_equal(number(f, "SELECT flags FROM record"), STAGING_REPEAT);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 3);
}

static void a_gap_is_named_and_closed_by_what_was_missing(void **state)
{
    struct stage *f = *state;
    struct slice held[5];
    put_posts(f, 1);
    for (size_t i = 0; i < 5; i++) /* 2..6 */
        held[i] = feed_make(&f->feed, &f->room, RECORD_POST,
                            "\"chatId\":1,\"participant\":\"sip:a@example.test\",\"text\":\"x\"");
    put_posts(f, 1);
    capture(f);
    struct seen gap = incidents(f, INCIDENT_GAP);
    assert_int_equal(gap.open, 1);
    assert_int_equal(gap.first, 2);
    assert_int_equal(gap.last, 6);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 7);

    feed_put(&f->feed, held[2]); /* 4: splits */
    capture(f);
    assert_int_equal(incidents(f, INCIDENT_GAP).open, 2);
    feed_put(&f->feed, held[0]); /* 2 and 6: shorten */
    feed_put(&f->feed, held[4]);
    capture(f);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE first = last AND closed_us"
                               " IS NULL AND kind = 'gap'"),
                     2);
    feed_put(&f->feed, held[3]);
    feed_put(&f->feed, held[1]);
    feed_put(&f->feed, held[1]);
    capture(f);
    assert_int_equal(f->out.duplicates, 1);
    assert_int_equal(incidents(f, INCIDENT_GAP).open, 0);
    assert_int_equal(incidents(f, INCIDENT_GAP).closed, 2);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE kind <> 'gap'"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM record WHERE flags = 1"), 5);
    put_posts(f, 1);
    capture(f);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE closed_us IS NULL"), 0);
}

static void a_gap_filled_in_its_own_batch_is_none(void **state)
{
    struct stage *f = *state;
    struct slice held[3];
    const char *members = "\"chatId\":1,\"participant\":\"sip:a@example.test\",\"text\":\"x\"";
    for (size_t i = 0; i < 3; i++)
        held[i] = feed_make(&f->feed, &f->room, RECORD_POST, members);
    put_posts(f, 1);
    feed_put(&f->feed, held[1]);
    feed_put(&f->feed, held[0]);
    feed_put(&f->feed, held[2]);
    capture(f);
    assert_int_equal(f->out.stored, 4);
    assert_int_equal(f->out.incidents, 0);
    assert_no_incident(f);
}

static void a_late_record_that_breaks_the_chain_is_altered(void **state)
{
    struct stage *f = *state;
    const char *members = "\"chatId\":2,\"participant\":\"sip:a@example.test\",\"text\":\"y\"";
    put_posts(f, 1);
    struct feed_stream liar = f->room;
    (void)feed_make(&f->feed, &f->room, RECORD_POST, members);
    put_posts(f, 1);
    capture(f);
    feed_put(&f->feed, feed_make(&f->feed, &liar, RECORD_POST,
                                 "\"chatId\":2,\"participant\":"
                                 "\"sip:a@example.test\",\"text\":"
                                 "\"not y\""));
    capture(f);
    assert_int_equal(incidents(f, INCIDENT_GAP).open, 0);
    struct seen altered = incidents(f, INCIDENT_ALTERED);
    assert_int_equal(altered.open, 1);
    assert_int_equal(altered.first, 2);
    assert_int_equal(altered.last, 3);
}

static void other_bytes_under_one_number_are_a_fork(void **state)
{
    struct stage *f = *state;
    put_posts(f, 2);
    struct feed_stream liar = f->room;
    put_posts(f, 1);
    feed_post(&f->feed, &liar); /* another 3, in the batch */
    capture(f);
    assert_int_equal(f->out.stored, 4);
    assert_int_equal(incidents(f, INCIDENT_FORK).first, 3);
    assert_int_equal(number(f, "SELECT count(*) FROM record WHERE sequence = 3"), 2);
    assert_int_equal(number(f, "SELECT count(*) FROM record WHERE flags = 8"), 1);
    put_posts(f, 1); /* the chain goes on behind the first */
    capture(f);
    assert_int_equal(f->out.incidents, 0);
}

static void a_broken_link_is_altered(void **state)
{
    struct stage *f = *state;
    put_posts(f, 2);
    f->room.previous[7] ^= 1;
    put_posts(f, 2);
    capture(f);
    assert_int_equal(f->out.incidents, 1);
    struct seen altered = incidents(f, INCIDENT_ALTERED);
    assert_int_equal(altered.first, 2);
    assert_int_equal(altered.last, 3);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 4);
}

static void far_ahead_does_not_move_the_head(void **state)
{
    struct stage *f = *state;
    put_posts(f, 2);
    struct feed_stream ahead = f->room;
    ahead.sequence += CHAIN_FAR_AHEAD + 1;
    feed_post(&f->feed, &ahead);
    struct slice raw = f->feed.items[2].raw;
    put_posts(f, 1);
    feed_put(&f->feed, raw);
    capture(f);
    assert_int_equal(f->out.stored, 4);
    assert_int_equal(f->out.duplicates, 1);
    assert_int_equal(f->out.incidents, 1);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 3);
    assert_int_equal(incidents(f, INCIDENT_FAR_AHEAD).open, 1);
}

/* The chain gets there by way of a gap; what is captured already is sent again with the rest of it.
 */
static void what_was_far_ahead_is_not_missed(void **state)
{
    struct stage *f = *state;
    put_posts(f, 2);
    struct feed_stream ahead = f->room;
    ahead.sequence += CHAIN_FAR_AHEAD + 1;
    feed_post(&f->feed, &ahead);
    const int64_t far = ahead.sequence;
    f->room.sequence = far - 3;
    feed_post(&f->feed, &f->room); /* so near the head that it moves it */
    feed_post(&f->feed, &ahead);
    capture(f);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), far + 1);
    assert_int_equal(number(f, "SELECT max(last) FROM incident WHERE kind = 'gap'"), far);
    feed_put(&f->feed, f->feed.items[2].raw);
    capture(f);
    assert_int_equal(f->out.duplicates, 1);
    assert_int_equal(number(f, "SELECT max(last) FROM incident WHERE kind = 'gap'"), far - 1);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE kind = 'altered'"), 0);
}

/* As far_ahead_does_not_move_the_head, and then the source goes on until it is there. */
static struct slice put_far(struct stage *f, struct feed_stream *ahead)
{
    put_posts(f, 2);
    *ahead = f->room;
    ahead->sequence += CHAIN_FAR_AHEAD + 1;
    struct slice raw = feed_make(&f->feed, ahead, RECORD_JOIN,
                                 "\"participant\":\"sip:eve@example.test\",\"endpoint\":\"e\"");
    feed_put(&f->feed, raw);
    capture(f);
    assert_int_equal(incidents(f, INCIDENT_FAR_AHEAD).first, ahead->sequence);
    assert_int_equal(number(f, "SELECT count(*) FROM presence"), 0);
    return raw;
}

static void assert_fork_at(struct stage *f, int64_t far)
{
    struct seen fork = incidents(f, INCIDENT_FORK);
    assert_int_equal(fork.open, 1);
    assert_int_equal(fork.first, far);
    assert_int_equal(number(f, "SELECT count(*) FROM record r JOIN stream s ON s.id = r.stream"
                               " WHERE r.sequence = s.sequence"),
                     2);
    assert_int_equal(number(f, "SELECT count(*) FROM presence"), 0);
    put_posts(f, 2); /* the chain goes on behind its own */
    capture(f);
    assert_int_equal(f->out.incidents, 0);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), far + 2);
    assert_int_equal(number(f, "SELECT ahead FROM stream"), 0);
}

static void the_chain_gets_to_another_record_than_was_far_ahead(void **state)
{
    struct stage *f = *state;
    struct feed_stream ahead;
    (void)put_far(f, &ahead);
    f->room.sequence = ahead.sequence - 3;
    put_posts(f, 1);
    capture(f); /* by a gap */
    assert_int_equal(number(f, "SELECT ahead FROM stream"), ahead.sequence);
    capture_writer_forget(f->w);
    put_posts(f, 2);
    capture(f);
    assert_fork_at(f, ahead.sequence);
}

static void a_gap_ends_at_another_record_than_was_far_ahead(void **state)
{
    struct stage *f = *state;
    struct feed_stream ahead;
    (void)put_far(f, &ahead);
    f->room.sequence = ahead.sequence - 4;
    put_posts(f, 1);
    f->room.sequence += 2;
    put_posts(f, 1); /* in one batch with what comes before */
    capture(f);
    assert_int_equal(incidents(f, INCIDENT_GAP).last, ahead.sequence - 1);
    assert_fork_at(f, ahead.sequence);
}

static void far_ahead_and_forked_in_one_batch(void **state)
{
    struct stage *f = *state;
    put_posts(f, 2);
    struct feed_stream ahead = f->room;
    ahead.sequence += CHAIN_FAR_AHEAD + 1;
    feed_post(&f->feed, &ahead);
    feed_post(&f->feed, &ahead);
    put_posts(f, 1);
    f->room.sequence = ahead.sequence - 3;
    put_posts(f, 2);
    capture(f);
    assert_int_equal(incidents(f, INCIDENT_FORK).first, ahead.sequence - 1);
    assert_int_equal(number(f, "SELECT ahead FROM stream"), ahead.sequence);
    put_posts(f, 1);
    capture(f);
    assert_int_equal(incidents(f, INCIDENT_FORK).open, 2);
    assert_int_equal(number(f, "SELECT ahead FROM stream"), 0);
}

/* It is there once, and takes its place now. */
static void the_chain_gets_to_what_was_far_ahead(void **state)
{
    struct stage *f = *state;
    struct feed_stream ahead;
    struct slice raw = put_far(f, &ahead);
    put_posts(f, 1);
    f->room.sequence = ahead.sequence - 2;
    put_posts(f, 1);
    capture(f);
    feed_put(&f->feed, raw);
    capture(f);
    assert_int_equal(f->out.duplicates, 1);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), ahead.sequence);
    assert_int_equal(number(f, "SELECT count(*) FROM presence WHERE joined = 1000004"), 1);
    f->room = ahead;
    put_posts(f, 1);
    capture(f);
    assert_int_equal(f->out.incidents, 0);
    assert_int_equal(incidents(f, INCIDENT_FORK).open, 0);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 6);
}

static void unsequenced_records_are_not_provable(void **state)
{
    struct stage *f = *state;
    struct slice raw = SLICE("{\"specversion\":\"1.0\",\"id\":\"m1\",\"source\":\"urn:other\","
                             "\"type\":\"com.example.message\",\"time\":\"2026-01-01T00:00:00Z\","
                             "\"subject\":\"room 1\",\"data\":{\"text\":\"hello\"}}");
    feed_put(&f->feed, raw);
    feed_put(&f->feed, raw);
    put_posts(f, 1);
    capture(f);
    assert_int_equal(f->out.stored, 3);
    assert_int_equal(number(f, "SELECT count(*) FROM record r JOIN stream s ON s.id = r.stream"
                               " WHERE r.flags = 2 AND r.sequence IS NULL AND s.epoch = 0"),
                     2);
    assert_int_equal(number(f, "SELECT captured FROM stream WHERE epoch = 0"), 2);
    assert_no_incident(f);
}

int main(void)
{
    static struct stage sqlite;
    static struct stage pg;
    const struct CMUnitTest cases[] = {
        ON_STAGE(duplicates_are_dropped),
        ON_STAGE(duplicates_of_deleted_records_are_dropped),
        ON_STAGE(a_number_older_than_memory_is_a_repeat),
        ON_STAGE(a_gap_is_named_and_closed_by_what_was_missing),
        ON_STAGE(a_gap_filled_in_its_own_batch_is_none),
        ON_STAGE(a_late_record_that_breaks_the_chain_is_altered),
        ON_STAGE(other_bytes_under_one_number_are_a_fork),
        ON_STAGE(a_broken_link_is_altered),
        ON_STAGE(far_ahead_does_not_move_the_head),
        ON_STAGE(what_was_far_ahead_is_not_missed),
        ON_STAGE(the_chain_gets_to_another_record_than_was_far_ahead),
        ON_STAGE(a_gap_ends_at_another_record_than_was_far_ahead),
        ON_STAGE(far_ahead_and_forked_in_one_batch),
        ON_STAGE(the_chain_gets_to_what_was_far_ahead),
        ON_STAGE(unsequenced_records_are_not_provable),
    };
    return stage_main(cases, sizeof cases / sizeof cases[0], &sqlite, &pg);
}
