/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/records.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PEOPLE = 900, TEXT_BYTES = 220 };

void bench_fail(const char *what, const char *text)
{
    (void)fprintf(stderr, "bench: %s: %s\n", what, text);
    exit(1);
}

void bench_ok(int rc, const struct err *e, const char *what)
{
    if (rc < 0)
        bench_fail(what, e->text);
}

void bench_records_init(struct bench_records *r, size_t rooms)
{
    *r = (struct bench_records){.room_count = rooms};
    r->rooms = calloc(rooms, sizeof *r->rooms);
    if (!r->rooms)
        bench_fail("records", "out of memory");
    for (size_t i = 0; i < rooms; i++)
        (void)snprintf(r->rooms[i].subject, sizeof r->rooms[i].subject,
                       "ma-chan://example.test/%08zx-9a6e-4c27-8f0d-%012zx",
                       i * 2654435761u % 0xffffffffu, i);
    buf_init(&r->members, RECORD_MAX_BYTES);
    buf_init(&r->record, RECORD_MAX_BYTES);
}

void bench_records_done(struct bench_records *r)
{
    free(r->rooms);
    buf_done(&r->members);
    buf_done(&r->record);
}

static void add_words(struct buf *b, size_t seed)
{
    static const char *const words[] = {"settle", "the", "order", "before", "noon", "price",
                                        "of",     "it",  "moved", "again",  "call", "me"};
    size_t begin = b->n;
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    while (b->n - begin < TEXT_BYTES) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        buf_text(b, words[x % (sizeof words / sizeof words[0])]);
        buf_char(b, ' ');
    }
}

/* A person comes and goes before the next one in that room does. */
static enum record_kind kind_of(int64_t sequence)
{
    switch (sequence % 100) {
    case 1:
        return RECORD_JOIN;
    case 0:
        return RECORD_LEAVE;
    default:
        return RECORD_POST;
    }
}

static enum record_kind make_members(struct bench_records *r, int64_t sequence)
{
    enum record_kind kind = kind_of(sequence);
    size_t who = kind == RECORD_POST ? r->made % PEOPLE : (size_t)((sequence - 1) / 100) % PEOPLE;
    buf_clear(&r->members);
    buf_format(&r->members,
               "\"participant\":\"sip:person%zu@example.test\",\"name\":\"Person %zu\","
               "\"endpoint\":\"%016zx\"",
               who, who, who * 7919);
    if (kind != RECORD_POST)
        return kind;
    buf_format(&r->members, ",\"chatId\":%lld,\"text\":\"", (long long)sequence);
    add_words(&r->members, r->made);
    buf_char(&r->members, '"');
    return kind;
}

struct slice bench_records_next(struct bench_records *r, struct slice *subject)
{
    struct bench_room *room = &r->rooms[r->made % r->room_count];
    char id[37];
    enum record_kind kind = make_members(r, room->sequence + 1);
    r->made++;
    uuid_v7(clock_wall_us(), id);
    const struct record_head h = {.id = id,
                                  .source = SLICE(BENCH_SOURCE),
                                  .type = slice_of(record_type(kind)),
                                  .subject = slice_of(room->subject),
                                  .time_us = clock_wall_us(),
                                  .epoch = 1,
                                  .sequence = ++room->sequence,
                                  .previous = room->previous};
    buf_clear(&r->record);
    record_build(&r->record, &h, buf_view(&r->members));
    sha256(r->record.p, r->record.n, room->previous);
    if (subject)
        *subject = slice_of(room->subject);
    return buf_view(&r->record);
}
