/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ceiling on PostgreSQL: a binary COPY of bytes that are made beforehand, and all heads of a
 * batch moved by one statement, whose parameters are made beforehand too.
 */
#include "tests/bench/batch.h"

#include <endian.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTEA = 17, INT8 = 20, BYTEA_ARRAY = 1001, INT8_ARRAY = 1016, HEADS_ARGS = 7 };

struct bench_raw {
    PGconn *conn;
    struct buf copy;
    struct buf arrays[HEADS_ARGS];
};

static void check(struct bench_raw *r, PGresult *result, ExecStatusType wanted, const char *what)
{
    if (PQresultStatus(result) != wanted)
        bench_fail(what, PQerrorMessage(r->conn));
    PQclear(result);
}

static void run(struct bench_raw *r, const char *sql)
{
    check(r, PQexec(r->conn, sql), PGRES_COMMAND_OK, sql);
}

struct bench_raw *bench_raw_pg_open(const char *url, size_t rooms)
{
    char sql[300];
    struct bench_raw *r = calloc(1, sizeof *r);
    if (!r)
        bench_fail("raw", "out of memory");
    r->conn = PQconnectdb(url);
    if (PQstatus(r->conn) != CONNECTION_OK)
        bench_fail("connect", PQerrorMessage(r->conn));
    buf_init(&r->copy, 256 << 20);
    for (size_t i = 0; i < HEADS_ARGS; i++)
        buf_init(&r->arrays[i], 256 << 20);
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO stream (id, source, epoch, subject, sequence, hash, captured, "
                   "last_us) SELECT n, 's', 1, n, 0,"
                   " decode(repeat('00', 32), 'hex'), 0, 0 FROM generate_series(1, %zu) n",
                   rooms);
    run(r, sql);
    run(r, "INSERT INTO position (part, pos, hash, captured_us) VALUES (0, 0, decode(repeat('00', "
           "32), 'hex'), 0)");
    check(r,
          PQprepare(r->conn, "position",
                    "UPDATE position SET pos = $1, hash = $2, captured_us = $3"
                    " WHERE part = 0 AND pos = $4 AND hash = $5",
                    0, NULL),
          PGRES_COMMAND_OK, "prepare");
    return r;
}

struct arguments {
    int n;
    const char *values[HEADS_ARGS];
    int lengths[HEADS_ARGS], formats[HEADS_ARGS];
    Oid types[HEADS_ARGS];
    uint64_t integers[HEADS_ARGS];
};

static void integer(struct arguments *a, int64_t v)
{
    a->integers[a->n] = htobe64((uint64_t)v);
    a->values[a->n] = (const char *)&a->integers[a->n];
    a->lengths[a->n] = 8;
    a->formats[a->n++] = 1;
}

static void bytes(struct arguments *a, const uint8_t hash[SHA256_SIZE])
{
    a->values[a->n] = (const char *)hash;
    a->lengths[a->n] = SHA256_SIZE;
    a->formats[a->n++] = 1;
}

static void array(struct arguments *a, const struct buf *bytes, Oid type)
{
    a->values[a->n] = bytes->p;
    a->lengths[a->n] = (int)bytes->n;
    a->types[a->n] = type;
    a->formats[a->n++] = 1;
}

static void touched(struct bench_raw *r, PGresult *result, size_t rows, const char *what)
{
    char wanted[24];
    (void)snprintf(wanted, sizeof wanted, "%zu", rows);
    if (PQresultStatus(result) != PGRES_COMMAND_OK || strcmp(PQcmdTuples(result), wanted) != 0)
        bench_fail(what, PQerrorMessage(r->conn));
    PQclear(result);
}

static void move_position(struct bench_raw *r, const struct bench_batch *b)
{
    struct arguments a = {0};
    integer(&a, b->pos + (int64_t)b->n);
    bytes(&a, b->rows[b->n - 1].hash);
    integer(&a, b->items[0].queued_us);
    integer(&a, b->pos);
    bytes(&a, b->before);
    touched(r, PQexecPrepared(r->conn, "position", a.n, a.values, a.lengths, a.formats, 1), 1,
            "position");
}

/* As capture does it: all in one statement. */
static void move_heads(struct bench_raw *r, const struct bench_batch *b)
{
    static const char sql[] = "UPDATE stream s SET sequence = u.sequence, hash = u.hash,"
                              " captured = s.captured + u.added, last_us = u.now_us"
                              " FROM unnest($1, $2, $3, $4, $5, $6, $7) AS u"
                              " (id, sequence, hash, added, now_us, was, was_hash)"
                              " WHERE s.id = u.id AND s.sequence = u.was AND s.hash = u.was_hash";
    struct arguments a = {0};
    for (size_t i = 0; i < HEADS_ARGS; i++)
        array(&a, &r->arrays[i], i == 2 || i == 6 ? BYTEA_ARRAY : INT8_ARRAY);
    touched(r, PQexecParams(r->conn, sql, a.n, a.types, a.values, a.lengths, a.formats, 1),
            b->head_count, "heads");
}

static void put(struct buf *out, int64_t v)
{
    buf_u32be(out, 8);
    buf_u64be(out, (uint64_t)v);
}

static void put_hash(struct buf *out, const uint8_t hash[SHA256_SIZE])
{
    buf_u32be(out, SHA256_SIZE);
    buf_add(out, hash, SHA256_SIZE);
}

static void prepare_heads(struct bench_raw *r, const struct bench_batch *b)
{
    for (size_t i = 0; i < HEADS_ARGS; i++) {
        const uint32_t head[] = {1, 0, i == 2 || i == 6 ? BYTEA : INT8, (uint32_t)b->head_count, 1};
        buf_clear(&r->arrays[i]);
        for (size_t k = 0; k < sizeof head / sizeof head[0]; k++)
            buf_u32be(&r->arrays[i], head[k]);
    }
    for (size_t i = 0; i < b->head_count; i++) {
        const struct bench_head *h = &b->heads[i];
        put(&r->arrays[0], h->stream);
        put(&r->arrays[1], h->to);
        put_hash(&r->arrays[2], h->to_hash);
        put(&r->arrays[3], h->added);
        put(&r->arrays[4], b->items[0].queued_us);
        put(&r->arrays[5], h->from);
        put_hash(&r->arrays[6], h->from_hash);
    }
}

static void encode(struct buf *out, const struct bench_row *row)
{
    const int64_t numbers[] = {
        1, row->item->part, row->item->pos,       row->stream,         row->sequence, row->kind,
        0, row->time_us,    row->item->queued_us, row->item->queued_us};
    buf_add(out, "\0\15", 2);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        put(out, numbers[i]);
    buf_u32be(out, SHA256_SIZE);
    buf_add(out, row->hash, SHA256_SIZE);
    buf_u32be(out, (uint32_t)row->item->raw.n);
    buf_slice(out, row->item->raw);
    buf_u32be(out, UINT32_MAX);
}

void bench_raw_pg_prepare(struct bench_raw *r, const struct bench_batch *b)
{
    static const char head[19] = "PGCOPY\n\377\r\n";
    struct err e = {0};
    prepare_heads(r, b);
    buf_clear(&r->copy);
    buf_add(&r->copy, head, sizeof head);
    for (size_t i = 0; i < b->n; i++)
        encode(&r->copy, &b->rows[i]);
    buf_add(&r->copy, "\377\377", 2);
    bench_ok(buf_ok(&r->copy, "copy", &e), &e, "copy");
}

void bench_raw_pg_write(struct bench_raw *r, const struct bench_batch *b)
{
    run(r, "BEGIN");
    move_position(r, b);
    move_heads(r, b);
    check(r,
          PQexec(r->conn, "COPY record (generation, part, pos, stream, sequence, kind, flags,"
                          " time_us, queued_us, captured_us, hash, raw, note)"
                          " FROM STDIN (FORMAT binary)"),
          PGRES_COPY_IN, "copy");
    for (size_t at = 0; at < r->copy.n; at += 65536) {
        size_t n = r->copy.n - at < 65536 ? r->copy.n - at : 65536;
        if (PQputCopyData(r->conn, r->copy.p + at, (int)n) != 1)
            bench_fail("copy", PQerrorMessage(r->conn));
    }
    if (PQputCopyEnd(r->conn, NULL) != 1)
        bench_fail("copy", PQerrorMessage(r->conn));
    check(r, PQgetResult(r->conn), PGRES_COMMAND_OK, "copy");
    PQclear(PQgetResult(r->conn));
    run(r, "COMMIT");
}

void bench_raw_pg_close(struct bench_raw *r)
{
    PQfinish(r->conn);
    buf_done(&r->copy);
    for (size_t i = 0; i < HEADS_ARGS; i++)
        buf_done(&r->arrays[i]);
    free(r);
}
