/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A want is a range of one stream; wants are served one after another, in chunks: a chunk that did
 * not get through whole is sent again whole, which capture recognises. A round (offers, wants, end)
 * closes the incidents that were open when it began. Nothing of this is durable but the incident:
 * after a kill a new round begins.
 */
#include "chat-server/store/relay_heal.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/own.h"
#include "chat-server/store/heal_line.h"
#include "chat-server/store/heal_store.h"

#include <inttypes.h>
#include <string.h>

enum {
    OPEN_AGAIN_MS = 30000,
    FIRST_OPEN_MS = 500, /* a command that relays a few records ends before */
    ROUND_AGAIN_MS = 30000,
    ROUND_LATEST_MS = 600000,
    HEAR = 500, /* messages a turn */
    WANTS = 20000,
    LOOK_BACK = 1000,
    CHUNK = 500,
};

struct want {
    struct want *next;
    int64_t epoch, first, last;
    size_t subject_n;
    char subject[];
};

struct relay_heal {
    struct heal_line *line; /* NULL: not open */
    int64_t opened_ms;      /* last try */
    bool complained;
    struct want *first, *last;
    size_t wants;
    /* The chunk of the first want that is with the brokers. */
    bool chunk;
    int64_t upto;
    size_t pending;
    bool failed, refused;
    bool one; /* chunks of one record, to find the one that is refused */
    /* The round. */
    char token[40];
    bool running, ended, overflow;
    int64_t round_ms, round_us;
    int64_t round_wait; /* nobody answered: the next one after so long */
    uint64_t sent;
};

struct relay_heal *relay_heal_new(void)
{
    struct relay_heal *h = calloc(1, sizeof *h);
    if (h)
        *h = (struct relay_heal){.opened_ms = clock_mono_ms() - OPEN_AGAIN_MS + FIRST_OPEN_MS,
                                 .round_wait = ROUND_AGAIN_MS};
    return h;
}

static void drop_want(struct relay_heal *h)
{
    struct want *w = h->first;
    h->first = w->next;
    if (!h->first)
        h->last = NULL;
    h->wants--;
    free(w);
}

void relay_heal_free(struct relay_heal *h)
{
    if (!h)
        return;
    while (h->first)
        drop_want(h);
    heal_line_close(h->line);
    free(h);
}

static void close_line(struct relay_heal *h)
{
    heal_line_close(h->line);
    h->line = NULL;
}

static bool say(struct relay *r, const struct heal_message *m)
{
    struct err e = {0};
    if (r->heal->line && heal_line_send(r->heal->line, m, &e) == 0)
        return true;
    close_line(r->heal);
    return false;
}

/* Without a control topic nothing heals, but everything else goes on. */
static bool line_open(struct relay *r)
{
    struct relay_heal *h = r->heal;
    const struct heal_message here = {.type = HEAL_HERE, .source = slice_of(r->source)};
    struct err e = {0};
    if (h->line)
        return true;
    if (clock_mono_ms() - h->opened_ms < OPEN_AGAIN_MS)
        return false;
    int rc = heal_line_open(&h->line, &r->target, &e);
    h->opened_ms = clock_mono_ms();
    if (rc < 0 && !h->complained)
        log_error("relay.control-topic", &e, "topic=%s", r->topic);
    h->complained = rc < 0;
    return rc == 0 && say(r, &here);
}

/* ---- rounds ---- */

static int offer(void *arg, const struct store_stream *s, struct err *e)
{
    struct relay *r = arg;
    if (!slice_is(s->source, r->source) || s->relayed == 0)
        return 0;
    const struct heal_message m = {
        .type = HEAL_OFFER,
        .token = slice_of(r->heal->token),
        .source = s->source,
        .subject = s->subject,
        .epoch = s->epoch,
        .first = 1,
        .last = s->relayed,
    };
    return say(r, &m) ? 0 : err_set(e, ERR_RETRY, "the control topic does not take offers");
}

static void begin_round(struct relay *r, struct slice token)
{
    struct relay_heal *h = r->heal;
    struct err e = {0};
    if (!slice_copy(token, h->token, sizeof h->token))
        return;
    h->running = true;
    h->ended = false;
    h->overflow = false;
    h->sent = 0;
    h->round_ms = clock_mono_ms();
    h->round_us = clock_wall_us();
    int rc = store_streams(r->store, offer, r, &e);
    FAULT("heal.offered");
    const struct heal_message end = {
        .type = HEAL_OFFER_END, .token = slice_of(h->token), .source = slice_of(r->source)};
    if (rc < 0)
        log_error("relay.offer", &e, "source=%s", r->source);
    else
        (void)say(r, &end);
}

static void end_round(struct relay *r)
{
    struct relay_heal *h = r->heal;
    struct err e = {0};
    int64_t left = 0;
    char how[80];
    h->running = false;
    if (h->overflow)
        return;
    (void)snprintf(how, sizeof how, "sent again: %" PRIu64 " records", h->sent);
    FAULT("heal.close.before");
    if (store_log_change_close(r->store, slice_of(r->source), h->round_us, how, &left, &e) < 0) {
        log_error("relay.healed", &e, "source=%s", r->source);
        return;
    }
    r->fallen = left > 0;
    log_event(LOG_INFO, "relay.healed", "source=%s records=%" PRIu64, r->source, h->sent);
    FAULT("heal.close.after");
    const struct heal_message healed = {
        .type = HEAL_HEALED, .token = slice_of(h->token), .source = slice_of(r->source)};
    (void)say(r, &healed);
}

/* ---- hearing ---- */

/* Two captures, or one that asks again, may want the same. */
static bool wanted_already(const struct relay_heal *h, const struct heal_message *m)
{
    int looked = 0;
    for (const struct want *w = h->first; w && looked < LOOK_BACK; w = w->next, looked++) {
        if (w->epoch == m->epoch && w->last == m->last && w->first <= m->first &&
            slice_eq((struct slice){w->subject, w->subject_n}, m->subject))
            return true;
    }
    return false;
}

static void take_want(struct relay *r, const struct heal_message *m)
{
    struct relay_heal *h = r->heal;
    if (wanted_already(h, m))
        return;
    struct want *w = h->wants < WANTS ? calloc(1, sizeof *w + m->subject.n) : NULL;
    if (!w) {
        h->overflow = true;
        return;
    }
    w->epoch = m->epoch;
    w->first = m->first;
    w->last = m->last;
    w->subject_n = m->subject.n;
    memcpy(w->subject, m->subject.p, m->subject.n);
    *(h->last ? &h->last->next : &h->first) = w;
    h->last = w;
    h->wants++;
}

static void hear(struct relay *r)
{
    struct relay_heal *h = r->heal;
    struct heal_message m;
    int rc = 0;
    for (int i = 0; i < HEAR && rc == 0 && h->line; i++) {
        rc = heal_line_next(h->line, &m, NULL);
        if (rc < 0)
            break;
        bool ours = slice_is(m.source, r->source);
        if (m.type == HEAL_ASK)
            begin_round(r, m.token);
        else if (m.type == HEAL_WANT && ours)
            take_want(r, &m);
        else if (m.type == HEAL_WANT_END && ours && slice_is(m.token, h->token))
            h->ended = true;
        if (m.type == HEAL_WANT || m.type == HEAL_WANT_END)
            h->round_wait = ROUND_AGAIN_MS;
    }
    if (rc == ERR_RETRY)
        close_line(h);
}

/* ---- serving ---- */

struct serving {
    struct relay *r;
    struct want *w;
    int64_t due; /* the next sequence */
    size_t rows;
};

static void answer(struct relay *r, const struct want *w, int64_t first, int64_t last,
                   const char *result)
{
    const struct heal_message m = {
        .type = HEAL_ANSWER,
        .source = slice_of(r->source),
        .subject = {w->subject, w->subject_n},
        .epoch = w->epoch,
        .first = first,
        .last = last,
        .result = slice_of(result),
    };
    (void)say(r, &m);
}

static int send_row(void *arg, const struct store_row *row, struct err *e)
{
    struct serving *s = arg;
    int rc = relay_send_again(s->r, (struct slice){s->w->subject, s->w->subject_n}, row->raw, e);
    if (rc < 0)
        return rc;
    s->r->heal->pending++;
    if (row->sequence > s->due)
        answer(s->r, s->w, s->due, row->sequence - 1, HEAL_NOT_HELD);
    s->due = row->sequence + 1;
    s->rows++;
    return 0;
}

static void next_want(struct relay *r, int64_t behind)
{
    struct relay_heal *h = r->heal;
    h->first->first = behind;
    if (behind > h->first->last)
        drop_want(h);
}

static void send_chunk(struct relay *r)
{
    struct relay_heal *h = r->heal;
    struct want *w = h->first;
    struct serving s = {.r = r, .w = w, .due = w->first};
    size_t max = h->one ? 1 : CHUNK;
    int64_t stream = 0;
    struct err e = {0};
    int rc = store_find_stream(r->store, slice_of(r->source), w->epoch,
                               (struct slice){w->subject, w->subject_n}, &stream, &e);
    if (rc == 0)
        rc = store_read_stream(r->store, stream, w->first, w->last, max, send_row, &s, &e);
    bool end = rc == ERR_NOT_FOUND || (rc == 0 && s.rows < max);
    if (end && s.due <= w->last)
        answer(r, w, s.due, w->last, HEAL_NOT_HELD);
    if (end)
        s.due = w->last + 1;
    if (rc == ERR_REJECTED && s.rows == 0) { /* too large even to be queued */
        answer(r, w, s.due, s.due, HEAL_PARKED);
        next_want(r, s.due + 1);
        return;
    }
    if (s.rows == 0 && end) {
        next_want(r, s.due);
        return;
    }
    h->chunk = s.rows > 0;
    h->upto = s.due - 1;
    FAULT("heal.sent");
}

/* What was refused once has got through: its incident closes. */
static void unpark(struct relay *r, const struct want *w, int64_t first, int64_t last)
{
    struct err e = {0};
    int64_t stream = 0;
    int64_t n = 0;
    int rc = store_find_stream(r->store, slice_of(r->source), w->epoch,
                               (struct slice){w->subject, w->subject_n}, &stream, &e);
    if (rc == 0)
        rc = store_unpark(r->store, stream, first, last, &n, &e);
    if (rc < 0)
        log_error("relay.unpark", &e, "stream=%" PRId64, stream);
    if (rc < 0 || n == 0)
        return;
    log_event(LOG_INFO, "relay.unparked", "stream=%" PRId64 " records=%" PRId64, stream, n);
    relay_lock(r);
    r->parked -= r->parked < (uint64_t)n ? r->parked : (uint64_t)n;
    relay_unlock(r);
}

/* Every record of the chunk was reported. */
static void judge_chunk(struct relay *r)
{
    struct relay_heal *h = r->heal;
    bool refused = h->refused && h->one;
    h->chunk = false;
    if (h->failed && !refused) {
        h->one = h->refused;
    } else {
        struct want *w = h->first;
        if (!refused)
            unpark(r, w, w->first, h->upto);
        answer(r, w, w->first, h->upto, refused ? HEAL_PARKED : HEAL_SENT);
        h->sent += refused ? 0 : (uint64_t)(h->upto - w->first + 1);
        h->round_ms = clock_mono_ms();
        next_want(r, h->upto + 1);
        if (!refused && h->upto % CHUNK == 0)
            h->one = false;
    }
    if (!h->first)
        h->one = false;
    h->failed = false;
    h->refused = false;
}

void relay_heal_report(struct relay *r, int class)
{
    struct relay_heal *h = r->heal;
    h->pending--;
    h->failed |= class != 0;
    h->refused |= class == ERR_REJECTED;
}

void relay_heal_turn(struct relay *r)
{
    struct relay_heal *h = r->heal;
    if (!line_open(r))
        return;
    hear(r);
    if (r->fallen && (!h->running || clock_mono_ms() - h->round_ms > h->round_wait)) {
        char token[37];
        h->round_wait = 2 * h->round_wait < ROUND_LATEST_MS ? 2 * h->round_wait : ROUND_LATEST_MS;
        uuid_v7(clock_wall_us(), token);
        begin_round(r, slice_of(token));
    }
    if (h->pending > 0)
        return;
    if (h->chunk)
        judge_chunk(r);
    if (h->first)
        send_chunk(r);
    else if (h->running && h->ended)
        end_round(r);
}
