/* SPDX-License-Identifier: Apache-2.0 */
/* Private to audit/reconcile*.c: which files of the archives lie beyond the ledger. */
#ifndef AUDIT_RECONCILE_FILES_H
#define AUDIT_RECONCILE_FILES_H

#include "audit/reconcile.h"

#include <stdlib.h>

struct reconcile_file {
    char *path;
    size_t name; /* where the file's name begins in path */
    size_t stem; /* how long its stem is */
    size_t instance, kind;
    int64_t number;
};
struct reconcile_files {
    struct ledger_instance instances[LEDGER_MAX_INSTANCES]; /* not retired */
    int64_t newest[LEDGER_MAX_INSTANCES]; /* highest number in any file; 0: none beyond */
    size_t instance_count;
    const struct reconcile_input *in;
    struct reconcile_file *list; /* those that can be read, by instance and number */
    size_t n, room;
    int64_t missing; /* numbers between that no file has */
};

int reconcile_files_begin(struct reconcile_files *f, struct db *db, struct err *e);
/* ERR_NOT_FOUND: no such folder. */
int reconcile_files_scan(struct reconcile_files *f, const char *folder, struct err *e);
/* Sorts. ERR_CONFLICT: two different files say that they are the same batch. */
int reconcile_files_end(struct reconcile_files *f, struct err *e);
void reconcile_files_done(struct reconcile_files *f);
/* Has that instance a file in the list? */
bool reconcile_files_read(const struct reconcile_files *f, size_t instance);

static inline void own_reconcile_files(struct reconcile_files **f)
{
    if (*f)
        reconcile_files_done(*f);
    free(*f);
}

#endif
