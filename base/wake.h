/* SPDX-License-Identifier: Apache-2.0 */
/* A doorbell between threads: ring from anywhere, wait with a time-out. Rings before a wait count
 * once. */
#ifndef BASE_WAKE_H
#define BASE_WAKE_H

#include <stdbool.h>
#include <stdint.h>

struct wake {
    int fd; /* eventfd: may be polled for reading together with others */
};

bool wake_init(struct wake *w);
void wake_done(struct wake *w);
void wake_ring(struct wake *w); /* any thread */
/* True when it was rung, false after ms or when stop_requested. */
bool wake_wait(struct wake *w, int64_t ms);

#endif
