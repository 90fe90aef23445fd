/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `holdfast staging reconcile`: after mgccomp was restored from an older copy, its ledger learns
 * from the archives what they hold beyond it, so that nothing is archived twice. Says what it would
 * do; with --yes does it, in short transactions, and goes on where it was killed.
 */
#ifndef AUDIT_RECONCILE_H
#define AUDIT_RECONCILE_H

#include "base/app.h"
#include "base/kafka.h"
#include "mgccomp/had.h"

struct reconcile_record {
    struct slice raw; /* absent: the archive tells its hash alone */
    const uint8_t *hash;
    bool exception;
};
typedef int reconcile_visit_fn(void *arg, const struct reconcile_record *r, struct err *e);
/* Reads one archive: fills in *b but its stem, and instance's name; tells visit every record. 0
 * only when the file is whole and as it says itself. */
typedef int reconcile_walk_fn(const char *path, struct had_batch *b, char instance[64],
                              reconcile_visit_fn *visit, void *arg, struct err *e);

struct reconcile_kind {
    const char *suffix; /* of a batch's one file, behind its stem */
    reconcile_walk_fn *walk;
    bool lists; /* tells digests that its bytes don't prove */
};

struct reconcile_input {
    struct staging *staging;
    /* The highest batch number that this machine began to deliver for an instance; 0: none. */
    int (*delivered)(void *arg, const char *instance, int64_t *number, struct err *e);
    void *delivered_arg;
    int64_t generation;
    const struct kafka_target *kafka; /* NULL: embedded */
    const struct reconcile_kind *kinds;
    size_t kind_count;
    const char *const *folders; /* that the configuration names for adapters */
    size_t folder_count;
};

/* [--from FOLDER...] --reason TEXT [--trust NAME,...] [--yes]. Exit 0: done, or nothing to do. 1:
 * something is to be done (without --yes), or it failed. */
int reconcile_command(struct app_io *io, const struct reconcile_input *in, int argc, char **argv);

#endif
