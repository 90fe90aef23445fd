/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of a stream's chain: pure functions, no storage. A stream is (source, epoch, subject).
 */
#ifndef MGCCOMP_CHAIN_H
#define MGCCOMP_CHAIN_H

#include "base/digest.h"

#include <stdbool.h>

enum { CHAIN_FAR_AHEAD = 1000000 };

/* sequence 0 with a hash of zeros: nothing yet. */
struct chain_head {
    int64_t sequence;
    uint8_t hash[SHA256_SIZE];
};

enum chain_verdict {
    CHAIN_NEXT,    /* sequence + 1, and previous is the head's hash */
    CHAIN_ALTERED, /* sequence + 1, but previous is another hash: what lies before was changed */
    CHAIN_GAP,     /* records are missing between the head and this one */
    CHAIN_FAR,     /* more than CHAIN_FAR_AHEAD ahead: does not move the head */
    CHAIN_OLD,     /* at or below the head: duplicate, late, fork or repeat; needs a look-up */
};
enum chain_verdict chain_judge(const struct chain_head *head, int64_t sequence,
                               const uint8_t previous[SHA256_SIZE]);

#endif
