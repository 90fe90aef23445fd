/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is mgccomp older than its archives? A batch enters the ledger before anything of it is written,
 * so a higher number than the ledger's says that mgccomp was restored from an older copy: what it
 * would deliver now is archived already.
 *
 * Looked at is the folder of each instance whose module has the option `directory`, and what this
 * machine noted of each when it delivered (delivered.h).
 */
#ifndef ADAPTERS_HOST_OLDER_COPY_H
#define ADAPTERS_HOST_OLDER_COPY_H

#include "base/conf.h"
#include "mgccomp/ledger.h"

/* Visits instances that are not retired. One whose module or section can't be read is left out:
 * it delivers nothing, either. */
typedef int older_copy_fn(void *arg, const struct ledger_instance *i, const char *folder,
                          struct err *e);
struct older_copy_options {
    struct staging *staging;
    struct conf *conf;
    const char *modules_dir, *program, *delivered_dir; /* as of struct archiver_options */
};
int older_copy_folders(const struct older_copy_options *o, older_copy_fn *visit, void *arg,
                       struct err *e);

/* Instances and folders, kept for as long as an archiver runs. */
struct older_copy;
int older_copy_new(struct older_copy **out, const struct older_copy_options *o, struct err *e);
void older_copy_free(struct older_copy *o);
/* ERR_CONFLICT: it is older; the text says by what, and what to type. So does the instance,
 * from then on, in `adapter list` and `status`. */
int older_copy_check(struct older_copy *o, struct staging *st, struct db *db, struct err *e);

#endif
