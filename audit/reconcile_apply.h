/* SPDX-License-Identifier: Apache-2.0 */
/* Private to audit/reconcile*.c: what becomes of one archive, and of the queue's positions. */
#ifndef AUDIT_RECONCILE_APPLY_H
#define AUDIT_RECONCILE_APPLY_H

#include "audit/reconcile_files.h"
#include "mgccomp/capture_write.h"

/* What was found and, by applying, done. */
struct reconcile_sums {
    int64_t archives, records;
    int64_t lacking;    /* of these: told whole, and above the captured head of their room */
    int64_t unprovable; /* without number, or exceptions */
    int64_t captured, incidents;
};

struct reconcile_apply {
    const struct reconcile_input *in;
    const struct reconcile_files *files;
    bool trusted[LEDGER_MAX_INSTANCES]; /* taken to have what the archives of others hold */
    bool vouched[LEDGER_MAX_INSTANCES]; /* what its own archive lists counts as proved */
    struct db *db;                      /* reads */
    struct capture_writer *writer;
    struct reconcile_sums sums;
};

/* Reads and checks one archive, and counts what is in it. Changes nothing. */
int reconcile_look(struct reconcile_apply *a, const struct reconcile_file *f, struct err *e);
/* One after the other: the records that mgccomp lacks are captured from the archive; then, in one
 * transaction, all of its records and the batch enter the ledger. Repeating it is harmless. */
int reconcile_archive(struct reconcile_apply *a, const struct reconcile_file *f, struct err *e);
/* Positions before the queue's first offset move up to it: what lay there was deleted behind the
 * deletion from mgccomp. Tells each. *moved counts. */
int reconcile_positions(struct reconcile_apply *a, struct app_io *io, size_t *moved, struct err *e);

#endif
