/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/older_copy.h"

#include "adapters/host/delivered.h"
#include "adapters/host/options.h"
#include "mgccomp/stem.h"

#include <inttypes.h>
#include <string.h>

struct instances {
    struct ledger_instance all[LEDGER_MAX_INSTANCES];
    size_t n;
};

static int keep(void *arg, const struct ledger_instance *i, struct err *e)
{
    struct instances *list = arg;
    (void)e;
    if (list->n < LEDGER_MAX_INSTANCES)
        list->all[list->n++] = *i;
    return 0;
}

static int read_instances(struct staging *st, struct instances *list, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    return rc == 0 ? ledger_instances(t.db, false, keep, list, e) : rc;
}

static const struct conf_value *directory_of(const struct adapter_options *o)
{
    for (size_t i = 0; i < o->module.option_count; i++) {
        const struct conf_option *option = &o->module.options[i];
        if (option->type == CONF_PATH && strcmp(option->name, "directory") == 0)
            return &o->values[i];
    }
    return NULL;
}

static int each(const struct older_copy_options *o, older_copy_fn *visit, void *arg, struct err *e)
{
    OWN(own_mem) struct instances *list = calloc(1, sizeof *list);
    if (!list)
        return err_memory(e, "the list of adapters");
    int rc = read_instances(o->staging, list, e);
    for (size_t i = 0; rc == 0 && i < list->n; i++) {
        OWN(own_adapter_options) struct adapter_options *options = NULL;
        const struct ledger_instance *instance = &list->all[i];
        const struct conf_value *directory = NULL;
        char path[PATH_MAX];
        if (adapter_options_load(&options, o->conf, instance->name, o->modules_dir, o->program,
                                 NULL) == 0)
            directory = directory_of(options);
        bool has = directory && slice_copy(directory->text, path, sizeof path);
        rc = visit(arg, instance, has ? path : NULL, e);
    }
    return rc;
}

struct folders {
    older_copy_fn *visit;
    void *arg;
};

static int with_folder(void *arg, const struct ledger_instance *i, const char *folder,
                       struct err *e)
{
    const struct folders *f = arg;
    return folder ? f->visit(f->arg, i, folder, e) : 0;
}

int older_copy_folders(const struct older_copy_options *o, older_copy_fn *visit, void *arg,
                       struct err *e)
{
    struct folders f = {visit, arg};
    return each(o, with_folder, &f, e);
}

struct place {
    int64_t instance;
    char name[64];
    char *folder; /* NULL: none */
};

struct older_copy {
    const char *delivered_dir;
    struct place places[LEDGER_MAX_INSTANCES];
    size_t n;
    bool shown;
};

static int add(void *arg, const struct ledger_instance *i, const char *folder, struct err *e)
{
    struct older_copy *o = arg;
    struct place *p = &o->places[o->n];
    p->instance = i->id;
    memcpy(p->name, i->name, sizeof p->name);
    p->folder = folder ? strdup(folder) : NULL;
    if (folder && !p->folder)
        return err_memory(e, "the adapters' folders");
    o->n++;
    return 0;
}

void older_copy_free(struct older_copy *o)
{
    for (size_t i = 0; o && i < o->n; i++)
        free(o->places[i].folder);
    free(o);
}

int older_copy_new(struct older_copy **out, const struct older_copy_options *options, struct err *e)
{
    struct older_copy *o = calloc(1, sizeof *o);
    if (!o)
        return err_memory(e, "the adapters' folders");
    o->delivered_dir = options->delivered_dir;
    int rc = each(options, add, o, e);
    if (rc < 0) {
        older_copy_free(o);
        return rc;
    }
    *out = o;
    return 0;
}

/* By one who does not lead, so that the ledger is not asked. That it can't be shown stops nobody.
 */
static void show(const struct place *p, struct staging *st, int64_t archived, int64_t ledger)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    char text[200];
    (void)snprintf(text, sizeof text,
                   "mgccomp is older than this archive, which holds batch %" PRId64
                   " (the ledger: %" PRId64 "). Type: holdfast staging reconcile --reason TEXT",
                   archived, ledger);
    if (staging_begin(st, &t, NULL) == 0 &&
        db_run(t.db, "UPDATE instance SET last_error = $2 WHERE id = $1",
               DB_ARGS(DB_I(p->instance), DB_T(slice_of(text))), NULL, NULL) == 0)
        (void)staging_commit(&t, NULL);
}

/* How far its archive goes, and what says so. */
struct extent {
    int64_t number;
    char by[200];
};

static int extent_of(const struct older_copy *o, const struct place *p, struct extent *x,
                     struct err *e)
{
    char file[STEM_FILE];
    int64_t noted = 0;
    *x = (struct extent){0};
    int rc = p->folder ? stem_newest(p->folder, p->name, &x->number, file, e) : 0;
    if (rc == 0 && x->number)
        (void)snprintf(x->by, sizeof x->by, "%.70s holds %.120s", p->folder, file);
    if (rc == 0)
        rc = delivered_read(o->delivered_dir, p->name, &noted, e);
    if (rc < 0 || noted <= x->number)
        return rc;
    x->number = noted;
    (void)snprintf(x->by, sizeof x->by,
                   "batch %" PRId64 " was delivered from here, says %.90s/%.40s.batch", noted,
                   o->delivered_dir, p->name);
    return 0;
}

static int check_place(struct older_copy *o, const struct place *p, struct staging *st,
                       struct db *db, struct err *e)
{
    struct extent archived;
    int64_t ledger = 0;
    int rc = extent_of(o, p, &archived, e);
    if (rc < 0 || archived.number == 0)
        return rc;
    /* Read after the rest: what is written meanwhile is in the ledger before. */
    rc = db_int(db, "SELECT batches FROM instance WHERE id = $1 AND state <> 'retired'",
                DB_ARGS(DB_I(p->instance)), 0, &ledger, e);
    if (rc == ERR_NOT_FOUND || (rc == 0 && archived.number <= ledger))
        return 0;
    if (rc < 0)
        return rc;
    if (!o->shown)
        show(p, st, archived.number, ledger);
    o->shown = true;
    return err_set(e, ERR_CONFLICT,
                   "mgccomp is older than its archives: the ledger of adapter %s ends at batch"
                   " %" PRId64 ", %s. Was it restored from a copy? Nothing is delivered, or it"
                   " would be archived twice. Type: holdfast staging reconcile --reason TEXT",
                   p->name, ledger, archived.by);
}

int older_copy_check(struct older_copy *o, struct staging *st, struct db *db, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < o->n; i++)
        rc = check_place(o, &o->places[i], st, db, e);
    return rc;
}
