/* SPDX-License-Identifier: Apache-2.0 */
/* Names alone: what is in the files is reconcile_apply.c's. */
#include "audit/reconcile_files.h"

#include "base/own.h"
#include "mgccomp/stem.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { FILES_MAX = 1000000 };

static int take_instance(void *arg, const struct ledger_instance *i, struct err *e)
{
    struct reconcile_files *f = arg;
    (void)e;
    if (f->instance_count < LEDGER_MAX_INSTANCES)
        f->instances[f->instance_count++] = *i;
    return 0;
}

/* What was delivered is beyond the ledger also when its archive is not here, or can't be read. */
static int take_delivered(struct reconcile_files *f, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < f->instance_count; i++) {
        int64_t number = 0;
        rc = f->in->delivered(f->in->delivered_arg, f->instances[i].name, &number, e);
        if (rc == 0 && number > f->instances[i].batches)
            f->newest[i] = number;
    }
    return rc;
}

int reconcile_files_begin(struct reconcile_files *f, struct db *db, struct err *e)
{
    int rc = ledger_instances(db, false, take_instance, f, e);
    if (rc == 0)
        rc = take_delivered(f, e);
    if (rc == 0 && f->instance_count == 0)
        return err_set(e, ERR_CONFIG,
                       "mgccomp knows no adapter. Start `holdfast up` or `holdfast archiver` once:"
                       " it adds those of the configuration, and ends again");
    return rc;
}

static int add(struct reconcile_files *f, const char *folder, const char *name,
               const struct reconcile_file *as, struct err *e)
{
    if (f->n == FILES_MAX)
        return err_set(e, ERR_REJECTED, "over %d archives lie beyond the ledger", FILES_MAX);
    if (f->n == f->room) {
        size_t room = f->room ? 2 * f->room : 64;
        struct reconcile_file *more = realloc(f->list, room * sizeof *more);
        if (!more)
            return err_memory(e, "the list of archives");
        f->list = more;
        f->room = room;
    }
    size_t n = strlen(folder);
    char *path = malloc(n + strlen(name) + 2);
    if (!path)
        return err_memory(e, "the list of archives");
    memcpy(path, folder, n);
    path[n] = '/';
    memcpy(path + n + 1, name, strlen(name) + 1);
    f->list[f->n] = *as;
    f->list[f->n].path = path;
    f->list[f->n].name = n + 1;
    f->n++;
    return 0;
}

static int add_kind(struct reconcile_files *f, const char *folder, const char *name,
                    struct reconcile_file *as, struct err *e)
{
    for (as->kind = 0; as->kind < f->in->kind_count; as->kind++) {
        if (strcmp(name + as->stem, f->in->kinds[as->kind].suffix) == 0)
            return add(f, folder, name, as, e);
    }
    return 0; /* nobody here can read it */
}

static int look_at(struct reconcile_files *f, const char *folder, const char *name, struct err *e)
{
    for (size_t i = 0; i < f->instance_count; i++) {
        struct reconcile_file as = {.instance = i};
        const char *rest = NULL;
        if (!stem_of(name, f->instances[i].name, &as.number, &rest) ||
            as.number <= f->instances[i].batches)
            continue;
        if (as.number > f->newest[i])
            f->newest[i] = as.number;
        f->seen[i] = true;
        as.stem = (size_t)(rest - name);
        return add_kind(f, folder, name, &as, e);
    }
    return 0;
}

static void own_dir(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

int reconcile_files_scan(struct reconcile_files *f, const char *folder, struct err *e)
{
    OWN(own_dir) DIR *d = opendir(folder);
    if (!d)
        return err_errno(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_RETRY, "open %s", folder);
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (!entry)
            return errno ? err_errno(e, ERR_RETRY, "read %s", folder) : 0;
        int rc = look_at(f, folder, entry->d_name, e);
        if (rc < 0)
            return rc;
    }
}

static int by_number(const void *a, const void *b)
{
    const struct reconcile_file *x = a;
    const struct reconcile_file *y = b;
    if (x->instance != y->instance)
        return x->instance < y->instance ? -1 : 1;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return strcmp(x->path + x->name, y->path + y->name);
}

/* Of instances of which something was found. */
static void count_missing(struct reconcile_files *f)
{
    int64_t due[LEDGER_MAX_INSTANCES] = {0};
    for (size_t i = 0; i < f->n; i++) {
        size_t of = f->list[i].instance;
        if (due[of] == 0)
            due[of] = f->newest[of] - f->instances[of].batches;
        due[of]--;
    }
    f->missing = 0;
    for (size_t i = 0; i < f->instance_count; i++)
        f->missing += due[i];
}

int reconcile_files_end(struct reconcile_files *f, struct err *e)
{
    size_t kept = 0;
    if (f->n)
        qsort(f->list, f->n, sizeof *f->list, by_number);
    for (size_t i = 0; i < f->n; i++) {
        struct reconcile_file *file = &f->list[i];
        const struct reconcile_file *last = kept ? &f->list[kept - 1] : NULL;
        bool same = last && last->instance == file->instance;
        if (same && last->number == file->number) {
            if (strcmp(last->path + last->name, file->path + file->name) != 0)
                return err_set(e, ERR_CONFLICT,
                               "%.180s and %.180s are both batch %" PRId64
                               ". Move the one that another mgccomp wrote out of the folder",
                               last->path, file->path, file->number);
            free(file->path); /* a copy in another folder */
            file->path = NULL;
            continue;
        }
        const struct reconcile_file moved = *file;
        file->path = NULL;
        f->list[kept++] = moved;
    }
    f->n = kept;
    count_missing(f);
    return 0;
}

void reconcile_files_done(struct reconcile_files *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->list[i].path);
    free(f->list);
}

static bool has_file(const struct reconcile_files *f, size_t instance, bool that_lists)
{
    for (size_t i = 0; i < f->n; i++) {
        if (f->list[i].instance == instance && (!that_lists || f->in->kinds[f->list[i].kind].lists))
            return true;
    }
    return false;
}

bool reconcile_files_read(const struct reconcile_files *f, size_t instance)
{
    return has_file(f, instance, false);
}

bool reconcile_files_lists(const struct reconcile_files *f, size_t instance)
{
    return has_file(f, instance, true);
}

/* Its own archive, or a delivery that comes, lets the gate see every byte. */
static bool proves(const struct reconcile_files *f, size_t i, bool vouched)
{
    const struct ledger_instance *in = &f->instances[i];
    return in->required && in->readback == LEDGER_READBACK_FULL &&
           (vouched || !reconcile_files_lists(f, i));
}

void reconcile_files_drop(struct reconcile_files *f, const bool vouched[LEDGER_MAX_INSTANCES])
{
    size_t kept = 0;
    for (size_t i = 0; i < f->instance_count; i++) {
        if (proves(f, i, vouched[i]))
            return;
    }
    for (size_t i = 0; i < f->n; i++) {
        const struct reconcile_file file = f->list[i];
        if (f->in->kinds[file.kind].lists && f->instances[file.instance].required)
            free(file.path);
        else
            f->list[kept++] = file;
    }
    f->n = kept;
}
