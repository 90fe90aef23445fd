/* SPDX-License-Identifier: Apache-2.0 */
/* From the ledger to a worker: a frozen batch written to its spool, and the task that goes with it.
 */
#ifndef ADAPTERS_HOST_BATCH_H
#define ADAPTERS_HOST_BATCH_H

#include "adapters/host/options.h"

/* Writes the spool into dir under no name; *fd reads it from the start. ERR_FAULT: what is staged
 * is not what was frozen. */
int batch_spool(struct db *db, const struct ledger_batch *b, const char *dir, int *fd,
                struct err *e);
/* The task's message; it holds the adapter's secrets: wipe it after sending. */
int batch_task(const struct ledger_batch *b, enum wire_do what, const char *instance,
               const struct adapter_options *o, const char *scratch, struct buf *out,
               struct err *e);

#endif
