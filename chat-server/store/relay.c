/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The relaying thread: what is stored goes to the queue, each stream in order. It sends from memory
 * what it was told of, and reads from the store by key range what it was not. What to do after a
 * bad report is relay_repair.c.
 */
#include "chat-server/store/relay.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/own.h"
#include "chat-server/store/relay_heal.h"
#include "chat-server/store/relay_inside.h"

#include <string.h>
#include <time.h>

enum {
    CHECK_MS = 3000,
    NOTE_MS = 250,
    NOTE_AT_ONCE = 1000,
    BURST = 64,   /* records of one stream before the next one's turn */
    TURNS = 1000, /* streams looked at before reports are polled again */
    QUIET_MS = 5000,
    RESCAN_MS = 600000, /* nobody may have told of a record whose commit was in doubt */
};

void relay_lock(struct relay *r)
{
    (void)pthread_mutex_lock(&r->mutex);
}

void relay_unlock(struct relay *r)
{
    (void)pthread_mutex_unlock(&r->mutex);
}

void relay_wait_ms(struct relay *r, pthread_cond_t *cond, int64_t ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(cond, &r->mutex, &until);
}

void relay_pause(struct relay *r, int64_t ms)
{
    int64_t start = clock_mono_ms();
    relay_lock(r);
    for (;;) {
        int64_t left = (r->stopping && ms > 50 ? 50 : ms) - (clock_mono_ms() - start);
        if (left <= 0)
            break;
        relay_wait_ms(r, &r->work, left);
    }
    relay_unlock(r);
}

bool relay_over(struct relay *r)
{
    relay_lock(r);
    bool over = r->stopping && clock_mono_ms() >= r->stop_ms;
    relay_unlock(r);
    return over;
}

void relay_problem(struct relay *r, const struct err *e)
{
    relay_lock(r);
    bool news = e ? strncmp(r->problem, e->text, sizeof r->problem - 1) != 0 : r->problem[0] != 0;
    if (news)
        (void)snprintf(r->problem, sizeof r->problem, "%.199s", e ? e->text : "");
    if (e)
        r->connected = false;
    relay_unlock(r);
    if (news && e)
        log_error("relay.problem", e, "topic=%s", r->topic);
    else if (news)
        log_event(LOG_INFO, "relay.well", "topic=%s", r->topic);
}

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

static void on_report(void *arg, const struct kafka_report *report)
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
    relay_unlock(r);
    if (!needed)
        return 0;
    int rc = store_streams(r->store, scan_visit, r, e);
    relay_lock(r);
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
        rc = kafka_producer_open(&r->producer, &r->target, on_report, r, e);
    return rc;
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
        rc = relay_ends_write(r, &e);
    FAULT("relay.note.before");
    if (rc == 0)
        rc = db_commit(store_db(r->store), &e);
    FAULT("relay.note.after");
    if (rc < 0) {
        relay_problem(r, &e);
        return;
    }
    txn = NULL;
    relay_ends_written(r);
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

struct range {
    struct relay *r;
    struct outbox_stream *st;
    int64_t time_us; /* of the first row, which is not younger than the others */
};

static void range_time(struct range *g, struct slice raw)
{
    struct record record;
    if (g->time_us || record_decode(g->r->json, raw, &record, NULL) < 0)
        return;
    g->time_us = record.time_us;
    relay_lock(g->r);
    if (g->st->behind_us == 0)
        g->st->behind_us = record.time_us;
    relay_unlock(g->r);
}

static int send_range_row(void *arg, const struct store_row *row, struct err *e)
{
    struct range *g = arg;
    if (row->sequence != g->st->sent + 1)
        return err_set(e, ERR_NOT_FOUND, "record %lld is not in the store",
                       (long long)g->st->sent + 1);
    range_time(g, row->raw);
    struct outbox_record record = {
        .sequence = row->sequence, .stored_us = g->time_us, .bytes = row->raw};
    return relay_send(g->r, g->st, &record, e);
}

/* A row that is not there any more is named; capture finds the gap it leaves. */
static int send_range(struct relay *r, struct outbox_stream *st, int64_t last, struct err *e)
{
    struct range g = {.r = r, .st = st};
    int64_t first = st->sent + 1;
    int rc = store_read_stream(r->store, st->id, first, last, RELAY_ROWS, send_range_row, &g, e);
    bool missing = rc == ERR_NOT_FOUND || (rc == 0 && st->sent < first);
    if (!missing)
        return rc;
    /* Only what comes next is parked, so that its order among those in flight is kept. */
    if (st->confirmed < st->sent)
        return err_set(e, ERR_AGAIN, "waiting for what is in flight");
    return relay_park(r, st, st->sent + 1, "the store does not hold it", e);
}

/* Sends some of one stream. ERR_AGAIN: no room now. */
static int send_some(struct relay *r, struct outbox_stream *st, struct err *e)
{
    if (st->confirmed == OUTBOX_UNKNOWN) {
        int64_t relayed = 0;
        int rc = store_relayed(r->store, st->id, &relayed, e);
        if (rc < 0)
            return rc;
        relay_lock(r);
        outbox_found(r->outbox, st, relayed > st->head ? relayed : st->head, relayed);
        relay_unlock(r);
    }
    for (int i = 0; i < BURST; i++) {
        relay_lock(r);
        const struct outbox_record *record = outbox_peek(r->outbox, st, st->sent + 1);
        int64_t last = st->first ? st->first->sequence - 1 : st->head;
        bool more = st->sent < st->head;
        relay_unlock(r);
        if (!more)
            return 0;
        int rc = record ? relay_send(r, st, record, e) : send_range(r, st, last, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void refused_here(struct relay *r, struct outbox_stream *st, const struct err *e)
{
    if (e->class == ERR_REJECTED && st->suspect_until <= st->sent)
        st->suspect_until = st->sent + 1;
    r->failed = true;
    relay_problem(r, e);
}

/* Each stream with something to send gets a turn. False: nothing could be sent. */
static bool feed(struct relay *r)
{
    size_t before = r->in_flight;
    for (int turn = 0; turn < TURNS && !r->failed; turn++) {
        struct err e = {0};
        relay_lock(r);
        struct outbox_stream *st = outbox_next(r->outbox);
        relay_unlock(r);
        if (!st)
            break;
        int rc = send_some(r, st, &e);
        relay_lock(r);
        outbox_wait(r->outbox, st);
        relay_unlock(r);
        if (store_broken(r->store)) {
            relay_problem(r, &e);
            break;
        }
        if (rc < 0 && rc != ERR_AGAIN)
            refused_here(r, st, &e);
    }
    return r->in_flight > before;
}

static void tell_progress(struct relay *r)
{
    int64_t now = clock_mono_ms();
    if (r->progressed) {
        r->progressed = false;
        r->quiet_ms = now;
        backoff_reset(&r->backoff);
        relay_lock(r);
        (void)pthread_cond_broadcast(&r->progress);
        relay_unlock(r);
        relay_problem(r, NULL);
    } else if (r->in_flight > 0 && now - r->quiet_ms > QUIET_MS) {
        struct err e = {0};
        (void)err_set(&e, ERR_RETRY, "the brokers of topic %s do not confirm", r->topic);
        relay_problem(r, &e);
    }
}

/* Nothing in flight: wait to be told. Something in flight: the producer tells. */
static void rest(struct relay *r, bool sent)
{
    if (r->in_flight > 0) {
        kafka_producer_poll(r->producer, sent ? 0 : 5);
        return;
    }
    relay_lock(r);
    if (!r->stopping && !outbox_has_waiting(r->outbox))
        relay_wait_ms(r, &r->work, 50);
    relay_unlock(r);
}

static bool finished(struct relay *r)
{
    struct outbox_sum sum;
    relay_lock(r);
    bool stopping = r->stopping;
    if (stopping)
        outbox_sum(r->outbox, &sum);
    bool end = stopping && ((r->scanned && sum.unconfirmed == 0) || clock_mono_ms() >= r->stop_ms);
    relay_unlock(r);
    return end;
}

void *relay_run(void *arg)
{
    struct relay *r = arg;
    while (!finished(r)) {
        struct err e = {0};
        int rc = relay_connect(r, &e);
        if (rc < 0) {
            relay_problem(r, &e);
            relay_pause(r, backoff_next(&r->backoff));
            continue;
        }
        bool sent = feed(r);
        kafka_producer_poll(r->producer, 0);
        if (r->failed || kafka_producer_fatal(r->producer))
            relay_repair(r);
        relay_await_turn(r);
        tell_progress(r);
        relay_note(r, false);
        if (r->producer)
            relay_heal_turn(r);
        if (r->producer)
            rest(r, sent);
    }
    relay_note(r, true);
    return NULL;
}
