/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/batch.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

void bench_batch_init(struct bench_batch *b, size_t size, size_t rooms)
{
    *b = (struct bench_batch){.size = size};
    bench_records_init(&b->records, rooms);
    b->doc = json_doc_new();
    b->items = calloc(size, sizeof *b->items);
    b->rows = calloc(size, sizeof *b->rows);
    b->heads = calloc(rooms, sizeof *b->heads);
    b->all = calloc(rooms, sizeof *b->all);
    buf_init(&b->bytes, size * 2048);
    if (!b->doc || !b->items || !b->rows || !b->heads || !b->all)
        bench_fail("batch", "out of memory");
}

void bench_batch_done(struct bench_batch *b)
{
    bench_records_done(&b->records);
    json_doc_free(b->doc);
    buf_done(&b->bytes);
    free(b->items);
    free(b->rows);
    free(b->heads);
    free(b->all);
}

static void make_items(struct bench_batch *b)
{
    int64_t now = clock_wall_us();
    size_t at = 0;
    b->pos += (int64_t)b->n;
    buf_clear(&b->bytes);
    for (size_t i = 0; i < b->size; i++) {
        struct slice record = bench_records_next(&b->records, NULL);
        buf_slice(&b->bytes, record);
        b->items[i] = (struct capture_item){
            .pos = b->pos + (int64_t)i, .queued_us = now, .raw = {NULL, record.n}};
    }
    b->n = b->size;
    for (size_t i = 0; i < b->n; i++) {
        b->items[i].raw.p = b->bytes.p + at;
        at += b->items[i].raw.n;
    }
}

static void make_row(struct bench_batch *b, size_t i, size_t first)
{
    struct record r;
    struct err e = {0};
    size_t room = (first + i) % b->records.room_count;
    struct bench_head *h = &b->all[room];
    bench_ok(record_decode(b->doc, b->items[i].raw, &r, &e), &e, "record");
    b->rows[i] =
        (struct bench_row){&b->items[i], (int64_t)room + 1, r.sequence, r.kind, r.time_us, {0}};
    memcpy(b->rows[i].hash, r.hash, SHA256_SIZE);
    if (h->added == 0) {
        h->from = h->to;
        memcpy(h->from_hash, h->to_hash, SHA256_SIZE);
    }
    h->added++;
    h->to = r.sequence;
    memcpy(h->to_hash, r.hash, SHA256_SIZE);
}

void bench_batch_next(struct bench_batch *b)
{
    size_t first = b->records.made;
    if (b->n > 0)
        memcpy(b->before, b->rows[b->n - 1].hash, SHA256_SIZE);
    make_items(b);
    for (size_t i = 0; i < b->n; i++)
        make_row(b, i, first);
    b->head_count = 0;
    for (size_t room = 0; room < b->records.room_count; room++) {
        struct bench_head *h = &b->all[room];
        h->stream = (int64_t)room + 1;
        if (h->added > 0)
            b->heads[b->head_count++] = *h;
        h->added = 0;
    }
}
