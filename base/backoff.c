/* SPDX-License-Identifier: Apache-2.0 */
/* Doubling pauses with jitter, so that many clients of one broken server do not come in step. */
#include "base/backoff.h"

#include <stdlib.h>
#include <sys/random.h>

void backoff_init(struct backoff *b, int64_t first_ms, int64_t last_ms)
{
    *b = (struct backoff){.first_ms = first_ms, .last_ms = last_ms, .next_ms = first_ms};
}

int64_t backoff_next(struct backoff *b)
{
    int64_t pause = b->next_ms;
    b->next_ms = pause > b->last_ms / 2 ? b->last_ms : pause * 2;
    uint64_t dice = 0;
    /* Without random numbers at hand the pause is merely not spread. */
    if (getrandom(&dice, sizeof dice, GRND_NONBLOCK) != (ssize_t)sizeof dice)
        dice = 0;
    return pause - (int64_t)(dice % ((uint64_t)pause / 4 + 1));
}

void backoff_reset(struct backoff *b)
{
    b->next_ms = b->first_ms;
}
