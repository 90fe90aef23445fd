/* SPDX-License-Identifier: Apache-2.0 */
/* A batch of the queue made beforehand, so that only its writing is measured. */
#ifndef TESTS_BENCH_BATCH_H
#define TESTS_BENCH_BATCH_H

#include "mgccomp/capture_write.h"
#include "tests/bench/records.h"

/* What a row of table record gets; its stream is numbered from 1 in the order rooms come. */
struct bench_row {
    const struct capture_item *item;
    int64_t stream, sequence, kind, time_us;
    uint8_t hash[SHA256_SIZE];
};

/* A head that the batch moves. */
struct bench_head {
    int64_t stream, added, from, to;
    uint8_t from_hash[SHA256_SIZE], to_hash[SHA256_SIZE];
};

struct bench_batch {
    struct bench_records records;
    struct json_doc *doc;
    struct buf bytes;
    struct capture_item *items;
    struct bench_row *rows;
    struct bench_head *heads, *all; /* moved by this batch; as they are, by room */
    size_t n, size, head_count;
    int64_t pos;                 /* of the first item */
    uint8_t before[SHA256_SIZE]; /* the hash of the record in front of it */
};

void bench_batch_init(struct bench_batch *b, size_t size, size_t rooms);
void bench_batch_done(struct bench_batch *b);
void bench_batch_next(struct bench_batch *b); /* makes the next one */

/* The raw ceilings. url: a database with our tables and nothing in them. write: one batch, one
 * transaction. */
struct bench_raw;
struct bench_raw *bench_raw_pg_open(const char *url, size_t rooms);
void bench_raw_pg_prepare(struct bench_raw *r, const struct bench_batch *b); /* before write */
void bench_raw_pg_write(struct bench_raw *r, const struct bench_batch *b);
void bench_raw_pg_close(struct bench_raw *r);
struct bench_raw *bench_raw_sqlite_open(const char *url, size_t rooms);
void bench_raw_sqlite_write(struct bench_raw *r, const struct bench_batch *b);
void bench_raw_sqlite_close(struct bench_raw *r);

#endif
