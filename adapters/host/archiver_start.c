/* SPDX-License-Identifier: Apache-2.0 */
/* Which instances there are is the database's to say; the configuration says how they are set up.
 * Only an empty table is filled from the configuration. */
#include "adapters/host/archiver_private.h"
#include "base/log.h"
#include "base/own.h"

#include <string.h>

struct names {
    char all[LEDGER_MAX_INSTANCES][64];
    size_t n;
    bool too_many;
};

static void keep_name(void *arg, struct slice name)
{
    struct names *names = arg;
    if (names->n == LEDGER_MAX_INSTANCES || !slice_copy(name, names->all[names->n], 64)) {
        names->too_many = true;
        return;
    }
    names->n++;
}

struct known {
    const struct names *sections;
    bool seen[LEDGER_MAX_INSTANCES];
    size_t rows;
    struct ledger_instance failed[LEDGER_MAX_INSTANCES];
    size_t failed_count;
};

static int check_row(void *arg, const struct ledger_instance *i, struct err *e)
{
    struct known *k = arg;
    bool found = false;
    k->rows++;
    for (size_t n = 0; n < k->sections->n; n++) {
        if (strcmp(k->sections->all[n], i->name) != 0)
            continue;
        k->seen[n] = true;
        found = true;
    }
    if (strcmp(i->state, "retired") == 0)
        return 0;
    if (!found)
        return err_set(e, ERR_CONFIG,
                       "adapter '%s' was added, but there is no section [adapter %s]. Write it, or"
                       " retire the adapter: holdfast adapter retire %s --reason TEXT",
                       i->name, i->name, i->name);
    if (strcmp(i->state, "failed") == 0 && k->failed_count < LEDGER_MAX_INSTANCES)
        k->failed[k->failed_count++] = *i;
    return 0;
}

int archiver_options_of(const struct archiver_options *o, const struct ledger_instance *row,
                        struct adapter_options **out, struct err *e)
{
    OWN(own_adapter_options) struct adapter_options *options = NULL;
    int rc = adapter_options_load(&options, o->conf, row->name, o->modules_dir, o->program, e);
    if (rc < 0)
        return rc;
    if (strcmp(options->module_name, row->module) != 0)
        return err_set(e, ERR_CONFIG,
                       "[adapter %s] names module %s, the adapter was added with %s. Use another"
                       " name for another module",
                       row->name, options->module_name, row->module);
    *out = options;
    options = NULL;
    return 0;
}

static int read_rows(const struct archiver_options *o, struct known *k, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(o->staging, &t, e);
    return rc == 0 ? ledger_instances(t.db, true, check_row, k, e) : rc;
}

struct first {
    struct adapter_options *options[LEDGER_MAX_INSTANCES];
    struct ledger_new all[LEDGER_MAX_INSTANCES];
    size_t n;
};

static void own_first(struct first **f)
{
    for (size_t i = 0; *f && i < (*f)->n; i++)
        adapter_options_free((*f)->options[i]);
    free(*f);
}

/* All or none: one that was forgotten by a crash in between would hold back no deletion. */
static int add_all(const struct archiver_options *o, const struct names *names, struct err *e)
{
    OWN(own_first) struct first *f = calloc(1, sizeof *f);
    bool added = false;
    if (!f)
        return err_memory(e, "the list of adapters");
    for (; f->n < names->n; f->n++) {
        struct adapter_options *x = NULL;
        int rc = adapter_options_load(&x, o->conf, names->all[f->n], o->modules_dir, o->program, e);
        if (rc < 0)
            return rc;
        f->options[f->n] = x;
        f->all[f->n] = (struct ledger_new){.name = slice_of(names->all[f->n]),
                                           .module = slice_of(x->module_name),
                                           .required = x->required,
                                           .readback = x->module.readback};
    }
    int rc = ledger_add_first(o->staging, f->all, f->n, &added, e);
    for (size_t i = 0; rc == 0 && added && i < f->n; i++)
        log_event(LOG_INFO, "adapter.added", "adapter=%s module=%s required=%s", names->all[i],
                  f->options[i]->module_name, f->options[i]->required ? "yes" : "no");
    return rc;
}

/* A restart is how a person says that the set-up was mended. */
static int try_failed_again(const struct archiver_options *o, const struct known *k, struct err *e)
{
    for (size_t i = 0; i < k->failed_count; i++) {
        struct adapter_options *options = NULL;
        int rc = archiver_options_of(o, &k->failed[i], &options, e);
        adapter_options_free(options);
        if (rc == 0)
            rc = ledger_instance_mended(o->staging, k->failed[i].id, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int prepare(const struct archiver_options *o, struct err *e)
{
    OWN(own_mem) struct names *names = calloc(1, sizeof *names);
    OWN(own_mem) struct known *known = calloc(1, sizeof *known);
    if (!names || !known)
        return err_memory(e, "the list of adapters");
    conf_each_named(o->conf, "adapter", keep_name, names);
    if (names->too_many)
        return err_set(e, ERR_CONFIG, "over %d adapter sections", LEDGER_MAX_INSTANCES);
    known->sections = names;
    int rc = read_rows(o, known, e);
    if (rc < 0)
        return rc;
    if (known->rows == 0)
        return add_all(o, names, e);
    for (size_t i = 0; i < names->n; i++) {
        if (!known->seen[i])
            log_event(LOG_WARN, "adapter.not-added", "adapter=%s type=\"holdfast adapter add %s\"",
                      names->all[i], names->all[i]);
    }
    return try_failed_again(o, known, e);
}

/* Before anything is delivered, and again whenever this one begins to lead. */
static int compare_with_archives(const struct archiver_options *o, struct older_copy **older,
                                 struct err *e)
{
    OWN(own_db) struct db *db = NULL;
    const struct older_copy_options options = {o->staging, o->conf, o->modules_dir, o->program,
                                               o->delivered_dir};
    int rc = older_copy_new(older, &options, e);
    if (rc == 0)
        rc = staging_reader(o->staging, &db, e);
    return rc == 0 ? older_copy_check(*older, o->staging, db, e) : rc;
}

static void own_archiver(struct archiver **a)
{
    if (!*a)
        return;
    older_copy_free((*a)->older);
    free(*a);
}

int archiver_start(struct archiver **out, const struct archiver_options *o, struct err *e)
{
    int rc = prepare(o, e);
    if (rc < 0)
        return rc;
    OWN(own_archiver) struct archiver *a = calloc(1, sizeof *a);
    if (!a)
        return err_memory(e, "the archiver");
    rc = compare_with_archives(o, &a->older, e);
    if (rc < 0)
        return rc;
    a->o = *o;
    a->context.staging = o->staging;
    a->context.program = o->program;
    a->context.scratch_dir = o->scratch_dir;
    a->context.delivered_dir = o->delivered_dir;
    if (!wake_init(&a->own))
        return err_set(e, ERR_RETRY, "the archiver's doorbell can't be made");
    rc = pthread_create(&a->thread, NULL, archiver_run_thread, a);
    if (rc != 0) {
        wake_done(&a->own);
        return err_set(e, ERR_RETRY, "the archiver's thread can't be started: %s", strerror(rc));
    }
    *out = a;
    a = NULL;
    return 0;
}
