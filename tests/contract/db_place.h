/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of base/db.h: a database of its own for each case, with a table t (k, i, s, b, u): k
 * the key, u unique, i not 13. */
#ifndef TESTS_CONTRACT_DB_PLACE_H
#define TESTS_CONTRACT_DB_PLACE_H

#include "base/db.h"
#include "tests/contract/both.h"

struct db_place {
    const char *scratch, *postgres; /* postgres NULL: SQLite */
    char url[512];
    struct db *db;
    struct err e;
};

int db_place_set_up(void **state);
int db_place_tear_down(void **state);
#define ON_DB(fn) cmocka_unit_test_setup_teardown(fn, db_place_set_up, db_place_tear_down)
/* What a main returns: the cases on both databases. */
int db_place_main(const struct CMUnitTest *cases, size_t n, struct db_place *sqlite,
                  struct db_place *pg);

struct db *db_place_open(const struct db_place *p, int flags); /* another handle */
/* A row of t, without u; and their number. */
int put(struct db_place *p, int64_t k, struct db_value i, struct db_value s, struct db_value b);
extern const char insert[]; /* the statement, of k, i, s, b, u */
int64_t count(struct db_place *p);
/* PostgreSQL: ends the server's side of a connection, by its number there. */
void end_backend(struct db_place *p, int64_t pid);

#endif
