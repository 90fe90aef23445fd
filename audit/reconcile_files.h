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
    int64_t newest[LEDGER_MAX_INSTANCES]; /* highest number known beyond the ledger; 0: none */
    bool seen[LEDGER_MAX_INSTANCES];      /* there is a file beyond, readable or not */
    size_t instance_count;
    const struct reconcile_input *in;
    struct reconcile_file *list; /* those that can be read, by instance and number */
    size_t n, room;
    int64_t missing; /* numbers of archives that are read, or could be, that no file has */
};

int reconcile_files_begin(struct reconcile_files *f, struct db *db, struct err *e);
/* ERR_NOT_FOUND: no such folder. */
int reconcile_files_scan(struct reconcile_files *f, const char *folder, struct err *e);
/* Sorts. ERR_CONFLICT: two different files say that they are the same batch. */
int reconcile_files_end(struct reconcile_files *f, struct err *e);
void reconcile_files_done(struct reconcile_files *f);
/* Has that instance a file in the list? lists: of a kind that only lists. */
bool reconcile_files_read(const struct reconcile_files *f, size_t instance);
bool reconcile_files_lists(const struct reconcile_files *f, size_t instance);
/* Takes the files of those out of the list whose lists nothing proves: instances that gate deletion
 * by a read-back of their own, without another one whose read-back will be asked for. vouched: a
 * person says that the instance's archive is whole. */
void reconcile_files_drop(struct reconcile_files *f, const bool vouched[LEDGER_MAX_INSTANCES]);

static inline void own_reconcile_files(struct reconcile_files **f)
{
    if (*f)
        reconcile_files_done(*f);
    free(*f);
}

#endif
