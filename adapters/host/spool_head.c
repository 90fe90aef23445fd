/* SPDX-License-Identifier: Apache-2.0 */
/* A spool's head: totals, the batch's rooms with their rosters, what earlier attempts settled. */
#include "adapters/host/spool_private.h"

static const struct json_limits limits = {SPOOL_MAX_JSON, 8, 8000000};

int spool_malformed(const char *what, struct err *e)
{
    return err_set(e, ERR_FAULT, "the spool is malformed: %s", what);
}

uint64_t spool_number(const uint8_t *p, int bytes)
{
    uint64_t n = 0;
    for (int i = 0; i < bytes; i++)
        n = n << 8 | p[i];
    return n;
}

int spool_read(struct spool *s, void *out, size_t n, struct err *e)
{
    return fread(out, 1, n, s->f) == n ? 0 : spool_malformed("it ends too early", e);
}

/* A length and so many bytes, parsed as JSON whose texts lie in s->raw. */
static int read_json(struct spool *s, struct json_doc *d, const struct json **root, struct err *e)
{
    uint8_t length[4];
    int rc = spool_read(s, length, sizeof length, e);
    size_t n = rc == 0 ? (size_t)spool_number(length, 4) : 0;
    if (rc == 0 && n > SPOOL_MAX_JSON)
        rc = spool_malformed("its head is too long", e);
    if (rc < 0)
        return rc;
    buf_clear(&s->raw);
    char *room = buf_reserve(&s->raw, n);
    if (!room)
        return buf_ok(&s->raw, "the spool", e);
    rc = spool_read(s, room, n, e);
    if (rc < 0)
        return rc;
    buf_commit(&s->raw, n);
    return json_parse(d, buf_view(&s->raw), &limits, root, e);
}

int spool_read_totals(struct spool *s, struct json_doc *d, struct err *e)
{
    const struct json *root = NULL;
    struct spool_totals *t = &s->totals;
    int64_t records = -1;
    int64_t bytes = -1;
    int rc = read_json(s, d, &root, e);
    if (rc < 0)
        return rc;
    if (!json_i64(root, "records", &records) || !json_i64(root, "bytes", &bytes) || records < 0 ||
        bytes < 0 || !json_i64(root, "first_us", &t->first_us) ||
        !json_i64(root, "last_us", &t->last_us))
        return spool_malformed("its totals", e);
    t->records = (uint64_t)records;
    t->bytes = (uint64_t)bytes;
    return 0;
}

bool spool_put(struct arena *a, struct slice from, struct mgc_text *out)
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
        return spool_malformed("a room", e);
    room->records = (uint64_t)records;
    struct arena *a = &s->rooms_arena;
    if (!spool_put(a, json_string(from, "source"), &room->source) ||
        !spool_put(a, json_string(from, "subject"), &room->uri) ||
        !spool_put(a, json_string(from, "name"), &room->name))
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
            return spool_malformed("a roster", e);
        const struct json *uri = r->child->next;
        const struct json *name = uri->next;
        *all = (struct mgc_participant){0};
        if (!text_i64(name->next->text, &all->since_us) ||
            (s->rooms[room].roster && all != s->rooms[room].roster + s->rooms[room].roster_count))
            return spool_malformed("a roster", e);
        if (!spool_put(&s->rooms_arena, uri->text, &all->uri) ||
            !spool_put(&s->rooms_arena, name->text, &all->name))
            return err_memory(e, "the rosters of a batch");
        if (!s->rooms[room].roster)
            s->rooms[room].roster = all;
        s->rooms[room].roster_count++;
    }
    return 0;
}

int spool_read_rooms(struct spool *s, struct json_doc *d, struct err *e)
{
    const struct json *root = NULL;
    int rc = read_json(s, d, &root, e);
    if (rc < 0)
        return rc;
    const struct json *rooms = json_get(root, "rooms");
    const struct json *rosters = json_get(root, "rosters");
    if (!rooms || rooms->type != JSON_ARRAY || !rosters || rosters->type != JSON_ARRAY)
        return spool_malformed("its rooms", e);
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
            return spool_malformed("a receipt", e);
        struct mgc_fact *out = &s->facts[s->fact_count++];
        if (!spool_put(&s->rooms_arena, f->child->text, &out->name) ||
            !spool_put(&s->rooms_arena, f->child->next->text, &out->value))
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
static int keep_settlements(struct spool *s, const struct json *root, struct err *e)
{
    size_t facts = 0;
    for (const struct json *x = root->child; x; x = x->next) {
        if (!settlement_valid(x))
            return spool_malformed("a settlement", e);
        facts += x->child->next->next->count;
    }
    _Static_assert(SPOOL_MAX_JSON < UINT32_MAX, "each fact has bytes");
    s->fact_room = (uint32_t)facts;
    s->facts = arena_alloc(&s->rooms_arena, (facts + 1) * sizeof *s->facts);
    s->ranges = arena_alloc(&s->rooms_arena, (root->count + 1) * sizeof *s->ranges);
    if (!s->facts || !s->ranges)
        return err_memory(e, "the receipts of a batch");
    int rc = 0;
    for (const struct json *x = root->child; rc == 0 && x; x = x->next) {
        struct spool_range *r = &s->ranges[s->range_count++];
        (void)text_u64(x->child->text, &r->first);
        (void)text_u64(x->child->next->text, &r->last);
        rc = read_facts(s, x->child->next->next, e);
    }
    return rc;
}

int spool_read_settlements(struct spool *s, struct json_doc *d, struct err *e)
{
    const struct json *root = NULL;
    int rc = read_json(s, d, &root, e);
    if (rc == 0 && root->type != JSON_ARRAY)
        rc = spool_malformed("its settlements", e);
    return rc == 0 ? keep_settlements(s, root, e) : rc;
}
