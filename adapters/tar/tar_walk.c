/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest is the second member; all others are compared with its list, in its order. */
#include "adapters/kit/walk.h"
#include "adapters/tar/tar_plan.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum {
    PART = 65536,
    MANIFEST_MAX = 64 << 20,
    MANIFEST_NODES = 4000000,
    MANIFEST_DEPTH = 16,
    RECORD_MAX = 16 << 20, /* of an exception: whatever a queue may carry */
};

struct walk {
    struct archive *archive;
    struct sha256 *member, *batch;
    struct json_doc *doc;
    struct buf manifest, line;
    const struct json *next; /* what the manifest lists next */
    struct kit_walked *out;
    kit_walk_fn *visit;
    void *arg;
    int64_t records;
    bool exceptions;
};

static void own_walk(struct walk *w)
{
    if (w->archive)
        (void)archive_read_free(w->archive);
    sha256_free(w->member);
    sha256_free(w->batch);
    json_doc_free(w->doc);
    buf_done(&w->manifest);
    buf_done(&w->line);
}

static int open_walk(struct walk *w, const char *path, struct err *e)
{
    w->archive = archive_read_new();
    w->member = sha256_new();
    w->batch = sha256_new();
    w->doc = json_doc_new();
    buf_init(&w->manifest, MANIFEST_MAX);
    buf_init(&w->line, RECORD_MAX);
    if (!w->archive || !w->member || !w->batch || !w->doc)
        return err_memory(e, "reading an archive");
    if (archive_read_support_filter_zstd(w->archive) != ARCHIVE_OK ||
        archive_read_support_format_tar(w->archive) != ARCHIVE_OK)
        return err_set(e, ERR_CONFIG, "libarchive: %s", archive_error_string(w->archive));
    if (archive_read_open_filename(w->archive, path, PART) != ARCHIVE_OK)
        return err_set(e, ERR_FAULT, "%s", archive_error_string(w->archive));
    return 0;
}

static int damaged(const struct walk *w, const char *member, struct err *e)
{
    const char *why = archive_error_string(w->archive);
    return err_set(e, ERR_FAULT, "member %.160s: %s", member, why ? why : "can't be read");
}

/* 1: *name is the next member's, valid until the next call; 0: the end. */
static int next_member(struct walk *w, const char **name, struct err *e)
{
    struct archive_entry *entry;
    int rc = archive_read_next_header(w->archive, &entry);
    if (rc == ARCHIVE_EOF)
        return 0;
    if (rc != ARCHIVE_OK)
        return damaged(w, "header", e);
    *name = archive_entry_pathname(entry);
    return *name ? 1 : err_set(e, ERR_FAULT, "a member without a name");
}

static int read_text(struct walk *w, const char *wanted, struct buf *out, struct err *e)
{
    const char *name = NULL;
    int rc = next_member(w, &name, e);
    if (rc < 0)
        return rc;
    if (rc == 0 || strcmp(name, wanted) != 0)
        return err_set(e, ERR_FAULT, "%s is not where it belongs", wanted);
    for (;;) {
        char part[PART];
        la_ssize_t n = archive_read_data(w->archive, part, sizeof part);
        if (n < 0)
            return damaged(w, wanted, e);
        if (n == 0)
            return buf_ok(out, wanted, e);
        buf_add(out, part, (size_t)n);
    }
}

static bool hex_of(const struct json *object, const char *key, uint8_t out[SHA256_SIZE])
{
    return hex_decode(json_string(object, key), out, SHA256_SIZE);
}

static int read_head(struct walk *w, struct err *e)
{
    static const struct json_limits limits = {MANIFEST_MAX, MANIFEST_DEPTH, MANIFEST_NODES};
    struct kit_walked *o = w->out;
    const struct json *root = NULL;
    int rc = json_parse(w->doc, buf_view(&w->manifest), &limits, &root, e);
    if (rc < 0)
        return err_set(e, rc == ERR_REJECTED ? ERR_FAULT : rc, "its manifest can't be read");
    const struct json *members = json_get(root, "members");
    if (!slice_is(json_string(root, "format"), "holdfast-tar-1") || !members ||
        members->type != JSON_ARRAY || !json_i64(root, "number", &o->number) ||
        !json_i64(root, "records", &o->records) || !json_i64(root, "bytes", &o->bytes) ||
        !slice_copy(json_string(root, "batch"), o->batch, sizeof o->batch) ||
        !uuid_valid(slice_of(o->batch)) ||
        !slice_copy(json_string(root, "instance"), o->instance, sizeof o->instance) ||
        !clock_parse(json_string(root, "cut"), &o->cut_us) || !hex_of(root, "sha256", o->sha256) ||
        o->number < 1 || o->records < 1 || o->bytes < 0)
        return err_set(e, ERR_FAULT, "its manifest is none of this version's");
    w->next = members->child;
    return 0;
}

static int give(struct walk *w, struct slice raw, bool exception, struct err *e)
{
    uint8_t hash[SHA256_SIZE];
    sha256(raw.p ? raw.p : "", raw.n, hash);
    sha256_add_part(w->batch, raw.p, raw.n);
    w->records++;
    w->exceptions |= exception;
    const struct kit_walk_record r = {raw, hash, exception};
    return w->visit(w->arg, &r, e);
}

/* The lines that a part completes; what is behind the last one waits in w->line. */
static int give_lines(struct walk *w, struct slice part, struct err *e)
{
    int rc = 0;
    while (rc == 0 && part.n) {
        const char *end = memchr(part.p, '\n', part.n);
        size_t n = end ? (size_t)(end - part.p) : part.n;
        buf_add(&w->line, part.p, n);
        rc = buf_ok(&w->line, "a record", e);
        if (rc < 0 || !end)
            return rc;
        rc = give(w, buf_view(&w->line), false, e);
        buf_clear(&w->line);
        part = (struct slice){part.p + n + 1, part.n - n - 1};
    }
    return rc;
}

/* The README, too, is only compared. */
static int walk_content(struct walk *w, const char *name, int64_t *bytes, struct err *e)
{
    const bool lines = strncmp(name, "records/", 8) == 0;
    const bool exception = strncmp(name, "exceptions/", 11) == 0;
    int rc = 0;
    *bytes = 0;
    buf_clear(&w->line);
    while (rc == 0) {
        char part[PART];
        la_ssize_t n = archive_read_data(w->archive, part, sizeof part);
        if (n < 0)
            return damaged(w, name, e);
        if (n == 0)
            break;
        sha256_add(w->member, part, (size_t)n);
        *bytes += n;
        if (lines)
            rc = give_lines(w, (struct slice){part, (size_t)n}, e);
        else if (exception)
            buf_add(&w->line, part, (size_t)n);
    }
    if (rc == 0 && lines && w->line.n)
        return err_set(e, ERR_FAULT, "member %.160s is cut short", name);
    if (rc == 0 && exception)
        rc = buf_ok(&w->line, "an exception", e);
    return rc == 0 && exception ? give(w, buf_view(&w->line), true, e) : rc;
}

static int walk_member(struct walk *w, const char *found, struct err *e)
{
    char name[200];
    uint8_t wanted[SHA256_SIZE];
    uint8_t digest[SHA256_SIZE];
    int64_t bytes = 0;
    int64_t listed = -1;
    if (!w->next || !slice_is(json_string(w->next, "name"), found) ||
        !slice_copy(slice_of(found), name, sizeof name))
        return err_set(e, ERR_FAULT, "member %.160s is not what its manifest lists next", found);
    int rc = walk_content(w, name, &bytes, e);
    if (rc < 0)
        return rc;
    sha256_end(w->member, digest);
    if (!json_i64(w->next, "bytes", &listed) || listed != bytes ||
        !hex_of(w->next, "sha256", wanted) || memcmp(wanted, digest, sizeof digest) != 0)
        return err_set(e, ERR_FAULT, "member %s has other content than its manifest says", name);
    w->next = w->next->next;
    return 0;
}

/* The order of exceptions among the records is known to their indexes alone: the members' digests
 * stand for them. */
static int walk_end(struct walk *w, struct err *e)
{
    uint8_t digest[SHA256_SIZE];
    sha256_end(w->batch, digest);
    if (w->next)
        return err_set(e, ERR_FAULT, "member %.*s is missing",
                       SLICE_ARG(json_string(w->next, "name")));
    if (w->records != w->out->records)
        return err_set(e, ERR_FAULT, "it holds %" PRId64 " records, its manifest says %" PRId64,
                       w->records, w->out->records);
    if (!w->exceptions && memcmp(digest, w->out->sha256, sizeof digest) != 0)
        return err_set(e, ERR_FAULT, "its records are not those of the batch's digest");
    return 0;
}

/* README.txt lies before the manifest that lists it. */
static int skip_readme(struct walk *w, const struct buf *readme, struct err *e)
{
    uint8_t wanted[SHA256_SIZE];
    uint8_t digest[SHA256_SIZE];
    sha256(readme->p ? readme->p : "", readme->n, digest);
    if (!w->next || !slice_is(json_string(w->next, "name"), TAR_README) ||
        !hex_of(w->next, "sha256", wanted) || memcmp(wanted, digest, sizeof digest) != 0)
        return err_set(e, ERR_FAULT, "member %s has other content than its manifest says",
                       TAR_README);
    w->next = w->next->next;
    return 0;
}

static int walk_all(struct walk *w, const char *path, struct err *e)
{
    OWN(own_buf) struct buf readme;
    const char *name = NULL;
    buf_init(&readme, PART);
    int rc = open_walk(w, path, e);
    if (rc == 0)
        rc = read_text(w, TAR_README, &readme, e);
    if (rc == 0)
        rc = read_text(w, TAR_MANIFEST, &w->manifest, e);
    if (rc == 0)
        rc = read_head(w, e);
    if (rc == 0)
        rc = skip_readme(w, &readme, e);
    while (rc == 0 && (rc = next_member(w, &name, e)) == 1)
        rc = walk_member(w, name, e);
    return rc == 0 ? walk_end(w, e) : rc;
}

int tar_walk(const char *path, struct kit_walked *out, kit_walk_fn *visit, void *arg, struct err *e)
{
    OWN(own_walk) struct walk w = {.out = out, .visit = visit, .arg = arg};
    *out = (struct kit_walked){0};
    int rc = walk_all(&w, path, e);
    return rc < 0 ? err_wrap(e, "%s", path) : 0;
}
