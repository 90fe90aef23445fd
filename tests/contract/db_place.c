/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/db_place.h"

#include <stdio.h>

struct db *db_place_open(const struct db_place *p, int flags)
{
    struct db *db = NULL;
    struct err e = {0};
    if (db_open(&db, p->url, flags, &e) < 0)
        fail_msg("open: %s", e.text);
    return db;
}

/* Every case gets a database of its own: a file, or a schema on the search path. */
int db_place_set_up(void **state)
{
    struct db_place *p = *state;
    static int cases;
    int number = ++cases;
    if (!p->postgres) {
        (void)snprintf(p->url, sizeof p->url, "sqlite:%s/case%d.db", p->scratch, number);
    } else {
        char sql[64];
        (void)snprintf(p->url, sizeof p->url, "%s", p->postgres);
        p->db = db_place_open(p, 0);
        (void)snprintf(sql, sizeof sql, "DROP SCHEMA IF EXISTS c%d CASCADE; CREATE SCHEMA c%d",
                       number, number);
        ok(db_script(p->db, sql, &p->e), &p->e);
        db_close(p->db);
        (void)snprintf(p->url, sizeof p->url, "%s&options=-csearch_path%%3Dc%d", p->postgres,
                       number);
    }
    p->db = db_place_open(p, DB_CREATE);
    const char *table = !p->postgres
                            ? "CREATE TABLE t (k INTEGER PRIMARY KEY, i INTEGER, s TEXT, b BLOB,"
                              " u TEXT UNIQUE, CHECK (i <> 13)) STRICT"
                            : "CREATE TABLE t (k bigint PRIMARY KEY, i bigint, s text, b bytea,"
                              " u text UNIQUE, CHECK (i <> 13))";
    ok(db_script(p->db, table, &p->e), &p->e);
    return 0;
}

int db_place_tear_down(void **state)
{
    struct db_place *p = *state;
    db_close(p->db);
    p->db = NULL;
    return 0;
}

int db_place_main(const struct CMUnitTest *cases, size_t n, struct db_place *sqlite,
                  struct db_place *pg)
{
    struct parts p;
    if (!parts_find(&p))
        return 2;
    sqlite->scratch = pg->scratch = p.scratch;
    pg->postgres = p.postgres;
    return both_run(cases, n, sqlite, pg) ? 1 : 0;
}

const char insert[] = "INSERT INTO t (k, i, s, b, u) VALUES ($1, $2, $3, $4, $5)";

int put(struct db_place *p, int64_t k, struct db_value i, struct db_value s, struct db_value b)
{
    return db_run(p->db, insert, DB_ARGS(DB_I(k), i, s, b, DB_N), NULL, &p->e);
}

int64_t count(struct db_place *p)
{
    int64_t n = -1;
    ok(db_int(p->db, "SELECT count(*) FROM t", DB_NO_ARGS, 0, &n, &p->e), &p->e);
    return n;
}

void end_backend(struct db_place *p, int64_t pid)
{
    struct db *killer = db_place_open(p, 0);
    int64_t n;
    ok(db_int(killer, "SELECT pg_terminate_backend(CAST($1 AS integer), 5000)", DB_ARGS(DB_I(pid)),
              0, &n, &p->e),
       &p->e);
    assert_int_equal(n, 1);
    db_close(killer);
}
