/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/faults/way.h"

enum { MAX_QUERIES = 64 };

static const struct way *way;
static struct parts parts;

static void same_in_spite_of(const char *postgres, enum fault_kind kind)
{
    int64_t wanted[MAX_QUERIES];
    int64_t found[MAX_QUERIES];
    assert_true(way->n <= MAX_QUERIES);
    way->walk(&parts, postgres, FAULT_NONE, wanted);
    way->walk(&parts, postgres, kind, found);
    for (size_t i = 0; i < way->n; i++) {
        if (found[i] != wanted[i])
            fail_msg("%s: %lld, not %lld", way->queries[i], (long long)found[i],
                     (long long)wanted[i]);
    }
    assert_true(way->worth(wanted));
}

static void every_statement_may_fail(void **state)
{
    same_in_spite_of(*state, FAULT_STATEMENT);
}

static void every_commit_may_be_in_doubt(void **state)
{
    same_in_spite_of(*state, FAULT_ANSWER);
}

static void every_connection_may_break(void **state)
{
    same_in_spite_of(*state, FAULT_LINK);
}

static void memory_may_run_out_anywhere(void **state)
{
    same_in_spite_of(*state, FAULT_MEMORY);
}

int way_main(const struct way *w)
{
    const struct CMUnitTest on_both[] = {cmocka_unit_test(every_statement_may_fail),
                                         cmocka_unit_test(every_commit_may_be_in_doubt)};
    way = w;
    if (!parts_find(&parts))
        return 2;
    const struct CMUnitTest on_sqlite[] = {cmocka_unit_test(every_connection_may_break),
                                           cmocka_unit_test(memory_may_run_out_anywhere)};
    int failed = both_run(on_both, sizeof on_both / sizeof on_both[0], NULL, parts.postgres);
    failed += cmocka_run_group_tests_name("SQLite", on_sqlite, NULL, NULL);
    return failed ? 1 : 0;
}
