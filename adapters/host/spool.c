/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a batch's spool in the worker, and making of each record what a module gets. Memory holds
 * the rooms, the receipts and one record. */
#include "adapters/host/spool.h"

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
static const struct json_limits limits = {SPOOL_MAX_JSON, 8, 8000000};

struct head {
    uint32_t room, flags, note_n, raw_n;
    int64_t sequence, time_us, captured_us, part, pos;
    uint8_t hash[SHA256_SIZE];
};

struct range {
    uint64_t first, last;
};

struct spool {
    FILE *f;
    off_t records_at;
    struct arena rooms_arena, record_arena;
    struct mgc_room *rooms;
    struct mgc_fact *facts;
    uint32_t fact_count, fact_room;
    struct range *ranges; /* settled before */
    size_t room_count, range_count;
    struct spool_totals totals;
    bool *settled; /* totals.records of them */
    uint64_t index;
    struct head head;
    struct buf raw;
    struct json_doc *doc;
    struct mgc_record record;
};

void spool_close(struct spool *s)
{
    if (!s)
        return;
    own_file(&s->f);
    arena_done(&s->rooms_arena);
    arena_done(&s->record_arena);
    json_doc_free(s->doc);
    buf_done(&s->raw);
    free(s->settled);
    free(s);
}

static int malformed(const char *what, struct err *e)
{
    return err_set(e, ERR_FAULT, "the spool is malformed: %s", what);
}

static uint64_t number(const uint8_t *p, int bytes)
{
    uint64_t n = 0;
    for (int i = 0; i < bytes; i++)
        n = n << 8 | p[i];
    return n;
}

static int read_bytes(struct spool *s, void *out, size_t n, struct err *e)
{
    return fread(out, 1, n, s->f) == n ? 0 : malformed("it ends too early", e);
}

/* A length and so many bytes, parsed as JSON whose texts lie in s->raw. */
static int read_json(struct spool *s, struct json_doc *d, const struct json **root, struct err *e)
{
    uint8_t length[4];
    int rc = read_bytes(s, length, sizeof length, e);
    size_t n = rc == 0 ? (size_t)number(length, 4) : 0;
    if (rc == 0 && n > SPOOL_MAX_JSON)
        rc = malformed("its head is too long", e);
    if (rc < 0)
        return rc;
    buf_clear(&s->raw);
    char *room = buf_reserve(&s->raw, n);
    if (!room)
        return buf_ok(&s->raw, "the spool", e);
    rc = read_bytes(s, room, n, e);
    if (rc < 0)
        return rc;
    buf_commit(&s->raw, n);
    return json_parse(d, buf_view(&s->raw), &limits, root, e);
}

static bool put(struct arena *a, struct slice from, struct mgc_text *out)
{
    struct slice copy;
    if (!arena_copy(a, from.p ? from : SLICE(""), &copy))
        return false;
    *out = (struct mgc_text){copy.p, copy.n};
    return true;
}

static int read_room(struct spool *s, const struct json *from, size_t index, struct err *e)
{
    struct mgc_room *room = &s->rooms[index];
    int64_t records = 0;
    *room = (struct mgc_room){.size = sizeof *room, .index = index};
    if (!json_i64(from, "epoch", &room->epoch) || !json_i64(from, "records", &records) ||
        records < 0)
        return malformed("a room", e);
    room->records = (uint64_t)records;
    struct arena *a = &s->rooms_arena;
    if (!put(a, json_string(from, "source"), &room->source) ||
        !put(a, json_string(from, "subject"), &room->uri) ||
        !put(a, json_string(from, "name"), &room->name))
        return err_memory(e, "the rooms of a batch");
    return 0;
}

static bool room_of(const struct spool *s, const struct json *entry, size_t *room)
{
    int64_t n = -1;
    if (entry->type != JSON_ARRAY || entry->count != 4 || !text_i64(entry->child->text, &n) ||
        n < 0 || (size_t)n >= s->room_count)
        return false;
    *room = (size_t)n;
    return true;
}

/* Entries come room by room: each room's are one run of the array. */
static int read_rosters(struct spool *s, const struct json *rosters, struct err *e)
{
    struct mgc_participant *all = arena_alloc(&s->rooms_arena, (rosters->count + 1) * sizeof *all);
    if (!all)
        return err_memory(e, "the rosters of a batch");
    for (const struct json *r = rosters->child; r; r = r->next, all++) {
        size_t room = 0;
        if (!room_of(s, r, &room))
            return malformed("a roster", e);
        const struct json *uri = r->child->next;
        const struct json *name = uri->next;
        *all = (struct mgc_participant){0};
        if (!text_i64(name->next->text, &all->since_us) ||
            (s->rooms[room].roster && all != s->rooms[room].roster + s->rooms[room].roster_count))
            return malformed("a roster", e);
        if (!put(&s->rooms_arena, uri->text, &all->uri) ||
            !put(&s->rooms_arena, name->text, &all->name))
            return err_memory(e, "the rosters of a batch");
        if (!s->rooms[room].roster)
            s->rooms[room].roster = all;
        s->rooms[room].roster_count++;
    }
    return 0;
}

static int read_rooms(struct spool *s, struct json_doc *d, struct err *e)
{
    const struct json *root = NULL;
    int rc = read_json(s, d, &root, e);
    if (rc < 0)
        return rc;
    const struct json *rooms = json_get(root, "rooms");
    const struct json *rosters = json_get(root, "rosters");
    if (!rooms || rooms->type != JSON_ARRAY || !rosters || rosters->type != JSON_ARRAY)
        return malformed("its rooms", e);
    s->rooms = arena_alloc(&s->rooms_arena, (rooms->count + 1) * sizeof *s->rooms);
    if (!s->rooms)
        return err_memory(e, "the rooms of a batch");
    for (const struct json *r = rooms->child; rc == 0 && r; r = r->next)
        rc = read_room(s, r, s->room_count++, e);
    return rc == 0 ? read_rosters(s, rosters, e) : rc;
}

static int read_facts(struct spool *s, const struct json *facts, struct err *e)
{
    for (const struct json *f = facts->child; f; f = f->next) {
        if (f->type != JSON_ARRAY || f->count != 2 || s->fact_count == s->fact_room)
            return malformed("a receipt", e);
        struct mgc_fact *out = &s->facts[s->fact_count++];
        if (!put(&s->rooms_arena, f->child->text, &out->name) ||
            !put(&s->rooms_arena, f->child->next->text, &out->value))
            return err_memory(e, "the receipts of a batch");
    }
    return 0;
}

static bool settlement_valid(const struct json *x)
{
    int64_t first = -1;
    int64_t last = -1;
    return x->type == JSON_ARRAY && x->count == 3 && text_i64(x->child->text, &first) &&
           text_i64(x->child->next->text, &last) && first >= 0 && last >= first &&
           x->child->next->next->type == JSON_ARRAY;
}

/* They come before the records; which records they settle is marked once those are counted. */
static int read_settlements(struct spool *s, const struct json *root, struct err *e)
{
    size_t facts = 0;
    for (const struct json *x = root->child; x; x = x->next) {
        if (!settlement_valid(x))
            return malformed("a settlement", e);
        facts += x->child->next->next->count;
    }
    if (facts > UINT32_MAX)
        return malformed("its receipts are too many", e);
    s->fact_room = (uint32_t)facts;
    s->facts = arena_alloc(&s->rooms_arena, (facts + 1) * sizeof *s->facts);
    s->ranges = arena_alloc(&s->rooms_arena, (root->count + 1) * sizeof *s->ranges);
    if (!s->facts || !s->ranges)
        return err_memory(e, "the receipts of a batch");
    int rc = 0;
    for (const struct json *x = root->child; rc == 0 && x; x = x->next) {
        struct range *r = &s->ranges[s->range_count++];
        (void)text_u64(x->child->text, &r->first);
        (void)text_u64(x->child->next->text, &r->last);
        rc = read_facts(s, x->child->next->next, e);
    }
    return rc;
}

/* 1: a record's head; 0: the end of the file. */
static int read_head(struct spool *s, struct head *h, struct err *e)
{
    uint8_t p[SPOOL_RECORD];
    size_t n = fread(p, 1, sizeof p, s->f);
    if (n == 0 && feof(s->f))
        return 0;
    if (n != sizeof p)
        return malformed("a record is cut off", e);
    *h = (struct head){.room = (uint32_t)number(p, 4),
                       .flags = (uint32_t)number(p + 4, 4),
                       .sequence = (int64_t)number(p + 8, 8),
                       .time_us = (int64_t)number(p + 16, 8),
                       .captured_us = (int64_t)number(p + 24, 8),
                       .part = (int64_t)number(p + 32, 8),
                       .pos = (int64_t)number(p + 40, 8),
                       .note_n = (uint32_t)number(p + 80, 4),
                       .raw_n = (uint32_t)number(p + 84, 4)};
    memcpy(h->hash, p + 48, SHA256_SIZE);
    if (h->note_n > SPOOL_MAX_NOTE || h->raw_n > SPOOL_MAX_RAW ||
        (h->room != SPOOL_NO_ROOM && h->room >= s->room_count))
        return malformed("a record's head", e);
    return 1;
}

/* note and raw of the record whose head was read, into s->raw. */
static int read_body(struct spool *s, struct err *e)
{
    size_t n = (size_t)s->head.note_n + s->head.raw_n;
    buf_clear(&s->raw);
    char *room = buf_reserve(&s->raw, n);
    if (!room)
        return buf_ok(&s->raw, "a record", e);
    int rc = read_bytes(s, room, n, e);
    if (rc == 0)
        buf_commit(&s->raw, n);
    return rc;
}

static struct slice raw_of(const struct spool *s)
{
    return (struct slice){s->raw.p + s->head.note_n, s->head.raw_n};
}

static void count(struct spool *s, struct sha256 *sum)
{
    struct spool_totals *t = &s->totals;
    struct slice raw = raw_of(s);
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)raw.n >> (56 - 8 * i));
    sha256_add(sum, length, sizeof length);
    sha256_add(sum, raw.p, raw.n);
    if (t->records == 0 || s->head.time_us < t->first_us)
        t->first_us = s->head.time_us;
    if (t->records == 0 || s->head.time_us > t->last_us)
        t->last_us = s->head.time_us;
    t->records++;
    t->bytes += raw.n;
}

static void own_sha256(struct sha256 **h)
{
    sha256_free(*h);
}

static int first_pass(struct spool *s, struct err *e)
{
    OWN(own_sha256) struct sha256 *sum = sha256_new();
    if (!sum)
        return err_memory(e, "a batch's digest");
    s->records_at = ftello(s->f);
    s->totals.rooms = s->room_count;
    int rc = read_head(s, &s->head, e);
    for (; rc == 1; rc = read_head(s, &s->head, e)) {
        int failed = read_body(s, e);
        if (failed < 0)
            return failed;
        count(s, sum);
    }
    sha256_end(sum, s->totals.digest);
    s->settled = calloc(s->totals.records + 1, sizeof *s->settled);
    return rc == 0 && !s->settled ? err_memory(e, "a batch") : rc;
}

static int read_all(struct spool *s, struct json_doc *d, struct err *e)
{
    char magic[sizeof SPOOL_MAGIC - 1];
    const struct json *settlements = NULL;
    int rc = read_bytes(s, magic, sizeof magic, e);
    if (rc == 0 && memcmp(magic, SPOOL_MAGIC, sizeof magic) != 0)
        rc = malformed("it is none", e);
    if (rc == 0)
        rc = read_rooms(s, d, e);
    if (rc == 0)
        rc = read_json(s, d, &settlements, e);
    if (rc == 0 && settlements->type != JSON_ARRAY)
        rc = malformed("its settlements", e);
    if (rc == 0)
        rc = read_settlements(s, settlements, e);
    if (rc == 0)
        rc = first_pass(s, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < s->range_count; i++)
        spool_settled(s, s->ranges[i].first, s->ranges[i].last);
    return spool_rewind(s, e);
}

int spool_open(struct spool **out, int fd, struct err *e)
{
    OWN(own_fd) int taken = fd;
    OWN(own_spool) struct spool *s = calloc(1, sizeof *s);
    OWN(own_json_doc) struct json_doc *d = json_doc_new();
    if (!s || !d)
        return err_memory(e, "opening a spool");
    arena_init(&s->rooms_arena, 0);
    arena_init(&s->record_arena, KEEP);
    buf_init(&s->raw, SPOOL_MAX_JSON + SPOOL_MAX_NOTE);
    s->doc = json_doc_new();
    s->f = s->doc ? fdopen(taken, "rb") : NULL;
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
    s->index = 0;
    if (fseeko(s->f, s->records_at, SEEK_SET) < 0)
        return err_errno(e, ERR_RETRY, "rewind the spool");
    return 0;
}

/* The chat ids of a read's ranges: from the first one's start to the last one's end. */
static void read_shown(const struct json *data, struct mgc_record *out)
{
    const struct json *ranges = json_get(data, "ranges");
    if (!ranges || ranges->type != JSON_ARRAY)
        return;
    for (const struct json *r = ranges->child; r; r = r->next) {
        int64_t first = 0;
        int64_t last = 0;
        if (r->type != JSON_ARRAY || r->count != 2 || !text_i64(r->child->text, &first) ||
            !text_i64(r->child->next->text, &last))
            continue;
        if (out->read_first == 0 || first < out->read_first)
            out->read_first = first;
        if (last > out->read_last)
            out->read_last = last;
    }
}

static bool put_texts(struct arena *a, const struct record *r, struct mgc_record *out)
{
    return put(a, r->type, &out->type) && put(a, r->id, &out->id) &&
           put(a, r->participant, &out->participant) && put(a, r->name, &out->name) &&
           put(a, r->endpoint, &out->endpoint) && put(a, r->text, &out->text) &&
           put(a, r->text_bytes, &out->text_bytes) && put(a, r->reason, &out->reason);
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
    if (rc < 0) {
        out->flags |= MGC_RECORD_UNREADABLE;
        return put(&s->record_arena, slice_of(why.text), &out->note)
                   ? 0
                   : err_memory(e, "a record of a batch");
    }
    if (!put_texts(&s->record_arena, &r, out))
        return err_memory(e, "a record of a batch");
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
    const struct head *h = &s->head;
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
    if (!put(&s->record_arena, (struct slice){s->raw.p, h->note_n}, &s->record.note))
        return err_memory(e, "a record of a batch");
    return h->flags & MGC_RECORD_UNREADABLE ? 0 : fill_decoded(s, e);
}

int spool_next(struct spool *s, const struct mgc_record **out, struct err *e)
{
    if (s->index >= s->totals.records)
        return 0;
    int rc = read_head(s, &s->head, e);
    if (rc == 0)
        rc = malformed("records vanished", e);
    if (rc == 1)
        rc = read_body(s, e);
    if (rc == 0)
        rc = fill(s, e);
    if (rc < 0)
        return rc;
    s->index++;
    *out = &s->record;
    return 1;
}
