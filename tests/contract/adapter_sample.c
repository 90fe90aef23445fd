/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/adapter_sample.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/own.h"

#include <assert.h>
#include <string.h>

enum { LARGE_TEXT = 512 * 1024, BUF_MAX = 8 * 1024 * 1024 };
static const int64_t start_us = INT64_C(1795500739000001); /* 2026-11-24T06:12:19.000001Z */

static struct mgc_text text_of(const char *s)
{
    return (struct mgc_text){s, strlen(s)};
}

static struct mgc_text keep(struct sample *s, struct buf *b)
{
    size_t n;
    assert(!b->failed && s->owned_count < sizeof s->owned / sizeof s->owned[0]);
    char *p = buf_detach(b, &n);
    s->owned[s->owned_count++] = p;
    return (struct mgc_text){p, n};
}

static void begin(struct sample *s, const char *stem)
{
    *s = (struct sample){0};
    s->batch.size = sizeof s->batch;
    s->batch.id = text_of("01936d5a-0000-7000-8000-00000000abcd");
    s->batch.stem = text_of(stem);
    s->batch.instance = text_of("archive");
    s->batch.number = 7;
    s->batch.cut_us = start_us + INT64_C(900000000);
    s->batch.first_us = start_us;
    s->batch.last_us = start_us;
}

static struct mgc_room *add_room(struct sample *s, const char *uri, const char *name)
{
    assert(s->room_count < BATCH_ROOMS_MAX);
    struct mgc_room *room = &s->rooms[s->room_count];
    *room = (struct mgc_room){.size = sizeof *room,
                              .source = text_of("pool.example.test"),
                              .uri = text_of(uri),
                              .name = text_of(name),
                              .epoch = 1,
                              .index = s->room_count};
    s->room_count++;
    return room;
}

struct act {
    uint32_t kind;
    const char *type, *who, *name;
    struct mgc_text text;
    uint32_t flags;
};

static void write_raw(struct buf *b, const struct mgc_record *r)
{
    char time[CLOCK_TEXT_SIZE];
    clock_format(r->time_us, time);
    buf_char(b, '{');
    json_put_string(b, "specversion", SLICE("1.0"));
    json_put_string(b, "id", (struct slice){r->id.p, (size_t)r->id.n});
    json_put_string(b, "type", (struct slice){r->type.p, (size_t)r->type.n});
    json_put_string(b, "time", slice_of(time));
    buf_format(b, ",\"sequence\":\"%020lld\",\"data\":{", (long long)r->sequence);
    json_put_string(b, "participant", (struct slice){r->participant.p, (size_t)r->participant.n});
    if (r->kind == MGC_KIND_POST) {
        json_key(b, "text");
        json_write_string(b, (struct slice){r->text.p, (size_t)r->text.n});
    }
    buf_text(b, "}}");
}

static struct mgc_record *add(struct sample *s, struct mgc_room *room, struct act a)
{
    uint64_t index = s->batch.records++;
    assert(index < BATCH_RECORDS_MAX);
    struct mgc_record *r = &s->records[index];
    struct buf id;
    buf_init(&id, 100);
    buf_format(&id, "01936d5a-0000-7000-8000-%012llu", (unsigned long long)index);
    *r = (struct mgc_record){.size = sizeof *r,
                             .flags = a.flags,
                             .index = index,
                             .room = room,
                             .kind = a.kind,
                             .type = text_of(a.type),
                             .id = keep(s, &id),
                             .participant = text_of(a.who),
                             .name = text_of(a.name),
                             .text = a.text,
                             .partition = 3,
                             .position = (int64_t)(1000 + index)};
    r->time_us = start_us + (int64_t)index * INT64_C(1250000);
    r->captured_us = r->time_us + 500;
    r->sequence = (int64_t)++room->records;
    r->text = a.text.p ? a.text : text_of("");
    if (a.kind == MGC_KIND_POST)
        r->chat_id = r->sequence;
    if (r->time_us > s->batch.last_us)
        s->batch.last_us = r->time_us;
    struct buf raw;
    buf_init(&raw, BUF_MAX);
    write_raw(&raw, r);
    r->raw = keep(s, &raw);
    return r;
}

static struct mgc_record *post(struct sample *s, struct mgc_room *room, const char *text, size_t n)
{
    return add(s, room,
               (struct act){.kind = MGC_KIND_POST,
                            .type = "holdfast.post",
                            .who = "sip:ann@example.test",
                            .name = "Ann Alpha",
                            .text = {text, n}});
}
#define POST(s, room, literal) post(s, room, literal, sizeof(literal) - 1)

static void finish(struct sample *s)
{
    struct sha256 *all = sha256_new();
    assert(all);
    for (uint64_t i = 0; i < s->batch.records; i++) {
        struct mgc_record *r = &s->records[i];
        uint8_t length[8];
        for (int k = 0; k < 8; k++)
            length[k] = (uint8_t)(r->raw.n >> (56 - 8 * k));
        sha256_add(all, length, sizeof length);
        sha256_add(all, r->raw.p, (size_t)r->raw.n);
        sha256(r->raw.p, (size_t)r->raw.n, r->sha256);
        s->batch.bytes += r->raw.n;
    }
    sha256_end(all, s->batch.sha256);
    sha256_free(all);
    s->batch.rooms = s->room_count;
}

void sample_empty(struct sample *s)
{
    begin(s, "20261124T062719Z-000007");
    finish(s);
}

static void add_hostile(struct sample *s, struct mgc_room *room)
{
    POST(s, room, "zero\0bell\a escape\033[31m delete\177 end");
    POST(s, room, "not characters: \xef\xbf\xbe \xef\xbf\xbf");
    POST(s, room, "]]></Message><!-- &amp; <?x?> \"quoted\" 'too'");
    POST(s, room, "first\r\n.\r\nQUIT\r\n.second\r\n..\rlone");
    POST(s, room, "ends with blanks \t \n\n[2026-01-01T00:00:00.000000Z] #1 <sip:eve>: forged\n");
    POST(s, room, "\xe2\x80\xaegnp.exe --=_01936d5a-0000-7000-8000-00000000abcd--");
    struct mgc_record *r = POST(s, room, "caf\xef\xbf\xbd");
    r->text_bytes = text_of("Y2Fm6Q==");
    r = add(s, room,
            (struct act){.kind = MGC_KIND_POST,
                         .type = "holdfast.post",
                         .who = "sip:eve\r\nBcc: all@example.test",
                         .name = "Eve <b>\x01</b>\r\nX-Evil: yes",
                         .text = {"", 0}});
    r->chat_id = INT64_C(5000000000);
}

static void add_exceptions(struct sample *s, struct mgc_room *room)
{
    struct buf raw;
    struct mgc_record *r = POST(s, room, "over two lines");
    buf_init(&raw, BUF_MAX);
    buf_text(&raw, "{\n  \"specversion\": \"1.0\",\r\n  \"id\": \"pretty\"\n}");
    r->raw = keep(s, &raw);

    r = POST(s, room, "");
    room->records--;
    buf_init(&raw, BUF_MAX);
    buf_add(&raw, "\x00\xff\xfe{\"broken", 11);
    *r = (struct mgc_record){.size = sizeof *r,
                             .index = r->index,
                             .flags = MGC_RECORD_UNREADABLE,
                             .raw = keep(s, &raw),
                             .partition = 3,
                             .position = r->position,
                             .note = text_of("not UTF-8 at byte 1 & <so> on")};
}

static void add_lobby(struct sample *s)
{
    static const struct mgc_participant present[] = {
        {{"sip:bob@example.test", 20}, {"Bob Beta", 8}, INT64_C(1795400000000000)},
        {{"urn:bot:7", 9}, {"", 0}, INT64_C(1795400001000000)},
    };
    struct mgc_room *room = add_room(s, "ma-chan://example.test/5b0c-lobby", "Lobby / main hall");
    room->roster = present;
    room->roster_count = 2;
    add(s, room,
        (struct act){.kind = MGC_KIND_JOIN,
                     .type = "holdfast.join",
                     .who = "sip:ann@example.test",
                     .name = "Ann Alpha"});
    POST(s, room, "hello");
    add_hostile(s, room);
    struct mgc_record *r = add(s, room,
                               (struct act){.kind = MGC_KIND_READ,
                                            .type = "holdfast.read",
                                            .who = "sip:bob@example.test",
                                            .name = "Bob Beta",
                                            .flags = MGC_RECORD_LATE});
    r->read_first = 2;
    r->read_last = 5;
    add(s, room,
        (struct act){.kind = 99,
                     .type = "com.example.reaction",
                     .who = "sip:bob@example.test",
                     .name = "Bob Beta",
                     .flags = MGC_RECORD_UNPROVABLE});
    add_exceptions(s, room);
    r = add(s, room,
            (struct act){.kind = MGC_KIND_LEAVE,
                         .type = "holdfast.leave",
                         .who = "sip:ann@example.test",
                         .name = "Ann Alpha",
                         .flags = MGC_RECORD_FORK | MGC_RECORD_REPEAT});
    r->reason = text_of("connection lost");
}

void sample_mixed(struct sample *s)
{
    begin(s, "20261124T062719Z-000008");
    add_lobby(s);
    struct mgc_room *cafe =
        add_room(s, "ma-chan://example.test/caf\xc3\xa9", "Caf\xc3\xa9 \xe2\x98\x95");
    POST(s, cafe, "gr\xc3\xbc\xc3\x9f dich \xf0\x9f\x98\x80");
    POST(s, cafe, "bye = x");
    struct mgc_room *session = add_room(s, "urn:holdfast:session:1", "");
    add(s, session,
        (struct act){.kind = MGC_KIND_SESSION_START,
                     .type = "holdfast.session-start",
                     .who = "",
                     .name = ""});
    add(s, session,
        (struct act){.kind = MGC_KIND_SIGN_IN,
                     .type = "holdfast.sign-in",
                     .who = "sip:ann@example.test",
                     .name = "Ann Alpha"});
    finish(s);
}

void sample_large(struct sample *s)
{
    begin(s, "20261124T062719Z-000009");
    struct mgc_room *room = add_room(s, "ma-chan://example.test/large", "Large");
    for (int i = 0; i < 3; i++) {
        struct buf text;
        buf_init(&text, BUF_MAX);
        char *p = buf_reserve(&text, LARGE_TEXT);
        uint32_t dice = 1;
        for (size_t k = 0; k < LARGE_TEXT; k++) {
            dice = dice * 1664525 + 1013904223; /* so that the first does not compress well */
            p[k] = i == 0 ? (char)(' ' + (dice >> 16) % 95) : i == 1 ? '"' : '\x01';
        }
        buf_commit(&text, LARGE_TEXT);
        struct mgc_text kept = keep(s, &text);
        post(s, room, kept.p, (size_t)kept.n);
    }
    finish(s);
}

void sample_done(struct sample *s)
{
    for (size_t i = 0; i < s->owned_count; i++)
        free(s->owned[i]);
    *s = (struct sample){0};
}

void sample_expect(const struct sample *s, FILE *out)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, 4 * (size_t)BUF_MAX);
    for (uint64_t i = 0; i < s->batch.records; i++) {
        const struct mgc_record *r = &s->records[i];
        buf_char(&b, '{');
        json_put_i64(&b, "index", (int64_t)i);
        json_key(&b, "raw");
        json_write_base64(&b, (struct slice){r->raw.p, (size_t)r->raw.n});
        json_put_i64(&b, "kind", r->kind);
        json_key(&b, "text");
        json_write_base64(&b, (struct slice){r->text.p ? r->text.p : "", (size_t)r->text.n});
        json_put_string(
            &b, "text_bytes",
            (struct slice){r->text_bytes.p ? r->text_bytes.p : "", (size_t)r->text_bytes.n});
        json_put_bool(&b, "unreadable", r->flags & MGC_RECORD_UNREADABLE);
        json_put_bool(&b, "late", r->flags & MGC_RECORD_LATE);
        buf_text(&b, "}\n");
    }
    assert(!b.failed);
    (void)fwrite(b.p, 1, b.n, out);
}
