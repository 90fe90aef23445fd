/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is the store an older copy of itself? What was captured must be in it: a captured head that the
 * store has not reached, or holds another record for, says that it was restored, and then it must
 * give out no number before a new epoch is begun (`holdfast store restored`).
 */
#ifndef AUDIT_STORE_COPY_H
#define AUDIT_STORE_COPY_H

#include "base/app.h"
#include "chat-server/store/store.h"
#include "mgccomp/staging.h"

/* Compares the captured heads of the source's present epoch, the newest first. all: streams and
 * epochs that the store does not know at all count too: nobody else writes this source.
 * ERR_CONFLICT: it is older; the text says by which record, and what to type. */
int store_copy_check(struct store *s, struct db *staging, struct slice source, bool all,
                     struct err *e);

struct store_copy_input {
    const char *store_url;
    struct staging *staging;
    struct slice pool; /* a source of this store whatever it holds */
    bool embedded;     /* the queue is the store's table */
};
/* `holdfast store restored --reason TEXT`: the next epoch for every source of the store. Nothing
 * else may write it. */
int store_restored_command(struct app_io *io, const struct store_copy_input *in, int argc,
                           char **argv);

#endif
