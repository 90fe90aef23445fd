/* SPDX-License-Identifier: Apache-2.0 */
/* Private to capture/source*.c: what a queue implements beneath capture/source.h. */
#ifndef CAPTURE_SOURCE_DRIVER_H
#define CAPTURE_SOURCE_DRIVER_H

#include "capture/source.h"

struct source_driver {
    const char *name;
    int (*poll)(struct source *s, struct source_batch *const *to, size_t n, int64_t ms,
                struct err *e);
    int (*seek)(struct source *s, const struct staging_position *position, struct err *e);
    int (*pause)(struct source *s, bool paused, struct err *e);
    bool (*reads)(const struct source *s, int32_t part);
    void (*close)(struct source *s);
};

/* First member of each driver's own struct. */
struct source {
    const struct source_driver *driver;
    struct source_events events;
    void *arg;
    char identity[512];
    struct source_fault fault;
};

bool source_some_full(struct source_batch *const *to, size_t n);

#endif
