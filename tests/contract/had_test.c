/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an archive holds beyond the ledger, on SQLite and on a private PostgreSQL: passed over,
 * wherever it lies, and counted; and how an archive's file is recognised by its name.
 */
#include "mgccomp/had.h"

#include "mgccomp/lease.h"
#include "mgccomp/stem.h"
#include "tests/contract/checked.h"

#include <stdio.h>
#include <string.h>

static void hash_at(struct stage *f, int64_t pos, uint8_t out[SHA256_SIZE])
{
    OWN(own_db) struct db *db = NULL;
    OWN(own_db_rows) struct db_rows *r = NULL;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_query(db, "SELECT hash FROM record WHERE pos = $1", DB_ARGS(DB_I(pos)), &r, &f->e),
       &f->e);
    assert_int_equal(db_rows_next(r, &f->e), 1);
    memcpy(out, db_rows_slice(r, 0).p, SHA256_SIZE);
}

static void had(struct stage *f, const int64_t *positions, size_t n, int64_t batch, bool proved)
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
    struct stage *f = *state;
    posts(f, &f->room, 8);
    had(f, positions, 4, 7, true);
    whole(f);
    ok(cut_own(f), &f->e); /* 0 and 1 are passed over; 4 ends it */
    assert_int_equal(f->batch.number, 8);
    assert_int_equal(f->batch.records, 2);
    assert_int_equal(f->batch.ranges[0].from, 2);
    assert_int_equal(f->batch.ranges[0].to, 4);
    archive(f);
    ok(cut_own(f), &f->e);
    assert_int_equal(f->batch.ranges[0].from, 5);
    assert_int_equal(f->batch.ranges[0].to, 7);
    archive(f);
    assert_int_equal(cut_own(f), ERR_NOT_FOUND); /* only 7 is left, and passed over */
    assert_int_equal(number(f, "SELECT pos FROM cursor"), 8);
    assert_int_equal(number(f, "SELECT count(*) FROM had"), 0);
    assert_int_equal(instance(f, "tar").archived, 8);
    whole(f);
    assert_int_equal(swept(f), 8);
    whole(f);
}

/* It is not delivered again, and goes only once another instance has read it back. */
static void what_an_archive_only_lists_is_no_proof(void **state)
{
    static const int64_t positions[] = {1, 2};
    struct stage *f = *state;
    posts(f, &f->room, 4);
    had(f, positions, 2, 7, false);
    whole(f);
    ok(cut_own(f), &f->e);
    assert_int_equal(f->batch.records, 1);
    archive(f);
    assert_int_equal(swept(f), 1); /* it was read back, the next two were not */
    ok(cut_own(f), &f->e);
    assert_int_equal(f->batch.ranges[0].from, 3);
    archive(f);
    assert_int_equal(number(f, "SELECT full_from FROM cursor"), 3);
    assert_int_equal(swept(f), 0);
    whole(f);
    f->instance = added(f, "xml", true, 2);
    ok(cut_own(f), &f->e);
    assert_int_equal(f->batch.records, 3);
    assert_int_equal(swept(f), 0);
    archive(f);
    assert_int_equal(swept(f), 3);
    whole(f);
}

static void a_batch_enters_the_ledger_once(void **state)
{
    static const int64_t positions[] = {0};
    struct stage *f = *state;
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
    struct stage *f = *state;
    posts(f, &f->room, 5);
    ok(cut_own(f), &f->e);
    archive(f);
    int64_t tar = f->instance.id;
    f->instance = added(f, "xml", true, 2);
    posts(f, &f->room, 3);
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(lease_begin(f->st, &t, &f->e), &f->e);
    ok(had_trust_staged(&t, f->instance.id, tar, &f->e), &f->e);
    ok(had_trust_staged(&t, f->instance.id, tar, &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
    ok(cut_own(f), &f->e);
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
    const struct stage *f = *state;
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
        const char *rest = NULL;
        bool is = stem_of(all[i].name, all[i].instance, &n, &rest);
        assert_true(!is || rest > all[i].name);
        assert_int_equal(is, all[i].number != 0);
        if (is)
            assert_int_equal(n, all[i].number);
    }
    struct err e = {0};
    (void)snprintf(folder, sizeof folder, "%s/no-such-folder", f->scratch);
    ok(stem_newest(folder, "tar", &n, file, &e), &e);
    assert_int_equal(n, 0);
}

int main(void)
{
    static struct stage sqlite;
    static struct stage pg;
    const struct CMUnitTest cases[] = {
        CHECKED(what_an_archive_holds_is_in_no_batch),
        CHECKED(what_an_archive_only_lists_is_no_proof),
        CHECKED(a_batch_enters_the_ledger_once),
        CHECKED(a_trusted_instance_has_what_another_cut),
        CHECKED(names_of_batches_are_read_back),
    };
    return stage_main(cases, sizeof cases / sizeof cases[0], &sqlite, &pg);
}
