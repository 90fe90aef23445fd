/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capturing into mgccomp, the same cases on SQLite and on a private PostgreSQL: every verdict over
 * a chain, lost races, data the database refuses, and what a kill leaves behind.
 */
#include "base/own.h"
#include "mgccomp/incident.h"
#include "tests/contract/feed.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

static const char *scratch;

struct fixture {
    const char *postgres; /* NULL: SQLite */
    char url[600];
    struct staging *st;
    struct capture_writer *w;
    struct staging_position at;
    struct capture_outcome out;
    struct feed feed;
    struct feed_stream room;
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
    (void)snprintf(f->url, sizeof f->url, "%s", feed_database(f->postgres, scratch));
    ok(staging_open(&f->st, f->url, &f->e), &f->e);
    ok(capture_writer_new(&f->w, f->st, 1, &f->e), &f->e);
    f->at = (struct staging_position){.part = 0};
    f->feed = (struct feed){0};
    f->room = (struct feed_stream){
        .source = "sip:pool.example.test", .subject = "ma-chan://example.test/room", .epoch = 1};
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    capture_writer_free(f->w);
    staging_close(f->st);
    feed_done(&f->feed);
    return 0;
}

/* Captures what was put and forgets it. */
static void capture(struct fixture *f)
{
    f->out = (struct capture_outcome){0};
    ok(feed_write(f->w, f->feed.items, f->feed.n, &f->at, 1, &f->out, &f->e), &f->e);
    feed_clear(&f->feed);
}

static void posts(struct fixture *f, int n)
{
    for (int i = 0; i < n; i++)
        feed_post(&f->feed, &f->room);
}

static int64_t number(struct fixture *f, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    int64_t v = -1;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_int(db, sql, DB_NO_ARGS, -1, &v, &f->e), &f->e);
    return v;
}

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
static struct seen incidents(struct fixture *f, const char *kind)
{
    OWN(own_db) struct db *db = NULL;
    struct seen s = {.kind = kind};
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(incident_each(db, true, see, &s, &f->e), &f->e);
    return s;
}

static void assert_no_incident(struct fixture *f)
{
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 0);
}

static void assert_room_name(struct fixture *f, const char *name)
{
    OWN(own_db) struct db *db = NULL;
    int64_t n = 0;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_int(db, "SELECT count(*) FROM stream WHERE coalesce(name, '') = $1",
              DB_ARGS(DB_T(slice_of(name))), -1, &n, &f->e),
       &f->e);
    assert_int_equal(n, 1);
}

static void the_newest_name_of_a_room_is_kept(void **state)
{
    struct fixture *f = *state;
    const char *join = "\"participant\":\"sip:a@example.test\",\"room\":\"%s\"";
    char members[120];
    posts(f, 1);
    capture(f);
    assert_room_name(f, "");
    (void)snprintf(members, sizeof members, join, "Lobby");
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN, members));
    posts(f, 1);
    capture(f);
    assert_room_name(f, "Lobby");
    (void)snprintf(members, sizeof members, join, "Old name");
    struct slice late = feed_make(&f->feed, &f->room, RECORD_JOIN, members);
    (void)snprintf(members, sizeof members, join, "Great hall");
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN, members));
    feed_put(&f->feed, late);
    capture(f);
    assert_room_name(f, "Great hall");
}

static void records_go_in_as_they_came(void **state)
{
    struct fixture *f = *state;
    posts(f, 3);
    struct slice first = f->feed.items[0].raw;
    capture(f);
    assert_int_equal(f->out.stored, 3);
    assert_int_equal(f->at.pos, 3);
    assert_memory_equal(f->at.hash, f->room.previous, SHA256_SIZE);
    posts(f, 2);
    capture(f);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 5);
    assert_int_equal(number(f, "SELECT captured FROM stream"), 5);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'captured'"), 5);
    assert_int_equal(number(f, "SELECT count(*) FROM record WHERE flags = 0 AND note IS NULL"), 5);
    assert_no_incident(f);

    OWN(own_db) struct db *db = NULL;
    OWN(own_db_rows) struct db_rows *r = NULL;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_query(db, "SELECT raw FROM record WHERE pos = 0", DB_NO_ARGS, &r, &f->e), &f->e);
    assert_int_equal(db_rows_next(r, &f->e), 1);
    assert_true(slice_eq(db_rows_slice(r, 0), first));
}

static void duplicates_are_dropped(void **state)
{
    struct fixture *f = *state;
    posts(f, 3);
    struct slice second = f->feed.items[1].raw;
    feed_put(&f->feed, second); /* in the batch */
    capture(f);
    assert_int_equal(f->out.duplicates, 1);
    feed_put(&f->feed, second); /* in the table */
    capture(f);
    assert_int_equal(f->out.duplicates, 1);
    assert_int_equal(f->out.stored, 0);
    assert_int_equal(f->at.pos, 5);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 3);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'duplicates'"), 2);
    assert_no_incident(f);
}

/* As the sweep leaves it: rows gone, hashes of 1..3 packed. */
static void delete_three(struct fixture *f)
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
    struct fixture *f = *state;
    posts(f, 3);
    struct slice third = f->feed.items[2].raw;
    capture(f);
    delete_three(f);
    feed_put(&f->feed, third);
    capture(f);
    assert_int_equal(f->out.duplicates, 1);
    assert_no_incident(f);

    struct feed_stream liar = {"sip:pool.example.test", "ma-chan://example.test/room", 1, 1, {0}};
    feed_post(&f->feed, &liar); /* another record 2 */
    capture(f);
    assert_int_equal(f->out.stored, 1);
    assert_int_equal(incidents(f, INCIDENT_FORK).open, 1);
}

static void a_number_older_than_memory_is_a_repeat(void **state)
{
    struct fixture *f = *state;
    posts(f, 3);
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
    struct fixture *f = *state;
    struct slice held[5];
    posts(f, 1);
    for (size_t i = 0; i < 5; i++) /* 2..6 */
        held[i] = feed_make(&f->feed, &f->room, RECORD_POST,
                            "\"chatId\":1,\"participant\":\"sip:a@example.test\",\"text\":\"x\"");
    posts(f, 1);
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
    posts(f, 1);
    capture(f);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE closed_us IS NULL"), 0);
}

static void a_gap_filled_in_its_own_batch_is_none(void **state)
{
    struct fixture *f = *state;
    struct slice held[3];
    const char *members = "\"chatId\":1,\"participant\":\"sip:a@example.test\",\"text\":\"x\"";
    for (size_t i = 0; i < 3; i++)
        held[i] = feed_make(&f->feed, &f->room, RECORD_POST, members);
    posts(f, 1);
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
    struct fixture *f = *state;
    const char *members = "\"chatId\":2,\"participant\":\"sip:a@example.test\",\"text\":\"y\"";
    posts(f, 1);
    struct feed_stream liar = f->room;
    (void)feed_make(&f->feed, &f->room, RECORD_POST, members);
    posts(f, 1);
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
    struct fixture *f = *state;
    posts(f, 2);
    struct feed_stream liar = f->room;
    posts(f, 1);
    feed_post(&f->feed, &liar); /* another 3, in the batch */
    capture(f);
    assert_int_equal(f->out.stored, 4);
    assert_int_equal(incidents(f, INCIDENT_FORK).first, 3);
    assert_int_equal(number(f, "SELECT count(*) FROM record WHERE sequence = 3"), 2);
    assert_int_equal(number(f, "SELECT count(*) FROM record WHERE flags = 8"), 1);
    posts(f, 1); /* the chain goes on behind the first */
    capture(f);
    assert_int_equal(f->out.incidents, 0);
}

static void a_broken_link_is_altered(void **state)
{
    struct fixture *f = *state;
    posts(f, 2);
    f->room.previous[7] ^= 1;
    posts(f, 2);
    capture(f);
    assert_int_equal(f->out.incidents, 1);
    struct seen altered = incidents(f, INCIDENT_ALTERED);
    assert_int_equal(altered.first, 2);
    assert_int_equal(altered.last, 3);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 4);
}

static void far_ahead_does_not_move_the_head(void **state)
{
    struct fixture *f = *state;
    posts(f, 2);
    struct feed_stream ahead = f->room;
    ahead.sequence += CHAIN_FAR_AHEAD + 1;
    feed_post(&f->feed, &ahead);
    struct slice raw = f->feed.items[2].raw;
    posts(f, 1);
    feed_put(&f->feed, raw);
    capture(f);
    assert_int_equal(f->out.stored, 4);
    assert_int_equal(f->out.duplicates, 1);
    assert_int_equal(f->out.incidents, 1);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 3);
    assert_int_equal(incidents(f, INCIDENT_FAR_AHEAD).open, 1);
}

static void unsequenced_records_are_not_provable(void **state)
{
    struct fixture *f = *state;
    struct slice raw = SLICE("{\"specversion\":\"1.0\",\"id\":\"m1\",\"source\":\"urn:other\","
                             "\"type\":\"com.example.message\",\"time\":\"2026-01-01T00:00:00Z\","
                             "\"subject\":\"room 1\",\"data\":{\"text\":\"hello\"}}");
    feed_put(&f->feed, raw);
    feed_put(&f->feed, raw);
    posts(f, 1);
    capture(f);
    assert_int_equal(f->out.stored, 3);
    assert_int_equal(number(f, "SELECT count(*) FROM record r JOIN stream s ON s.id = r.stream"
                               " WHERE r.flags = 2 AND r.sequence IS NULL AND s.epoch = 0"),
                     2);
    assert_int_equal(number(f, "SELECT captured FROM stream WHERE epoch = 0"), 2);
    assert_no_incident(f);
}

static void what_cant_be_read_is_kept_raw(void **state)
{
    struct fixture *f = *state;
    static const char odd[] = {0, (char)0xff, '{', '\n'};
    posts(f, 1);
    feed_put(&f->feed, (struct slice){odd, sizeof odd});
    feed_put(&f->feed, (struct slice){NULL, 0});
    posts(f, 1);
    capture(f);
    assert_int_equal(f->out.stored, 4);
    assert_int_equal(f->out.exceptions, 2);
    assert_int_equal(incidents(f, INCIDENT_UNREADABLE).open, 2);
    assert_int_equal(number(f, "SELECT count(*) FROM record WHERE stream IS NULL AND flags = 4"
                               " AND length(note) > 0"),
                     2);
    assert_int_equal(number(f, "SELECT length(raw) FROM record WHERE pos = 1"), 4);
    assert_int_equal(number(f, "SELECT part FROM incident ORDER BY id LIMIT 1"), 0);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'exceptions'"), 2);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 2);
}

/* Whatever the fuzz corpus holds goes in, readable or not. */
static void hostile_records_are_kept_one_by_one(void **state)
{
    struct fixture *f = *state;
    const char *path = HOLDFAST_RECORD_CORPUS;
    DIR *dir = opendir(path);
    size_t files = 0;
    if (!dir)
        fail_msg("open %s: %s", path, strerror(errno));
    for (struct dirent *d = readdir(dir); d; d = readdir(dir)) {
        char name[1024];
        char bytes[4096];
        if (d->d_name[0] == '.')
            continue;
        (void)snprintf(name, sizeof name, "%s/%s", path, d->d_name);
        OWN(own_file) FILE *in = fopen(name, "rb");
        assert_non_null(in);
        size_t n = fread(bytes, 1, sizeof bytes, in);
        feed_put(&f->feed, feed_keep(&f->feed, (struct slice){bytes, n}));
        files++;
    }
    (void)closedir(dir);
    assert_true(files > 3);
    posts(f, 1);
    capture(f);
    assert_int_equal(f->out.stored + f->out.duplicates, files + 1);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), f->out.stored);
    assert_true(f->out.exceptions > 0);
}

static void refuse(struct fixture *f, const char *sqlite, const char *postgres)
{
    OWN(own_db) struct db *db = NULL;
    ok(db_open(&db, f->url, 0, &f->e), &f->e);
    ok(db_script(db, f->postgres ? postgres : sqlite, &f->e), &f->e);
}

static void a_refused_record_is_found_and_the_others_go_in(void **state)
{
    struct fixture *f = *state;
    refuse(f,
           "CREATE TRIGGER no BEFORE INSERT ON presence WHEN new.participant = 'sip:bad@x' BEGIN"
           " SELECT RAISE(ABORT, 'no such person'); END",
           "ALTER TABLE presence ADD CONSTRAINT no CHECK (participant <> 'sip:bad@x')");
    posts(f, 20);
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN,
                                 "\"participant\":\"sip:bad@x\",\"endpoint\":\"e1\""));
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN,
                                 "\"participant\":\"sip:good@x\",\"endpoint\":\"e1\""));
    posts(f, 20);
    capture(f);
    assert_int_equal(f->out.stored, 42);
    assert_int_equal(f->out.exceptions, 1);
    assert_int_equal(number(f, "SELECT sequence FROM record WHERE flags = 4"), 21);
    assert_int_equal(number(f, "SELECT count(*) FROM presence"), 1);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 42);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 1);
    posts(f, 1);
    capture(f);
    assert_int_equal(f->out.incidents, 0);
}

static void a_refused_stream_is_kept_raw(void **state)
{
    struct fixture *f = *state;
    struct feed_stream bad = {"sip:pool.example.test", "ma-chan://example.test/bad", 1, 0, {0}};
    refuse(f,
           "CREATE TRIGGER no BEFORE INSERT ON stream WHEN new.subject LIKE '%bad' BEGIN"
           " SELECT RAISE(ABORT, 'no such room'); END",
           "ALTER TABLE stream ADD CONSTRAINT no CHECK (subject NOT LIKE '%bad')");
    posts(f, 5);
    feed_post(&f->feed, &bad);
    posts(f, 5);
    capture(f);
    assert_int_equal(f->out.stored, 11);
    assert_int_equal(f->out.exceptions, 1);
    assert_int_equal(number(f, "SELECT pos FROM record WHERE stream IS NULL"), 5);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 10);
}

static void joins_and_leaves_become_intervals(void **state)
{
    struct fixture *f = *state;
    const char *alice = "\"participant\":\"sip:alice@x\",\"endpoint\":\"e1\",\"name\":\"Alice\"";
    const char *bob = "\"participant\":\"sip:bob@x\"";
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN, alice)); /* 1 */
    posts(f, 1);
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_LEAVE, alice)); /* 3 */
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN, alice));  /* 4 */
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_LEAVE, bob));   /* 5, was there */
    capture(f);
    assert_int_equal(number(f, "SELECT left_at FROM presence WHERE joined = 1"), 3);
    assert_int_equal(number(f, "SELECT count(*) FROM presence WHERE joined = 4 AND left_at IS"
                               " NULL AND name = 'Alice'"),
                     1);
    assert_int_equal(number(f, "SELECT left_at FROM presence WHERE joined = 0"), 5);
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN, alice));  /* 6, again */
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_LEAVE, alice)); /* 7 ends both */
    capture(f);
    assert_int_equal(number(f, "SELECT count(*) FROM presence WHERE left_at IS NULL"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM presence WHERE left_at = 7"), 2);
}

static void a_late_join_finds_its_leave(void **state)
{
    struct fixture *f = *state;
    const char *alice = "\"participant\":\"sip:alice@x\",\"endpoint\":\"e1\"";
    posts(f, 1);
    struct slice join = feed_make(&f->feed, &f->room, RECORD_JOIN, alice);  /* 2 */
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_LEAVE, alice)); /* 3 */
    capture(f);
    feed_put(&f->feed, join);
    capture(f);
    assert_int_equal(number(f, "SELECT count(*) FROM presence"), 1);
    assert_int_equal(number(f, "SELECT joined FROM presence"), 2);
    assert_int_equal(number(f, "SELECT left_at FROM presence"), 3);
}

static void a_lost_race_changes_nothing(void **state)
{
    struct fixture *f = *state;
    OWN(own_capture_writer) struct capture_writer *other = NULL;
    struct staging_position stale = f->at;
    ok(capture_writer_new(&other, f->st, 1, &f->e), &f->e);
    posts(f, 3);
    f->out = (struct capture_outcome){0};
    ok(feed_write(other, f->feed.items, 3, &stale, 1, &f->out, &f->e), &f->e);
    assert_int_equal(feed_write(f->w, f->feed.items, 3, &f->at, 1, &f->out, &f->e), ERR_CONFLICT);
    assert_int_equal(f->at.pos, 0);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 3);
    ok(staging_positions(f->st, &f->at, 1, &f->e), &f->e);
    assert_int_equal(f->at.pos, 3);
    feed_clear(&f->feed);
    posts(f, 2);
    capture(f);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'captured'"), 5);
    assert_no_incident(f);
}

/* Two partitions of one room: each capture has its own idea of the head. */
static void a_stale_head_is_noticed_and_read_again(void **state)
{
    struct fixture *f = *state;
    OWN(own_capture_writer) struct capture_writer *other = NULL;
    struct staging_position second = {.part = 1};
    ok(capture_writer_new(&other, f->st, 1, &f->e), &f->e);
    posts(f, 1);
    capture(f);
    int64_t pos = f->feed.pos;
    f->feed.part = 1;
    f->feed.pos = 0;
    posts(f, 1);
    ok(feed_write(other, f->feed.items, 1, &second, 1, &f->out, &f->e), &f->e);
    feed_clear(&f->feed);
    f->feed.part = 0;
    f->feed.pos = pos;
    posts(f, 1);
    assert_int_equal(feed_write(f->w, f->feed.items, 1, &f->at, 1, &f->out, &f->e), ERR_CONFLICT);
    capture(f);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 3);
    assert_no_incident(f);
}

static void several_partitions_move_together(void **state)
{
    struct fixture *f = *state;
    struct staging_position at[3] = {{.part = 2}, {.part = 0}, {.part = 1}};
    struct feed_stream rooms[3] = {
        {"s", "room a", 1, 0, {0}}, {"s", "room b", 1, 0, {0}}, {"s", "room c", 1, 0, {0}}};
    int64_t pos[3] = {0, 7, 100};
    for (int i = 0; i < 9; i++) {
        f->feed.part = i % 3;
        f->feed.pos = pos[i % 3]++;
        feed_post(&f->feed, &rooms[i % 3]);
    }
    ok(feed_write(f->w, f->feed.items, 9, at, 3, &f->out, &f->e), &f->e);
    assert_int_equal(at[0].pos, 103);
    assert_int_equal(at[1].pos, 3);
    struct staging_position again[4] = {{.part = 0}, {.part = 1}, {.part = 2}, {.part = 3}};
    ok(staging_positions(f->st, again, 4, &f->e), &f->e);
    assert_int_equal(again[1].pos, 10);
    assert_int_equal(again[2].pos, 103);
    assert_true(again[2].has_hash);
    assert_int_equal(again[3].pos, 0);
    assert_false(again[3].has_hash);
}

static void a_large_batch_of_many_rooms(void **state)
{
    struct fixture *f = *state;
    enum { ROOMS = 50, EACH = 200 };
    struct feed_stream rooms[ROOMS];
    char names[ROOMS][32];
    for (int i = 0; i < ROOMS; i++) {
        (void)snprintf(names[i], sizeof names[i], "room %d", i);
        rooms[i] = (struct feed_stream){"s", names[i], 1, 0, {0}};
    }
    for (int i = 0; i < ROOMS * EACH; i++)
        feed_post(&f->feed, &rooms[i % ROOMS]);
    capture(f);
    assert_int_equal(f->out.stored, ROOMS * EACH);
    assert_int_equal(number(f, "SELECT count(*) FROM stream WHERE sequence = 200 AND captured ="
                               " 200"),
                     ROOMS);
    assert_no_incident(f);
}

static void it_goes_on_after_a_restart(void **state)
{
    struct fixture *f = *state;
    int64_t generation = 0;
    posts(f, 3);
    capture(f);
    ok(staging_queue(f->st, SLICE("embedded"), SLICE("/x/chat.db"), &generation, &f->e), &f->e);
    assert_int_equal(generation, 1);
    capture_writer_free(f->w);
    f->w = NULL;
    staging_close(f->st);
    f->st = NULL;
    ok(staging_open(&f->st, f->url, &f->e), &f->e);
    ok(capture_writer_new(&f->w, f->st, 1, &f->e), &f->e);
    ok(staging_queue(f->st, SLICE("embedded"), SLICE("/x/chat.db"), &generation, &f->e), &f->e);
    assert_int_equal(staging_queue(f->st, SLICE("kafka"), SLICE("c/t"), &generation, &f->e),
                     ERR_CONFLICT);
    ok(staging_positions(f->st, &f->at, 1, &f->e), &f->e);
    assert_int_equal(f->at.pos, 3);
    posts(f, 2);
    capture(f);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 5);
    assert_no_incident(f);
}

static _Noreturn void capture_until_killed(struct fixture *f)
{
    struct staging *st = NULL;
    struct capture_writer *w = NULL;
    struct staging_position at = {.part = 0};
    struct capture_outcome out;
    struct err e = {0};
    int rc = staging_open(&st, f->url, &e);
    if (rc == 0)
        rc = staging_positions(st, &at, 1, &e);
    if (rc == 0)
        rc = capture_writer_new(&w, st, 1, &e);
    while (rc == 0 && (size_t)at.pos < f->feed.n) {
        size_t left = f->feed.n - (size_t)at.pos;
        rc = feed_write(w, f->feed.items + at.pos, left < 7 ? left : 7, &at, 1, &out, &e);
    }
    if (rc < 0)
        (void)fprintf(stderr, "child: %s\n", e.text);
    _exit(rc < 0 ? 1 : 0);
}

/* A server process whose client was killed may still be committing. */
static void wait_for_servers(struct fixture *f)
{
    static const char sql[] = "SELECT count(*) FROM pg_stat_activity WHERE application_name ="
                              " 'holdfast' AND state <> 'idle' AND pid <> pg_backend_pid()";
    for (int ms = 0; f->postgres && number(f, sql) > 0; ms++) {
        assert_true(ms < 10000);
        (void)poll(NULL, 0, 1);
    }
}

static void a_kill_leaves_whole_batches(void **state)
{
    struct fixture *f = *state;
    enum { ALL = 700 };
    posts(f, ALL);
    for (int64_t until = 100; until <= 500; until += 200) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            capture_until_killed(f);
        int status = 0;
        while (number(f, "SELECT count(*) FROM record") < until &&
               waitpid(child, &status, WNOHANG) == 0)
            (void)poll(NULL, 0, 1);
        (void)kill(child, SIGKILL);
        (void)waitpid(child, &status, 0);
        wait_for_servers(f);
        int64_t n = number(f, "SELECT count(*) FROM record");
        assert_true(n >= until);
        assert_int_equal(number(f, "SELECT pos FROM position"), n);
        assert_int_equal(number(f, "SELECT sequence FROM stream"), n);
        assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'captured'"), n);
    }
    pid_t child = fork();
    if (child == 0)
        capture_until_killed(f);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), ALL);
    assert_no_incident(f);
}

static void a_lost_connection_is_made_anew_at_the_next_begin(void **state)
{
    struct fixture *f = *state;
    if (!f->postgres)
        return;
    posts(f, 2);
    capture(f);
    refuse(f, "",
           "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <>"
           " pg_backend_pid() AND application_name = 'holdfast'");
    posts(f, 2);
    capture(f);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 4);
}

static void caller_mistakes_are_refused(void **state)
{
    struct fixture *f = *state;
    struct staging_position elsewhere = {.part = 5};
    posts(f, 2);
    assert_int_equal(feed_write(f->w, f->feed.items, 2, &elsewhere, 1, &f->out, &f->e), ERR_FAULT);
    f->feed.items[1].pos = f->feed.items[0].pos;
    assert_int_equal(feed_write(f->w, f->feed.items, 2, &f->at, 1, &f->out, &f->e), ERR_FAULT);
    f->feed.items[1].pos++;
    capture(f);
    assert_int_equal(f->out.stored, 2);
}

#define CASE(fn, fixture)                                                                          \
    {                                                                                              \
#fn, fn, set_up, tear_down, fixture                                                        \
    }
#define CASES(fixture)                                                                             \
    CASE(records_go_in_as_they_came, fixture), CASE(the_newest_name_of_a_room_is_kept, fixture),   \
        CASE(duplicates_are_dropped, fixture),                                                     \
        CASE(duplicates_of_deleted_records_are_dropped, fixture),                                  \
        CASE(a_number_older_than_memory_is_a_repeat, fixture),                                     \
        CASE(a_gap_is_named_and_closed_by_what_was_missing, fixture),                              \
        CASE(a_gap_filled_in_its_own_batch_is_none, fixture),                                      \
        CASE(a_late_record_that_breaks_the_chain_is_altered, fixture),                             \
        CASE(other_bytes_under_one_number_are_a_fork, fixture),                                    \
        CASE(a_broken_link_is_altered, fixture), CASE(far_ahead_does_not_move_the_head, fixture),  \
        CASE(unsequenced_records_are_not_provable, fixture),                                       \
        CASE(what_cant_be_read_is_kept_raw, fixture),                                              \
        CASE(hostile_records_are_kept_one_by_one, fixture),                                        \
        CASE(a_refused_record_is_found_and_the_others_go_in, fixture),                             \
        CASE(a_refused_stream_is_kept_raw, fixture),                                               \
        CASE(joins_and_leaves_become_intervals, fixture),                                          \
        CASE(a_late_join_finds_its_leave, fixture), CASE(a_lost_race_changes_nothing, fixture),    \
        CASE(a_stale_head_is_noticed_and_read_again, fixture),                                     \
        CASE(several_partitions_move_together, fixture),                                           \
        CASE(a_large_batch_of_many_rooms, fixture), CASE(it_goes_on_after_a_restart, fixture),     \
        CASE(a_kill_leaves_whole_batches, fixture),                                                \
        CASE(a_lost_connection_is_made_anew_at_the_next_begin, fixture),                           \
        CASE(caller_mistakes_are_refused, fixture)

int main(void)
{
    static struct fixture sqlite;
    static struct fixture pg;
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    pg.postgres = getenv("HOLDFAST_TEST_POSTGRES");
    if (!scratch || !pg.postgres) {
        (void)fprintf(stderr, "run me through tests/parts/with postgres -- %s\n", "staging_test");
        return 2;
    }
    const struct CMUnitTest on_sqlite[] = {CASES(&sqlite)};
    const struct CMUnitTest on_postgres[] = {CASES(&pg)};
    int failed = cmocka_run_group_tests_name("SQLite", on_sqlite, NULL, NULL);
    failed += cmocka_run_group_tests_name("PostgreSQL", on_postgres, NULL, NULL);
    return failed ? 1 : 0;
}
