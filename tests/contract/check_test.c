/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `staging check` on SQLite and on a private PostgreSQL: what is whole is found whole, at every
 * stage of a record's way; and each kind of damage is found, with its place.
 */
#include "mgccomp/check.h"
#include "tests/contract/checked.h"

#include <string.h>

static void a_records_way_is_whole_at_every_stage(void **state)
{
    struct stage *f = *state;
    whole(f);
    posts(f, &f->room, 7);
    posts(f, &f->other, 3);
    whole(f);
    ok(cut_own(f), &f->e);
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
    struct stage *f = *state;
    posts(f, &f->room, 3);
    (void)feed_make(&f->feed, &f->room, RECORD_POST, "\"text\":\"lost\"");
    posts(f, &f->room, 3); /* a gap at 4 */
    posts(f, &f->other, 5);
    whole(f);
    ok(cut_own(f), &f->e);
    archive(f);
    assert_int_equal(swept(f), 5);
    assert_int_equal(number(f, "SELECT count(*) FROM kept"), 6);
    whole(f);
    change(f, "DELETE FROM incident");
    damaged(f, "room:one#4", "no incident misses them");
}

/* The chain's own is the later one: the other came long before its number was due. */
static void a_fork_of_what_was_far_ahead_is_whole(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 2);
    struct feed_stream ahead = f->room;
    ahead.sequence += CHAIN_FAR_AHEAD + 1;
    posts(f, &ahead, 1);
    whole(f);
    posts(f, &f->room, 1);
    f->room.sequence = ahead.sequence - 2;
    posts(f, &f->room, 3);
    assert_int_equal(number(f, "SELECT count(*) FROM incident WHERE kind = 'fork'"), 1);
    whole(f);
}

static void forgotten_hashes_are_no_hole(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 6);
    ok(cut_own(f), &f->e);
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
    struct stage *f = *state;
    posts(f, &f->room, 6);
    posts(f, &f->other, 2);
    ok(cut_own(f), &f->e);
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
    struct stage *f = *state;
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
    struct stage *f = *state;
    char word[] = "everything";
    char *argv[] = {word, NULL};
    OWN(own_file) FILE *none = fopen("/dev/null", "w");
    struct app_io io = {.out = none, .err = none};
    assert_int_equal(staging_check_command(&io, f->st, 1, argv), APP_USAGE);
}

static void a_settlement_that_is_gone_is_found(void **state)
{
    struct stage *f = *state;
    posts(f, &f->room, 6);
    ok(cut_own(f), &f->e);
    archive(f);
    change(f, "DELETE FROM settlement");
    damaged(f, "batch ", "0 are settled");
}

static void batches_that_overlap_are_found(void **state)
{
    struct stage *f = *state;
    for (int i = 0; i < 2; i++) {
        posts(f, &f->room, 3);
        ok(cut_own(f), &f->e);
        archive(f);
    }
    change(f, "UPDATE batch_range SET from_pos = 1 WHERE from_pos = 3");
    damaged(f, "batch ", "another batch of the adapter ends at 3");
}

static void findings_are_json_too(void **state)
{
    struct stage *f = *state;
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
    struct stage *f = *state;
    posts(f, &f->room, 1700);
    posts(f, &f->other, 500);
    whole(f);
    change(f, "DELETE FROM record WHERE pos = 1001");
    damaged(f, "room:one#1002", "no incident misses them");
}

int main(void)
{
    static struct stage sqlite;
    static struct stage pg;
    const struct CMUnitTest cases[] = {
        CHECKED(a_records_way_is_whole_at_every_stage),
        CHECKED(what_is_kept_or_missing_by_an_incident_is_whole),
        CHECKED(a_fork_of_what_was_far_ahead_is_whole),
        CHECKED(forgotten_hashes_are_no_hole),
        CHECKED(each_damage_is_found_with_its_place),
        CHECKED(bytes_that_are_no_record_are_found),
        CHECKED(it_takes_no_words),
        CHECKED(a_settlement_that_is_gone_is_found),
        CHECKED(batches_that_overlap_are_found),
        CHECKED(findings_are_json_too),
        CHECKED(many_rows_are_read_in_pages),
    };
    return stage_main(cases, sizeof cases / sizeof cases[0], &sqlite, &pg);
}
