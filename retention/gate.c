/* SPDX-License-Identifier: Apache-2.0 */
/* The rule. Every fact must speak for the deletion; what is not known counts against it. */
#include "retention/gate.h"

#include <stddef.h>

const char *gate_keeps(const struct gate_facts *f)
{
    if (f->required <= 0)
        return "no adapter is required";
    if (f->required_settled < f->required)
        return "a required adapter has not verified it yet";
    if (f->full_readback <= 0)
        return "no required adapter reads back what it wrote";
    if (f->incident)
        return "an incident is open";
    if (f->hold)
        return "a hold has no copy that honours it";
    if (f->in_hand)
        return "an adapter has it in a batch that is parked or in hand";
    return NULL;
}
