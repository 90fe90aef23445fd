/* SPDX-License-Identifier: Apache-2.0 */
/* The shared handle of mgccomp on SQLite: one change at a time, whole or not at all. */
#include "base/file.h"
#include "base/own.h"
#include "mgccomp/staging.h"
#include "tests/expect.h"

#include <pthread.h>
#include <string.h>

struct fixture {
    char dir[64], url[128];
    struct staging *st;
    struct err e;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.dir = "/tmp/hf-staging.XXXXXX"};
    assert_non_null(mkdtemp(f.dir));
    (void)snprintf(f.url, sizeof f.url, "sqlite:%s/mgccomp.db", f.dir);
    ok(staging_open(&f.st, f.url, &f.e), &f.e);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    staging_close(f->st);
    ok(file_remove_tree(f->dir, &f->e), &f->e);
    return 0;
}

static int64_t tally(struct fixture *f, const char *name)
{
    OWN(own_db) struct db *db = NULL;
    int64_t v = -1;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(staging_tally_get(db, slice_of(name), &v, &f->e), &f->e);
    return v;
}

static void an_abandoned_change_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    {
        OWN(own_staging_txn) struct staging_txn t = {0};
        ok(staging_begin(f->st, &t, &f->e), &f->e);
        ok(staging_tally(&t, SLICE("captured"), 5, &f->e), &f->e);
    }
    assert_int_equal(tally(f, "captured"), 0);
    assert_int_equal(tally(f, "never named"), 0);
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(staging_tally(&t, SLICE("captured"), 5, &f->e), &f->e);
    ok(staging_tally(&t, SLICE("new one"), 2, &f->e), &f->e);
    ok(staging_tally(&t, SLICE("captured"), 1, &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
    staging_abort(&t); /* ended: nothing */
    assert_int_equal(tally(f, "captured"), 6);
    assert_int_equal(tally(f, "new one"), 2);
}

enum { THREADS = 4, ROUNDS = 50 };

static void *add_many(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < ROUNDS; i++) {
        OWN(own_staging_txn) struct staging_txn t = {0};
        struct err e = {0};
        if (staging_begin(f->st, &t, &e) < 0 || staging_lock_gate(&t, &e) < 0 ||
            staging_lock_gate(&t, &e) < 0 || staging_tally(&t, SLICE("captured"), 1, &e) < 0)
            return arg;
        if (i % 5 == 0)
            continue; /* aborts */
        if (staging_commit(&t, &e) < 0)
            return arg;
    }
    return NULL;
}

static void threads_take_turns(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, f), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed = NULL;
        (void)pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(tally(f, "captured"), THREADS * ROUNDS * 4 / 5);
    OWN(own_db) struct db *db = NULL;
    int64_t version = 0;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_int(db, "SELECT version FROM gate", DB_NO_ARGS, 0, &version, &f->e), &f->e);
    assert_int_equal(version, THREADS * ROUNDS * 4 / 5); /* once for each change */
}

static void a_reader_can_not_write(void **state)
{
    struct fixture *f = *state;
    OWN(own_db) struct db *db = NULL;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    assert_true(db_script(db, "DELETE FROM gate", &f->e) < 0);
}

static void a_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;
    struct staging *other = NULL;
    OWN(own_db) struct db *db = NULL;
    ok(db_open(&db, f->url, 0, &f->e), &f->e);
    ok(db_script(db, "UPDATE holdfast_schema SET version = 99 WHERE part = 'mgccomp'", &f->e),
       &f->e);
    assert_int_equal(staging_open(&other, f->url, &f->e), ERR_CONFIG);
    assert_null(other);
}

static void a_bad_address_is_a_configuration_error(void **state)
{
    struct staging *other = NULL;
    struct err e = {0};
    (void)state;
    assert_int_equal(staging_open(&other, "mysql://x", &e), ERR_CONFIG);
    assert_null(other);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(an_abandoned_change_leaves_nothing),
        CASE(threads_take_turns),
        CASE(a_reader_can_not_write),
        CASE(a_newer_schema_is_refused),
        cmocka_unit_test(a_bad_address_is_a_configuration_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
