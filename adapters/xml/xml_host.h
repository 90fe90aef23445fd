/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The xml module's side of the border: records in, verdicts out, and errors translated both ways.
 */
#ifndef ADAPTERS_XML_HOST_H
#define ADAPTERS_XML_HOST_H

#include "adapters/mgc_adapter.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/text.h"

/* Where the records of one call come from. At the end of every pass over them their number and
 * digest are compared with the batch's. */
struct xml_source {
    const struct mgc_host *host;
    const struct mgc_batch *batch;
    struct sha256 *digest;
    uint64_t seen;
};

int xml_source_init(struct xml_source *s, const struct mgc_host *host,
                    const struct mgc_batch *batch, struct err *e);
void xml_source_done(struct xml_source *s);
/* Back to the first record: call it before every pass. */
int xml_source_rewind(struct xml_source *s, struct err *e);
/* *r is NULL after the last one. ERR_STOPPED: the host wants the call to return. ERR_FAULT: these
 * are not the records the batch names. */
int xml_source_next(struct xml_source *s, const struct mgc_record **r, struct err *e);
/* Settles records first to last as delivered, with these facts. */
int xml_source_settle(struct xml_source *s, uint64_t first, uint64_t last,
                      const struct mgc_fact *facts, uint32_t count, struct err *e);

/* A function's result as the contract has it; fills out when rc is not 0. */
int32_t xml_give(int rc, const struct err *e, struct mgc_error *out);

static inline struct slice xml_slice(struct mgc_text t)
{
    return (struct slice){t.p, (size_t)t.n};
}

static inline void own_xml_source(struct xml_source *s)
{
    xml_source_done(s);
}

#endif
