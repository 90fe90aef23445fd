/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The xml module: one Conversations document <stem>.xml a batch, or one a room. Which records lie
 * in which file is decided here; what a file looks like by xml_document and xml_record.
 */
#include "adapters/kit/kit.h"
#include "adapters/xml/xml_document.h"
#include "adapters/xml/xml_verify.h"
#include "base/own.h"

#include <limits.h>
#include <string.h>

enum { OPTION_DIRECTORY, OPTION_ONE_FILE_PER_ROOM };
static const struct mgc_option options[] = {
    {.name = "directory",
     .type = MGC_OPTION_PATH,
     .required = 1,
     .help = "Folder the documents are written to; made when it is not there."},
    {.name = "one-file-per-room",
     .type = MGC_OPTION_BOOL,
     .fallback = "no",
     .help = "One document a room and batch instead of one a batch."},
    {0},
};

struct xml {
    const struct mgc_host *host;
    char directory[PATH_MAX];
    bool per_room;
};

static int xml_open(const struct mgc_host *host, const struct mgc_value *values, struct xml **out,
                    struct err *e)
{
    OWN(own_mem) struct xml *x = calloc(1, sizeof *x);
    if (!x)
        return err_memory(e, "xml instance");
    x->host = host;
    x->per_room = values[OPTION_ONE_FILE_PER_ROOM].number != 0;
    int rc = kit_folder("directory", &values[OPTION_DIRECTORY], x->directory, e);
    if (rc)
        return rc;
    *out = x;
    x = NULL;
    return 0;
}

/* The file a record belongs to. Records of no room get a file for each run of them, and so does a
 * room whose records they stand between. */
struct unit {
    uint64_t first, last; /* records */
    uint64_t room;
    uint64_t rooms_seen; /* rooms with an index below it had a unit before */
    bool has_room, open, again;
};

static bool same_unit(const struct xml *x, const struct unit *u, const struct mgc_record *r)
{
    if (!x->per_room)
        return true;
    return u->has_room == (r->room != NULL) && (!r->room || r->room->index == u->room);
}

static int name_unit(const struct xml *x, const struct mgc_batch *batch, const struct unit *u,
                     char name[NAME_MAX], struct err *e)
{
    int n;
    if (!x->per_room)
        n = snprintf(name, NAME_MAX, "%s.xml", batch->stem.p);
    else if (!u->has_room)
        n = snprintf(name, NAME_MAX, "%s-x%llu.xml", batch->stem.p, (unsigned long long)u->first);
    else if (u->again)
        n = snprintf(name, NAME_MAX, "%s-r%llu-%llu.xml", batch->stem.p,
                     (unsigned long long)u->room, (unsigned long long)u->first);
    else
        n = snprintf(name, NAME_MAX, "%s-r%llu.xml", batch->stem.p, (unsigned long long)u->room);
    if (n < 0 || n >= NAME_MAX)
        return err_set(e, ERR_CONFIG, "batch %s: its file name is too long", batch->id.p);
    return 0;
}

static void unit_open(struct unit *u, const struct mgc_record *r)
{
    uint64_t seen = u->rooms_seen;
    *u = (struct unit){.first = r->index, .rooms_seen = seen, .open = true};
    if (!r->room)
        return;
    u->has_room = true;
    u->room = r->room->index;
    u->again = u->room < seen;
    u->rooms_seen = u->again ? seen : u->room + 1;
}

static int settle(struct xml *x, struct kit_source *s, const struct unit *u, const char *name,
                  const struct xml_written *w, struct err *e)
{
    char path[2 * PATH_MAX];
    char bytes[24];
    char sha256[SHA256_HEX];
    (void)snprintf(path, sizeof path, "%s/%s", x->directory, name);
    (void)snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)w->bytes);
    hex_encode(w->sha256, SHA256_SIZE, sha256);
    const struct mgc_fact facts[] = {
        kit_fact("path", path),
        kit_fact("bytes", bytes),
        kit_fact("sha256", sha256),
    };
    return kit_source_settle(s, u->first, u->last, 0, facts, 3, NULL, e);
}

/* A delivery under way: the unit, and the document being written for it. */
struct delivery {
    struct unit unit;
    struct xml_document document;
    char name[NAME_MAX];
    bool skip; /* settled in an earlier attempt; its file may have been taken away since */
};

static void own_delivery(struct delivery *d)
{
    xml_document_done(&d->document);
}

static int begin_unit(struct xml *x, struct kit_source *s, struct delivery *d,
                      const struct mgc_record *r, struct err *e)
{
    unit_open(&d->unit, r);
    d->skip = r->settled != 0;
    int rc = name_unit(x, s->batch, &d->unit, d->name, e);
    if (rc || d->skip)
        return rc;
    return xml_document_begin(&d->document, x->directory, d->name, s->batch, e);
}

static int end_unit(struct xml *x, struct kit_source *s, struct delivery *d, struct err *e)
{
    if (!d->unit.open)
        return 0;
    d->unit.open = false;
    if (d->skip)
        return 0;
    struct xml_written written;
    int rc = xml_document_end(&d->document, &written, e);
    xml_document_done(&d->document);
    return rc ? rc : settle(x, s, &d->unit, d->name, &written, e);
}

static int deliver(struct xml *x, struct kit_source *s, struct err *e)
{
    OWN(own_delivery) struct delivery d = {0};
    int rc = file_sweep_drafts(x->directory, s->batch->stem.p, e);
    if (!rc)
        rc = kit_source_rewind(s, e);
    while (!rc) {
        const struct mgc_record *r;
        rc = kit_source_next(s, &r, e);
        if (rc)
            return rc;
        if (!r || (d.unit.open && !same_unit(x, &d.unit, r)))
            rc = end_unit(x, s, &d, e);
        if (rc || !r)
            return rc;
        if (!d.unit.open)
            rc = begin_unit(x, s, &d, r, e);
        d.unit.last = r->index;
        if (!rc && !d.skip)
            rc = xml_document_add(&d.document, r, e);
        else if (!rc && !r->settled)
            rc = err_set(e, ERR_FAULT, "batch %s: %s is settled in part", s->batch->id.p, d.name);
    }
    return rc;
}

/* The receipt's facts, in the order they were settled: path, bytes, sha256, and again. */
struct receipt {
    const struct mgc_fact *facts;
    uint32_t count;
};

/* Where the receipt says that the file of that name was put, and its digest. A receipt may be of
 * other files of the batch only: then the name is looked for in the folder of today. */
static int find_file(const struct xml *x, const struct receipt *receipt, const char *name,
                     char path[2 * PATH_MAX], struct slice *sha256, struct err *e)
{
    *sha256 = (struct slice){0};
    (void)snprintf(path, 2 * PATH_MAX, "%s/%s", x->directory, name);
    bool found = false;
    for (uint32_t i = 0; i < receipt->count; i++) {
        struct slice value = kit_slice(receipt->facts[i].value);
        if (slice_is(kit_slice(receipt->facts[i].name), "path")) {
            size_t n = strlen(name);
            found = value.n > n && value.p[value.n - n - 1] == '/' &&
                    memcmp(value.p + value.n - n, name, n) == 0;
            if (found && !slice_copy(value, path, 2 * PATH_MAX))
                return err_set(e, ERR_FAULT, "receipt: its path is no path");
        } else if (found && slice_is(kit_slice(receipt->facts[i].name), "sha256")) {
            *sha256 = value;
            return 0;
        }
    }
    return 0;
}

/* How the files were cut is the receipt's to say; the option may have changed since. */
static bool was_per_room(const struct xml *x, const struct mgc_batch *batch,
                         const struct receipt *receipt)
{
    char whole[NAME_MAX + 8];
    (void)snprintf(whole, sizeof whole, "/%s.xml", batch->stem.p);
    size_t n = strlen(whole);
    const struct mgc_fact *path = kit_fact_find(receipt->facts, receipt->count, "path");
    if (!path)
        return x->per_room;
    struct slice value = kit_slice(path->value);
    return value.n < n || memcmp(value.p + value.n - n, whole, n) != 0;
}

struct verification {
    struct unit unit;
    struct xml_check check;
    char path[2 * PATH_MAX];
};

static void own_verification(struct verification *v)
{
    xml_check_done(&v->check);
}

static int begin_check(const struct xml *x, struct kit_source *s, struct verification *v,
                       const struct receipt *receipt, const struct mgc_record *r, struct err *e)
{
    char name[NAME_MAX];
    struct slice sha256;
    unit_open(&v->unit, r);
    int rc = name_unit(x, s->batch, &v->unit, name, e);
    if (!rc)
        rc = find_file(x, receipt, name, v->path, &sha256, e);
    return rc ? rc : xml_check_begin(&v->check, v->path, sha256, e);
}

static int end_check(struct verification *v, struct err *e)
{
    if (!v->unit.open)
        return 0;
    v->unit.open = false;
    int rc = xml_check_end(&v->check, e);
    xml_check_done(&v->check);
    return rc;
}

static int verify(const struct xml *instance, struct kit_source *s, const struct receipt *receipt,
                  struct err *e)
{
    struct xml x = *instance;
    x.per_room = was_per_room(instance, s->batch, receipt);
    OWN(own_verification) struct verification v = {0};
    int rc = kit_source_rewind(s, e);
    while (!rc) {
        const struct mgc_record *r;
        rc = kit_source_next(s, &r, e);
        if (rc)
            return rc;
        if (!r || (v.unit.open && !same_unit(&x, &v.unit, r)))
            rc = end_check(&v, e);
        if (rc || !r)
            return rc;
        if (!v.unit.open)
            rc = begin_check(&x, s, &v, receipt, r, e);
        if (!rc)
            rc = xml_check_record(&v.check, r, e);
    }
    return rc;
}

static int32_t on_open(const struct mgc_host *host, const struct mgc_value *values, void **instance,
                       struct mgc_error *out)
{
    struct err e = {0};
    struct xml *x = NULL;
    int rc = xml_open(host, values, &x, &e);
    if (!rc)
        *instance = x;
    return kit_result(rc, &e, out);
}

static int32_t on_deliver(void *instance, const struct mgc_batch *batch, struct mgc_error *out)
{
    struct err e = {0};
    struct xml *x = instance;
    OWN(own_kit_source) struct kit_source s;
    int rc = kit_source_init(&s, x->host, batch, &e);
    if (!rc && batch->records > 0)
        rc = deliver(x, &s, &e);
    return kit_result(rc, &e, out);
}

static int32_t on_verify(void *instance, const struct mgc_batch *batch,
                         const struct mgc_fact *facts, uint32_t count, struct mgc_error *out)
{
    struct err e = {0};
    struct xml *x = instance;
    struct receipt receipt = {facts, count};
    OWN(own_kit_source) struct kit_source s;
    int rc = kit_source_init(&s, x->host, batch, &e);
    if (!rc && batch->records > 0)
        rc = verify(x, &s, &receipt, &e);
    return kit_result(rc, &e, out);
}

MGC_EXPORT const struct mgc_adapter *mgc_adapter_v0(uint32_t host_major)
{
    static const struct mgc_adapter adapter = {
        .size = sizeof adapter,
        .abi_major = MGC_ABI_MAJOR,
        .abi_minor = MGC_ABI_MINOR,
        .readback = MGC_READBACK_FULL,
        .name = "xml",
        .version = "0.1.0",
        .summary = "Conversations documents as the original's XML adapter wrote them",
        .options = options,
        .open = on_open,
        .deliver = on_deliver,
        .close = free,
        .verify = on_verify,
    };
    return host_major == MGC_ABI_MAJOR ? &adapter : NULL;
}
