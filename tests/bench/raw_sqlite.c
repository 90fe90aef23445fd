/* SPDX-License-Identifier: Apache-2.0 */
/* The ceiling on SQLite: prepared statements, nothing else. Same settings as the product's. */
#include "tests/bench/batch.h"

#include <sqlite3.h>
#include <stdlib.h>

struct bench_raw {
    sqlite3 *db;
    sqlite3_stmt *position, *head, *record;
};

static void run(struct bench_raw *r, const char *sql)
{
    if (sqlite3_exec(r->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        bench_fail(sql, sqlite3_errmsg(r->db));
}

static sqlite3_stmt *prepare(struct bench_raw *r, const char *sql)
{
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(r->db, sql, -1, &s, NULL) != SQLITE_OK)
        bench_fail(sql, sqlite3_errmsg(r->db));
    return s;
}

static void step(struct bench_raw *r, sqlite3_stmt *s)
{
    if (sqlite3_step(s) != SQLITE_DONE || sqlite3_reset(s) != SQLITE_OK)
        bench_fail("step", sqlite3_errmsg(r->db));
}

struct bench_raw *bench_raw_sqlite_open(const char *url, size_t rooms)
{
    static char streams[] =
        "INSERT INTO stream (id, source, epoch, subject, sequence, hash, captured, "
        "last_us) SELECT value, 's', 1, value, 0, zeroblob(32), 0, 0"
        " FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n) SELECT"
        " value FROM n LIMIT ?1)";
    struct bench_raw *r = calloc(1, sizeof *r);
    if (!r || sqlite3_open(url + 7, &r->db) != SQLITE_OK)
        bench_fail("sqlite", "can't be opened");
    run(r, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -10240;"
           "PRAGMA wal_autocheckpoint = 32000; PRAGMA journal_size_limit = 167772160");
    sqlite3_stmt *s = prepare(r, streams);
    (void)sqlite3_bind_int64(s, 1, (sqlite3_int64)rooms);
    step(r, s);
    (void)sqlite3_finalize(s);
    run(r, "INSERT INTO position (part, pos, hash, captured_us) VALUES (0, 0, zeroblob(32), 0)");
    r->position = prepare(r, "UPDATE position SET pos = ?1, hash = ?2, captured_us = ?3"
                             " WHERE part = 0 AND pos = ?4 AND hash = ?5");
    r->head = prepare(r, "UPDATE stream SET sequence = ?2, hash = ?3, captured = captured + ?4,"
                         " last_us = ?5 WHERE id = ?1 AND sequence = ?6 AND hash = ?7");
    r->record =
        prepare(r, "INSERT INTO record (generation, part, pos, stream, sequence, kind, flags,"
                   " time_us, queued_us, captured_us, hash, raw, note) VALUES"
                   " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    return r;
}

static void integer(sqlite3_stmt *s, int i, int64_t v)
{
    (void)sqlite3_bind_int64(s, i, v);
}

static void bytes(sqlite3_stmt *s, int i, const void *p, size_t n)
{
    (void)sqlite3_bind_blob64(s, i, p, n, SQLITE_STATIC);
}

static void insert(struct bench_raw *r, const struct bench_row *row)
{
    const int64_t numbers[] = {
        1, row->item->part, row->item->pos,       row->stream,         row->sequence, row->kind,
        0, row->time_us,    row->item->queued_us, row->item->queued_us};
    for (int i = 0; i < 10; i++)
        integer(r->record, i + 1, numbers[i]);
    bytes(r->record, 11, row->hash, SHA256_SIZE);
    bytes(r->record, 12, row->item->raw.p, row->item->raw.n);
    step(r, r->record);
}

void bench_raw_sqlite_write(struct bench_raw *r, const struct bench_batch *b)
{
    run(r, "BEGIN IMMEDIATE");
    integer(r->position, 1, b->pos + (int64_t)b->n);
    bytes(r->position, 2, b->rows[b->n - 1].hash, SHA256_SIZE);
    integer(r->position, 3, b->items[0].queued_us);
    integer(r->position, 4, b->pos);
    bytes(r->position, 5, b->before, SHA256_SIZE);
    step(r, r->position);
    for (size_t i = 0; i < b->head_count; i++) {
        const struct bench_head *h = &b->heads[i];
        integer(r->head, 1, h->stream);
        integer(r->head, 2, h->to);
        bytes(r->head, 3, h->to_hash, SHA256_SIZE);
        integer(r->head, 4, h->added);
        integer(r->head, 5, b->items[0].queued_us);
        integer(r->head, 6, h->from);
        bytes(r->head, 7, h->from_hash, SHA256_SIZE);
        step(r, r->head);
    }
    for (size_t i = 0; i < b->n; i++)
        insert(r, &b->rows[i]);
    run(r, "COMMIT");
    if (sqlite3_total_changes(r->db) <= 0)
        bench_fail("sqlite", "nothing was written");
}

void bench_raw_sqlite_close(struct bench_raw *r)
{
    (void)sqlite3_finalize(r->position);
    (void)sqlite3_finalize(r->head);
    (void)sqlite3_finalize(r->record);
    (void)sqlite3_close(r->db);
    free(r);
}
