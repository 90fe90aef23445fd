/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A module's side of the border: records in, verdicts out, errors translated both ways, and the
 * few option and receipt chores that every module of ours has. A convenience of this tree, linked
 * into each module as its own hidden copy; the contract is adapters/mgc_adapter.h alone.
 */
#ifndef ADAPTERS_KIT_H
#define ADAPTERS_KIT_H

#include "adapters/mgc_adapter.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/text.h"

#include <limits.h>

/* Where the records of one call come from. At the end of every pass over them their number and
 * digest are compared with the batch's. */
struct kit_source {
    const struct mgc_host *host;
    const struct mgc_batch *batch;
    struct sha256 *digest;
    uint64_t seen;
};

/* host and batch must outlive the source. */
int kit_source_init(struct kit_source *s, const struct mgc_host *host,
                    const struct mgc_batch *batch, struct err *e);
void kit_source_done(struct kit_source *s); /* also after a failed init */
/* Back to the first record: call it before every pass. */
int kit_source_rewind(struct kit_source *s, struct err *e);
/* *r is NULL after the last one; else it is valid until the next call of next or rewind.
 * ERR_STOPPED: the host wants the call to return. ERR_FAULT: these are not the records the batch
 * names. */
int kit_source_next(struct kit_source *s, const struct mgc_record **r, struct err *e);
/* Settles records first to last, inclusive; 0 only once the host has it on disk. verdict: 0 for
 * delivered, or ERR_REJECTED or ERR_RETRY. text may be NULL, except with ERR_REJECTED. */
int kit_source_settle(struct kit_source *s, uint64_t first, uint64_t last, int verdict,
                      const struct mgc_fact *facts, uint32_t count, const char *text,
                      struct err *e);

/* A function's result as the contract has it; fills out when rc is not 0. ERR_NOT_FOUND (a folder
 * that is gone) and what the contract has no class for become MGC_RETRY: `find` says MGC_NOT_FOUND
 * itself. */
int32_t kit_result(int rc, const struct err *e, struct mgc_error *out);

/* The value of an option that names a folder, made when it is not there. ERR_CONFIG names the
 * option. */
int kit_folder(const char *option, const struct mgc_value *value, char out[PATH_MAX],
               struct err *e);

/* A fact of a receipt; name and value are borrowed. */
struct mgc_fact kit_fact(const char *name, const char *value);
/* The first fact of that name, or NULL. */
const struct mgc_fact *kit_fact_find(const struct mgc_fact *facts, uint32_t count,
                                     const char *name);

/* What a run of records of one room spans; begins zeroed. */
struct kit_span {
    uint64_t records;
    int64_t first_sequence, last_sequence; /* of those that have one; 0: none has */
    int64_t first_us, last_us;             /* least and greatest time */
};
void kit_span_add(struct kit_span *s, const struct mgc_record *r);

static inline struct slice kit_slice(struct mgc_text t)
{
    return (struct slice){t.p, (size_t)t.n};
}

static inline void own_kit_source(struct kit_source *s)
{
    kit_source_done(s);
}

#endif
