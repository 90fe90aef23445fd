/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/smtp/smtp_mail.h"

#include "adapters/smtp/smtp_transcript.h"
#include "base/file.h"
#include "base/json.h"
#include "base/own.h"

#include <errno.h>
#include <string.h>

enum { HEAD_MAX = 256 * 1024, NAME_SHOWN = 120 };

static bool is_line(const struct mgc_record *r)
{
    if ((r->flags & MGC_RECORD_UNREADABLE) || r->raw.n == 0)
        return false;
    return !memchr(r->raw.p, '\n', (size_t)r->raw.n);
}

static int append(FILE *f, const struct buf *b, struct err *e)
{
    int rc = buf_ok(b, "mail", e);
    if (rc)
        return rc;
    if (b->n && fwrite(b->p, 1, b->n, f) != b->n)
        return err_errno(e, ERR_RETRY, "scratch mail");
    return 0;
}

/* Text with LF to the transcript. */
static int append_quoted(struct smtp_mail *m, const struct buf *text, struct err *e)
{
    int rc = buf_ok(text, "transcript entry", e);
    if (rc)
        return rc;
    OWN(own_buf) struct buf quoted;
    buf_init(&quoted, 3 * (size_t)SMTP_ENTRY_MAX);
    smtp_quoted(&quoted, buf_view(text));
    return append(m->transcript, &quoted, e);
}

static int add_present(struct smtp_mail *m, const struct mgc_room *room, struct err *e)
{
    if (!room->roster_count)
        return 0;
    OWN(own_buf) struct buf text;
    buf_init(&text, SMTP_ENTRY_MAX);
    buf_text(&text, "Present before the first record:\n");
    for (uint32_t i = 0; i < room->roster_count; i++) {
        smtp_present(&text, &room->roster[i]);
        if (text.n < HEAD_MAX)
            continue;
        int rc = append_quoted(m, &text, e);
        if (rc)
            return rc;
        buf_clear(&text);
    }
    buf_char(&text, '\n');
    return append_quoted(m, &text, e);
}

static void note_room(struct smtp_mail *m, const struct mgc_room *room)
{
    struct slice name = kit_slice(room->name.n ? room->name : room->uri);
    smtp_visible_short(&m->room_name, name, NAME_SHOWN);
    smtp_visible(&m->room_uri, kit_slice(room->uri), NULL);
    smtp_visible(&m->source, kit_slice(room->source), NULL);
    m->epoch = room->epoch;
}

int smtp_mail_begin(struct smtp_mail *m, const struct mgc_batch *batch,
                    const struct smtp_unit *unit, const struct mgc_record *first, struct err *e)
{
    *m = (struct smtp_mail){.batch = batch, .unit = unit, .records_hash = sha256_new()};
    struct buf *all[] = {&m->room_name, &m->room_uri,       &m->source,           &m->head,
                         &m->tail,      &m->before_records, &m->before_exceptions};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        buf_init(all[i], HEAD_MAX);
    if (!m->records_hash)
        return err_memory(e, "mail digest");
    int rc = file_scratch(batch->scratch, &m->transcript, e);
    if (!rc)
        rc = file_scratch(batch->scratch, &m->records, e);
    if (!rc)
        rc = file_scratch(batch->scratch, &m->exceptions, e);
    if (rc)
        return rc;
    if (first->room)
        note_room(m, first->room);
    else
        buf_text(&m->room_name, "records of no room");
    return first->room && unit->part == 1 ? add_present(m, first->room, e) : 0;
}

static int add_line(struct smtp_mail *m, const struct mgc_record *r, struct err *e)
{
    OWN(own_buf) struct buf text;
    buf_init(&text, SMTP_ENTRY_MAX);
    smtp_base64_add(&m->records_state, &text, kit_slice(r->raw));
    smtp_base64_add(&m->records_state, &text, SLICE("\n"));
    sha256_add(m->records_hash, r->raw.p, (size_t)r->raw.n);
    sha256_add(m->records_hash, "\n", 1);
    m->lines++;
    return append(m->records, &text, e);
}

static void put_exception(struct buf *b, const struct mgc_record *r)
{
    char hex[SHA256_HEX];
    hex_encode(r->sha256, SHA256_SIZE, hex);
    buf_char(b, '{');
    json_put_i64(b, "index", (int64_t)r->index);
    json_put_i64(b, "partition", r->partition);
    json_put_i64(b, "position", r->position);
    json_put_string(b, "sha256", slice_of(hex));
    json_key(b, "why");
    (void)json_write_lossy(b, r->note.n ? kit_slice(r->note) : SLICE("holds a line feed"));
    json_key(b, "base64");
    json_write_base64(b, kit_slice(r->raw));
    buf_text(b, "}\n");
}

static int add_exception(struct smtp_mail *m, const struct mgc_record *r, struct err *e)
{
    OWN(own_buf) struct buf line;
    OWN(own_buf) struct buf text;
    buf_init(&line, SMTP_ENTRY_MAX);
    buf_init(&text, SMTP_ENTRY_MAX);
    put_exception(&line, r);
    int rc = buf_ok(&line, "exception", e);
    if (rc)
        return rc;
    smtp_base64_add(&m->exceptions_state, &text, buf_view(&line));
    m->odd++;
    return append(m->exceptions, &text, e);
}

int smtp_mail_add(struct smtp_mail *m, const struct mgc_record *r, struct err *e)
{
    OWN(own_buf) struct buf text;
    buf_init(&text, SMTP_ENTRY_MAX);
    smtp_entry(&text, r);
    int rc = append_quoted(m, &text, e);
    if (rc)
        return rc;
    if (!(r->flags & MGC_RECORD_UNREADABLE))
        kit_span_add(&m->span, r);
    return is_line(r) ? add_line(m, r, e) : add_exception(m, r, e);
}

static uint64_t base64_cost(uint64_t bytes)
{
    return bytes / 57 * 78 + 78;
}

int smtp_mail_cost(const struct mgc_record *r, uint64_t *bytes, struct err *e)
{
    OWN(own_buf) struct buf text;
    OWN(own_buf) struct buf quoted;
    buf_init(&text, SMTP_ENTRY_MAX);
    buf_init(&quoted, 3 * (size_t)SMTP_ENTRY_MAX);
    smtp_entry(&text, r);
    smtp_quoted(&quoted, buf_view(&text));
    int rc = buf_ok(&text, "transcript entry", e);
    if (!rc)
        rc = buf_ok(&quoted, "transcript entry", e);
    if (rc)
        return rc;
    uint64_t raw = base64_cost(r->raw.n + 1);
    if (!is_line(r))
        raw = base64_cost(raw + 6 * r->note.n + 256);
    *bytes = quoted.n + raw;
    return 0;
}

uint64_t smtp_mail_base_cost(const struct mgc_record *first)
{
    uint64_t cost = 8192;
    for (uint32_t i = 0; first->room && i < first->room->roster_count; i++) {
        const struct mgc_participant *who = &first->room->roster[i];
        cost += 80 + 3 * (who->uri.n + who->name.n);
    }
    return cost;
}

static int end_base64(struct smtp_base64 *s, FILE *f, struct err *e)
{
    OWN(own_buf) struct buf text;
    buf_init(&text, HEAD_MAX);
    smtp_base64_end(s, &text);
    return append(f, &text, e);
}

static int measure(struct smtp_mail *m, struct err *e)
{
    struct sha256 *hash = sha256_new();
    if (!hash)
        return err_memory(e, "mail digest");
    int rc = smtp_mail_rewind(m, e);
    size_t got = 1;
    m->bytes = 0;
    while (!rc && got) {
        char part[16384];
        rc = smtp_mail_read(m, part, sizeof part, &got, e);
        if (rc)
            break;
        sha256_add(hash, part, got);
        m->bytes += got;
    }
    sha256_end(hash, m->sha256);
    sha256_free(hash);
    return rc ? rc : smtp_mail_rewind(m, e);
}

int smtp_mail_end(struct smtp_mail *m, const struct smtp_addresses *a, struct err *e)
{
    int rc = end_base64(&m->records_state, m->records, e);
    if (!rc)
        rc = end_base64(&m->exceptions_state, m->exceptions, e);
    if (rc)
        return rc;
    if (fflush(m->transcript) || fflush(m->records) || fflush(m->exceptions))
        return err_errno(e, ERR_RETRY, "scratch mail");
    smtp_mail_head(m, a);
    const struct buf *all[] = {&m->room_name, &m->room_uri,       &m->source,           &m->head,
                               &m->tail,      &m->before_records, &m->before_exceptions};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        rc = buf_ok(all[i], "mail headers", e);
        if (rc)
            return rc;
    }
    return measure(m, e);
}

void smtp_mail_done(struct smtp_mail *m)
{
    own_file(&m->transcript);
    own_file(&m->records);
    own_file(&m->exceptions);
    sha256_free(m->records_hash);
    buf_done(&m->room_name);
    buf_done(&m->room_uri);
    buf_done(&m->source);
    buf_done(&m->head);
    buf_done(&m->before_records);
    buf_done(&m->before_exceptions);
    buf_done(&m->tail);
    *m = (struct smtp_mail){0};
}

int smtp_mail_rewind(struct smtp_mail *m, struct err *e)
{
    m->segment = 0;
    m->offset = 0;
    if (fseeko(m->transcript, 0, SEEK_SET) || fseeko(m->records, 0, SEEK_SET) ||
        fseeko(m->exceptions, 0, SEEK_SET))
        return err_errno(e, ERR_RETRY, "scratch mail");
    return 0;
}

int smtp_mail_read(struct smtp_mail *m, char *out, size_t n, size_t *got, struct err *e)
{
    /* In memory and on disk by turns, in the order of the mail. */
    const struct {
        const struct buf *memory;
        FILE *file;
    } segments[SMTP_SEGMENTS + 1] = {
        {&m->head, NULL},   {NULL, m->transcript},         {&m->before_records, NULL},
        {NULL, m->records}, {&m->before_exceptions, NULL}, {NULL, m->exceptions},
        {&m->tail, NULL},
    };
    *got = 0;
    while (m->segment <= SMTP_SEGMENTS && *got == 0) {
        const struct buf *memory = segments[m->segment].memory;
        if (memory) {
            *got = memory->n - m->offset < n ? memory->n - m->offset : n;
            if (*got)
                memcpy(out, memory->p + m->offset, *got);
            m->offset += *got;
        } else {
            *got = fread(out, 1, n, segments[m->segment].file);
            if (*got == 0 && ferror(segments[m->segment].file))
                return err_errno(e, ERR_RETRY, "scratch mail");
        }
        if (*got == 0) {
            m->segment++;
            m->offset = 0;
        }
    }
    return 0;
}
