/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spool: a frozen batch in one file, written by the archiver, read by the worker through a
 * read-only descriptor. Numbers are big-endian.
 *
 *   records: u32 room (SPOOL_NO_ROOM), u32 flags, i64 sequence, time, captured, partition,
 *     position, 32 bytes hash, u32 length of note, u32 length of raw, note, raw
 *   u32 length, JSON: totals {"records", "bytes", "first_us", "last_us"}
 *   u32 length, JSON: rooms and rosters (ledger_batch_roster)
 *   u32 length, JSON: settlements [[first, last, [[name, value]...]]...]
 *   u64 where the totals begin
 */
#ifndef ADAPTERS_HOST_SPOOL_H
#define ADAPTERS_HOST_SPOOL_H

#include "adapters/mgc_adapter.h"
#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>

#define SPOOL_NO_ROOM UINT32_MAX
enum {
    SPOOL_RECORD = 4 + 4 + 5 * 8 + SHA256_SIZE + 4 + 4, /* before note and raw */
    SPOOL_MAX_JSON = 64 << 20,
    SPOOL_MAX_RAW = 64 << 20,
    SPOOL_MAX_NOTE = 64 << 10,
};

/* In the worker. */
struct spool;
/* Takes fd. digest: of the batch; a pass over records that do not have it ends in ERR_FAULT, as
 * does a malformed spool. raw_only: as a module wants it. */
int spool_open(struct spool **out, int fd, const uint8_t digest[SHA256_SIZE], bool raw_only,
               struct err *e);
void spool_close(struct spool *s);

struct spool_totals {
    uint64_t records, bytes, rooms;
    int64_t first_us, last_us;
};
void spool_totals(const struct spool *s, struct spool_totals *out);
/* Facts of all settlements, in the order of their ranges. */
const struct mgc_fact *spool_facts(const struct spool *s, uint32_t *count);

/* 1: *out is the next record, valid until the next call; 0: the end of a pass over all of them. */
int spool_next(struct spool *s, const struct mgc_record **out, struct err *e);
int spool_rewind(struct spool *s, struct err *e);
/* Marks records as settled for later passes. */
bool spool_all_settled(const struct spool *s);
void spool_settled(struct spool *s, uint64_t first, uint64_t last);

static inline void own_spool(struct spool **s)
{
    spool_close(*s);
}

#endif
