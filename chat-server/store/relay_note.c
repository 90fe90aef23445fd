/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store is told of the queue: how far each stream is confirmed, and where the log put the
 * last confirmed record of each partition. An offset that falls is the only sign of a log that was
 * cut or made again: then what it held is gone, confirmed or not.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/own.h"
#include "chat-server/store/heal_store.h"
#include "chat-server/store/relay_inside.h"

#include <inttypes.h>

enum {
    NOTE_MS = 250,
    NOTE_AT_ONCE = 1000,
};

void relay_offset_seen(struct relay *r, int32_t partition, int64_t offset)
{
    if (partition < 0 || partition >= RELAY_PARTITIONS || offset < 0)
        return;
    struct relay_part *part = &r->parts[partition];
    if (partition >= r->parts_seen)
        r->parts_seen = partition + 1;
    if (offset <= part->last_offset) {
        log_event(LOG_ERROR, "relay.log-changed",
                  "topic=%s partition=%" PRId32 " before=%" PRId64 " now=%" PRId64, r->topic,
                  partition, part->last_offset, offset);
        part->fell_from = part->last_offset;
        part->fell_to = offset;
    }
    part->last_offset = offset;
    r->ends_moved = true;
}

static int load_one(void *arg, int32_t part, int64_t offset, struct err *e)
{
    struct relay *r = arg;
    (void)e;
    if (part < 0 || part >= RELAY_PARTITIONS)
        return 0;
    /* What this process saw may be newer than what it wrote down; what another relay wrote while
     * this one had lost the lock is newer than what this one saw. */
    if (offset > r->parts[part].last_offset)
        r->parts[part].last_offset = offset;
    if (part >= r->parts_seen)
        r->parts_seen = part + 1;
    return 0;
}

static int still_open(void *arg, const struct store_log_change *c, struct err *e)
{
    struct relay *r = arg;
    (void)e;
    if (slice_is(c->source, r->source))
        r->fallen = true;
    return 0;
}

int relay_ends_load(struct relay *r, struct err *e)
{
    int rc = store_queue_ends(r->store, slice_of(r->source), load_one, r, e);
    return rc < 0 ? rc : store_log_changes(r->store, false, still_open, r, e);
}

static int write_ends(struct relay *r, struct err *e)
{
    int rc = 0;
    for (int32_t i = 0; rc == 0 && r->ends_moved && i < r->parts_seen; i++) {
        struct relay_part *p = &r->parts[i];
        /* One that fell may have risen to the very same place since. */
        if ((p->last_offset == p->noted_offset && p->fell_from < 0) || p->last_offset < 0)
            continue;
        if (p->fell_from >= 0)
            rc = store_log_change_open(r->store, slice_of(r->source), i, p->fell_from, p->fell_to,
                                       e);
        if (rc == 0)
            rc = store_set_queue_end(r->store, slice_of(r->source), i, p->last_offset, e);
    }
    return rc;
}

static void ends_written(struct relay *r)
{
    for (int32_t i = 0; i < r->parts_seen; i++) {
        struct relay_part *p = &r->parts[i];
        if (p->fell_from >= 0)
            r->fallen = true;
        p->fell_from = -1;
        p->noted_offset = p->last_offset;
    }
    r->ends_moved = false;
}

void relay_note(struct relay *r, bool now)
{
    OWN(own_db_rollback) struct db *txn = NULL;
    struct err e = {0};
    int64_t ms = clock_mono_ms();
    bool due = r->dirty || r->ends_moved;
    if (!due || !r->store || store_broken(r->store) || (!now && ms - r->noted_ms < NOTE_MS))
        return;
    r->noted_ms = ms;
    int rc = db_begin(store_db(r->store), &e);
    if (rc == 0)
        txn = store_db(r->store);
    struct outbox_stream *st = r->dirty;
    for (int i = 0; rc == 0 && st && i < NOTE_AT_ONCE; i++, st = st->next_dirty)
        rc = store_set_relayed(r->store, st->id, st->confirmed, &e);
    if (rc == 0)
        rc = write_ends(r, &e);
    FAULT("relay.note.before");
    if (rc == 0)
        rc = db_commit(store_db(r->store), &e);
    FAULT("relay.note.after");
    if (rc < 0) {
        relay_problem(r, &e);
        return;
    }
    txn = NULL;
    ends_written(r);
    relay_lock(r);
    while (r->dirty != st) {
        struct outbox_stream *done = r->dirty;
        r->dirty = done->next_dirty;
        done->dirty = false;
        done->noted = done->confirmed;
    }
    outbox_trim(r->outbox);
    relay_unlock(r);
}
