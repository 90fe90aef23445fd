/* SPDX-License-Identifier: Apache-2.0 */
/* Hands each call to the queue's driver. */
#include "capture/source.h"

#include "capture/source_driver.h"

const char *source_driver(const struct source *s)
{
    return s->driver->name;
}

const char *source_identity(const struct source *s)
{
    return s->identity;
}

const struct source_fault *source_fault(const struct source *s)
{
    return &s->fault;
}

int source_poll(struct source *s, struct capture_item *items, size_t max, size_t max_bytes,
                int64_t ms, size_t *n, struct err *e)
{
    *n = 0;
    return s->driver->poll(s, items, max, max_bytes, ms, n, e);
}

int source_seek(struct source *s, const struct staging_position *position, struct err *e)
{
    return s->driver->seek(s, position, e);
}

bool source_reads(const struct source *s, int32_t part)
{
    return s->driver->reads(s, part);
}

int source_pause(struct source *s, bool paused, struct err *e)
{
    return s->driver->pause(s, paused, e);
}

void source_close(struct source *s)
{
    if (s)
        s->driver->close(s);
}
