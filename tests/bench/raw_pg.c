/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ceiling on PostgreSQL: a binary COPY of bytes that are made beforehand, and head updates sent
 * in one go through libpq's pipeline.
 */
#include "tests/bench/batch.h"

#include <endian.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench_raw {
    PGconn *conn;
    struct buf copy;
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
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO stream (id, source, epoch, subject, sequence, hash, captured, "
                   "deleted, last_us) SELECT n, 's', 1, n, 0,"
                   " decode(repeat('00', 32), 'hex'), 0, 0, 0 FROM generate_series(1, %zu) n",
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
    check(r,
          PQprepare(r->conn, "head",
                    "UPDATE stream SET sequence = $2, hash = $3, captured = captured + $4,"
                    " last_us = $5 WHERE id = $1 AND sequence = $6 AND hash = $7",
                    0, NULL),
          PGRES_COMMAND_OK, "prepare");
    return r;
}

enum { ARGS = 7 };
struct arguments {
    int n;
    const char *values[ARGS];
    int lengths[ARGS], formats[ARGS];
    uint64_t integers[ARGS];
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

static void send(struct bench_raw *r, const char *name, const struct arguments *a)
{
    if (!PQsendQueryPrepared(r->conn, name, a->n, a->values, a->lengths, a->formats, 1))
        bench_fail(name, PQerrorMessage(r->conn));
}

static void receive(struct bench_raw *r, const char *name)
{
    PGresult *result = PQgetResult(r->conn);
    if (PQresultStatus(result) != PGRES_COMMAND_OK || strcmp(PQcmdTuples(result), "1") != 0)
        bench_fail(name, PQerrorMessage(r->conn));
    PQclear(result);
    PQclear(PQgetResult(r->conn));
}

static void move_heads(struct bench_raw *r, const struct bench_batch *b)
{
    struct arguments p = {0};
    if (!PQenterPipelineMode(r->conn))
        bench_fail("pipeline", PQerrorMessage(r->conn));
    integer(&p, b->pos + (int64_t)b->n);
    bytes(&p, b->rows[b->n - 1].hash);
    integer(&p, b->items[0].queued_us);
    integer(&p, b->pos);
    bytes(&p, b->before);
    send(r, "position", &p);
    for (size_t i = 0; i < b->head_count; i++) {
        const struct bench_head *h = &b->heads[i];
        struct arguments a = {0};
        integer(&a, h->stream);
        integer(&a, h->to);
        bytes(&a, h->to_hash);
        integer(&a, h->added);
        integer(&a, b->items[0].queued_us);
        integer(&a, h->from);
        bytes(&a, h->from_hash);
        send(r, "head", &a);
    }
    if (!PQpipelineSync(r->conn))
        bench_fail("pipeline", PQerrorMessage(r->conn));
    for (size_t i = 0; i <= b->head_count; i++)
        receive(r, i ? "head" : "position");
    check(r, PQgetResult(r->conn), PGRES_PIPELINE_SYNC, "pipeline");
    if (!PQexitPipelineMode(r->conn))
        bench_fail("pipeline", PQerrorMessage(r->conn));
}

static void put(struct buf *out, int64_t v)
{
    buf_u32be(out, 8);
    buf_u64be(out, (uint64_t)v);
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
    free(r);
}
