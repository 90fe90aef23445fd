/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tar module's side of the border: records in, verdicts out, and errors translated both ways.
 */
#ifndef ADAPTERS_TAR_HOST_H
#define ADAPTERS_TAR_HOST_H

#include "adapters/mgc_adapter.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/text.h"

/* Where the records of one call come from. At the end of every pass over them their number and
 * digest are compared with the batch's. */
struct tar_source {
    const struct mgc_host *host;
    const struct mgc_batch *batch;
    struct sha256 *digest;
    uint64_t seen;
};

int tar_source_init(struct tar_source *s, const struct mgc_host *host,
                    const struct mgc_batch *batch, struct err *e);
void tar_source_done(struct tar_source *s);
/* Back to the first record: call it before every pass. */
int tar_source_rewind(struct tar_source *s, struct err *e);
/* *r is NULL after the last one. ERR_STOPPED: the host wants the call to return. ERR_FAULT: these
 * are not the records the batch names. */
int tar_source_next(struct tar_source *s, const struct mgc_record **r, struct err *e);
/* Settles the whole batch as delivered, with these facts. */
int tar_source_settle(struct tar_source *s, const struct mgc_fact *facts, uint32_t count,
                      struct err *e);

/* A function's result as the contract has it; fills out when rc is not 0. */
int32_t tar_give(int rc, const struct err *e, struct mgc_error *out);

static inline struct slice tar_slice(struct mgc_text t)
{
    return (struct slice){t.p, (size_t)t.n};
}

static inline void own_tar_source(struct tar_source *s)
{
    tar_source_done(s);
}

#endif
