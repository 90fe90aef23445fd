/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The topic as a queue. Before a partition is read, the record before its position is compared
 * with what was captured: that is how a re-created or cut log is recognised. A partition that
 * fails this, or whose position falls out of the log, delivers nothing more.
 */
#include "base/fault.h"
#include "base/own.h"
#include "capture/last_record.h"
#include "capture/source_driver.h"

#include <inttypes.h>
#include <string.h>

enum { CHECK_MS = 10000, READ_MS = 10000 };

struct place {
    int32_t part;
    int64_t next;  /* what comes before it is stale: fetched before a seek */
    int64_t shift; /* from the log's offsets to positions */
    bool dead;
    const char *fault; /* what is wrong with its log, until it was told */
    int64_t first, last;
};

struct kafka {
    struct source base;
    struct kafka_target target;
    char *brokers, *topic, *group;
    struct kafka_consumer *consumer;
    struct place *places;
    size_t places_n;
    bool doubt; /* the topic was away: what has its name now is compared before it is read */
    struct source_batch *const *filling; /* filling_n of them; none outside a poll */
    size_t filling_n;
};

static void kafka_close(struct source *base)
{
    struct kafka *s = (struct kafka *)base;
    kafka_consumer_close(s->consumer);
    free(s->places);
    free(s->brokers);
    free(s->topic);
    free(s->group);
    free(s);
}

static struct place *place_of(struct kafka *s, int32_t part)
{
    for (size_t i = 0; i < s->places_n; i++) {
        if (s->places[i].part == part)
            return &s->places[i];
    }
    return NULL;
}

static void changed(struct place *p, int64_t first, int64_t last, const char *how)
{
    p->dead = true;
    p->fault = how;
    p->first = first;
    p->last = last;
}

/* The position lies outside the log, at start or while running. */
static void outside(const struct kafka *s, struct place *p, int64_t pos)
{
    int64_t low = 0;
    int64_t high = 0;
    struct err e = {0};
    if (kafka_ends(&s->target, p->part, READ_MS, &low, &high, &e) < 0)
        changed(p, pos, pos, "can't be read");
    else if (low > pos)
        changed(p, pos, low - 1, "are gone, and were not captured");
    else if (high < pos)
        changed(p, high, pos - 1, "were captured, but the log ends before them");
    else /* it has grown since */
        changed(p, pos - 1, pos - 1, "were captured, but the log ended before them");
}

/* Does the log hold at position - 1 what was captured, or was it tidied up just to the position?
 * If not, the place is dead. */
static int compare(const struct kafka *s, const struct staging_position *at, struct place *p,
                   struct err *e)
{
    enum last_record last = LAST_NONE;
    const int64_t offset = position_offset(at);
    int64_t low = 0;
    int64_t high = 0;
    int rc = last_record_compare(&s->target, at, READ_MS, &last, e);
    if (rc < 0)
        return rc;
    if (last == LAST_OTHER)
        changed(p, offset - 1, offset - 1, "hold another record");
    if (last != LAST_ABSENT)
        return 0;
    rc = kafka_ends(&s->target, at->part, READ_MS, &low, &high, e);
    if (rc == 0 && low != offset)
        outside(s, p, offset);
    return rc;
}

static int take(struct kafka *s, const int32_t *parts, int64_t *positions, size_t n,
                struct staging_position *at, struct place *places)
{
    struct err e = {0};
    for (size_t i = 0; i < n; i++)
        at[i] = (struct staging_position){.part = parts[i]};
    int rc = s->base.events.assigned(s->base.arg, at, n, &e);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        positions[i] = position_offset(&at[i]);
        places[i] = (struct place){.part = parts[i], .next = positions[i], .shift = at[i].shift};
        rc = compare(s, &at[i], &places[i], &e);
        FAULT("capture.compared");
    }
    return rc;
}

/* < 0: the consumer asks again in a second. */
static int assigned(void *arg, const int32_t *parts, int64_t *positions, size_t n)
{
    struct kafka *s = arg;
    OWN(own_mem) struct staging_position *at = calloc(n + 1, sizeof *at);
    OWN(own_mem) struct place *places = calloc(n + 1, sizeof *places);
    if (!at || !places)
        return ERR_RETRY;
    int rc = take(s, parts, positions, n, at, places);
    if (rc < 0)
        return rc;
    free(s->places);
    s->places = places;
    s->places_n = n;
    places = NULL;
    return 0;
}

static bool among(int32_t part, const int32_t *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (parts[i] == part)
            return true;
    }
    return false;
}

static void take_out(struct source_batch *b, const int32_t *parts, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (among(b->messages[i].partition, parts, n)) {
            b->bytes -= b->items[i].raw.n;
            kafka_message_release(&b->messages[i]);
            continue;
        }
        b->messages[kept] = b->messages[i];
        b->items[kept] = b->items[i];
        kept++;
    }
    b->n = kept;
}

/* What was collected so far from these partitions is another member's now. */
static void revoked(void *arg, const int32_t *parts, size_t n)
{
    struct kafka *s = arg;
    for (size_t i = 0; i < s->filling_n; i++)
        take_out(s->filling[i], parts, n);
    s->places_n = 0;
    s->base.events.revoked(s->base.arg, parts, n);
}

static void collect(struct kafka *s, struct kafka_message *m)
{
    struct place *p = place_of(s, m->partition);
    if (!p || p->dead || s->doubt || m->offset < p->next) {
        kafka_message_release(m);
        return;
    }
    struct source_batch *b = s->filling[(size_t)m->partition % s->filling_n];
    p->next = m->offset + 1;
    b->messages[b->n] = *m;
    b->items[b->n] = (struct capture_item){.part = m->partition,
                                           .pos = m->offset + p->shift,
                                           .queued_us = m->queued_us,
                                           .raw = m->value};
    b->n++;
    b->bytes += m->value.n;
}

/* Told once what was collected before it is out. */
static int tell_fault(struct kafka *s, struct err *e)
{
    for (size_t i = 0; i < s->places_n; i++) {
        struct place *p = &s->places[i];
        const char *how = p->fault;
        if (!how)
            continue;
        p->fault = NULL;
        s->base.fault = (struct source_fault){p->part, p->first, p->last};
        return err_set(e, ERR_FAULT,
                       "topic %s is not the log captured before: partition %" PRId32
                       ", positions %" PRId64 " to %" PRId64 " %s",
                       s->target.topic, p->part, p->first, p->last, how);
    }
    return 0;
}

static size_t collected(const struct kafka *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->filling_n; i++)
        n += s->filling[i]->n;
    return n;
}

/* What ended a poll before its limit. */
static int ended(struct kafka *s, int rc, const struct kafka_message *m)
{
    struct place *p = rc == ERR_NOT_FOUND ? place_of(s, m->partition) : NULL;
    if (p && !p->dead)
        outside(s, p, m->offset);
    return collected(s) > 0 || rc == ERR_AGAIN || rc == ERR_NOT_FOUND ? 0 : rc;
}

static int fill(struct kafka *s, int64_t ms, struct err *e)
{
    const size_t before = collected(s);
    bool some = false;
    while (!source_some_full(s->filling, s->filling_n)) {
        struct kafka_message m = {0};
        int rc = kafka_consumer_poll(s->consumer, some ? 0 : ms, &m, e);
        s->doubt = s->doubt || rc == ERR_CONFIG;
        if (rc < 0)
            return ended(s, rc, &m);
        collect(s, &m);
        some = some || collected(s) > before;
    }
    return 0;
}

static bool same_cluster(const struct kafka *s, const struct kafka_facts *facts)
{
    char identity[sizeof s->base.identity];
    (void)snprintf(identity, sizeof identity, "%s/%s", facts->cluster, s->target.topic);
    return strcmp(identity, s->base.identity) == 0;
}

/* As at the start, but over the same consumer. Nothing that was read still waits to be written. */
static int look_again(struct kafka *s, struct err *e)
{
    struct kafka_facts facts = {.partitions = 0};
    const size_t n = s->places_n;
    OWN(own_mem) int32_t *parts = calloc(n + 1, sizeof *parts);
    OWN(own_mem) int64_t *positions = calloc(n + 1, sizeof *positions);
    if (!parts || !positions)
        return err_memory(e, "comparing the queue");
    for (size_t i = 0; i < n; i++)
        parts[i] = s->places[i].part;
    int rc = kafka_check(&s->target, CHECK_MS, &facts, e);
    if (rc == 0 && !same_cluster(s, &facts))
        rc = err_set(e, ERR_CONFLICT, "topic %s is of another cluster now", s->target.topic);
    if (rc == 0 && assigned(s, parts, positions, n) < 0)
        rc = err_set(e, ERR_RETRY, "topic %s was away and can't be compared yet", s->target.topic);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (!s->places[i].dead)
            rc = kafka_consumer_seek(s->consumer, parts[i], positions[i], e);
    }
    s->doubt = rc < 0;
    return rc;
}

/* The consumer is polled all the same, to stay a member. */
static int come_back(struct kafka *s, int64_t ms, struct err *e)
{
    struct kafka_message m = {0};
    if (kafka_consumer_poll(s->consumer, ms, &m, NULL) == 0)
        kafka_message_release(&m);
    return collected(s) > 0 ? 0 : look_again(s, e);
}

static int kafka_poll(struct source *base, struct source_batch *const *to, size_t n, int64_t ms,
                      struct err *e)
{
    struct kafka *s = (struct kafka *)base;
    /* Before others are read: a busy partition would leave no moment to tell it in. */
    int rc = tell_fault(s, e);
    if (rc < 0)
        return rc;
    s->filling = to;
    s->filling_n = n;
    rc = s->doubt ? come_back(s, ms, e) : fill(s, ms, e);
    s->filling_n = 0;
    return rc;
}

static int kafka_seek(struct source *base, const struct staging_position *position, struct err *e)
{
    struct kafka *s = (struct kafka *)base;
    struct place *p = place_of(s, position->part);
    if (!p || p->dead)
        return 0;
    int rc = kafka_consumer_seek(s->consumer, position->part, position_offset(position), e);
    if (rc < 0)
        return rc == ERR_CONFLICT ? 0 : rc;
    p->next = position_offset(position);
    p->shift = position->shift;
    return 0;
}

static int kafka_pause(struct source *base, bool paused, struct err *e)
{
    return kafka_consumer_pause(((struct kafka *)base)->consumer, paused, e);
}

static bool kafka_reads(const struct source *base, int32_t part)
{
    const struct kafka *s = (const struct kafka *)base;
    for (size_t i = 0; i < s->places_n; i++) {
        if (s->places[i].part == part)
            return !s->places[i].dead;
    }
    return false;
}

static int keep_target(struct kafka *s, const struct kafka_target *t, struct err *e)
{
    s->brokers = strdup(t->brokers);
    s->topic = strdup(t->topic);
    s->group = t->group ? strdup(t->group) : NULL;
    if (!s->brokers || !s->topic || (t->group && !s->group))
        return err_memory(e, "opening the queue");
    s->target = (struct kafka_target){s->brokers, s->topic, s->group, t->single_broker};
    return 0;
}

int source_kafka_open(struct source **out, const struct kafka_target *t,
                      const struct source_events *events, void *arg, struct err *e)
{
    static const struct source_driver driver = {
        .name = "kafka",
        .poll = kafka_poll,
        .seek = kafka_seek,
        .pause = kafka_pause,
        .reads = kafka_reads,
        .close = kafka_close,
    };
    static const struct kafka_consumer_events mine = {assigned, revoked};
    struct kafka_facts facts = {.partitions = 0};
    OWN(own_source) struct source *base = calloc(1, sizeof(struct kafka));
    if (!base)
        return err_memory(e, "opening the queue");
    struct kafka *s = (struct kafka *)base;
    base->driver = &driver;
    base->events = *events;
    base->arg = arg;
    int rc = keep_target(s, t, e);
    if (rc == 0)
        rc = kafka_check(&s->target, CHECK_MS, &facts, e);
    if (rc == 0 && facts.partitions > STAGING_ARCHIVE_PART)
        rc = err_set(e, ERR_CONFIG, "topic %s has %" PRId32 " partitions, %d are the most",
                     t->topic, facts.partitions, STAGING_ARCHIVE_PART);
    if (rc < 0)
        return rc;
    (void)snprintf(base->identity, sizeof base->identity, "%s/%s", facts.cluster, t->topic);
    rc = kafka_consumer_open(&s->consumer, &s->target, &mine, s, e);
    if (rc < 0)
        return rc;
    *out = base;
    base = NULL;
    return 0;
}
