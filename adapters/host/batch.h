/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the ledger to a worker: the spool of an instance's batch, and the task that goes with it.
 *
 * The spool is filled while the batch is cut, from the rows that are frozen, and serves every
 * attempt of this process: the records are read from mgccomp once. A process that finds an open
 * batch fills it anew, and compares it with the frozen digest.
 */
#ifndef ADAPTERS_HOST_BATCH_H
#define ADAPTERS_HOST_BATCH_H

#include "adapters/host/options.h"
#include "base/digest.h"

struct batch_spool {
    int fd, reader;         /* of a file without a name; -1: none */
    const char *dir, *name; /* where it lies, borrowed; and whose it is */
    char id[37];            /* of the batch that is in it whole; "": of none */
    struct buf out;         /* not written yet */
    int64_t records, bytes, first_us, last_us;
    int64_t receipts;    /* bytes of what was settled before the attempt; the runner adds to it */
    int64_t stream, end; /* of the last record; where the file's head begins */
    uint32_t room;       /* of stream; rooms come in the streams' order */
    struct sha256 *sum;  /* while it is compared */
};
/* dir and name must live as long. */
void batch_spool_init(struct batch_spool *s, const char *dir, const char *name);
void batch_spool_done(struct batch_spool *s); /* and as after init */

/* A ledger_record_fn, arg: the spool. The first record that follows batch_spool_init or _done
 * begins the file. */
int batch_spool_record(void *arg, const struct ledger_record *r, struct err *e);
/* What was given is all of b, as the ledger froze it. */
int batch_spool_whole(struct batch_spool *s, const struct ledger_batch *b, struct err *e);
/* Makes the spool ready for one attempt at b; *fd reads it, and is the caller's. ERR_FAULT: what is
 * staged is not what was frozen. */
int batch_spool_open(struct batch_spool *s, struct db *db, const struct ledger_batch *b, int *fd,
                     struct err *e);
/* The task's message; it holds the adapter's secrets: wipe it after sending. */
int batch_task(const struct ledger_batch *b, enum wire_do what, const char *instance,
               const struct adapter_options *o, const char *scratch, struct buf *out,
               struct err *e);

#endif
