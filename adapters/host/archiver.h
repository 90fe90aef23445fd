/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The archiver: cuts due batches, spawns a worker process for each attempt, keeps what it settles,
 * has it read back. One thread; one active archiver for each mgccomp (mgccomp/lease.h), others
 * stand by, and take over when its lease lapses.
 */
#ifndef ADAPTERS_HOST_ARCHIVER_H
#define ADAPTERS_HOST_ARCHIVER_H

#include "base/app.h"
#include "base/conf.h"
#include "base/wake.h"
#include "mgccomp/ledger.h"

/* Options every adapter section has, resolved beside the module's own. */
extern const struct conf_option
    archiver_common_options[]; /* module, required, interval, records, bytes, deadline */

/* `holdfast adapter describe MODULE`: a section for it, every option with its default. */
int adapter_describe_command(struct app_io *io, const char *modules_dir, int argc, char **argv);

struct archiver_options {
    struct staging *staging;
    struct conf *conf;         /* sections "adapter NAME" */
    const char *modules_dir;   /* where mgc_<module>.so lie */
    const char *scratch_dir;   /* workers' private folders and spools */
    const char *delivered_dir; /* see delivered.h; exists */
    const char *program;       /* path of this executable, for `worker` */
    int64_t backlog_ms;        /* so long may a record wait beyond an interval; 0: for ever */
    struct wake *captured;     /* rung after a capture commit; may be NULL */
    struct wake *archived;     /* rung after a batch was verified (sweep); may be NULL */
};

struct archiver;
/* Adds instances for configured sections the first time (an empty instance table); afterwards a
 * section without instance is logged as not added, an instance without section is ERR_CONFIG.
 * ERR_CONFLICT: mgccomp is older than an adapter's archives (older_copy.h). */
int archiver_start(struct archiver **out, const struct archiver_options *o, struct err *e);
void archiver_stop(
    struct archiver *a); /* lets workers finish within their deadline, at most 10 s */

/* `holdfast worker`: started by the archiver only, speaks over descriptor 3. */
int worker_main(int argc, char **argv);

/* `holdfast adapter add NAME`, `list [--json]`, `pause NAME --reason TEXT`, `resume NAME`, `retire
 * NAME --reason TEXT`. */
int adapter_add_command(struct app_io *io, struct staging *st, struct conf *conf,
                        const char *modules_dir, int argc, char **argv);
int adapter_list_command(struct app_io *io, struct staging *st, int argc, char **argv);
int adapter_pause_command(struct app_io *io, struct staging *st, int argc, char **argv);
int adapter_resume_command(struct app_io *io, struct staging *st, int argc, char **argv);
int adapter_retire_command(struct app_io *io, struct staging *st, int argc, char **argv);

#endif
