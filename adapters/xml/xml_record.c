/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/xml/xml_record.h"

#include "adapters/kit/kit.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/xml.h"

#include <stdio.h>
#include <string.h>

void xml_put_base64(struct buf *b, struct slice bytes)
{
    size_t n = base64_encoded_size(bytes.n);
    char *out = buf_reserve(b, n + 1);
    if (!out)
        return;
    base64_encode(bytes.p, bytes.n, out);
    buf_commit(b, n);
}

void xml_put_number(struct buf *b, const char *name, int64_t v)
{
    buf_format(b, " %s=\"%lld\"", name, (long long)v);
}

void xml_put_digest(struct buf *b, const char *name, const uint8_t digest[32])
{
    char hex[SHA256_HEX];
    hex_encode(digest, SHA256_SIZE, hex);
    buf_format(b, " %s=\"%s\"", name, hex);
}

void xml_put_clock(struct buf *b, const char *name, int64_t us)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format(us, text);
    buf_format(b, " %s=\"%s\"", name, text);
}

static void put_text(struct buf *b, const char *name, const char *exact_name, struct mgc_text t)
{
    struct slice s = kit_slice(t);
    if (xml_write_attr(b, name, s))
        return;
    buf_format(b, " %s=\"", exact_name);
    xml_put_base64(b, s);
    buf_char(b, '"');
}

static void put_optional(struct buf *b, const char *name, const char *exact_name, struct mgc_text t)
{
    if (t.n)
        put_text(b, name, exact_name, t);
}

/* Ticks of 100 ns since the year 1; 1970 is 621,355,968,000,000,000 of them later. */
void xml_put_time(struct buf *b, const char *element, int64_t us)
{
    static const int64_t unix_epoch_ticks = INT64_C(621355968000000000);
    char text[CLOCK_TEXT_SIZE];
    clock_format(us, text);
    size_t n = strlen(text);
    int64_t ms = us / 1000 - (us % 1000 < 0);
    buf_format(b, "<%s since1970=\"%lld\" string=\"%.*s0Z\" long=\"%lld\"/>", element,
               (long long)ms, (int)(n ? n - 1 : 0), text, (long long)(us * 10 + unix_epoch_ticks));
}

bool xml_is_message(const struct mgc_record *r)
{
    if ((r->flags & MGC_RECORD_UNREADABLE) || !r->room)
        return false;
    return r->kind == MGC_KIND_JOIN || r->kind == MGC_KIND_LEAVE || r->kind == MGC_KIND_POST ||
           r->kind == MGC_KIND_READ;
}

void xml_put_channel(struct buf *b, const struct mgc_room *room)
{
    buf_text(b, "<Channel");
    put_text(b, "uri", "hf:uriBytes", room->uri);
    put_text(b, "name", "hf:nameBytes", room->name.n ? room->name : room->uri);
    put_text(b, "hf:source", "hf:sourceBytes", room->source);
    xml_put_number(b, "hf:epoch", room->epoch);
    buf_text(b, "/>");
}

/* The original's numeric user id has no counterpart here: 31 bits of the URI's digest stand for it,
 * so that the same person has the same id in every document. */
static int64_t sender_id(struct mgc_text uri)
{
    uint8_t digest[SHA256_SIZE];
    sha256(uri.p, (size_t)uri.n, digest);
    return (int64_t)(digest[0] & 0x7f) << 24 | digest[1] << 16 | digest[2] << 8 | digest[3];
}

/* The original writes SIP addresses without their scheme. Where there is none to leave out, hf:uri
 * says that the address stands as it is. */
static void put_sender(struct buf *b, struct mgc_text uri, struct mgc_text name,
                       struct mgc_text endpoint)
{
    buf_text(b, "<Sender");
    put_optional(b, "UserName", "hf:userNameBytes", name);
    xml_put_number(b, "id", sender_id(uri));
    struct mgc_text bare = uri;
    bool sip = slice_starts(kit_slice(uri), "sip:");
    if (sip)
        bare = (struct mgc_text){uri.p + 4, uri.n - 4};
    put_text(b, "uri", "hf:uriBytes", bare);
    if (!sip)
        buf_text(b, " hf:scheme=\"none\"");
    put_optional(b, "hf:endpoint", "hf:endpointBytes", endpoint);
    buf_text(b, "/>");
}

void xml_put_present(struct buf *b, const char *element, const struct mgc_participant *who)
{
    buf_format(b, "<%s type=\"JOIN\" content=\"\" id=\"0\" hf:roster=\"true\">", element);
    put_sender(b, who->uri, who->name, (struct mgc_text){0});
    xml_put_time(b, "DateTimeUTC", who->since_us);
    buf_format(b, "</%s>", element);
}

static const char *type_of(uint32_t kind)
{
    switch (kind) {
    case MGC_KIND_JOIN:
        return "JOIN";
    case MGC_KIND_LEAVE:
        return "PART";
    case MGC_KIND_READ:
        return "BACKCHAT";
    default:
        return "CHAT";
    }
}

/* Returns true when the text stands in content as it is. */
static bool put_content(struct buf *b, const struct mgc_record *r)
{
    if (r->kind == MGC_KIND_POST)
        return xml_write_attr(b, "content", kit_slice(r->text)) && !r->text_bytes.n;
    buf_text(b, " content=\"");
    if (r->kind == MGC_KIND_READ && r->read_first)
        buf_format(b, "messages %lld to %lld", (long long)r->read_first, (long long)r->read_last);
    else if (r->kind == MGC_KIND_READ)
        buf_text(b, "no messages");
    buf_char(b, '"');
    return true;
}

static void put_flags(struct buf *b, const char *prefix, uint32_t flags)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } names[] = {
        {MGC_RECORD_LATE, "late"},
        {MGC_RECORD_UNPROVABLE, "unprovable"},
        {MGC_RECORD_FORK, "fork"},
        {MGC_RECORD_REPEAT, "repeat"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (flags & names[i].flag)
            buf_format(b, " %s%s=\"true\"", prefix, names[i].name);
}

static void put_evidence(struct buf *b, const struct mgc_record *r, bool exact)
{
    if (!exact) {
        buf_text(b, " hf:bytes=\"");
        if (r->text_bytes.n)
            (void)xml_write_text(b, kit_slice(r->text_bytes));
        else
            xml_put_base64(b, kit_slice(r->text));
        buf_char(b, '"');
    }
    if (r->chat_id > INT32_MAX)
        xml_put_number(b, "hf:chatId", r->chat_id);
    put_optional(b, "hf:reason", "hf:reasonBytes", r->reason);
    xml_put_number(b, "hf:index", (int64_t)r->index);
    xml_put_number(b, "hf:sequence", r->sequence);
    put_text(b, "hf:record", "hf:recordBytes", r->id);
    xml_put_digest(b, "hf:sha256", r->sha256);
    put_flags(b, "hf:", r->flags);
}

void xml_put_message(struct buf *b, const char *element, const struct mgc_record *r)
{
    buf_format(b, "<%s type=\"%s\"", element, type_of(r->kind));
    bool exact = put_content(b, r);
    /* The original's id is a 32-bit number, and 0 for all but chat. */
    bool small = r->kind == MGC_KIND_POST && r->chat_id > 0 && r->chat_id <= INT32_MAX;
    xml_put_number(b, "id", small ? r->chat_id : 0);
    if (strcmp(element, "Message") == 0)
        put_evidence(b, r, exact);
    buf_char(b, '>');
    put_sender(b, r->participant, r->name, r->endpoint);
    xml_put_time(b, "DateTimeUTC", r->time_us);
    buf_format(b, "</%s>", element);
}

static void put_stream(struct buf *b, const struct mgc_room *room)
{
    xml_put_number(b, "room", (int64_t)room->index);
    put_text(b, "source", "sourceBytes", room->source);
    xml_put_number(b, "epoch", room->epoch);
    put_text(b, "uri", "uriBytes", room->uri);
}

/* On one line and read back as the same bytes: a parser turns CR into LF, and some trim blanks. */
static bool stays_on_line(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ')
            return false;
    return xml_representable(s);
}

static void put_raw(struct buf *b, const char *element, struct slice raw, bool as_text)
{
    if (as_text) {
        buf_char(b, '>');
        (void)xml_write_text(b, raw);
    } else {
        buf_text(b, " encoding=\"base64\">");
        xml_put_base64(b, raw);
    }
    buf_format(b, "</hf:%s>", element);
}

static void put_exception(struct buf *b, const struct mgc_record *r)
{
    buf_text(b, "<hf:Exception");
    xml_put_number(b, "index", (int64_t)r->index);
    xml_put_number(b, "partition", r->partition);
    xml_put_number(b, "position", r->position);
    if (r->room)
        put_stream(b, r->room);
    put_optional(b, "note", "noteBytes", r->note);
    xml_put_digest(b, "sha256", r->sha256);
    put_raw(b, "Exception", kit_slice(r->raw), false);
}

void xml_put_other(struct buf *b, const struct mgc_record *r)
{
    if (r->flags & MGC_RECORD_UNREADABLE) {
        put_exception(b, r);
        return;
    }
    buf_text(b, "<hf:Record");
    put_text(b, "type", "typeBytes", r->type);
    xml_put_number(b, "index", (int64_t)r->index);
    if (r->room)
        put_stream(b, r->room);
    xml_put_number(b, "sequence", r->sequence);
    put_text(b, "record", "recordBytes", r->id);
    xml_put_clock(b, "time", r->time_us);
    put_optional(b, "participant", "participantBytes", r->participant);
    put_optional(b, "name", "nameBytes", r->name);
    put_optional(b, "endpoint", "endpointBytes", r->endpoint);
    put_optional(b, "reason", "reasonBytes", r->reason);
    xml_put_digest(b, "sha256", r->sha256);
    put_flags(b, "", r->flags);
    put_raw(b, "Record", kit_slice(r->raw), stays_on_line(kit_slice(r->raw)));
}
