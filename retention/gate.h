/* SPDX-License-Identifier: Apache-2.0 */
/* The one gate: may a staged record be deleted? A pure rule over facts the caller read under the
 * gate's lock. */
#ifndef RETENTION_GATE_H
#define RETENTION_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct gate_facts {
    int required;         /* required instances, active or paused or failed */
    int required_settled; /* of these: have it in a batch that is verified, or parked (in_hand) */
    int full_readback;    /* of these: verified by reading every byte back */
    bool incident;        /* an open one for its room, its source or its partition */
    bool hold;            /* a legal hold without a copy that honours it */
    bool in_hand;         /* it is in a batch that is not verified */
};
/* NULL: it may go. Otherwise the reason to keep it, in words. */
const char *gate_keeps(const struct gate_facts *f);

#endif
