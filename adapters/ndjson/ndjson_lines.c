/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/ndjson/ndjson_lines.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"

#include <string.h>

enum { MANIFEST_MAX = 16 << 20, EXCEPTION_MAX = 96 << 20 };

/* Neighbouring records with the same marks are one entry: a source without numbers marks all. */
struct run {
    uint64_t first, last;
    uint32_t flags; /* 0: none is open */
};

struct pass {
    ndjson_take *take;
    void *arg;
    struct run run;
    struct buf marks; /* the entries closed so far */
    uint64_t exceptions;
};

static void own_pass(struct pass *p)
{
    buf_done(&p->marks);
}

static bool is_line(const struct mgc_record *r)
{
    return !(r->flags & MGC_RECORD_UNREADABLE) && r->raw.n &&
           !memchr(r->raw.p, '\n', (size_t)r->raw.n);
}

static void put_hex(struct buf *b, const char *key, const uint8_t digest[SHA256_SIZE])
{
    char hex[SHA256_HEX];
    hex_encode(digest, SHA256_SIZE, hex);
    json_put_string(b, key, slice_of(hex));
}

static void put_marks(struct buf *b, uint32_t flags)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } names[] = {{MGC_RECORD_LATE, "late"},
                 {MGC_RECORD_UNPROVABLE, "unprovable"},
                 {MGC_RECORD_UNREADABLE, "unreadable"},
                 {MGC_RECORD_FORK, "fork"},
                 {MGC_RECORD_REPEAT, "repeat"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (flags & names[i].flag)
            buf_format(b, ",\"%s\"", names[i].name);
}

static void close_run(struct pass *p)
{
    if (!p->run.flags)
        return;
    json_comma(&p->marks);
    buf_format(&p->marks, "[%llu,%llu", (unsigned long long)p->run.first,
               (unsigned long long)p->run.last);
    put_marks(&p->marks, p->run.flags);
    buf_char(&p->marks, ']');
}

static void mark(struct pass *p, const struct mgc_record *r)
{
    if (r->flags != p->run.flags) {
        close_run(p);
        p->run = (struct run){.first = r->index, .flags = r->flags};
    }
    p->run.last = r->index;
}

static int put_exception(struct pass *p, const struct mgc_record *r, struct err *e)
{
    OWN(own_buf) struct buf line;
    buf_init(&line, EXCEPTION_MAX);
    buf_text(&line, "{\"exception\":{");
    json_put_i64(&line, "index", (int64_t)r->index);
    json_put_i64(&line, "partition", r->partition);
    json_put_i64(&line, "position", r->position);
    put_hex(&line, "sha256", r->sha256);
    json_key(&line, "why");
    (void)json_write_lossy(&line, r->note.n ? kit_slice(r->note) : SLICE("holds a line feed"));
    json_key(&line, "base64");
    json_write_base64(&line, kit_slice(r->raw));
    buf_text(&line, "}}\n");
    p->exceptions++;
    int rc = buf_ok(&line, "an exception", e);
    return rc ? rc : p->take(p->arg, line.p, line.n, e);
}

static int put_record(struct pass *p, const struct mgc_record *r, struct err *e)
{
    mark(p, r);
    if (!is_line(r))
        return put_exception(p, r, e);
    int rc = p->take(p->arg, r->raw.p, (size_t)r->raw.n, e);
    return rc ? rc : p->take(p->arg, "\n", 1, e);
}

static int put_manifest(struct pass *p, const struct mgc_batch *b, struct err *e)
{
    OWN(own_buf) struct buf line;
    char cut[CLOCK_TEXT_SIZE];
    close_run(p);
    clock_format(b->cut_us, cut);
    buf_init(&line, 2 * (size_t)MANIFEST_MAX);
    buf_text(&line, "{\"manifest\":{");
    json_put_i64(&line, "format", 1);
    json_put_string(&line, "batch", kit_slice(b->id));
    json_put_string(&line, "instance", kit_slice(b->instance));
    json_put_i64(&line, "number", (int64_t)b->number);
    json_put_string(&line, "cut", slice_of(cut));
    json_put_i64(&line, "records", (int64_t)b->records);
    json_put_i64(&line, "exceptions", (int64_t)p->exceptions);
    put_hex(&line, "sha256", b->sha256);
    json_key(&line, "marks");
    buf_char(&line, '[');
    buf_slice(&line, buf_view(&p->marks));
    buf_text(&line, "]}}\n");
    int rc = buf_ok(&p->marks, "the list of marked records", e);
    if (!rc)
        rc = buf_ok(&line, "the manifest", e);
    return rc ? rc : p->take(p->arg, line.p, line.n, e);
}

int ndjson_lines(struct kit_source *s, ndjson_take *take, void *arg, struct err *e)
{
    OWN(own_pass) struct pass p = {.take = take, .arg = arg};
    buf_init(&p.marks, MANIFEST_MAX);
    int rc = kit_source_rewind(s, e);
    while (!rc) {
        const struct mgc_record *r;
        rc = kit_source_next(s, &r, e);
        if (!rc && !r)
            return put_manifest(&p, s->batch, e);
        if (!rc)
            rc = put_record(&p, r, e);
    }
    return rc;
}
