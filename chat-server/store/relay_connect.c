/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the relay needs before it can send: its store with the source's lock, what there is to send,
 * a topic that is fit, a producer.
 */
#include "base/clock.h"
#include "base/own.h"
#include "chat-server/store/relay_inside.h"

#include <stdio.h>

enum {
    CHECK_MS = 3000,
    RESCAN_MS = 600000, /* nobody may have told of a record whose commit was in doubt */
};

static int scan_visit(void *arg, const struct store_stream *found, struct err *e)
{
    struct relay *r = arg;
    (void)e;
    if (!slice_is(found->source, r->source) || found->relayed >= found->sequence)
        return 0;
    relay_lock(r);
    struct outbox_stream *st = outbox_take(r->outbox, found->id, found->subject);
    if (st)
        outbox_found(r->outbox, st, found->sequence, found->relayed);
    else
        r->rescan = true;
    relay_unlock(r);
    return 0;
}

/* Looks for streams with something to send: at start, and after there was no room for all. */
static int scan(struct relay *r, struct err *e)
{
    relay_lock(r);
    bool needed = !r->scanned || (r->rescan && !outbox_full(r->outbox)) ||
                  clock_mono_ms() - r->scanned_ms > RESCAN_MS;
    if (needed)
        r->rescan = false;
    r->scanning = needed;
    relay_unlock(r);
    if (!needed)
        return 0;
    int rc = store_streams(r->store, scan_visit, r, e);
    relay_lock(r);
    r->scanning = false;
    if (rc < 0)
        r->rescan = true;
    else
        r->scanned = true;
    r->scanned_ms = clock_mono_ms();
    relay_unlock(r);
    return rc;
}

struct parked_count {
    const char *source;
    uint64_t n;
};

static int count_parked(void *arg, const struct store_parked *p, struct err *e)
{
    struct parked_count *count = arg;
    (void)e;
    count->n += slice_is(p->source, count->source);
    return 0;
}

/* Two relays of one source would put its records into the log twice, in two orders. */
static int lock_source(struct relay *r, struct err *e)
{
    char name[600];
    int n = snprintf(name, sizeof name, "store relay %s", r->source);
    if (n < 0 || (size_t)n >= sizeof name)
        return err_set(e, ERR_CONFIG, "the relay's source is too long");
    int rc = db_lock(store_db(r->store), slice_of(name), e);
    if (rc == ERR_CONFLICT)
        return err_set(e, rc, "another process relays the source %s", r->source);
    return rc;
}

int relay_open_store(struct relay *r, struct err *e)
{
    struct parked_count parked = {r->source, 0};
    store_close(r->store);
    r->store = NULL;
    int rc = store_open(&r->store, r->store_url, e);
    if (rc == 0)
        rc = lock_source(r, e);
    if (rc == 0)
        rc = store_parked(r->store, count_parked, &parked, e);
    if (rc == 0)
        rc = relay_ends_load(r, e);
    if (rc < 0) {
        store_close(r->store);
        r->store = NULL;
        return rc;
    }
    relay_lock(r);
    r->parked = parked.n;
    relay_unlock(r);
    return 0;
}

int relay_check_topic(struct relay *r, struct err *e)
{
    struct kafka_facts facts;
    int rc = kafka_check(&r->target, CHECK_MS, &facts, e);
    if (rc < 0)
        return rc;
    r->partitions = facts.partitions;
    r->checked = true;
    relay_lock(r);
    r->connected = true;
    relay_unlock(r);
    return 0;
}

int relay_connect(struct relay *r, struct err *e)
{
    int rc = 0;
    if (!r->store || store_broken(r->store)) {
        /* The lock went with the connection, and another relay may have sent since: a report of
         * what was in flight, coming late, would look like a log that was cut. */
        relay_take_back(r);
        rc = relay_open_store(r, e);
    }
    /* Before the brokers: what is behind is known while they are away. */
    if (rc == 0)
        rc = scan(r, e);
    if (rc == 0 && !r->checked)
        rc = relay_check_topic(r, e);
    if (rc == 0 && !r->producer)
        rc = kafka_producer_open(&r->producer, &r->target, relay_on_report, r, e);
    return rc;
}
