/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What capture's writing costs, against what the database can do at all:
 *   bench_write ours|raw URL RECORDS ROOMS BATCH
 *   bench_write decode - RECORDS ROOMS BATCH     only reads the records; by CPU
 * URL: an empty database. Batches are made and decoded beforehand; only their writing is timed.
 * `raw` writes the same rows of records, positions and heads in the same transactions with the
 * database's own calls, and decodes, checks and compares nothing. Prints records a second.
 */
#include "tests/bench/batch.h"

#include "base/clock.h"
#include "base/own.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t number(const char *text)
{
    int64_t n = 0;
    if (!text_i64(slice_of(text), &n) || n < 1)
        bench_fail("not a number", text);
    return n;
}

static double now_s(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double ours(const char *url, size_t records, struct bench_batch *b)
{
    OWN(own_capture_writer) struct capture_writer *w = NULL;
    OWN(own_capture_batch) struct capture_batch *decoded = NULL;
    struct staging *st = NULL;
    struct staging_position at = {0};
    struct err e = {0};
    double spent = 0;
    bench_ok(staging_open(&st, url, &e), &e, "mgccomp");
    bench_ok(capture_writer_new(&w, st, 1, &e), &e, "capture");
    bench_ok(capture_batch_new(&decoded, &e), &e, "capture");
    for (size_t done = 0; done < records; done += b->n) {
        struct capture_outcome out = {0};
        bench_batch_next(b);
        capture_batch_clear(decoded);
        bench_ok(capture_decode(decoded, b->items, b->n, &e), &e, "record");
        double began = now_s(CLOCK_MONOTONIC);
        bench_ok(capture_write(w, decoded, &at, 1, &out, &e), &e, "capture");
        spent += now_s(CLOCK_MONOTONIC) - began;
        if (out.stored != b->n || out.incidents || out.exceptions)
            bench_fail("capture", "it does not take the records as they are");
    }
    capture_writer_free(w);
    w = NULL;
    staging_close(st);
    return spent;
}

static double raw(const char *url, size_t records, struct bench_batch *b)
{
    bool pg = strncmp(url, "sqlite:", 7) != 0;
    struct staging *st = NULL;
    struct err e = {0};
    double spent = 0;
    bench_ok(staging_open(&st, url, &e), &e, "mgccomp");
    staging_close(st);
    struct bench_raw *r = pg ? bench_raw_pg_open(url, b->records.room_count)
                             : bench_raw_sqlite_open(url, b->records.room_count);
    for (size_t done = 0; done < records; done += b->n) {
        bench_batch_next(b);
        if (pg)
            bench_raw_pg_prepare(r, b);
        double began = now_s(CLOCK_MONOTONIC);
        if (pg)
            bench_raw_pg_write(r, b);
        else
            bench_raw_sqlite_write(r, b);
        spent += now_s(CLOCK_MONOTONIC) - began;
    }
    if (pg)
        bench_raw_pg_close(r);
    else
        bench_raw_sqlite_close(r);
    return spent;
}

static double decode(size_t records, struct bench_batch *b)
{
    double spent = 0;
    for (size_t done = 0; done < records; done += b->n) {
        bench_batch_next(b);
        double began = now_s(CLOCK_THREAD_CPUTIME_ID);
        for (size_t i = 0; i < b->n; i++) {
            struct record r;
            struct err e = {0};
            bench_ok(record_decode(b->doc, b->items[i].raw, &r, &e), &e, "record");
        }
        spent += now_s(CLOCK_THREAD_CPUTIME_ID) - began;
    }
    return spent;
}

static double measure(const char *what, const char *url, size_t records, struct bench_batch *b)
{
    if (strcmp(what, "ours") == 0)
        return ours(url, records, b);
    if (strcmp(what, "raw") == 0)
        return raw(url, records, b);
    if (strcmp(what, "decode") == 0)
        return decode(records, b);
    bench_fail("no such measure", what);
}

int main(int argc, char **argv)
{
    struct bench_batch b;
    if (argc != 6)
        bench_fail("usage", "bench_write ours|raw|decode URL RECORDS ROOMS BATCH");
    size_t records = (size_t)number(argv[3]);
    bench_batch_init(&b, (size_t)number(argv[5]), (size_t)number(argv[4]));
    double spent = measure(argv[1], argv[2], records, &b);
    (void)printf("%.0f\n", (double)b.records.made / spent);
    bench_batch_done(&b);
    return 0;
}
