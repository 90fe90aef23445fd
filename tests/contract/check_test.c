/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `staging check` on SQLite and on a private PostgreSQL: what is whole is found whole, at every
 * stage of a record's way; and each kind of damage is found, with its place. And what an archive
 * holds beyond the ledger: passed over, wherever it lies, and counted.
 */
#include "mgccomp/check.h"

#include "base/own.h"
#include "mgccomp/had.h"
#include "mgccomp/lease.h"
#include "mgccomp/stem.h"
#include "retention/sweep.h"
#include "tests/contract/feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char *scratch;
static const struct ledger_due everything = {.records = 10000, .bytes = 4 << 20, .now = true};

struct fixture {
    const char *postgres; /* NULL: SQLite */
    char url[600];
    struct staging *st;
    struct capture_writer *w;
    struct staging_position at;
    struct feed feed;
    struct feed_stream room, other;
    struct ledger_instance instance;
    struct ledger_batch batch;
    struct err e;
};

static void ok(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s: %s", err_class_name(rc), e->text);
}

static int find_instance(void *arg, const struct ledger_instance *i, struct err *e)
{
    (void)e;
    *(struct ledger_instance *)arg = *i;
    return 0;
}

static void read_instance(struct fixture *f)
{
    OWN(own_db) struct db *db = NULL;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(ledger_instances(db, true, find_instance, &f->instance, &f->e), &f->e);
}

static int set_up(void **state)
{
    struct fixture *f = *state;
    int64_t generation = 0;
    (void)snprintf(f->url, sizeof f->url, "%s", feed_database(f->postgres, scratch));
    ok(staging_open(&f->st, f->url, &f->e), &f->e);
    ok(staging_queue(f->st, SLICE("embedded"), SLICE("test"), &generation, &f->e), &f->e);
    ok(capture_writer_new(&f->w, f->st, generation, &f->e), &f->e);
    ok(lease_take(f->st, LEASE_MS, &f->e), &f->e);
    f->at = (struct staging_position){.part = 0};
    f->feed = (struct feed){0};
    f->room = (struct feed_stream){.source = "sip:pool.example.test", .subject = "room:one"};
    f->other = (struct feed_stream){.source = "sip:pool.example.test", .subject = "room:two"};
    ok(ledger_add(f->st, SLICE("tar"), SLICE("plain"), true, 2, &f->e), &f->e);
    read_instance(f);
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

static void capture(struct fixture *f)
{
    struct capture_outcome out;
    ok(feed_write(f->w, f->feed.items, f->feed.n, &f->at, 1, &out, &f->e), &f->e);
    feed_clear(&f->feed);
}

static void posts(struct fixture *f, struct feed_stream *s, int n)
{
    for (int i = 0; i < n; i++)
        feed_post(&f->feed, s);
    capture(f);
}

static int cut(struct fixture *f)
{
    return ledger_cut(f->st, &f->instance, &everything, NULL, &f->batch, &f->e);
}

static void archive(struct fixture *f)
{
    struct slice none = {0};
    ok(ledger_attempt(f->st, &f->batch, &f->e), &f->e);
    ok(ledger_settle(f->st, &f->batch, 0, f->batch.records - 1, "done", SLICE("[]"), none, &f->e),
       &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "settled", none, &f->e), &f->e);
    ok(ledger_batch_state(f->st, &f->batch, "verified", none, &f->e), &f->e);
}

static int64_t swept(struct fixture *f)
{
    int64_t rows = 0;
    ok(sweep_once(f->st, &rows, &f->e), &f->e);
    return rows;
}

static void change(struct fixture *f, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    ok(db_open(&db, f->url, 0, &f->e), &f->e);
    ok(db_script(db, sql, &f->e), &f->e);
}

static int64_t number(struct fixture *f, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    int64_t v = -1;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_int(db, sql, DB_NO_ARGS, -1, &v, &f->e), &f->e);
    return v;
}

/* The command's exit code; its output until the next call. */
static int check(struct fixture *f, bool json, const char **text)
{
    static char *out;
    size_t n = 0;
    free(out);
    out = NULL;
    FILE *file = open_memstream(&out, &n);
    struct app_io io = {.out = file, .err = stderr, .json = json};
    int code = staging_check_command(&io, f->st, 0, NULL);
    (void)fclose(file);
    *text = out;
    return code;
}

static void whole(struct fixture *f)
{
    const char *text;
    if (check(f, false, &text) != APP_OK)
        fail_msg("not whole: %s", text);
    assert_non_null(strstr(text, "consistent"));
}

/* One finding more, which names the place and says this. */
static void damaged(struct fixture *f, const char *place, const char *says)
{
    const char *text;
    assert_int_equal(check(f, false, &text), APP_FAILED);
    if (!strstr(text, place) || !strstr(text, says) || !strstr(text, "Type"))
        fail_msg("looked for '%s' and '%s': %s", place, says, text);
}

static void a_records_way_is_whole_at_every_stage(void **state)
{
    struct fixture *f = *state;
    whole(f);
    posts(f, &f->room, 7);
    posts(f, &f->other, 3);
    whole(f);
    ok(cut(f), &f->e);
    whole(f);
    archive(f);
    whole(f);
    assert_true(swept(f) > 0);
    whole(f);
    posts(f, &f->room, 2);
    feed_put(&f->feed, SLICE("not a record"));
    capture(f);
    whole(f);
}

static void what_is_kept_or_missing_by_an_incident_is_whole(void **state)
{
    struct fixture *f = *state;
    posts(f, &f->room, 3);
    (void)feed_make(&f->feed, &f->room, RECORD_POST, "\"text\":\"lost\"");
    posts(f, &f->room, 3); /* a gap at 4 */
    posts(f, &f->other, 5);
    whole(f);
    ok(cut(f), &f->e);
    archive(f);
    assert_int_equal(swept(f), 5);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 6);
    whole(f);
    change(f, "DELETE FROM incident");
    damaged(f, "room:one#4", "no incident misses them");
}

static void forgotten_hashes_are_no_hole(void **state)
{
    struct fixture *f = *state;
    posts(f, &f->room, 6);
    ok(cut(f), &f->e);
    archive(f);
    assert_int_equal(swept(f), 6);
    posts(f, &f->room, 2);
    change(f, "DELETE FROM deleted");
    whole(f);
}

#define KEEP(table) "CREATE TABLE whole_" table " AS SELECT * FROM " table ";"
#define BRING_BACK(table)                                                                          \
    "DELETE FROM " table "; INSERT INTO " table " SELECT * FROM whole_" table ";"
#define EACH_TABLE(x)                                                                              \
    x("record") x("stream") x("position") x("cursor") x("batch") x("batch_range") x("instance")    \
        x("tally") x("presence") x("incident")

struct damage {
    const char *sql, *place, *says;
};

static void each_damage_is_found_with_its_place(void **state)
{
    static const struct damage all[] = {
        {"UPDATE record SET hash = (SELECT hash FROM record WHERE pos = 1) WHERE pos = 3",
         "room:one#4", "do not have its hash"},
        {"UPDATE record SET raw = (SELECT raw FROM record WHERE pos = 1) WHERE pos = 3",
         "room:one#4", "do not have its hash"},
        {"UPDATE record SET time_us = time_us + 1 WHERE pos = 3", "room:one#4", "its time"},
        {"UPDATE record SET kind = kind + 1 WHERE pos = 3", "room:one#4", "its kind"},
        {"UPDATE record SET sequence = 99 WHERE pos = 3", "room:one#99", "its number"},
        {"UPDATE record SET stream = 2 WHERE pos = 3", "room:two#4", "another room"},
        {"DELETE FROM record WHERE pos = 3", "room:one#4", "no incident misses them"},
        {"UPDATE record SET sequence = 3 WHERE pos = 3", "room:one#3", "it is there twice"},
        {"UPDATE record SET stream = NULL WHERE pos = 3", "partition 0 position 3",
         "belongs to no room"},
        {"UPDATE record SET flags = 2 WHERE pos = 3", "room:one#4", "whether it is provable"},
        {"DELETE FROM record WHERE pos IN (1, 2, 3);"
         "INSERT INTO incident (kind, object, stream, first, last, opened_us, detail)"
         " VALUES ('gap', 'a test', 1, 3, 3, 1, 'a test')",
         "room:one#2", "2 of the numbers to 4"},
        {"UPDATE stream SET hash = substr(hash, 1, 5) WHERE id = 1", "room:one#6",
         "the head's hash is none"},
        {"UPDATE stream SET hash = (SELECT hash FROM record WHERE pos = 1) WHERE id = 1",
         "room:one#6", "the head has another hash"},
        {"UPDATE stream SET sequence = 9 WHERE id = 1", "room:one#7", "no incident misses them"},
        {"UPDATE stream SET captured = captured + 1 WHERE id = 1", "room:one", "captured less"},
        {"UPDATE position SET pos = 5, hash = NULL", "partition 0", "capture stands at 5"},
        {"UPDATE position SET hash = (SELECT hash FROM record WHERE pos = 1)", "partition 0",
         "is not the one captured"},
        {"UPDATE cursor SET pos = 100", "tar, partition 0", "the ledger is at position 100"},
        {"UPDATE cursor SET pos = 1", "partition 0", "the ledger is at 1"},
        {"UPDATE batch SET records = records + 1", "batch ", "that were frozen"},
        {"UPDATE batch_range SET from_pos = 2", "batch ", "that were frozen"},
        {"UPDATE instance SET archived = 5", "adapter tar", "count as archived"},
        {"UPDATE instance SET batches = 0", "adapter tar", "its newest is said to be 0"},
        {"UPDATE tally SET value = value + 1 WHERE name = 'captured'", "all partitions",
         "captured less deleted"},
        {"INSERT INTO presence (stream, participant, endpoint, joined, joined_us, left_at)"
         " VALUES (1, 'p', 'e', 5, 0, 3)",
         "room:one", "from #5 to #3"},
    };
    struct fixture *f = *state;
    posts(f, &f->room, 6);
    posts(f, &f->other, 2);
    ok(cut(f), &f->e);
    change(f, EACH_TABLE(KEEP));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        whole(f);
        change(f, all[i].sql);
        damaged(f, all[i].place, all[i].says);
        change(f, EACH_TABLE(BRING_BACK));
    }
}

static void bytes_that_are_no_record_are_found(void **state)
{
    struct fixture *f = *state;
    posts(f, &f->room, 6);
    if (f->postgres)
        change(f, "UPDATE record SET raw = 'x', hash = sha256('x') WHERE pos = 3");
    else
        change(f, "UPDATE record SET raw = CAST('x' AS BLOB), hash = x'"
                  "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881'"
                  " WHERE pos = 3");
    damaged(f, "room:one#4", "it can't be read, and is not marked so");
}

static void it_takes_no_words(void **state)
{
    struct fixture *f = *state;
    char word[] = "everything";
    char *argv[] = {word, NULL};
    OWN(own_file) FILE *none = fopen("/dev/null", "w");
    struct app_io io = {.out = none, .err = none};
    assert_int_equal(staging_check_command(&io, f->st, 1, argv), APP_USAGE);
}

static void a_settlement_that_is_gone_is_found(void **state)
{
    struct fixture *f = *state;
    posts(f, &f->room, 6);
    ok(cut(f), &f->e);
    archive(f);
    change(f, "DELETE FROM settlement");
    damaged(f, "batch ", "0 are settled");
}

static void batches_that_overlap_are_found(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        posts(f, &f->room, 3);
        ok(cut(f), &f->e);
        archive(f);
    }
    change(f, "UPDATE batch_range SET from_pos = 1 WHERE from_pos = 3");
    damaged(f, "batch ", "another batch of the adapter ends at 3");
}

static void findings_are_json_too(void **state)
{
    struct fixture *f = *state;
    const char *text;
    posts(f, &f->room, 6);
    assert_int_equal(check(f, true, &text), APP_OK);
    assert_non_null(strstr(text, "{\"findings\":[],\"records\":6,\"streams\":1,"
                                 "\"consistent\":true}"));
    change(f, "DELETE FROM record WHERE pos = 3");
    assert_int_equal(check(f, true, &text), APP_FAILED);
    assert_non_null(strstr(text, "{\"where\":\"room:one#4\""));
    assert_non_null(strstr(text, "\"consistent\":false}"));
}

static void many_rows_are_read_in_pages(void **state)
{
    struct fixture *f = *state;
    posts(f, &f->room, 1700);
    posts(f, &f->other, 500);
    whole(f);
    change(f, "DELETE FROM record WHERE pos = 1001");
    damaged(f, "room:one#1002", "no incident misses them");
}

/* ---- what an archive holds beyond the ledger ---- */

static void hash_at(struct fixture *f, int64_t pos, uint8_t out[SHA256_SIZE])
{
    OWN(own_db) struct db *db = NULL;
    OWN(own_db_rows) struct db_rows *r = NULL;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_query(db, "SELECT hash FROM record WHERE pos = $1", DB_ARGS(DB_I(pos)), &r, &f->e),
       &f->e);
    assert_int_equal(db_rows_next(r, &f->e), 1);
    memcpy(out, db_rows_slice(r, 0).p, SHA256_SIZE);
}

static void had(struct fixture *f, const int64_t *positions, size_t n, int64_t batch, bool proved)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    struct had_batch b = {.instance = f->instance.id, .number = batch, .records = (int64_t)n};
    uint8_t hashes[16][SHA256_SIZE];
    for (size_t i = 0; i < n; i++)
        hash_at(f, positions[i], hashes[i]);
    (void)snprintf(b.id, sizeof b.id, "00000000-0000-7000-8000-%012lld", (long long)batch);
    ok(lease_begin(f->st, &t, &f->e), &f->e);
    for (size_t i = 0; i < n; i++)
        ok(had_add(&t, f->instance.id, hashes[i], proved, &f->e), &f->e);
    ok(had_adopt(&t, &b, &f->e), &f->e);
    ok(had_number(&t, f->instance.id, batch, &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
}

static void what_an_archive_holds_is_in_no_batch(void **state)
{
    static const int64_t positions[] = {0, 1, 4, 7};
    struct fixture *f = *state;
    posts(f, &f->room, 8);
    had(f, positions, 4, 7, true);
    whole(f);
    ok(cut(f), &f->e); /* 0 and 1 are passed over; 4 ends it */
    assert_int_equal(f->batch.number, 8);
    assert_int_equal(f->batch.records, 2);
    assert_int_equal(f->batch.ranges[0].from, 2);
    assert_int_equal(f->batch.ranges[0].to, 4);
    archive(f);
    ok(cut(f), &f->e);
    assert_int_equal(f->batch.ranges[0].from, 5);
    assert_int_equal(f->batch.ranges[0].to, 7);
    archive(f);
    assert_int_equal(cut(f), ERR_NOT_FOUND); /* only 7 is left, and passed over */
    assert_int_equal(number(f, "SELECT pos FROM cursor"), 8);
    assert_int_equal(number(f, "SELECT count(*) FROM had"), 0);
    read_instance(f);
    assert_int_equal(f->instance.archived, 8);
    whole(f);
    assert_int_equal(swept(f), 8);
    whole(f);
}

/* It is not delivered again, and goes only once another instance has read it back. */
static void what_an_archive_only_lists_is_no_proof(void **state)
{
    static const int64_t positions[] = {1, 2};
    struct fixture *f = *state;
    posts(f, &f->room, 4);
    had(f, positions, 2, 7, false);
    whole(f);
    ok(cut(f), &f->e);
    assert_int_equal(f->batch.records, 1);
    archive(f);
    assert_int_equal(swept(f), 1); /* it was read back, the next two were not */
    ok(cut(f), &f->e);
    assert_int_equal(f->batch.ranges[0].from, 3);
    archive(f);
    assert_int_equal(number(f, "SELECT full_from FROM cursor"), 3);
    assert_int_equal(swept(f), 0);
    whole(f);
    ok(ledger_add(f->st, SLICE("xml"), SLICE("plain"), true, 2, &f->e), &f->e);
    read_instance(f);
    ok(cut(f), &f->e);
    assert_int_equal(f->batch.records, 3);
    assert_int_equal(swept(f), 0);
    archive(f);
    assert_int_equal(swept(f), 3);
    whole(f);
}

static void a_batch_enters_the_ledger_once(void **state)
{
    static const int64_t positions[] = {0};
    struct fixture *f = *state;
    struct had_batch b = {.instance = f->instance.id, .number = 3, .id = "x"};
    bool adopted = true;
    posts(f, &f->room, 2);
    OWN(own_db) struct db *db = NULL;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(had_adopted(db, f->instance.id, 3, &adopted, &f->e), &f->e);
    assert_false(adopted);
    had(f, positions, 1, 3, true);
    ok(had_adopted(db, f->instance.id, 3, &adopted, &f->e), &f->e);
    assert_true(adopted);
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(lease_begin(f->st, &t, &f->e), &f->e);
    assert_int_equal(had_adopt(&t, &b, &f->e), ERR_CONFLICT);
}

static void a_trusted_instance_has_what_another_cut(void **state)
{
    struct fixture *f = *state;
    posts(f, &f->room, 5);
    ok(cut(f), &f->e);
    archive(f);
    int64_t tar = f->instance.id;
    ok(ledger_add(f->st, SLICE("xml"), SLICE("plain"), true, 2, &f->e), &f->e);
    read_instance(f); /* the last by name */
    assert_string_equal(f->instance.name, "xml");
    posts(f, &f->room, 3);
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(lease_begin(f->st, &t, &f->e), &f->e);
    ok(had_trust_staged(&t, f->instance.id, tar, &f->e), &f->e);
    ok(had_trust_staged(&t, f->instance.id, tar, &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
    ok(cut(f), &f->e);
    assert_int_equal(f->batch.records, 3);
    assert_int_equal(f->batch.ranges[0].from, 5);
    whole(f);
}

static void names_of_batches_are_read_back(void **state)
{
    static const char id[] = "01a20d0f-81fd-769b-be03-dd82950a7696";
    char stem[STEM_SIZE];
    char file[STEM_FILE];
    char folder[600];
    int64_t n = -1;
    (void)state;
    stem_make(stem, INT64_C(1795515301000000), "my.tar_2", 12, id);
    assert_string_equal(stem, "20261124T101501Z-my-tar-2-000000012-950a7696");
    static const struct {
        const char *name, *instance;
        int64_t number;
    } all[] = {
        {"20261124T101501Z-tar-000000012-950a7696.tar.zst", "tar", 12},
        {"20261124T101501Z-tar-000000012-950a7696-r3.xml", "tar", 12},
        {"20261124T101501Z-tar-1234567890-950a7696.x", "tar", 1234567890},
        {"20261124T101501Z-tar-2-000000012-950a7696.x", "tar", 0},
        {"20261124T101501Z-tar-000000012-950a7696.x", "tar-2", 0},
        {"20261124T101501Z-tar-000000012-950a7696.tar.zst.tmp.4f", "tar", 0},
        {"20261124T101501Z-tar-00000012-950a7696.x", "tar", 0},
        {"20261124T101501Z-tar-000000012-950a769.x", "tar", 0},
        {"20261124T101501Z-tar-000000012-950a7696x", "tar", 0},
        {"20261124X101501Z-tar-000000012-950a7696.x", "tar", 0},
        {"20261124T101501Z-tar-99999999999999999999-950a7696", "tar", 0},
        {"notes.txt", "tar", 0},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        bool is = stem_of(all[i].name, all[i].instance, &n, NULL);
        assert_int_equal(is, all[i].number != 0);
        if (is)
            assert_int_equal(n, all[i].number);
    }
    struct err e = {0};
    (void)snprintf(folder, sizeof folder, "%s/no-such-folder", scratch);
    ok(stem_newest(folder, "tar", &n, file, &e), &e);
    assert_int_equal(n, 0);
}

#define CASE(f, fn)                                                                                \
    {                                                                                              \
#fn, fn, set_up, tear_down, f                                                              \
    }
#define CASES(f)                                                                                   \
    CASE(f, a_records_way_is_whole_at_every_stage),                                                \
        CASE(f, what_is_kept_or_missing_by_an_incident_is_whole),                                  \
        CASE(f, forgotten_hashes_are_no_hole), CASE(f, each_damage_is_found_with_its_place),       \
        CASE(f, bytes_that_are_no_record_are_found), CASE(f, it_takes_no_words),                   \
        CASE(f, a_settlement_that_is_gone_is_found), CASE(f, batches_that_overlap_are_found),      \
        CASE(f, findings_are_json_too), CASE(f, many_rows_are_read_in_pages),                      \
        CASE(f, what_an_archive_holds_is_in_no_batch),                                             \
        CASE(f, what_an_archive_only_lists_is_no_proof), CASE(f, a_batch_enters_the_ledger_once),  \
        CASE(f, a_trusted_instance_has_what_another_cut), CASE(f, names_of_batches_are_read_back)

int main(void)
{
    static struct fixture sqlite;
    static struct fixture pg;
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    pg.postgres = getenv("HOLDFAST_TEST_POSTGRES");
    if (!scratch || !pg.postgres) {
        (void)fprintf(stderr, "run me through tests/parts/with postgres -- check_test\n");
        return 2;
    }
    const struct CMUnitTest on_sqlite[] = {CASES(&sqlite)};
    const struct CMUnitTest on_postgres[] = {CASES(&pg)};
    int failed = cmocka_run_group_tests_name("SQLite", on_sqlite, NULL, NULL);
    failed += cmocka_run_group_tests_name("PostgreSQL", on_postgres, NULL, NULL);
    return failed ? 1 : 0;
}
