/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/xml/xml_document.h"

#include "adapters/kit/kit.h"
#include "adapters/xml/xml_record.h"
#include "base/own.h"
#include "base/xml.h"

#include <errno.h>
#include <string.h>

enum { FLUSH_AT = 64 * 1024 };

static int flush_text(struct xml_document *d, struct err *e)
{
    int rc = buf_ok(&d->text, "xml line", e);
    if (rc || d->text.n == 0)
        return rc;
    rc = file_write_all(d->temp.fd, d->text.p, d->text.n, e);
    if (rc)
        return rc;
    sha256_add(d->hash, d->text.p, d->text.n);
    d->bytes += d->text.n;
    buf_clear(&d->text);
    return 0;
}

static int flush_when_full(struct xml_document *d, struct err *e)
{
    return d->text.n < FLUSH_AT && !d->text.failed ? 0 : flush_text(d, e);
}

static void put_root(struct buf *b, const struct mgc_batch *batch)
{
    buf_text(b, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
                "<Conversations xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\""
                " xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\""
                " xmlns:hf=\"" XML_NAMESPACE "\"");
    (void)xml_write_attr(b, "hf:batch", kit_slice(batch->id));
    (void)xml_write_attr(b, "hf:instance", kit_slice(batch->instance));
    xml_put_number(b, "hf:number", (int64_t)batch->number);
    xml_put_number(b, "hf:records", (int64_t)batch->records);
    xml_put_digest(b, "hf:sha256", batch->sha256);
    xml_put_clock(b, "hf:cut", batch->cut_us);
    buf_text(b, ">\n");
}

int xml_document_begin(struct xml_document *d, const char *directory, const char *name,
                       const struct mgc_batch *batch, struct err *e)
{
    *d = (struct xml_document){.directory = directory,
                               .temp = {.dir_fd = -1, .temp_dir_fd = -1, .fd = -1}};
    buf_init(&d->text, 2 * (size_t)XML_LINE_MAX);
    d->hash = sha256_new();
    if (!d->hash)
        return err_memory(e, "xml digest");
    int rc = file_scratch(batch->scratch, &d->others, e);
    if (!rc)
        rc = file_draft_open(&d->temp, directory, name, 0440, e);
    if (!rc)
        put_root(&d->text, batch);
    return rc;
}

static int open_room(struct xml_document *d, const struct mgc_record *r, struct err *e)
{
    const struct mgc_room *room = r->room;
    struct buf *b = &d->text;
    d->in_room = true;
    d->room = room->index;
    d->first_us = d->last_us = r->time_us;
    buf_text(b, "  <Conversation>\n    ");
    xml_put_channel(b, room);
    buf_text(b, "\n    ");
    if (room->roster_count)
        xml_put_present(b, "FirstMessage", &room->roster[0]);
    else
        xml_put_message(b, "FirstMessage", r);
    buf_text(b, "\n    <Messages>\n");
    for (uint32_t i = 0; i < room->roster_count; i++) {
        buf_text(b, "      ");
        xml_put_present(b, "Message", &room->roster[i]);
        buf_char(b, '\n');
        int rc = flush_when_full(d, e);
        if (rc)
            return rc;
    }
    return flush_when_full(d, e);
}

static void close_room(struct xml_document *d)
{
    if (!d->in_room)
        return;
    d->in_room = false;
    buf_text(&d->text, "    </Messages>\n    ");
    xml_put_time(&d->text, "StartTimeUTC", d->first_us);
    buf_text(&d->text, "\n    ");
    xml_put_time(&d->text, "EndTimeUTC", d->last_us);
    buf_text(&d->text, "\n  </Conversation>\n");
}

static int add_message(struct xml_document *d, const struct mgc_record *r, struct err *e)
{
    if (!d->in_room || d->room != r->room->index) {
        close_room(d);
        int rc = open_room(d, r, e);
        if (rc)
            return rc;
    }
    if (r->time_us < d->first_us)
        d->first_us = r->time_us;
    if (r->time_us > d->last_us)
        d->last_us = r->time_us;
    buf_text(&d->text, "      ");
    xml_put_message(&d->text, "Message", r);
    buf_char(&d->text, '\n');
    return flush_when_full(d, e);
}

static int add_other(struct xml_document *d, const struct mgc_record *r, struct err *e)
{
    OWN(own_buf) struct buf line;
    buf_init(&line, XML_LINE_MAX);
    buf_text(&line, "    ");
    xml_put_other(&line, r);
    buf_char(&line, '\n');
    int rc = buf_ok(&line, "xml line", e);
    if (rc)
        return rc;
    d->has_others = true;
    if (fwrite(line.p, 1, line.n, d->others) != line.n)
        return err_errno(e, ERR_RETRY, "scratch file");
    return 0;
}

int xml_document_add(struct xml_document *d, const struct mgc_record *r, struct err *e)
{
    return xml_is_message(r) ? add_message(d, r, e) : add_other(d, r, e);
}

static int append_others(struct xml_document *d, struct err *e)
{
    if (!d->has_others)
        return 0;
    if (fflush(d->others) || fseeko(d->others, 0, SEEK_SET))
        return err_errno(e, ERR_RETRY, "scratch file");
    buf_text(&d->text, "  <hf:Records>\n");
    for (;;) {
        char part[16384];
        size_t n = fread(part, 1, sizeof part, d->others);
        if (n == 0)
            break;
        buf_add(&d->text, part, n);
        int rc = flush_when_full(d, e);
        if (rc)
            return rc;
    }
    if (ferror(d->others))
        return err_errno(e, ERR_RETRY, "scratch file");
    buf_text(&d->text, "  </hf:Records>\n");
    return 0;
}

static int compare_existing(const struct xml_document *d, const char *name,
                            const struct xml_written *w, struct err *e)
{
    OWN(own_mem) char *path = NULL;
    if (asprintf(&path, "%s/%s", d->directory, name) < 0)
        return err_memory(e, "path");
    OWN(own_file) FILE *f = fopen(path, "re");
    if (!f)
        return err_errno(e, ERR_RETRY, "open %s", path);
    uint64_t bytes = 0;
    for (;;) {
        char part[16384];
        size_t n = fread(part, 1, sizeof part, f);
        if (n == 0)
            break;
        sha256_add(d->hash, part, n);
        bytes += n;
    }
    if (ferror(f))
        return err_errno(e, ERR_RETRY, "read %s", path);
    uint8_t digest[SHA256_SIZE];
    sha256_end(d->hash, digest);
    if (bytes != w->bytes || memcmp(digest, w->sha256, sizeof digest) != 0)
        return err_set(e, ERR_FAULT, "%s: exists with other content than this batch has", path);
    /* Its maker may have died before the name was durable. */
    return file_sync_dir(d->directory, e);
}

int xml_document_end(struct xml_document *d, struct xml_written *w, struct err *e)
{
    char name[sizeof d->temp.name];
    memcpy(name, d->temp.name, sizeof name);
    close_room(d);
    int rc = append_others(d, e);
    if (rc)
        return rc;
    buf_text(&d->text, "</Conversations>\n");
    rc = flush_text(d, e);
    if (rc)
        return rc;
    w->bytes = d->bytes;
    sha256_end(d->hash, w->sha256);
    rc = file_temp_publish(&d->temp, e);
    return rc == ERR_CONFLICT ? compare_existing(d, name, w, e) : rc;
}

void xml_document_done(struct xml_document *d)
{
    if (!d->directory)
        return;
    file_temp_abandon(&d->temp);
    buf_done(&d->text);
    sha256_free(d->hash);
    own_file(&d->others);
    *d = (struct xml_document){0};
}
