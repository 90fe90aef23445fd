/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: the same cases on SQLite and on a private PostgreSQL. */
#ifndef TESTS_CONTRACT_BOTH_H
#define TESTS_CONTRACT_BOTH_H

#include "tests/expect.h"

#include <stdbool.h>

/* What tests/parts/with made for this program: an empty folder, and PostgreSQL's address. False,
 * and a message: the program was not started by it. */
struct parts {
    char *scratch, *postgres;
};
bool parts_find(struct parts *p);

/* Runs the cases twice, with either state; how many failed. */
int both_run(const struct CMUnitTest *cases, size_t n, void *sqlite, void *postgres);

#endif
