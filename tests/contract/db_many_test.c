/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many rows in one go through base/db.h, on SQLite and on a private PostgreSQL: bulk appends,
 * lists of values, one statement again and again.
 */
#include "base/own.h"
#include "tests/contract/db_place.h"

#include <stdlib.h>
#include <string.h>

static const enum db_type copy_types[] = {DB_INT, DB_INT, DB_TEXT, DB_BYTES};

static void copy_ten_thousand(void **state)
{
    struct db_place *p = *state;
    struct db_copy *c = NULL;
    OWN(own_mem) char *big = calloc(1, 700000);
    assert_non_null(big);
    ok(db_begin(p->db, &p->e), &p->e);
    ok(db_copy_begin(p->db, "t", "k, i, s, b", copy_types, 4, &c, &p->e), &p->e);
    assert_int_equal(put(p, -1, DB_N, DB_N, DB_N), ERR_FAULT);
    db_copy_abort(c);
    db_rollback(p->db);

    ok(db_begin(p->db, &p->e), &p->e);
    ok(db_copy_begin(p->db, "t", "k, i, s, b", copy_types, 4, &c, &p->e), &p->e);
    for (int64_t k = 0; k < 10000; k++) {
        size_t n = k == 77 ? 700000 : (size_t)k % 200;
        struct db_value row[] = {DB_I(k), DB_I(-k), DB_T(SLICE("t\xc3\xa9xt")),
                                 DB_B(((struct slice){big, n}))};
        if (k % 3 == 0)
            row[1] = DB_N;
        ok(db_copy_row(c, row, &p->e), &p->e);
    }
    ok(db_copy_end(c, &p->e), &p->e);
    ok(db_commit(p->db, &p->e), &p->e);
    assert_int_equal(count(p), 10000);
    int64_t n;
    ok(db_int(p->db, "SELECT count(i) FROM t", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 6666);
    ok(db_int(p->db, "SELECT length(b) FROM t WHERE k = 77", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 700000);
    ok(db_int(p->db, "SELECT length(s) FROM t WHERE k = 9999", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    assert_int_equal(n, 4);
}

/* Refused at the row or at the end, as the database has it; then gone. */
static int copy_pair(struct db_place *p, struct db_value second, struct slice text)
{
    struct db_copy *c = NULL;
    struct db_value good[] = {DB_I(1), DB_N, DB_N, DB_N};
    struct db_value bad[] = {second, DB_I(second.i), DB_T(text), DB_N};
    ok(db_begin(p->db, &p->e), &p->e);
    ok(db_copy_begin(p->db, "t", "k, i, s, b", copy_types, 4, &c, &p->e), &p->e);
    ok(db_copy_row(c, good, &p->e), &p->e);
    int rc = db_copy_row(c, bad, &p->e);
    if (rc < 0)
        db_copy_abort(c);
    else
        rc = db_copy_end(c, &p->e);
    assert_true(db_commit(p->db, NULL) < 0);
    assert_int_equal(count(p), 0);
    return rc;
}

static void copy_refused(void **state)
{
    struct db_place *p = *state;
    assert_int_equal(copy_pair(p, DB_I(1), SLICE("")), ERR_CONFLICT);
    assert_int_equal(copy_pair(p, DB_I(13), SLICE("")), ERR_REJECTED);
    assert_int_equal(copy_pair(p, DB_I(2), SLICE("\xc3")), ERR_REJECTED);
    assert_int_equal(copy_pair(p, DB_T(SLICE("x")), SLICE("")), ERR_FAULT);
    struct db_copy *c = NULL;
    assert_int_equal(db_copy_begin(p->db, "t; drop table t", "k", copy_types, 1, &c, &p->e),
                     ERR_FAULT);
    assert_int_equal(db_copy_begin(p->db, "absent", "k", copy_types, 1, &c, &p->e), ERR_FAULT);
}

static void one_statement_many_times(void **state)
{
    struct db_place *p = *state;
    static const char sql[] = "SELECT CAST($1 AS bigint) * 2, $2";
    ok(db_begin(p->db, &p->e), &p->e);
    for (int64_t k = 0; k < 1000; k++) {
        OWN(own_db_rows) struct db_rows *r = NULL;
        ok(put(p, k, DB_I(k + 100), DB_N, DB_N), &p->e);
        ok(db_query(p->db, sql, DB_ARGS(DB_I(k), DB_T(SLICE("same"))), &r, &p->e), &p->e);
        assert_int_equal(db_rows_next(r, &p->e), 1);
        assert_int_equal(db_rows_int(r, 0), 2 * k);
        assert_true(slice_is(db_rows_slice(r, 1), "same"));
    }
    ok(db_commit(p->db, &p->e), &p->e);
    assert_int_equal(count(p), 1000);

    char text[64] = "SELECT 1";
    int64_t n;
    ok(db_int(p->db, text, DB_NO_ARGS, 0, &n, &p->e), &p->e);
    (void)snprintf(text, sizeof text, "SELECT 2");
    assert_int_equal(db_int(p->db, text, DB_NO_ARGS, 0, &n, &p->e), ERR_FAULT);
}

/* The same for both databases: i is raised, s is set, of the row whose key is k. */
static const struct db_many update = {
    "UPDATE t SET i = i + $2, s = $3 WHERE k = $1 RETURNING k, s",
    "UPDATE t SET i = t.i + u.i, s = u.s FROM unnest($1, $2, $3) AS u (k, i, s) WHERE t.k = u.k"
    " RETURNING t.k, t.s"};
static const enum db_type update_types[] = {DB_INT, DB_INT, DB_TEXT};

static struct db_lists lists_of(const struct db_value *values, size_t count)
{
    return (struct db_lists){update_types, 3, values, count};
}

static int note_row(void *arg, struct db_rows *row, struct err *e)
{
    bool *seen = arg;
    int64_t k = db_rows_int(row, 0);
    assert_in_range(k, 0, 999);
    assert_false(seen[k]);
    assert_int_equal(db_rows_null(row, 1), k % 2 == 0);
    seen[k] = true;
    return k == 777 ? err_set(e, ERR_AGAIN, "enough") : 0;
}

static void many_lists_in_one_go(void **state)
{
    enum { N = 1000 };
    static struct db_value values[N][3];
    static bool seen[N];
    struct db_place *p = *state;
    int64_t changed = -1;
    const struct db_lists all = lists_of(values[0], N);
    const struct db_lists none = lists_of(values[0], 0);
    memset(seen, 0, sizeof seen);
    for (int64_t k = 0; k < N; k++) {
        const struct db_value list[3] = {DB_I(k), DB_I(k), k % 2 ? DB_T(SLICE("odd")) : DB_N};
        memcpy(values[k], list, sizeof list);
    }
    assert_int_equal(db_run_many(p->db, &update, &all, &changed, &p->e), ERR_FAULT);
    ok(db_begin(p->db, &p->e), &p->e);
    for (int64_t k = 0; k < N / 2; k++)
        ok(put(p, k, DB_I(100), DB_N, DB_N), &p->e);
    ok(db_run_many(p->db, &update, &all, &changed, &p->e), &p->e);
    assert_int_equal(changed, N / 2);
    ok(db_query_many(p->db, &update, &all, note_row, seen, &p->e), &p->e);
    for (int64_t k = 0; k < N; k++)
        assert_int_equal(seen[k], k < N / 2);
    ok(db_run_many(p->db, &update, &none, &changed, &p->e), &p->e);
    assert_int_equal(changed, 0);
    ok(db_query_many(p->db, &update, &none, note_row, seen, &p->e), &p->e);
    ok(db_commit(p->db, &p->e), &p->e);
    int64_t sum = 0;
    ok(db_int(p->db, "SELECT CAST(sum(i) AS bigint) FROM t", DB_NO_ARGS, 0, &sum, &p->e), &p->e);
    assert_int_equal(sum, 500 * 100 + 499 * 500);
    ok(db_int(p->db, "SELECT count(*) FROM t WHERE s = 'odd'", DB_NO_ARGS, 0, &sum, &p->e), &p->e);
    assert_int_equal(sum, 250);
}

static void bytes_cross_in_lists(void **state)
{
    static const struct db_many both = {"UPDATE t SET b = $2 WHERE k = $1",
                                        "UPDATE t SET b = u.b FROM unnest($1, $2) AS u (k, b)"
                                        " WHERE t.k = u.k"};
    static const enum db_type types[] = {DB_INT, DB_BYTES};
    struct db_place *p = *state;
    const struct db_value values[] = {DB_I(1), DB_B(((struct slice){"\0\377", 2})), DB_I(2),
                                      DB_B(SLICE(""))};
    const struct db_value wrong[] = {DB_I(1), DB_T(SLICE("text"))};
    const struct db_lists lists = {types, 2, values, 2};
    const struct db_lists mixed = {types, 2, wrong, 1};
    int64_t n = 0;
    ok(db_begin(p->db, &p->e), &p->e);
    for (int64_t k = 1; k <= 2; k++)
        ok(put(p, k, DB_I(1), DB_N, DB_N), &p->e);
    ok(db_run_many(p->db, &both, &lists, &n, &p->e), &p->e);
    assert_int_equal(n, 2);
    ok(db_int(p->db, "SELECT count(*) FROM t WHERE (k = 1 AND b = $1) OR (k = 2 AND b = $2)",
              DB_ARGS(values[1], values[3]), 0, &n, &p->e),
       &p->e);
    assert_int_equal(n, 2);
    assert_int_equal(db_run_many(p->db, &both, &mixed, &n, &p->e), ERR_FAULT);
    db_rollback(p->db);
}

/* Whoever looks at the rows has seen enough: the transaction is spoilt, the handle goes on. */
static void a_visit_may_stop(void **state)
{
    struct db_place *p = *state;
    static bool seen[1000];
    memset(seen, 0, sizeof seen);
    const struct db_value values[2][3] = {{DB_I(777), DB_I(1), DB_T(SLICE("odd"))},
                                          {DB_I(1), DB_I(1), DB_T(SLICE("odd"))}};
    const struct db_lists lists = lists_of(values[0], 2);
    ok(db_begin(p->db, &p->e), &p->e);
    ok(put(p, 777, DB_I(1), DB_N, DB_N), &p->e);
    assert_int_equal(db_query_many(p->db, &update, &lists, note_row, seen, &p->e), ERR_AGAIN);
    assert_true(seen[777]);
    assert_int_equal(put(p, 9, DB_N, DB_N, DB_N), ERR_FAULT);
    db_rollback(p->db);
    assert_int_equal(count(p), 0);
}

/* The one in the middle is refused: the transaction is spoilt, the handle goes on behind it. */
static void one_of_many_lists_fails(void **state)
{
    struct db_place *p = *state;
    int64_t changed = 0;
    const struct db_value values[3][3] = {
        {DB_I(1), DB_I(1), DB_N}, {DB_I(2), DB_I(12), DB_N}, {DB_I(3), DB_I(1), DB_N}};
    const struct db_value ill_values[1][3] = {{DB_I(1), DB_I(1), DB_T(SLICE("\xff"))}};
    const struct db_lists refused = lists_of(values[0], 3);
    const struct db_lists ill = lists_of(ill_values[0], 1);
    ok(db_begin(p->db, &p->e), &p->e);
    for (int64_t k = 1; k <= 3; k++)
        ok(put(p, k, DB_I(1), DB_N, DB_N), &p->e);
    ok(db_savepoint(p->db, &p->e), &p->e);
    assert_int_equal(db_run_many(p->db, &update, &refused, &changed, &p->e), ERR_REJECTED);
    assert_int_equal(put(p, 9, DB_N, DB_N, DB_N), ERR_FAULT);
    ok(db_savepoint_undo(p->db, &p->e), &p->e);
    assert_int_equal(db_run_many(p->db, &update, &ill, &changed, &p->e), ERR_REJECTED);
    db_rollback(p->db);
    assert_int_equal(count(p), 0);
    ok(put(p, 9, DB_N, DB_N, DB_N), &p->e);
    if (!p->postgres)
        return;
    int64_t pid;
    ok(db_int(p->db, "SELECT pg_backend_pid()", DB_NO_ARGS, 0, &pid, &p->e), &p->e);
    ok(db_begin(p->db, &p->e), &p->e);
    end_backend(p, pid);
    assert_int_equal(db_run_many(p->db, &update, &refused, &changed, &p->e), ERR_RETRY);
    assert_true(db_broken(p->db));
}

int main(void)
{
    static struct db_place sqlite;
    static struct db_place pg;
    const struct CMUnitTest cases[] = {
        ON_DB(copy_ten_thousand),        ON_DB(copy_refused),
        ON_DB(one_statement_many_times), ON_DB(many_lists_in_one_go),
        ON_DB(bytes_cross_in_lists),     ON_DB(a_visit_may_stop),
        ON_DB(one_of_many_lists_fails),
    };
    return db_place_main(cases, sizeof cases / sizeof cases[0], &sqlite, &pg);
}
