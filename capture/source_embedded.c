/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The embedded queue: the store's one table, read by position through a handle of its own that
 * holds nothing open between two pages. A position that is not there (numbers are never given out
 * twice) is passed over: if a record was taken away, its stream's chain says so.
 */
#include "base/clock.h"
#include "base/own.h"
#include "capture/source_driver.h"
#include "chat-server/store/store.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

struct embedded {
    struct source base;
    struct wake *committed;
    char *url;
    struct store *store; /* NULL: to be opened at the next poll */
    struct staging_position at;
    bool assigned;
    bool dead; /* not the log that was captured before */
    bool paused;
};

static void embedded_close(struct source *base)
{
    struct embedded *s = (struct embedded *)base;
    store_close(s->store);
    free(s->url);
    free(s);
}

/* The store is made by whoever writes it; until then the queue is an empty one. */
static int open_store(struct embedded *s, struct err *e)
{
    if (s->store && store_broken(s->store)) {
        store_close(s->store);
        s->store = NULL;
    }
    if (s->store)
        return 0;
    return store_open_reader(&s->store, s->url, e);
}

struct copying {
    struct embedded *s;
    struct source_batch *b;
    int64_t now_us;
};

static int copy_row(void *arg, const struct store_row *row, struct err *e)
{
    struct copying *c = arg;
    struct capture_item *item = &c->b->items[c->b->n];
    *item =
        (struct capture_item){.part = 0, .pos = row->pos + c->s->at.shift, .queued_us = c->now_us};
    if (!arena_copy(&c->b->rows, row->raw, &item->raw))
        return err_memory(e, "reading the store");
    c->b->n++;
    c->b->bytes += row->raw.n;
    return 0;
}

static int read_page(struct embedded *s, struct source_batch *b, size_t max, size_t max_bytes,
                     struct err *e)
{
    const size_t before = b->n;
    struct copying c = {.s = s, .b = b, .now_us = clock_wall_us()};
    int rc = store_read_from(s->store, s->at.pos - s->at.shift, max, max_bytes, copy_row, &c, e);
    if (b->n > before)
        s->at.pos = b->items[b->n - 1].pos + 1;
    return rc;
}

static int read_on(struct embedded *s, struct source_batch *b, struct err *e)
{
    return read_page(s, b, b->max - b->n, b->max_bytes - b->bytes, e);
}

/* The last captured record must still be where it was. */
static int compare_last(struct embedded *s, struct source_batch *b, struct err *e)
{
    uint8_t hash[SHA256_SIZE] = {0};
    int64_t pos = s->at.pos;
    if (!s->at.has_hash)
        return 0;
    s->at.pos = pos - 1;
    int rc = read_page(s, b, 1, 1, e);
    s->at.pos = pos;
    bool there = rc == 0 && b->n == 1 && b->items[0].pos == pos - 1;
    if (there)
        sha256(b->items[0].raw.p, b->items[0].raw.n, hash);
    source_batch_clear(b);
    if (rc < 0)
        return rc;
    if (there && memcmp(hash, s->at.hash, SHA256_SIZE) == 0)
        return 0;
    s->dead = true;
    s->base.fault = (struct source_fault){.first = pos - 1, .last = pos - 1};
    return err_set(e, ERR_FAULT,
                   "the store is not the one captured before: position %" PRId64 " of partition 0"
                   " holds %s",
                   pos - 1, there ? "another record" : "no record");
}

/* b: empty, for the record that is compared; left so. */
static int assign(struct embedded *s, struct source_batch *b, struct err *e)
{
    struct staging_position at = {.part = 0};
    if (s->assigned)
        return 0;
    int rc = s->base.events.assigned(s->base.arg, &at, 1, e);
    if (rc < 0)
        return rc;
    s->at = at;
    rc = compare_last(s, b, e);
    if (rc == 0 || s->dead)
        s->assigned = true;
    return rc;
}

/* Not wake_wait alone: it returns at once while the process stops, and capture goes on until the
 * writer before it has ended. */
static void wait_for_commit(const struct embedded *s, int64_t ms)
{
    struct pollfd p = {.fd = s->committed ? s->committed->fd : -1, .events = POLLIN};
    if (poll(&p, 1, (int)ms) > 0)
        (void)wake_wait(s->committed, 0);
}

/* The one partition is 0. */
static int embedded_poll(struct source *base, struct source_batch *const *to, size_t n, int64_t ms,
                         struct err *e)
{
    struct embedded *s = (struct embedded *)base;
    struct source_batch *b = to[0];
    (void)n;
    const size_t before = b->n;
    if (s->paused || s->dead) {
        wait_for_commit(s, ms);
        return 0;
    }
    int rc = open_store(s, e);
    if (rc == ERR_NOT_FOUND) {
        wait_for_commit(s, ms);
        return 0;
    }
    if (rc == 0)
        rc = assign(s, b, e);
    if (rc == 0)
        rc = read_on(s, b, e);
    if (rc == 0 && b->n == before) {
        wait_for_commit(s, ms);
        rc = read_on(s, b, e);
    }
    return rc;
}

static int embedded_seek(struct source *base, const struct staging_position *position,
                         struct err *e)
{
    struct embedded *s = (struct embedded *)base;
    (void)e;
    s->at = *position;
    return 0;
}

static int embedded_pause(struct source *base, bool paused, struct err *e)
{
    (void)e;
    ((struct embedded *)base)->paused = paused;
    return 0;
}

static bool embedded_reads(const struct source *base, int32_t part)
{
    const struct embedded *s = (const struct embedded *)base;
    return part == 0 && s->assigned && !s->dead;
}

int source_embedded_open(struct source **out, const struct source_embedded_options *o,
                         const struct source_events *events, void *arg, struct err *e)
{
    static const struct source_driver driver = {
        .name = "embedded",
        .poll = embedded_poll,
        .seek = embedded_seek,
        .pause = embedded_pause,
        .reads = embedded_reads,
        .close = embedded_close,
    };
    OWN(own_source) struct source *base = calloc(1, sizeof(struct embedded));
    if (!base)
        return err_memory(e, "opening the embedded queue");
    struct embedded *s = (struct embedded *)base;
    base->driver = &driver;
    base->events = *events;
    base->arg = arg;
    s->committed = o->committed;
    s->url = strdup(o->store_url);
    if (!s->url)
        return err_memory(e, "opening the embedded queue");
    /* The name, not the path: a data folder may be moved, and the record at the position tells
     * whether it is the same store. */
    const char *slash = strrchr(o->store_url, '/');
    (void)snprintf(base->identity, sizeof base->identity, "%s", slash ? slash + 1 : o->store_url);
    *out = base;
    base = NULL;
    return 0;
}
