/* SPDX-License-Identifier: Apache-2.0 */
#include "restore.h"

#include "adapters/host/delivered.h"
#include "adapters/host/older_copy.h"
#include "adapters/kit/walk.h"
#include "audit/reconcile.h"
#include "base/own.h"
#include "capture/source.h"

#include <locale.h>
#include <string.h>

/* From the walkers' shape to that of whoever asked. */
struct telling {
    reconcile_visit_fn *visit;
    void *arg;
};

static int tell(void *arg, const struct kit_walk_record *r, struct err *e)
{
    const struct telling *t = arg;
    const struct reconcile_record record = {r->raw, r->hash, r->exception};

    return t->visit(t->arg, &record, e);
}

typedef int walk_fn(const char *path, struct kit_walked *out, kit_walk_fn *visit, void *arg,
                    struct err *e);

static int walk(walk_fn *fn, const char *path, struct had_batch *b, char instance[64],
                struct telling t, struct err *e)
{
    struct kit_walked w;
    int err = fn(path, &w, tell, &t, e);

    if (err)
        return err;
    *b = (struct had_batch){
        .number = w.number, .cut_us = w.cut_us, .records = w.records, .bytes = w.bytes};
    memcpy(b->id, w.batch, sizeof b->id);
    memcpy(b->digest, w.sha256, sizeof b->digest);
    memcpy(instance, w.instance, sizeof w.instance);
    return 0;
}

static int walk_tar(const char *path, struct had_batch *b, char instance[64],
                    reconcile_visit_fn *visit, void *arg, struct err *e)
{
    return walk(tar_walk, path, b, instance, (struct telling){visit, arg}, e);
}

static int walk_ndjson(const char *path, struct had_batch *b, char instance[64],
                       reconcile_visit_fn *visit, void *arg, struct err *e)
{
    return walk(ndjson_walk, path, b, instance, (struct telling){visit, arg}, e);
}

static int walk_xml(const char *path, struct had_batch *b, char instance[64],
                    reconcile_visit_fn *visit, void *arg, struct err *e)
{
    return walk(xml_walk, path, b, instance, (struct telling){visit, arg}, e);
}

static const struct reconcile_kind kinds[] = {
    {".tar.zst", walk_tar, false}, {".ndjson", walk_ndjson, false}, {".xml", walk_xml, true}};

/* A copy may be so old that it has not seen a queue yet. */
static int know_queue(struct handles *h, struct staging *st, int64_t *generation, struct err *e)
{
    static const struct source_events none = {NULL, NULL};
    const struct source_embedded_options embedded = {h->settings->store_url, NULL};
    OWN(own_source) struct source *source = NULL;
    int err = h->settings->services
                  ? source_kafka_open(&source, &h->settings->kafka, &none, NULL, e)
                  : source_embedded_open(&source, &embedded, &none, NULL, e);

    return err ? err
               : staging_queue(st, slice_of(source_driver(source)),
                               slice_of(source_identity(source)), generation, e);
}

struct folders {
    const char *paths[LEDGER_MAX_INSTANCES];
    size_t n;
};

static int add_folder(void *arg, const struct ledger_instance *i, const char *folder, struct err *e)
{
    struct folders *f = arg;

    (void)i;
    f->paths[f->n] = strdup(folder);
    return f->paths[f->n++] ? 0 : err_memory(e, "the adapters' folders");
}

static void own_folders(struct folders *f)
{
    for (size_t i = 0; i < f->n; i++)
        free((void *)(uintptr_t)f->paths[i]);
}

static int find_folders(struct handles *h, struct staging *st, struct folders *f, struct err *e)
{
    const struct older_copy_options o = {.staging = st,
                                         .conf = h->settings->conf,
                                         .modules_dir = h->settings->modules,
                                         .program = "/proc/self/exe"};

    return older_copy_folders(&o, add_folder, f, e);
}

static int delivered(void *arg, const char *instance, int64_t *number, struct err *e)
{
    const struct settings *s = arg;

    return delivered_read(s->delivered, instance, number, e);
}

int restore_reconcile(struct app_io *io, struct handles *h, int argc, char **argv)
{
    OWN(own_folders) struct folders f = {.n = 0};
    struct reconcile_input in = {.delivered = delivered,
                                 .delivered_arg = h->settings,
                                 .kafka = h->settings->services ? &h->settings->kafka : NULL,
                                 .kinds = kinds,
                                 .kind_count = sizeof kinds / sizeof kinds[0],
                                 .folders = f.paths};
    struct err e = {0};

    /* What reads archives must know that names are UTF-8. */
    (void)setlocale(LC_CTYPE, "C.UTF-8");
    int err = handles_staging(h, &in.staging, &e);
    if (!err)
        err = know_queue(h, in.staging, &in.generation, &e);
    if (!err)
        err = find_folders(h, in.staging, &f, &e);
    if (err)
        return app_fail(io, &e);
    in.folder_count = f.n;
    return reconcile_command(io, &in, argc, argv);
}
