/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/xml/xml_verify.h"

#include "adapters/kit/kit.h"
#include "adapters/xml/xml_record.h"
#include "base/own.h"

#include <errno.h>
#include <string.h>

static const char wrap_start[] = "<hf:line xmlns:hf=\"" XML_NAMESPACE "\">";
static const char wrap_end[] = "</hf:line>";

static int hash_file(const char *path, char hex[SHA256_HEX], struct err *e)
{
    OWN(own_file) FILE *f = fopen(path, "re");
    if (!f)
        return err_errno(e, errno == ENOENT ? ERR_FAULT : ERR_RETRY, "open %s", path);
    struct sha256 *hash = sha256_new();
    if (!hash)
        return err_memory(e, "xml digest");
    for (;;) {
        char part[16384];
        size_t n = fread(part, 1, sizeof part, f);
        if (n == 0)
            break;
        sha256_add(hash, part, n);
    }
    uint8_t digest[SHA256_SIZE];
    sha256_end(hash, digest);
    sha256_free(hash);
    if (ferror(f))
        return err_errno(e, ERR_RETRY, "read %s", path);
    hex_encode(digest, sizeof digest, hex);
    return 0;
}

static int open_lines(struct xml_lines *l, const char *path, struct err *e)
{
    l->file = fopen(path, "re");
    if (!l->file)
        return err_errno(e, errno == ENOENT ? ERR_FAULT : ERR_RETRY, "open %s", path);
    buf_init(&l->line, XML_LINE_MAX + sizeof wrap_start + sizeof wrap_end);
    return 0;
}

int xml_check_begin(struct xml_check *c, const char *path, struct slice want_sha256, struct err *e)
{
    *c = (struct xml_check){.path = path};
    if (want_sha256.p) {
        char hex[SHA256_HEX];
        int rc = hash_file(path, hex, e);
        if (rc)
            return rc;
        if (!slice_is(want_sha256, hex))
            return err_set(e, ERR_FAULT, "%s: its sha256 is not the receipt's", path);
    }
    c->parser = xml_doc_new();
    if (!c->parser)
        return err_memory(e, "xml parser");
    int rc = open_lines(&c->messages, path, e);
    return rc ? rc : open_lines(&c->others, path, e);
}

void xml_check_done(struct xml_check *c)
{
    own_file(&c->messages.file);
    own_file(&c->others.file);
    buf_done(&c->messages.line);
    buf_done(&c->others.line);
    xml_doc_free(c->parser);
    *c = (struct xml_check){0};
}

/* One line without its line feed, wrapped so that it is a document. False at the end. */
static bool read_line(struct xml_lines *l)
{
    char part[16384];
    buf_clear(&l->line);
    buf_text(&l->line, wrap_start);
    size_t start = l->line.n;
    while (fgets(part, sizeof part, l->file)) {
        size_t n = strlen(part);
        bool whole = n > 0 && part[n - 1] == '\n';
        buf_add(&l->line, part, whole ? n - 1 : n);
        if (whole || l->line.failed)
            break;
    }
    bool some = l->line.n > start || l->line.failed;
    buf_text(&l->line, wrap_end);
    return some;
}

static bool begins(const struct xml_lines *l, const char *with)
{
    struct slice line = {l->line.p + sizeof wrap_start - 1, l->line.n - (sizeof wrap_start - 1)};
    return slice_starts(slice_trim(line), with);
}

/* The next line that is a record of the wanted sort, parsed; *node NULL at the document's end. */
static int next_record(struct xml_check *c, bool message, const struct xml_node **node,
                       struct err *e)
{
    static const struct xml_limits limits = {XML_LINE_MAX, 8, 1000};
    struct xml_lines *l = message ? &c->messages : &c->others;
    *node = NULL;
    while (read_line(l)) {
        int rc = buf_ok(&l->line, c->path, e);
        if (rc)
            return err_set(e, rc == ERR_REJECTED ? ERR_FAULT : rc, "%s: a line can't be held",
                           c->path);
        l->ended = begins(l, "</Conversations>");
        if (message ? !begins(l, "<Message ")
                    : !begins(l, "<hf:Record ") && !begins(l, "<hf:Exception "))
            continue;
        const struct xml_node *root;
        rc = xml_parse(c->parser, buf_view(&l->line), &limits, &root, e);
        if (rc)
            return err_set(e, rc == ERR_REJECTED ? ERR_FAULT : rc,
                           "%s: a record's line can't be parsed", c->path);
        if (!root->child || (message && xml_get(root->child, "roster").p))
            continue;
        *node = root->child;
        return 0;
    }
    return ferror(l->file) ? err_errno(e, ERR_RETRY, "read %s", c->path) : 0;
}

static int differs(const struct xml_check *c, const struct mgc_record *r, const char *what,
                   struct err *e)
{
    return err_set(e, ERR_FAULT, "%s: record %llu: %s", c->path, (unsigned long long)r->index,
                   what);
}

/* Whether base64 text stands for exactly these bytes. */
static bool base64_is(struct slice text, struct slice bytes)
{
    if (text.n != base64_encoded_size(bytes.n))
        return false;
    for (size_t at = 0; at < bytes.n; at += 57) {
        char piece[77];
        size_t n = bytes.n - at < 57 ? bytes.n - at : 57;
        base64_encode(bytes.p + at, n, piece);
        if (memcmp(text.p + at / 3 * 4, piece, base64_encoded_size(n)) != 0)
            return false;
    }
    return true;
}

static bool same_text(const struct xml_node *node, const struct mgc_record *r)
{
    struct slice exact = xml_get(node, "bytes");
    if (r->text_bytes.n)
        return slice_eq(exact, kit_slice(r->text_bytes));
    if (exact.p)
        return base64_is(exact, kit_slice(r->text));
    return slice_eq(xml_get(node, "content"), kit_slice(r->text));
}

static bool same_raw(const struct xml_node *node, const struct mgc_record *r)
{
    if (slice_is(xml_get(node, "encoding"), "base64"))
        return base64_is(node->text, kit_slice(r->raw));
    return slice_eq(node->text, kit_slice(r->raw));
}

int xml_check_record(struct xml_check *c, const struct mgc_record *r, struct err *e)
{
    bool message = xml_is_message(r);
    const struct xml_node *node;
    int rc = next_record(c, message, &node, e);
    if (rc)
        return rc;
    if (!node)
        return differs(c, r, "missing", e);

    int64_t index;
    if (!text_i64(xml_get(node, "index"), &index) || (uint64_t)index != r->index)
        return differs(c, r, "another record is in its place", e);
    char hex[SHA256_HEX];
    hex_encode(r->sha256, sizeof r->sha256, hex);
    if (!slice_is(xml_get(node, "sha256"), hex))
        return differs(c, r, "its sha256 differs", e);
    if (message && r->kind == MGC_KIND_POST && !same_text(node, r))
        return differs(c, r, "its text differs", e);
    if (!message && !same_raw(node, r))
        return differs(c, r, "its bytes differ", e);
    return 0;
}

int xml_check_end(struct xml_check *c, struct err *e)
{
    const struct xml_node *message = NULL;
    const struct xml_node *other = NULL;
    int rc = next_record(c, true, &message, e);
    if (!rc)
        rc = next_record(c, false, &other, e);
    if (rc)
        return rc;
    if (message || other)
        return err_set(e, ERR_FAULT, "%s: holds more records than its batch", c->path);
    if (!c->messages.ended)
        return err_set(e, ERR_FAULT, "%s: its end is missing", c->path);
    return 0;
}
