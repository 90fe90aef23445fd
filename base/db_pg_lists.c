/* SPDX-License-Identifier: Apache-2.0 */
/* Many lists of values as one statement's parameters: an array for each column. */
#include "base/buf.h"
#include "base/db_pg.h"
#include "base/own.h"

enum { OID_BYTEA_ARRAY = 1001, OID_TEXT_ARRAY = 1009, OID_INT8_ARRAY = 1016 };

struct arrays {
    struct buf bytes[DB_MAX_ARGS];
    const char *values[DB_MAX_ARGS];
    int lengths[DB_MAX_ARGS];
    int formats[DB_MAX_ARGS];
    Oid types[DB_MAX_ARGS];
};

static void arrays_done(struct arrays *a)
{
    for (size_t i = 0; i < DB_MAX_ARGS; i++)
        buf_done(&a->bytes[i]);
}

static Oid array_of(enum db_type type)
{
    switch (type) {
    case DB_INT:
        return OID_INT8_ARRAY;
    case DB_BYTES:
        return OID_BYTEA_ARRAY;
    case DB_TEXT:
    case DB_NULL:
        break;
    }
    return OID_TEXT_ARRAY;
}

static void put_value(struct buf *b, const struct db_value *v)
{
    switch (v->type) {
    case DB_NULL:
        buf_u32be(b, UINT32_MAX);
        break;
    case DB_INT:
        buf_u32be(b, 8);
        buf_u64be(b, (uint64_t)v->i);
        break;
    case DB_TEXT:
    case DB_BYTES:
        buf_u32be(b, (uint32_t)v->s.n);
        buf_slice(b, v->s);
        break;
    }
}

/* The server's binary form: dimensions, whether there are NULLs, element type, count, lower bound.
 */
static void put_array(struct buf *b, const struct db_lists *l, size_t column)
{
    buf_init(b, DB_MAX_VALUE);
    buf_u32be(b, 1);
    buf_u32be(b, 1);
    buf_u32be(b, pg_oid_of(l->types[column]));
    buf_u32be(b, (uint32_t)l->count);
    buf_u32be(b, 1);
    for (size_t i = 0; i < l->count; i++)
        put_value(b, &l->values[i * l->n + column]);
}

static int arrays_fill(struct arrays *a, const struct db_lists *l, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < l->n; i++) {
        put_array(&a->bytes[i], l, i);
        rc = buf_ok(&a->bytes[i], "lists of values", e);
        a->values[i] = a->bytes[i].p;
        a->lengths[i] = (int)a->bytes[i].n;
        a->formats[i] = 1;
        a->types[i] = array_of(l->types[i]);
    }
    return rc;
}

int pg_run_all(struct db *db, const char *sql, const struct db_lists *lists, int64_t *changed,
               struct err *e)
{
    struct pg *pg = pg_of(db);
    OWN(arrays_done) struct arrays a = {.lengths = {0}};
    int rc = arrays_fill(&a, lists, e);
    if (rc < 0)
        return rc;
    OWN(own_result)
    PGresult *r = pg_last(pg, PQsendQueryParams(pg->conn, sql, (int)lists->n, a.types, a.values,
                                                a.lengths, a.formats, 1));
    if (!pg_succeeded(r))
        return pg_failed(pg, r, e);
    (void)text_i64(slice_of(PQcmdTuples(r)), changed);
    return 0;
}

int pg_query_all(struct db *db, const char *sql, const struct db_lists *lists, struct err *e)
{
    struct pg *pg = pg_of(db);
    OWN(arrays_done) struct arrays a = {.lengths = {0}};
    int rc = arrays_fill(&a, lists, e);
    if (rc < 0)
        return rc;
    if (!PQsendQueryParams(pg->conn, sql, (int)lists->n, a.types, a.values, a.lengths, a.formats,
                           1))
        return pg_failed(pg, NULL, e);
    return pg_row_by_row(pg, e);
}
