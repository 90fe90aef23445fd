/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capturing into mgccomp on SQLite and on a private PostgreSQL: what is in the rows afterwards,
 * lost races, data that nobody can read or that the database refuses, and what a kill leaves
 * behind.
 */
#include "tests/contract/stage.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void assert_room_name(struct stage *f, const char *name)
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
    struct stage *f = *state;
    const char *join = "\"participant\":\"sip:a@example.test\",\"room\":\"%s\"";
    char members[120];
    put_posts(f, 1);
    capture(f);
    assert_room_name(f, "");
    (void)snprintf(members, sizeof members, join, "Lobby");
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN, members));
    put_posts(f, 1);
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
    struct stage *f = *state;
    put_posts(f, 3);
    struct slice first = f->feed.items[0].raw;
    capture(f);
    assert_int_equal(f->out.stored, 3);
    assert_int_equal(f->at[0].pos, 3);
    assert_memory_equal(f->at[0].hash, f->room.previous, SHA256_SIZE);
    put_posts(f, 2);
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

static void what_cant_be_read_is_kept_raw(void **state)
{
    struct stage *f = *state;
    static const char odd[] = {0, (char)0xff, '{', '\n'};
    put_posts(f, 1);
    feed_put(&f->feed, (struct slice){odd, sizeof odd});
    feed_put(&f->feed, (struct slice){NULL, 0});
    put_posts(f, 1);
    capture(f);
    assert_int_equal(f->out.stored, 4);
    assert_int_equal(f->out.exceptions, 2);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE kind = 'unreadable'"
                               " AND closed_us IS NULL"),
                     2);
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
    struct stage *f = *state;
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
    put_posts(f, 1);
    capture(f);
    assert_int_equal(f->out.stored + f->out.duplicates, files + 1);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), f->out.stored);
    assert_true(f->out.exceptions > 0);
}

static void a_refused_record_is_found_and_the_others_go_in(void **state)
{
    struct stage *f = *state;
    change(f, f->postgres
                  ? "ALTER TABLE presence ADD CONSTRAINT no CHECK (participant <> 'sip:bad@x')"
                  : "CREATE TRIGGER no BEFORE INSERT ON presence WHEN new.participant = 'sip:bad@x'"
                    " BEGIN SELECT RAISE(ABORT, 'no such person'); END");
    put_posts(f, 20);
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN,
                                 "\"participant\":\"sip:bad@x\",\"endpoint\":\"e1\""));
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN,
                                 "\"participant\":\"sip:good@x\",\"endpoint\":\"e1\""));
    put_posts(f, 20);
    capture(f);
    assert_int_equal(f->out.stored, 42);
    assert_int_equal(f->out.exceptions, 1);
    assert_int_equal(number(f, "SELECT sequence FROM record WHERE flags = 4"), 21);
    assert_int_equal(number(f, "SELECT count(*) FROM presence"), 1);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 42);
    assert_int_equal(number(f, "SELECT count(*) FROM incident"), 1);
    put_posts(f, 1);
    capture(f);
    assert_int_equal(f->out.incidents, 0);
}

static void a_refused_stream_is_kept_raw(void **state)
{
    struct stage *f = *state;
    struct feed_stream bad = {"sip:pool.example.test", "ma-chan://example.test/bad", 1, 0, {0}};
    change(f, f->postgres ? "ALTER TABLE stream ADD CONSTRAINT no CHECK (subject NOT LIKE '%bad')"
                          : "CREATE TRIGGER no BEFORE INSERT ON stream WHEN new.subject LIKE '%bad'"
                            " BEGIN SELECT RAISE(ABORT, 'no such room'); END");
    put_posts(f, 5);
    feed_post(&f->feed, &bad);
    put_posts(f, 5);
    capture(f);
    assert_int_equal(f->out.stored, 11);
    assert_int_equal(f->out.exceptions, 1);
    assert_int_equal(number(f, "SELECT pos FROM record WHERE stream IS NULL"), 5);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 10);
}

static void joins_and_leaves_become_intervals(void **state)
{
    struct stage *f = *state;
    const char *alice = "\"participant\":\"sip:alice@x\",\"endpoint\":\"e1\",\"name\":\"Alice\"";
    const char *bob = "\"participant\":\"sip:bob@x\"";
    feed_put(&f->feed, feed_make(&f->feed, &f->room, RECORD_JOIN, alice)); /* 1 */
    put_posts(f, 1);
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
    struct stage *f = *state;
    const char *alice = "\"participant\":\"sip:alice@x\",\"endpoint\":\"e1\"";
    put_posts(f, 1);
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
    struct stage *f = *state;
    OWN(own_capture_writer) struct capture_writer *other = NULL;
    struct staging_position stale = f->at[0];
    ok(capture_writer_new(&other, f->st, 1, &f->e), &f->e);
    put_posts(f, 3);
    f->out = (struct capture_outcome){0};
    ok(feed_write(other, f->feed.items, 3, &stale, 1, &f->out, &f->e), &f->e);
    assert_int_equal(feed_write(f->w, f->feed.items, 3, &f->at[0], 1, &f->out, &f->e),
                     ERR_CONFLICT);
    assert_int_equal(f->at[0].pos, 0);
    assert_int_equal(number(f, "SELECT count(*) FROM record"), 3);
    ok(staging_positions(f->st, &f->at[0], 1, &f->e), &f->e);
    assert_int_equal(f->at[0].pos, 3);
    feed_clear(&f->feed);
    put_posts(f, 2);
    capture(f);
    assert_int_equal(number(f, "SELECT value FROM tally WHERE name = 'captured'"), 5);
    assert_no_incident(f);
}

/* Two partitions of one room: each capture has its own idea of the head. */
static void a_stale_head_is_noticed_and_read_again(void **state)
{
    struct stage *f = *state;
    OWN(own_capture_writer) struct capture_writer *other = NULL;
    struct staging_position second = {.part = 1};
    ok(capture_writer_new(&other, f->st, 1, &f->e), &f->e);
    put_posts(f, 1);
    capture(f);
    int64_t pos = f->feed.pos;
    f->feed.part = 1;
    f->feed.pos = 0;
    put_posts(f, 1);
    ok(feed_write(other, f->feed.items, 1, &second, 1, &f->out, &f->e), &f->e);
    feed_clear(&f->feed);
    f->feed.part = 0;
    f->feed.pos = pos;
    put_posts(f, 1);
    assert_int_equal(feed_write(f->w, f->feed.items, 1, &f->at[0], 1, &f->out, &f->e),
                     ERR_CONFLICT);
    capture(f);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 3);
    assert_no_incident(f);
}

static void several_partitions_move_together(void **state)
{
    struct stage *f = *state;
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
    struct stage *f = *state;
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
    struct stage *f = *state;
    int64_t generation = 0;
    put_posts(f, 3);
    capture(f);
    ok(staging_queue(f->st, SLICE("embedded"), SLICE("test"), &generation, &f->e), &f->e);
    assert_int_equal(generation, 1);
    capture_writer_free(f->w);
    f->w = NULL;
    staging_close(f->st);
    f->st = NULL;
    ok(staging_open(&f->st, f->url, &f->e), &f->e);
    ok(capture_writer_new(&f->w, f->st, 1, &f->e), &f->e);
    ok(staging_queue(f->st, SLICE("embedded"), SLICE("test"), &generation, &f->e), &f->e);
    assert_int_equal(staging_queue(f->st, SLICE("kafka"), SLICE("c/t"), &generation, &f->e),
                     ERR_CONFLICT);
    ok(staging_positions(f->st, &f->at[0], 1, &f->e), &f->e);
    assert_int_equal(f->at[0].pos, 3);
    put_posts(f, 2);
    capture(f);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 5);
    assert_no_incident(f);
}

static _Noreturn void capture_until_killed(struct stage *f)
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
static void wait_for_servers(struct stage *f)
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
    struct stage *f = *state;
    enum { ALL = 700 };
    put_posts(f, ALL);
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
    struct stage *f = *state;
    if (!f->postgres)
        return;
    put_posts(f, 2);
    capture(f);
    change(f, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <>"
              " pg_backend_pid() AND application_name = 'holdfast'");
    put_posts(f, 2);
    capture(f);
    assert_int_equal(number(f, "SELECT sequence FROM stream"), 4);
}

static void caller_mistakes_are_refused(void **state)
{
    struct stage *f = *state;
    struct staging_position elsewhere = {.part = 5};
    put_posts(f, 2);
    assert_int_equal(feed_write(f->w, f->feed.items, 2, &elsewhere, 1, &f->out, &f->e), ERR_FAULT);
    f->feed.items[1].pos = f->feed.items[0].pos;
    assert_int_equal(feed_write(f->w, f->feed.items, 2, &f->at[0], 1, &f->out, &f->e), ERR_FAULT);
    f->feed.items[1].pos++;
    capture(f);
    assert_int_equal(f->out.stored, 2);
}

int main(void)
{
    static struct stage sqlite;
    static struct stage pg;
    const struct CMUnitTest cases[] = {
        ON_STAGE(the_newest_name_of_a_room_is_kept),
        ON_STAGE(records_go_in_as_they_came),
        ON_STAGE(what_cant_be_read_is_kept_raw),
        ON_STAGE(hostile_records_are_kept_one_by_one),
        ON_STAGE(a_refused_record_is_found_and_the_others_go_in),
        ON_STAGE(a_refused_stream_is_kept_raw),
        ON_STAGE(joins_and_leaves_become_intervals),
        ON_STAGE(a_late_join_finds_its_leave),
        ON_STAGE(a_lost_race_changes_nothing),
        ON_STAGE(a_stale_head_is_noticed_and_read_again),
        ON_STAGE(several_partitions_move_together),
        ON_STAGE(a_large_batch_of_many_rooms),
        ON_STAGE(it_goes_on_after_a_restart),
        ON_STAGE(a_kill_leaves_whole_batches),
        ON_STAGE(a_lost_connection_is_made_anew_at_the_next_begin),
        ON_STAGE(caller_mistakes_are_refused),
    };
    return stage_main(cases, sizeof cases / sizeof cases[0], &sqlite, &pg);
}
