/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that come after those behind them, on SQLite and on a private PostgreSQL: who was in the
 * room is as if they had come in order, and what they are compared with may be damaged.
 */
#include "mgccomp/incident.h"
#include "tests/contract/stage.h"

#include <string.h>

#define WHO(name) "\"participant\":\"sip:" name "@x\",\"endpoint\":\"e\",\"name\":\"" name "\""

static struct slice made(struct stage *f, enum record_kind kind, const char *members)
{
    return feed_make(&f->feed, &f->room, kind, members);
}

static void put(struct stage *f, enum record_kind kind, const char *members)
{
    feed_put(&f->feed, made(f, kind, members));
}

static void a_late_leave_ends_the_stay_where_it_was(void **state)
{
    struct stage *f = *state;
    put(f, RECORD_JOIN, WHO("ann"));
    struct slice left = made(f, RECORD_LEAVE, WHO("ann"));
    put_posts(f, 1);
    capture(f);
    assert_int_equal(number(f, "SELECT count(*) FROM presence WHERE left_at IS NULL"), 1);
    feed_put(&f->feed, left);
    capture(f);
    assert_int_equal(number(f, "SELECT left_at FROM presence"), 2);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE closed_us IS NULL"), 0);
}

/* It ends the first of two stays that the second leave had ended together. */
static void a_late_leave_between_two_stays(void **state)
{
    struct stage *f = *state;
    put(f, RECORD_JOIN, WHO("ann"));
    struct slice left = made(f, RECORD_LEAVE, WHO("ann"));
    put(f, RECORD_JOIN, WHO("ann"));
    put(f, RECORD_LEAVE, WHO("ann"));
    capture(f);
    feed_put(&f->feed, left);
    capture(f);
    assert_int_equal(number(f, "SELECT left_at FROM presence WHERE joined = 1"), 2);
    assert_int_equal(number(f, "SELECT left_at FROM presence WHERE joined = 3"), 4);
}

static void a_late_leave_of_one_who_was_never_seen(void **state)
{
    struct stage *f = *state;
    put_posts(f, 1);
    struct slice left = made(f, RECORD_LEAVE, WHO("bob"));
    put_posts(f, 1);
    capture(f);
    feed_put(&f->feed, left);
    capture(f);
    assert_int_equal(number(f, "SELECT left_at FROM presence WHERE joined = 0"), 2);
}

/* Names may be written in any of JSON's ways; they are kept as what they say. */
static void escaped_names_are_kept_as_they_read(void **state)
{
    struct stage *f = *state;
    put(f, RECORD_JOIN,
        "\"participant\":\"sip:\\u0061nn@x\",\"endpoint\":\"e\","
        "\"name\":\"\\u0041nn\"");
    capture(f);
    put(f, RECORD_LEAVE, WHO("ann"));
    capture(f);
    assert_int_equal(number(f, "SELECT count(*) FROM presence WHERE participant = 'sip:ann@x'"
                               " AND name = 'Ann' AND left_at = 2"),
                     1);
}

static void a_late_first_record_must_begin_the_chain(void **state)
{
    struct stage *f = *state;
    f->room.previous[0] = 1;
    struct slice first = made(f, RECORD_POST, WHO("ann") ",\"text\":\"first\"");
    put_posts(f, 2);
    capture(f);
    assert_int_equal(number(f, "SELECT first FROM incident WHERE kind = 'gap'"), 1);
    feed_put(&f->feed, first);
    capture(f);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE kind = 'altered'"), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 3);
}

/* What it has to be compared with can't be read any more. */
static void a_damaged_row_behind_it_is_no_proof(void **state)
{
    struct stage *f = *state;
    struct capture_outcome out;
    put_posts(f, 1);
    struct slice second = made(f, RECORD_POST, WHO("ann") ",\"text\":\"second\"");
    put_posts(f, 1);
    capture(f);
    change(f, f->postgres ? "UPDATE record SET raw = 'x' WHERE sequence = 3"
                          : "UPDATE record SET raw = CAST('x' AS BLOB) WHERE sequence = 3");
    feed_put(&f->feed, second);
    assert_int_equal(feed_write(f->w, f->feed.items, f->feed.n, f->at, 2, &out, &f->e), ERR_FAULT);
    assert_non_null(strstr(f->e.text, "is damaged"));
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 2);
}

/* As a restored store writes them: the end of one epoch and the next one in one batch. */
static void two_epochs_of_a_room_in_one_batch(void **state)
{
    struct stage *f = *state;
    struct feed_stream next = f->room;
    next.epoch = 2;
    for (int i = 0; i < 3; i++) {
        put_posts(f, 1);
        feed_post(&f->feed, &next);
    }
    capture(f);
    assert_int_equal(number(f, "SELECT count(*) FROM stream WHERE sequence = 3"), 2);
    assert_no_incident(f);
}

/* Neither the head nor the rows that must be there are made up. */
static void what_is_damaged_or_gone_is_said(void **state)
{
    struct stage *f = *state;
    struct capture_outcome out;
    put_posts(f, 2);
    capture(f);
    change(f, "UPDATE stream SET hash = substr(hash, 1, 5)");
    capture_writer_forget(f->w);
    put_posts(f, 1);
    assert_int_equal(feed_write(f->w, f->feed.items, f->feed.n, f->at, 2, &out, &f->e), ERR_FAULT);
    assert_non_null(strstr(f->e.text, "the head of ma-chan://example.test/one is damaged"));
    feed_clear(&f->feed);
    change(f, "DELETE FROM gate");
    feed_put(&f->feed, SLICE("no record"));
    assert_int_equal(feed_write(f->w, f->feed.items, f->feed.n, f->at, 2, &out, &f->e), ERR_FAULT);
    assert_string_equal(f->e.text, "mgccomp has no gate row");
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 2);
}

/* Each remembers the room's head, and the other one moves it: who comes too late is told, and does
 * it again with the head as it is. */
static void two_writers_of_one_room(void **state)
{
    struct stage *f = *state;
    struct capture_writer *writers[2] = {f->w};
    struct capture_outcome out;
    int64_t generation = 0;
    int conflicts = 0;
    ok(staging_queue(f->st, SLICE("embedded"), SLICE("test"), &generation, &f->e), &f->e);
    ok(capture_writer_new(&writers[1], f->st, generation, &f->e), &f->e);
    for (int i = 0; i < 6; i++) {
        int part = i % 2;
        f->feed.part = part;
        put_posts(f, 2);
        int rc = feed_write(writers[part], f->feed.items, f->feed.n, &f->at[part], 1, &out, &f->e);
        conflicts += rc == ERR_CONFLICT;
        if (rc == ERR_CONFLICT) {
            capture_writer_forget(writers[part]);
            rc = feed_write(writers[part], f->feed.items, f->feed.n, &f->at[part], 1, &out, &f->e);
        }
        ok(rc, &f->e);
        feed_clear(&f->feed);
    }
    capture_writer_free(writers[1]);
    assert_true(conflicts > 0);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 12);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 12);
    assert_no_incident(f);
}

int main(void)
{
    static struct stage sqlite;
    static struct stage pg;
    const struct CMUnitTest cases[] = {
        ON_STAGE(a_late_leave_ends_the_stay_where_it_was),
        ON_STAGE(a_late_leave_between_two_stays),
        ON_STAGE(a_late_leave_of_one_who_was_never_seen),
        ON_STAGE(escaped_names_are_kept_as_they_read),
        ON_STAGE(a_late_first_record_must_begin_the_chain),
        ON_STAGE(a_damaged_row_behind_it_is_no_proof),
        ON_STAGE(two_epochs_of_a_room_in_one_batch),
        ON_STAGE(what_is_damaged_or_gone_is_said),
        ON_STAGE(two_writers_of_one_room),
    };
    return stage_main(cases, sizeof cases / sizeof cases[0], &sqlite, &pg);
}
