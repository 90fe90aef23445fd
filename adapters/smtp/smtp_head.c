/* SPDX-License-Identifier: Apache-2.0 */
/* A mail's header fields, and what its transcript starts with. */
#include "adapters/smtp/smtp_mail.h"
#include "base/clock.h"
#include "base/own.h"

#include <string.h>
#include <time.h>

enum { TEXT_MAX = 256 * 1024 };

/* "2026-11-24 06:12:19Z" */
static void put_short_time(struct buf *b, int64_t us)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format(us, text);
    if (strlen(text) < 20)
        return;
    buf_format(b, "%.10s %.8sZ", text, text + 11);
}

/* RFC 5322; not strftime, whose names follow the locale. */
static void put_date(struct buf *b, int64_t us)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t seconds = (time_t)(us / 1000000);
    struct tm t;
    if (!gmtime_r(&seconds, &t))
        return;
    buf_format(b, "Date: %.3s, %d %.3s %04d %02d:%02d:%02d +0000\r\n", days + 3 * (size_t)t.tm_wday,
               t.tm_mday, months + 3 * (size_t)t.tm_mon, t.tm_year + 1900, t.tm_hour, t.tm_min,
               t.tm_sec);
}

static void put_addresses(struct smtp_mail *m, const struct smtp_addresses *a)
{
    buf_format(&m->head, "From: <%s>\r\nTo:", a->from);
    for (size_t i = 0; a->to[i]; i++)
        buf_format(&m->head, "%s <%s>", i ? ",\r\n" : "", a->to[i]);
    buf_text(&m->head, "\r\n");
}

static void put_subject(struct smtp_mail *m, const char *start)
{
    OWN(own_buf) struct buf text;
    buf_init(&text, TEXT_MAX);
    if (*start)
        buf_format(&text, "%s ", start);
    buf_slice(&text, buf_view(&m->room_name));
    if (m->span.records) {
        buf_text(&text, ", ");
        put_short_time(&text, m->span.first_us);
        buf_text(&text, " to ");
        put_short_time(&text, m->span.last_us);
    }
    if (m->unit->parts > 1)
        buf_format(&text, " (part %u of %u)", m->unit->part, m->unit->parts);
    m->head.failed |= text.failed;
    smtp_header(&m->head, "Subject", buf_view(&text));
}

/* The same whatever the addresses say, so that a repeat is known as one. */
static void make_message_id(struct smtp_mail *m)
{
    const struct smtp_unit *u = m->unit;
    char kind = u->has_room ? 'r' : 'x';
    (void)snprintf(m->message_id, sizeof m->message_id, "<%.40s.%c%llu.%llu@holdfast.invalid>",
                   m->batch->id.p, kind, (unsigned long long)u->group,
                   (unsigned long long)u->first);
}

static void put_hash(struct buf *b, const char *name, const uint8_t digest[SHA256_SIZE])
{
    char hex[SHA256_HEX];
    hex_encode(digest, SHA256_SIZE, hex);
    buf_format(b, "%s: %s\r\n", name, hex);
}

static void put_headers(struct smtp_mail *m, const struct smtp_addresses *a)
{
    const struct mgc_batch *batch = m->batch;
    uint8_t digest[SHA256_SIZE];
    sha256_end(m->records_hash, digest);
    put_date(&m->head, batch->cut_us);
    put_addresses(m, a);
    put_subject(m, a->subject);
    buf_format(&m->head, "Message-ID: %s\r\n", m->message_id);
    buf_text(&m->head, "MIME-Version: 1.0\r\nAuto-Submitted: auto-generated\r\n");
    smtp_header(&m->head, "X-Holdfast-Batch", kit_slice(batch->id));
    put_hash(&m->head, "X-Holdfast-Batch-SHA256", batch->sha256);
    put_hash(&m->head, "X-Holdfast-SHA256", digest);
    if (m->room_uri.n)
        smtp_header(&m->head, "X-Holdfast-Room", buf_view(&m->room_uri));
    buf_format(&m->head, "X-Holdfast-Records: %llu\r\n", (unsigned long long)(m->lines + m->odd));
    /* "=_" occurs neither in quoted-printable nor in base64. */
    buf_format(&m->head,
               "Content-Type: multipart/mixed; boundary=\"=_%.40s\"\r\n\r\n"
               "--=_%.40s\r\nContent-Type: text/plain; charset=utf-8\r\n"
               "Content-Transfer-Encoding: quoted-printable\r\n\r\n",
               batch->id.p, batch->id.p);
}

static void put_preamble(struct smtp_mail *m)
{
    OWN(own_buf) struct buf text;
    buf_init(&text, TEXT_MAX);
    buf_format(&text, "Room:     %s\n", m->room_name.p ? m->room_name.p : "");
    if (m->room_uri.n)
        buf_format(&text, "Address:  %s\n", m->room_uri.p);
    if (m->source.n)
        buf_format(&text, "Source:   %s, epoch %lld\n", m->source.p, (long long)m->epoch);
    buf_text(&text, "Batch:    ");
    smtp_visible(&text, kit_slice(m->batch->id), NULL);
    buf_format(&text, "\nRecords:  %llu", (unsigned long long)(m->lines + m->odd));
    if (m->span.first_sequence)
        buf_format(&text, ", #%lld to #%lld", (long long)m->span.first_sequence,
                   (long long)m->span.last_sequence);
    buf_char(&text, '\n');
    if (m->unit->parts > 1)
        buf_format(&text, "Part:     %u of %u\n", m->unit->part, m->unit->parts);
    buf_text(&text, "Times are UTC. The records themselves are attached.\n\n");
    m->head.failed |= text.failed;
    smtp_quoted(&m->head, buf_view(&text));
}

static void put_part_head(struct smtp_mail *m, struct buf *b, const char *file)
{
    buf_format(b,
               "\r\n--=_%.40s\r\nContent-Type: application/x-ndjson\r\n"
               "Content-Disposition: attachment; filename=\"%s\"\r\n"
               "Content-Transfer-Encoding: base64\r\n\r\n",
               m->batch->id.p, file);
}

void smtp_mail_head(struct smtp_mail *m, const struct smtp_addresses *a)
{
    make_message_id(m);
    put_headers(m, a);
    put_preamble(m);
    if (m->lines)
        put_part_head(m, &m->before_records, "records.ndjson");
    if (m->odd)
        put_part_head(m, &m->before_exceptions, "exceptions.jsonl");
    buf_format(&m->tail, "\r\n--=_%.40s--\r\n", m->batch->id.p);
}
