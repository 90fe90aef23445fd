/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/both.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_CASES = 64 };

bool parts_find(struct parts *p)
{
    p->scratch = getenv("HOLDFAST_TEST_SCRATCH");
    p->postgres = getenv("HOLDFAST_TEST_POSTGRES");
    if (p->scratch && p->postgres)
        return true;
    (void)fprintf(stderr, "run me through tests/parts/with postgres -- %s\n",
                  program_invocation_name);
    return false;
}

static int run(const char *name, const struct CMUnitTest *cases, size_t n, void *state)
{
    struct CMUnitTest with_state[MAX_CASES];
    assert_true(n <= MAX_CASES);
    for (size_t i = 0; i < n; i++) {
        with_state[i] = cases[i];
        with_state[i].initial_state = state;
    }
    return _cmocka_run_group_tests(name, with_state, n, NULL, NULL);
}

int both_run(const struct CMUnitTest *cases, size_t n, void *sqlite, void *postgres)
{
    return run("SQLite", cases, n, sqlite) + run("PostgreSQL", cases, n, postgres);
}
