/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a bad report. Outages never come here: the producer waits them out in order. What comes
 * here is a topic that went away, a fatal producer, or a record the brokers refuse, which takes the
 * good ones of its batch down with it: hence one by one.
 */
#include "base/clock.h"
#include "base/log.h"
#include "chat-server/store/relay_inside.h"

#include <inttypes.h>
#include <string.h>

enum { REFUSALS = 2 };

int relay_park(struct relay *r, struct outbox_stream *st, int64_t sequence, const char *reason,
               struct err *e)
{
    int rc = store_park(r->store, st->id, sequence, slice_of(reason), e);
    if (rc < 0)
        return rc;
    struct err why = {0};
    (void)err_set(&why, ERR_REJECTED, "%s", reason);
    log_error("relay.parked", &why, "stream=%" PRId64 " sequence=%" PRId64, st->id, sequence);
    relay_lock(r);
    outbox_confirmed(r->outbox, st, sequence, 0);
    st->noted = sequence;
    r->parked++;
    relay_unlock(r);
    r->progressed = true;
    return 0;
}

struct alone {
    struct relay *r;
    struct outbox_stream *st;
    int64_t sequence;
    bool found;
};

static int send_row(void *arg, const struct store_row *row, struct err *e)
{
    struct alone *a = arg;
    a->found = true;
    struct outbox_record record = {.sequence = row->sequence, .bytes = row->raw};
    return relay_send(a->r, a->st, &record, e);
}

static void await_report(struct relay *r)
{
    while (r->in_flight > 0 && !relay_over(r))
        kafka_producer_poll(r->producer, 100);
}

/* Sends the stream's first unconfirmed record with nothing else in flight. 0: confirmed, refused or
 * parked, the caller looks again; < 0: could not be tried. */
static int send_alone(struct relay *r, struct outbox_stream *st, struct err *e)
{
    struct alone a = {.r = r, .st = st, .sequence = st->confirmed + 1};
    int rc = relay_connect(r, e);
    if (rc < 0)
        return rc;
    int refused_before = st->refusals;
    rc = store_read_stream(r->store, st->id, a.sequence, a.sequence, 1, send_row, &a, e);
    if (rc == 0 && !a.found)
        return relay_park(r, st, a.sequence, "the store does not hold it", e);
    if (rc == ERR_REJECTED)
        st->refusals++;
    else if (rc < 0)
        return rc;
    else
        await_report(r);
    bool failed = r->failed;
    if (failed)
        relay_take_back(r);
    if (st->refusals >= REFUSALS)
        return relay_park(r, st, a.sequence, r->problem[0] ? r->problem : "refused", e);
    /* Not refused but failed: the brokers' trouble, not the record's. */
    if (failed && st->refusals == refused_before)
        return err_set(e, ERR_RETRY, "a record sent alone failed");
    return 0;
}

struct suspects {
    struct outbox_stream *found;
};

static void find_suspect(void *arg, struct outbox_stream *st)
{
    struct suspects *s = arg;
    if (st->suspect_until > st->confirmed && st->confirmed != OUTBOX_UNKNOWN)
        s->found = st;
}

static struct outbox_stream *next_suspect(struct relay *r)
{
    struct suspects s = {NULL};
    relay_lock(r);
    outbox_each(r->outbox, find_suspect, &s);
    relay_unlock(r);
    return s.found;
}

void relay_repair(struct relay *r)
{
    relay_take_back(r);
    struct outbox_stream *st = next_suspect(r);
    if (!st) {
        relay_pause(r, backoff_next(&r->backoff));
        return;
    }
    while (st && !relay_over(r)) {
        struct err e = {0};
        int rc = send_alone(r, st, &e);
        if (rc < 0) {
            relay_problem(r, &e);
            relay_pause(r, backoff_next(&r->backoff));
        } else if (st->confirmed >= st->suspect_until) {
            st = next_suspect(r);
        }
        relay_note(r, false);
    }
}
