/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each record is a line of its own in our documents, with its digest among the attributes, whose
 * values hold no bare quotation marks or angle brackets. A Message without digest is the roster's,
 * or the first one repeated.
 */
#include "adapters/kit/walk.h"
#include "base/clock.h"
#include "base/own.h"

#include <inttypes.h>
#include <string.h>

enum { LINE_MAX_BYTES = 64 << 20 };

struct walk {
    struct kit_walked *out;
    kit_walk_fn *visit;
    void *arg;
    int64_t records;
    bool begun, ended;
};

/* The value of an attribute of the line's first tag; before: ` name="`. */
static struct slice attribute(struct slice line, const char *before)
{
    const char *close = memchr(line.p, '>', line.n);
    size_t n = close ? (size_t)(close - line.p) : line.n;
    const char *at = memmem(line.p, n, before, strlen(before));
    if (!at)
        return (struct slice){0};
    at += strlen(before);
    const char *quote = memchr(at, '"', n - (size_t)(at - line.p));
    return quote ? (struct slice){at, (size_t)(quote - at)} : (struct slice){0};
}

static int begin(struct walk *w, struct slice line, struct err *e)
{
    struct kit_walked *o = w->out;
    w->begun = true;
    if (!slice_copy(attribute(line, " hf:batch=\""), o->batch, sizeof o->batch) ||
        !uuid_valid(slice_of(o->batch)) ||
        !slice_copy(attribute(line, " hf:instance=\""), o->instance, sizeof o->instance) ||
        !text_i64(attribute(line, " hf:number=\""), &o->number) ||
        !text_i64(attribute(line, " hf:records=\""), &o->records) ||
        !hex_decode(attribute(line, " hf:sha256=\""), o->sha256, SHA256_SIZE) ||
        !clock_parse(attribute(line, " hf:cut=\""), &o->cut_us) || o->number < 1)
        return err_set(e, ERR_FAULT, "its first element is none of this version's");
    return 0;
}

static int on_line(void *arg, struct slice whole, struct err *e)
{
    struct walk *w = arg;
    struct slice line = slice_trim(whole);
    uint8_t hash[SHA256_SIZE];
    const bool message = slice_starts(line, "<Message ");
    const bool exception = slice_starts(line, "<hf:Exception ");
    if (slice_starts(line, "<Conversations "))
        return begin(w, line, e);
    if (slice_starts(line, "</Conversations>"))
        w->ended = true;
    if (!message && !exception && !slice_starts(line, "<hf:Record "))
        return 0;
    struct slice hex = attribute(line, message ? " hf:sha256=\"" : " sha256=\"");
    if (!hex.p && message)
        return 0;
    if (!w->begun || w->ended || !hex_decode(hex, hash, sizeof hash))
        return err_set(e, ERR_FAULT, "a record in it is damaged");
    w->records++;
    const struct kit_walk_record r = {{NULL, 0}, hash, exception};
    return w->visit(w->arg, &r, e);
}

int xml_walk(const char *path, struct kit_walked *out, kit_walk_fn *visit, void *arg, struct err *e)
{
    struct walk w = {.out = out, .visit = visit, .arg = arg};
    *out = (struct kit_walked){0};
    int rc = kit_lines(path, LINE_MAX_BYTES, on_line, &w, e);
    if (rc == 0 && (!w.begun || !w.ended))
        rc = err_set(e, ERR_FAULT, "it is no whole document");
    if (rc == 0 && w.records != out->records)
        rc = err_set(e, ERR_FAULT,
                     "it lists %" PRId64 " records of %" PRId64
                     " (a document for each room can't be read by itself)",
                     w.records, out->records);
    return rc < 0 ? err_wrap(e, "%s", path) : 0;
}
