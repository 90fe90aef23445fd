/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas that another version of the program made are recognised, and left as they are. */
#include "base/db.h"
#include "base/own.h"
#include "tests/contract/feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *scratch;

struct place {
    const char *postgres;
    char url[600];
    struct err e;
};

static const char first[] = "CREATE TABLE made (a bigint)";
static const char second[] = "INSERT INTO made VALUES (2)";
static const char other[] = "CREATE TABLE made (b bigint)";
static const struct db_step ours[] = {{first, first}, {second, second}};
static const struct db_step theirs[] = {{other, other}, {second, second}};

static int set_up(void **state)
{
    struct place *p = *state;
    (void)snprintf(p->url, sizeof p->url, "%s", feed_database(p->postgres, scratch));
    p->e = (struct err){0};
    return 0;
}

static int migrate(struct place *p, int flags, const struct db_step *steps, size_t n)
{
    OWN(own_db) struct db *db = NULL;
    int rc = db_open(&db, p->url, flags, &p->e);
    return rc < 0 ? rc : db_migrate(db, "part", steps, n, &p->e);
}

static void run(struct place *p, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    if (db_open(&db, p->url, DB_CREATE, &p->e) < 0 || db_script(db, sql, &p->e) < 0)
        fail_msg("%s", p->e.text);
}

static void refused(struct place *p)
{
    static const int ways[] = {DB_CREATE, DB_READ_ONLY};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(migrate(p, ways[i], theirs, 2), ERR_CONFIG);
        assert_non_null(strstr(p->e.text, "made by another version of this program"));
        assert_non_null(strstr(p->e.text, "Go on with that version"));
    }
}

static void other_steps_are_told_from_ours(void **state)
{
    struct place *p = *state;
    assert_int_equal(migrate(p, DB_CREATE, ours, 1), 0);
    refused(p);
    assert_int_equal(migrate(p, DB_CREATE, ours, 2), 0); /* a later version goes on */
    refused(p);
    assert_int_equal(migrate(p, DB_READ_ONLY, ours, 2), 0);
    assert_int_equal(migrate(p, DB_READ_ONLY, ours, 1), ERR_CONFIG);
    assert_non_null(strstr(p->e.text, "Use the newer program"));
    run(p, "INSERT INTO made VALUES (1)"); /* the table is still ours */
}

/* From before there were digests. */
static void a_table_of_versions_without_digests_is_old(void **state)
{
    struct place *p = *state;
    run(p, "CREATE TABLE holdfast_schema (part text PRIMARY KEY, version bigint NOT NULL);"
           "INSERT INTO holdfast_schema VALUES ('part', 1)");
    refused(p);
}

/* Damage is no slip of the person who typed. */
static void what_is_not_there_is_damage(void **state)
{
    struct place *p = *state;
    OWN(own_db) struct db *db = NULL;
    int64_t n = 0;
    assert_int_equal(migrate(p, DB_CREATE, ours, 2), 0);
    assert_int_equal(db_open(&db, p->url, 0, &p->e), 0);
    assert_int_equal(db_int(db, "SELECT a FROM absent", DB_NO_ARGS, 0, &n, &p->e), ERR_FAULT);
    assert_non_null(strstr(p->e.text, "absent"));
    assert_non_null(strstr(p->e.text, "damaged or was changed by hand"));
    assert_int_equal(db_int(db, "SELECT nowhere FROM made", DB_NO_ARGS, 0, &n, &p->e), ERR_FAULT);
    assert_non_null(strstr(p->e.text, "damaged or was changed by hand"));
}

#define CASE(fn, p)                                                                                \
    {                                                                                              \
#fn, fn, set_up, NULL, p                                                                   \
    }
#define CASES(p)                                                                                   \
    CASE(other_steps_are_told_from_ours, p), CASE(a_table_of_versions_without_digests_is_old, p),  \
        CASE(what_is_not_there_is_damage, p)

int main(void)
{
    static struct place sqlite;
    static struct place postgres;
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    postgres.postgres = getenv("HOLDFAST_TEST_POSTGRES");
    if (!scratch || !postgres.postgres) {
        (void)fprintf(stderr, "run me through tests/parts/with postgres -- migrate_test\n");
        return 2;
    }
    const struct CMUnitTest tests[] = {CASES(&sqlite), CASES(&postgres)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
