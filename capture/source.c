/* SPDX-License-Identifier: Apache-2.0 */
/* Hands each call to the queue's driver. */
#include "capture/source.h"

#include "capture/source_driver.h"

#include <stdlib.h>

enum { ROWS_KEEP = 1024 * 1024 };

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

int source_batch_init(struct source_batch *b, size_t max, size_t max_bytes, struct err *e)
{
    *b = (struct source_batch){.max = max, .max_bytes = max_bytes};
    arena_init(&b->rows, ROWS_KEEP);
    b->items = calloc(max, sizeof *b->items);
    b->messages = calloc(max, sizeof *b->messages);
    return b->items && b->messages ? 0 : err_memory(e, "reading the queue");
}

bool source_batch_full(const struct source_batch *b)
{
    return b->n == b->max || b->bytes >= b->max_bytes;
}

void source_batch_clear(struct source_batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        kafka_message_release(&b->messages[i]);
    arena_reset(&b->rows);
    b->n = 0;
    b->bytes = 0;
}

void source_batch_done(struct source_batch *b)
{
    source_batch_clear(b);
    arena_done(&b->rows);
    free(b->items);
    free(b->messages);
    *b = (struct source_batch){0};
}

bool source_some_full(struct source_batch *const *to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (source_batch_full(to[i]))
            return true;
    }
    return false;
}

int source_poll(struct source *s, struct source_batch *const *to, size_t n, int64_t ms,
                struct err *e)
{
    return source_some_full(to, n) ? 0 : s->driver->poll(s, to, n, ms, e);
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
