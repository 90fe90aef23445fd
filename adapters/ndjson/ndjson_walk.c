/* SPDX-License-Identifier: Apache-2.0 */
/* Lines without `specversion` are ours: an exception in a record's place, the manifest at the end.
 */
#include "adapters/kit/walk.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"

#include <inttypes.h>
#include <string.h>

enum { LINE_MAX_BYTES = 32 << 20, NODES = 1000000, DEPTH = 40 };

struct walk {
    struct sha256 *sum;
    struct json_doc *doc;
    struct kit_walked *out;
    kit_walk_fn *visit;
    void *arg;
    int64_t records, bytes;
    bool ended;
};

static void own_walk(struct walk *w)
{
    sha256_free(w->sum);
    json_doc_free(w->doc);
}

static int give(struct walk *w, struct slice raw, bool exception, struct err *e)
{
    uint8_t hash[SHA256_SIZE];
    sha256(raw.p ? raw.p : "", raw.n, hash);
    sha256_add_part(w->sum, raw.p, raw.n);
    w->records++;
    w->bytes += (int64_t)raw.n;
    const struct kit_walk_record r = {raw, hash, exception};
    return w->visit(w->arg, &r, e);
}

static int give_exception(struct walk *w, const struct json *x, struct err *e)
{
    struct slice text = json_string(x, "base64");
    OWN(own_mem) char *raw = malloc(3 * (text.n / 4) + 1);
    size_t n = 0;
    if (!raw)
        return err_memory(e, "an exception");
    if (!text.p || !base64_decode(text, raw, &n))
        return err_set(e, ERR_FAULT, "an exception is damaged");
    return give(w, (struct slice){raw, n}, true, e);
}

static int end(struct walk *w, const struct json *m, struct err *e)
{
    struct kit_walked *o = w->out;
    uint8_t digest[SHA256_SIZE];
    int64_t format = 0;
    sha256_end(w->sum, digest);
    w->ended = true;
    if (!json_i64(m, "format", &format) || format != 1 || !json_i64(m, "number", &o->number) ||
        !json_i64(m, "records", &o->records) ||
        !slice_copy(json_string(m, "batch"), o->batch, sizeof o->batch) ||
        !uuid_valid(slice_of(o->batch)) ||
        !slice_copy(json_string(m, "instance"), o->instance, sizeof o->instance) ||
        !clock_parse(json_string(m, "cut"), &o->cut_us) ||
        !hex_decode(json_string(m, "sha256"), o->sha256, SHA256_SIZE) || o->number < 1)
        return err_set(e, ERR_FAULT, "its manifest is none of this version's");
    o->bytes = w->bytes;
    if (o->records != w->records || memcmp(digest, o->sha256, sizeof digest) != 0)
        return err_set(e, ERR_FAULT, "its records are not those of the batch's digest");
    return 0;
}

static int on_line(void *arg, struct slice line, struct err *e)
{
    static const struct json_limits limits = {LINE_MAX_BYTES, DEPTH, NODES};
    struct walk *w = arg;
    const struct json *root = NULL;
    if (w->ended)
        return err_set(e, ERR_FAULT, "there is something behind its manifest");
    if (!slice_starts(line, "{\"exception\":{") && !slice_starts(line, "{\"manifest\":{"))
        return give(w, line, false, e);
    int rc = json_parse(w->doc, line, &limits, &root, e);
    if (rc < 0 || json_get(root, "specversion")) /* somebody's own member of that name */
        return rc < 0 && rc != ERR_REJECTED ? rc : give(w, line, false, e);
    const struct json *manifest = json_get(root, "manifest");
    return manifest ? end(w, manifest, e) : give_exception(w, json_get(root, "exception"), e);
}

int ndjson_walk(const char *path, struct kit_walked *out, kit_walk_fn *visit, void *arg,
                struct err *e)
{
    OWN(own_walk)
    struct walk w = {
        .sum = sha256_new(), .doc = json_doc_new(), .out = out, .visit = visit, .arg = arg};
    *out = (struct kit_walked){0};
    if (!w.sum || !w.doc)
        return err_memory(e, "reading an archive");
    int rc = kit_lines(path, LINE_MAX_BYTES, on_line, &w, e);
    if (rc == 0 && !w.ended)
        rc = err_set(e, ERR_FAULT, "it has no manifest: it is cut short");
    return rc < 0 ? err_wrap(e, "%s", path) : 0;
}
