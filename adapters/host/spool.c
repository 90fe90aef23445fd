/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a batch's spool in the worker, and making of each record what a module gets. Memory holds
 * the rooms, the receipts and one record. */
#include "adapters/host/spool_private.h"

#include "base/arena.h"
#include "base/json.h"
#include "base/own.h"
#include "mgccomp/record.h"
#include "mgccomp/staging.h"

#include <string.h>

#define SAME(a, b) _Static_assert((int)(a) == (int)(b), "mgccomp and the contract agree")
SAME(STAGING_LATE, MGC_RECORD_LATE);
SAME(STAGING_UNPROVABLE, MGC_RECORD_UNPROVABLE);
SAME(STAGING_UNREADABLE, MGC_RECORD_UNREADABLE);
SAME(STAGING_FORK, MGC_RECORD_FORK);
SAME(STAGING_REPEAT, MGC_RECORD_REPEAT);
SAME(RECORD_OTHER, MGC_KIND_OTHER);
SAME(RECORD_JOIN, MGC_KIND_JOIN);
SAME(RECORD_LEAVE, MGC_KIND_LEAVE);
SAME(RECORD_POST, MGC_KIND_POST);
SAME(RECORD_READ, MGC_KIND_READ);
SAME(RECORD_SIGN_IN, MGC_KIND_SIGN_IN);
SAME(RECORD_SIGN_OUT, MGC_KIND_SIGN_OUT);
SAME(RECORD_SESSION_START, MGC_KIND_SESSION_START);
SAME(RECORD_SESSION_STOP, MGC_KIND_SESSION_STOP);

enum { KEEP = 2 << 20 };

void spool_close(struct spool *s)
{
    if (!s)
        return;
    own_file(&s->f);
    arena_done(&s->rooms_arena);
    arena_done(&s->record_arena);
    json_doc_free(s->doc);
    sha256_free(s->sum);
    buf_done(&s->raw);
    free(s->settled);
    free(s);
}

static int read_head(struct spool *s, struct spool_record_head *h, struct err *e)
{
    uint8_t p[SPOOL_RECORD];
    int rc = spool_read(s, p, sizeof p, e);
    if (rc < 0)
        return rc;
    *h = (struct spool_record_head){.room = (uint32_t)spool_number(p, 4),
                                    .flags = (uint32_t)spool_number(p + 4, 4),
                                    .sequence = (int64_t)spool_number(p + 8, 8),
                                    .time_us = (int64_t)spool_number(p + 16, 8),
                                    .captured_us = (int64_t)spool_number(p + 24, 8),
                                    .part = (int64_t)spool_number(p + 32, 8),
                                    .pos = (int64_t)spool_number(p + 40, 8),
                                    .note_n = (uint32_t)spool_number(p + 80, 4),
                                    .raw_n = (uint32_t)spool_number(p + 84, 4)};
    memcpy(h->hash, p + 48, SHA256_SIZE);
    if (h->note_n > SPOOL_MAX_NOTE || h->raw_n > SPOOL_MAX_RAW ||
        (h->room != SPOOL_NO_ROOM && h->room >= s->room_count))
        return spool_malformed("a record's head", e);
    return 0;
}

/* note and raw of the record whose head was read, into s->raw. */
static int read_body(struct spool *s, struct err *e)
{
    size_t n = (size_t)s->head.note_n + s->head.raw_n;
    buf_clear(&s->raw);
    char *room = buf_reserve(&s->raw, n);
    if (!room)
        return buf_ok(&s->raw, "a record", e);
    int rc = spool_read(s, room, n, e);
    if (rc == 0)
        buf_commit(&s->raw, n);
    return rc;
}

static struct slice raw_of(const struct spool *s)
{
    return (struct slice){s->raw.p + s->head.note_n, s->head.raw_n};
}

static void add_to_digest(struct spool *s)
{
    struct slice raw = raw_of(s);
    sha256_add_part(s->sum, raw.p, raw.n);
}

static int seek_head(struct spool *s, struct err *e)
{
    uint8_t place[8];
    if (fseeko(s->f, -(off_t)sizeof place, SEEK_END) < 0)
        return spool_malformed("it is none", e);
    int rc = spool_read(s, place, sizeof place, e);
    uint64_t at = rc == 0 ? spool_number(place, sizeof place) : 0;
    if (rc == 0 && (at > (uint64_t)INT64_MAX || fseeko(s->f, (off_t)at, SEEK_SET) < 0))
        rc = spool_malformed("its end", e);
    return rc;
}

static int read_all(struct spool *s, struct json_doc *d, struct err *e)
{
    int rc = seek_head(s, e);
    if (rc == 0)
        rc = spool_read_totals(s, d, e);
    if (rc == 0)
        rc = spool_read_rooms(s, d, e);
    if (rc == 0)
        rc = spool_read_settlements(s, d, e);
    if (rc < 0)
        return rc;
    s->totals.rooms = s->room_count;
    s->settled = calloc(s->totals.records + 1, sizeof *s->settled);
    if (!s->settled)
        return err_memory(e, "a batch");
    for (size_t i = 0; i < s->range_count; i++)
        spool_settled(s, s->ranges[i].first, s->ranges[i].last);
    return spool_rewind(s, e);
}

int spool_open(struct spool **out, int fd, const uint8_t digest[SHA256_SIZE], bool raw_only,
               struct err *e)
{
    OWN(own_fd) int taken = fd;
    OWN(own_spool) struct spool *s = calloc(1, sizeof *s);
    OWN(own_json_doc) struct json_doc *d = json_doc_new();
    if (!s || !d)
        return err_memory(e, "opening a spool");
    arena_init(&s->rooms_arena, 0);
    arena_init(&s->record_arena, KEEP);
    buf_init(&s->raw, SPOOL_MAX_JSON + SPOOL_MAX_NOTE);
    memcpy(s->digest, digest, SHA256_SIZE);
    s->raw_only = raw_only;
    s->doc = json_doc_new();
    s->sum = sha256_new();
    s->f = s->doc && s->sum ? fdopen(taken, "rb") : NULL;
    if (!s->f)
        return err_memory(e, "opening a spool");
    taken = -1;
    int rc = read_all(s, d, e);
    if (rc < 0)
        return rc;
    *out = s;
    s = NULL;
    return 0;
}

void spool_totals(const struct spool *s, struct spool_totals *out)
{
    *out = s->totals;
}

const struct mgc_fact *spool_facts(const struct spool *s, uint32_t *n)
{
    *n = s->fact_count;
    return s->facts;
}

void spool_settled(struct spool *s, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last && i < s->totals.records; i++)
        s->settled[i] = true;
}

bool spool_all_settled(const struct spool *s)
{
    for (uint64_t i = 0; i < s->totals.records; i++) {
        if (!s->settled[i])
            return false;
    }
    return true;
}

int spool_rewind(struct spool *s, struct err *e)
{
    uint8_t unused[SHA256_SIZE];
    sha256_end(s->sum, unused);
    s->index = 0;
    s->passed = false;
    return fseeko(s->f, 0, SEEK_SET) < 0 ? err_errno(e, ERR_RETRY, "rewind the spool") : 0;
}

/* The chat ids of a read's ranges, which record_decode has checked: from the first one's start to
 * the last one's end. */
static void read_shown(const struct json *data, struct mgc_record *out)
{
    const struct json *ranges = json_get(data, "ranges");
    for (const struct json *r = ranges ? ranges->child : NULL; r; r = r->next) {
        int64_t first = 0;
        int64_t last = 0;
        (void)text_i64(r->child->text, &first);
        (void)text_i64(r->child->next->text, &last);
        if (out->read_first == 0 || first < out->read_first)
            out->read_first = first;
        if (last > out->read_last)
            out->read_last = last;
    }
}

static bool put_texts(struct arena *a, const struct record *r, struct mgc_record *out)
{
    return spool_put(a, r->type, &out->type) && spool_put(a, r->id, &out->id) &&
           spool_put(a, r->participant, &out->participant) && spool_put(a, r->name, &out->name) &&
           spool_put(a, r->endpoint, &out->endpoint) && spool_put(a, r->text, &out->text) &&
           spool_put(a, r->text_bytes, &out->text_bytes) && spool_put(a, r->reason, &out->reason);
}

static int fill_decoded(struct spool *s, struct err *e)
{
    struct record r;
    struct err why = {0};
    struct mgc_record *out = &s->record;
    int rc = record_decode(s->doc, raw_of(s), &r, &why);
    if (rc == ERR_RETRY)
        return err_set(e, rc, "%s", why.text);
    /* Captured as readable, yet it is not for us: nothing but its bytes can be relied on. */
    if (rc < 0 ? !spool_put(&s->record_arena, slice_of(why.text), &out->note)
               : !put_texts(&s->record_arena, &r, out))
        return err_memory(e, "a record of a batch");
    if (rc < 0) {
        out->flags |= MGC_RECORD_UNREADABLE;
        return 0;
    }
    out->kind = r.kind;
    out->time_us = r.time_us;
    out->chat_id = r.chat_id;
    if (r.kind == RECORD_READ)
        read_shown(r.data, out);
    return 0;
}

static int fill(struct spool *s, struct err *e)
{
    static const struct mgc_text none = {"", 0};
    const struct spool_record_head *h = &s->head;
    arena_reset(&s->record_arena);
    s->record = (struct mgc_record){.size = sizeof s->record,
                                    .flags = h->flags,
                                    .index = s->index,
                                    .room = h->room == SPOOL_NO_ROOM ? NULL : &s->rooms[h->room],
                                    .settled = s->settled[s->index],
                                    .type = none,
                                    .id = none,
                                    .sequence = h->sequence,
                                    .time_us = h->time_us,
                                    .captured_us = h->captured_us,
                                    .participant = none,
                                    .name = none,
                                    .endpoint = none,
                                    .text = none,
                                    .text_bytes = none,
                                    .reason = none,
                                    .raw = {raw_of(s).p, h->raw_n},
                                    .partition = h->part,
                                    .position = h->pos};
    memcpy(s->record.sha256, h->hash, SHA256_SIZE);
    if (!spool_put(&s->record_arena, (struct slice){s->raw.p, h->note_n}, &s->record.note))
        return err_memory(e, "a record of a batch");
    return s->raw_only || h->flags & MGC_RECORD_UNREADABLE ? 0 : fill_decoded(s, e);
}

/* What a module got were the batch's records, or it must not succeed with them. */
static int end_of_pass(struct spool *s, struct err *e)
{
    uint8_t digest[SHA256_SIZE];
    if (s->passed)
        return 0;
    sha256_end(s->sum, digest);
    if (memcmp(digest, s->digest, sizeof digest) != 0)
        return err_set(e, ERR_FAULT, "the spool does not hold the batch's records");
    s->passed = true;
    return 0;
}

int spool_next(struct spool *s, const struct mgc_record **out, struct err *e)
{
    if (s->index >= s->totals.records)
        return end_of_pass(s, e);
    int rc = read_head(s, &s->head, e);
    if (rc == 0)
        rc = read_body(s, e);
    if (rc == 0)
        rc = fill(s, e);
    if (rc < 0)
        return rc;
    add_to_digest(s);
    s->index++;
    *out = &s->record;
    return 1;
}
