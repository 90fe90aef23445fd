/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The producer's hands: a record given to it, within its partition's share; the report that comes
 * back; and everything taken back that has no report yet.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "chat-server/store/relay_heal.h"
#include "chat-server/store/relay_inside.h"

#include <stdlib.h>

/* The place of a stream's partition before the first report tells it: Kafka's murmur2, as the
 * partitioner computes it. Only the shares of the producer's queue depend on it. */
static uint32_t murmur2(struct slice key)
{
    const uint32_t m = 0x5bd1e995;
    const unsigned char *p = (const unsigned char *)key.p;
    size_t n = key.n;
    uint32_t h = UINT32_C(0x9747b28c) ^ (uint32_t)n;

    for (; n >= 4; p += 4, n -= 4) {
        uint32_t k =
            (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        k *= m;
        k ^= k >> 24;
        h = h * m ^ k * m;
    }
    for (size_t i = n; i > 0; i--)
        h ^= (uint32_t)p[i - 1] << (8 * (i - 1));
    if (n > 0)
        h *= m;
    h ^= h >> 13;
    h *= m;
    return h ^ h >> 15;
}

static struct slice subject_of(const struct outbox_stream *st)
{
    return (struct slice){st->subject, st->subject_n};
}

static int32_t part_of(const struct relay *r, struct slice subject, int32_t known)
{
    int32_t p = known;
    if (p < 0 && r->partitions > 0)
        p = (int32_t)((murmur2(subject) & 0x7fffffff) % (uint32_t)r->partitions);
    if (p < 0)
        p = 0;
    return p < RELAY_PARTITIONS ? p : RELAY_PARTITIONS - 1;
}

static void confirm(struct relay *r, struct outbox_stream *st, const struct relay_flight *f)
{
    relay_lock(r);
    outbox_confirmed(r->outbox, st, f->sequence, f->stored_us);
    r->connected = true;
    relay_unlock(r);
    r->progressed = true;
    if (!st->dirty && st->confirmed > st->noted) {
        st->dirty = true;
        st->next_dirty = r->dirty;
        r->dirty = st;
    }
}

void relay_on_report(void *arg, const struct kafka_report *report)
{
    struct relay *r = arg;
    OWN(own_mem) struct relay_flight *f = report->tag;
    struct outbox_stream *st = f->stream;

    FAULT("relay.confirm");
    r->parts[f->partition].in_flight--;
    r->parts[f->partition].bytes -= f->bytes;
    r->in_flight--;
    if (report->class == 0)
        relay_offset_seen(r, report->partition, report->offset);
    if (!st) {
        relay_heal_report(r, report->class);
        if (report->class != 0 && report->class != ERR_STOPPED && report->class != ERR_REJECTED)
            r->failed = true;
        return;
    }
    st->in_flight--;
    if (report->partition >= 0)
        st->partition = report->partition;
    if (report->class == 0) {
        confirm(r, st, f);
        return;
    }
    if (report->class == ERR_STOPPED) /* taken back by ourselves */
        return;
    r->failed = true;
    if (report->class == ERR_REJECTED) {
        if (f->sequence == st->confirmed + 1 && st->suspect_until >= f->sequence)
            st->refusals++;
        if (st->suspect_until < f->sequence)
            st->suspect_until = f->sequence;
    }
    struct err e = {0};
    (void)err_set(&e, report->class, "the brokers refused a record: %s", report->text);
    relay_problem(r, &e);
}

static int hand_over(struct relay *r, struct relay_flight flight, struct slice subject,
                     struct slice bytes, struct err *e)
{
    struct relay_part *part = &r->parts[flight.partition];
    if (part->in_flight > 0 &&
        (part->in_flight >= RELAY_PART_COUNT || part->bytes + bytes.n > RELAY_PART_BYTES))
        return err_set(e, ERR_AGAIN, "the partition's share is full");
    OWN(own_mem) struct relay_flight *f = malloc(sizeof *f);
    if (!f)
        return err_memory(e, "relaying a record");
    *f = flight;
    FAULT("relay.send.before");
    int rc = kafka_producer_send(r->producer, subject, bytes, f, e);
    FAULT("relay.send.after");
    if (rc < 0)
        return rc;
    f = NULL;
    if (r->in_flight == 0)
        r->quiet_ms = clock_mono_ms();
    part->in_flight++;
    part->bytes += bytes.n;
    r->in_flight++;
    return 0;
}

int relay_send_again(struct relay *r, struct slice subject, struct slice record, struct err *e)
{
    const struct relay_flight f = {.bytes = record.n, .partition = part_of(r, subject, -1)};
    return hand_over(r, f, subject, record, e);
}

int relay_send(struct relay *r, struct outbox_stream *st, const struct outbox_record *record,
               struct err *e)
{
    int64_t sequence = record->sequence; /* the window's copy goes when it was sent */
    const struct relay_flight f = {st, sequence, record->stored_us, record->bytes.n,
                                   part_of(r, subject_of(st), st->partition)};
    int rc = hand_over(r, f, subject_of(st), record->bytes, e);
    if (rc < 0)
        return rc;
    st->in_flight++;
    relay_lock(r);
    outbox_sent(r->outbox, st, sequence);
    relay_unlock(r);
    return 0;
}

static void new_producer_if_fatal(struct relay *r)
{
    if (!kafka_producer_fatal(r->producer))
        return;
    kafka_producer_close(r->producer);
    r->producer = NULL;
}

void relay_take_back(struct relay *r)
{
    if (r->producer) {
        kafka_producer_purge(r->producer);
        new_producer_if_fatal(r);
    }
    r->failed = false;
    relay_lock(r);
    outbox_rewind(r->outbox);
    relay_unlock(r);
}
