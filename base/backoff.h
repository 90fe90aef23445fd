/* SPDX-License-Identifier: Apache-2.0 */
/* Growing pauses between tries: doubles from first to last, with up to a quarter taken off at
 * random. */
#ifndef BASE_BACKOFF_H
#define BASE_BACKOFF_H

#include <stdint.h>

struct backoff {
    int64_t first_ms;
    int64_t last_ms;
    int64_t next_ms;
};

void backoff_init(struct backoff *b, int64_t first_ms, int64_t last_ms);
int64_t backoff_next(struct backoff *b); /* milliseconds to wait now */
void backoff_reset(struct backoff *b);   /* after a success */

#endif
