/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records for measuring: chained streams of rooms in turn, about 700 bytes each, 98 of 100 posts,
 * the others joins and leaves. The same at every run but for ids.
 */
#ifndef TESTS_BENCH_RECORDS_H
#define TESTS_BENCH_RECORDS_H

#include "base/buf.h"
#include "mgccomp/record.h"

struct bench_room {
    char subject[64];
    int64_t sequence;
    uint8_t previous[SHA256_SIZE];
};

struct bench_records {
    struct bench_room *rooms;
    size_t room_count, made;
    struct buf members, record;
};

/* Ends the program when memory is out, as everything in this folder does on an error. */
void bench_records_init(struct bench_records *r, size_t rooms);
void bench_records_done(struct bench_records *r);
/* The next record; valid until the next call. *subject (may be NULL): its room. */
struct slice bench_records_next(struct bench_records *r, struct slice *subject);

#define BENCH_SOURCE "sip:bench@example.test"

_Noreturn void bench_fail(const char *what, const char *text);
void bench_ok(int rc, const struct err *e, const char *what);

#endif
