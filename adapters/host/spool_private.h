/* SPDX-License-Identifier: Apache-2.0 */
/* Private to spool*.c: spool_head.c reads rooms and receipts, spool.c the records. */
#ifndef ADAPTERS_HOST_SPOOL_PRIVATE_H
#define ADAPTERS_HOST_SPOOL_PRIVATE_H

#include "adapters/host/spool.h"
#include "base/arena.h"
#include "base/json.h"

#include <stdio.h>

struct spool_record_head {
    uint32_t room, flags, note_n, raw_n;
    int64_t sequence, time_us, captured_us, part, pos;
    uint8_t hash[SHA256_SIZE];
};

struct spool_range {
    uint64_t first, last;
};

struct spool {
    FILE *f;
    struct arena rooms_arena, record_arena;
    struct mgc_room *rooms;
    struct mgc_fact *facts;
    uint32_t fact_count, fact_room;
    struct spool_range *ranges; /* settled before */
    size_t room_count, range_count;
    struct spool_totals totals;
    bool *settled; /* totals.records of them */
    bool raw_only;
    uint8_t digest[SHA256_SIZE];
    struct sha256 *sum; /* of the pass so far */
    bool passed;        /* to its end, and it was the digest */
    uint64_t index;
    struct spool_record_head head;
    struct buf raw;
    struct json_doc *doc;
    struct mgc_record record;
};

int spool_malformed(const char *what, struct err *e);
uint64_t spool_number(const uint8_t *p, int bytes); /* big-endian */
int spool_read(struct spool *s, void *out, size_t n, struct err *e);
bool spool_put(struct arena *a, struct slice from, struct mgc_text *out); /* a copy with a NUL */

/* From the start of the head, in this order. d is used for each in turn. */
int spool_read_totals(struct spool *s, struct json_doc *d, struct err *e);
int spool_read_rooms(struct spool *s, struct json_doc *d, struct err *e);
int spool_read_settlements(struct spool *s, struct json_doc *d, struct err *e);

#endif
