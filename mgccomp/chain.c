/* SPDX-License-Identifier: Apache-2.0 */
/* One judgement of one record against its stream's head. */
#include "mgccomp/chain.h"

#include <string.h>

enum chain_verdict chain_judge(const struct chain_head *head, int64_t sequence,
                               const uint8_t previous[SHA256_SIZE])
{
    if (sequence <= head->sequence)
        return CHAIN_OLD;
    if (sequence - head->sequence > CHAIN_FAR_AHEAD)
        return CHAIN_FAR;
    if (sequence - head->sequence > 1)
        return CHAIN_GAP;
    return memcmp(previous, head->hash, SHA256_SIZE) == 0 ? CHAIN_NEXT : CHAIN_ALTERED;
}
