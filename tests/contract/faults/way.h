/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a way walked without any fault, then with every statement and every commit's answer
 * failing once, on SQLite with every connection and allocation too. In the end the database must
 * hold the same.
 */
#ifndef TESTS_CONTRACT_FAULTS_WAY_H
#define TESTS_CONTRACT_FAULTS_WAY_H

#include "tests/contract/both.h"
#include "tests/contract/faults/faults.h"

struct way {
    /* Goes it in a database of its own (postgres NULL: SQLite) and answers the queries. */
    void (*walk)(const struct parts *p, const char *postgres, enum fault_kind kind, int64_t *out);
    const char *const *queries;
    size_t n;
    bool (*worth)(const int64_t *out); /* enough happened on the way without faults */
};

/* What a main returns. */
int way_main(const struct way *way);

#endif
