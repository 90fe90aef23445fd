/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smtp module's side of the border: records in, verdicts out, and errors translated both ways.
 */
#ifndef ADAPTERS_SMTP_HOST_H
#define ADAPTERS_SMTP_HOST_H

#include "adapters/mgc_adapter.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/text.h"

/* Where the records of one call come from. At the end of every pass over them their number and
 * digest are compared with the batch's. */
struct smtp_source {
    const struct mgc_host *host;
    const struct mgc_batch *batch;
    struct sha256 *digest;
    uint64_t seen;
};

int smtp_source_init(struct smtp_source *s, const struct mgc_host *host,
                     const struct mgc_batch *batch, struct err *e);
void smtp_source_done(struct smtp_source *s);
/* Back to the first record: call it before every pass. */
int smtp_source_rewind(struct smtp_source *s, struct err *e);
/* *r is NULL after the last one. ERR_STOPPED: the host wants the call to return. ERR_FAULT: these
 * are not the records the batch names. */
int smtp_source_next(struct smtp_source *s, const struct mgc_record **r, struct err *e);
/* What became of records first to last; text is required for ERR_REJECTED. */
int smtp_source_settle(struct smtp_source *s, uint64_t first, uint64_t last, int verdict,
                       const struct mgc_fact *facts, uint32_t count, const char *text,
                       struct err *e);

/* A function's result as the contract has it; fills out when rc is not 0. */
int32_t smtp_give(int rc, const struct err *e, struct mgc_error *out);

static inline struct slice smtp_slice(struct mgc_text t)
{
    return (struct slice){t.p, (size_t)t.n};
}

static inline void own_smtp_source(struct smtp_source *s)
{
    smtp_source_done(s);
}

#endif
