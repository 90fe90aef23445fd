/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What capture lacks is first asked for from the source's store, then a person's problem. Over
 * Kafka the control topic carries question and answer (chat-server/store/heal_line.h); embedded,
 * the store is read. A log that was made anew is read from its beginning once a store has answered
 * that it knows: what both logs hold is dropped as repeated, what neither does comes from the
 * store.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "capture/capture_inside.h"
#include "capture/heal_embedded.h"
#include "chat-server/store/heal_line.h"

#include <inttypes.h>
#include <string.h>

enum {
    LOOK_MS = 1000,
    OPEN_AGAIN_MS = 30000,
    HEAR = 1000, /* messages a turn */
    SOURCES = 64,
    ENDS_MS = 5000,
};

struct capture_heal {
    struct heal_line *line;
    int64_t opened_ms; /* last try */
    bool complained;
    struct db *db; /* for heads; NULL: to be opened */
    int64_t look_ms;
    bool anew; /* whatever was asked before, nobody may have heard: also by an earlier process */
    char token[40];        /* of the last question */
    bool offered;          /* somebody answered it */
    char *healed[SOURCES]; /* sources that are done with it */
    size_t healed_n;
    char compared[40]; /* the round of others after which the log was compared */
    struct heal_gaps gaps;
    struct heal_logs logs;
};

struct capture_heal *capture_heal_new(void)
{
    struct capture_heal *h = calloc(1, sizeof *h);
    if (h)
        *h = (struct capture_heal){.opened_ms = clock_mono_ms() - OPEN_AGAIN_MS, .anew = true};
    return h;
}

static void forget_round(struct capture_heal *h)
{
    for (size_t i = 0; i < h->healed_n; i++)
        free(h->healed[i]);
    h->healed_n = 0;
    h->offered = false;
    h->token[0] = '\0';
}

void capture_heal_free(struct capture_heal *h)
{
    if (!h)
        return;
    forget_round(h);
    heal_gaps_clear(&h->gaps);
    heal_line_close(h->line);
    db_close(h->db);
    free(h);
}

void capture_heal_soon(struct capture *c)
{
    c->heal->look_ms = 0;
}

static void close_line(struct capture_heal *h)
{
    heal_line_close(h->line);
    h->line = NULL;
}

static bool line_open(struct capture *c)
{
    struct capture_heal *h = c->heal;
    struct err e = {0};
    if (h->line)
        return true;
    if (clock_mono_ms() - h->opened_ms < OPEN_AGAIN_MS)
        return false;
    int rc = heal_line_open(&h->line, c->o.kafka, &e);
    h->opened_ms = clock_mono_ms();
    if (rc < 0 && !h->complained)
        log_error("capture.control-topic", &e, "topic=%s", c->o.kafka->topic);
    h->complained = rc < 0;
    /* What was said while it was closed is lost: answers, and that a relay is here. */
    h->anew = h->anew || rc == 0;
    return rc == 0;
}

static void say(struct capture *c, const struct heal_message *m)
{
    struct err e = {0};
    if (c->heal->line && heal_line_send(c->heal->line, m, &e) < 0)
        close_line(c->heal);
}

static void want(struct capture *c, const struct heal_gap *g)
{
    const struct heal_message m = {
        .type = HEAL_WANT,
        .source = slice_of(g->source),
        .subject = slice_of(g->subject),
        .epoch = g->epoch,
        .first = g->first,
        .last = g->last,
    };
    say(c, &m);
}

/* ---- hearing ---- */

static int head_of(struct capture *c, const struct heal_message *m, int64_t *head, struct err *e)
{
    struct capture_heal *h = c->heal;
    if (h->db && db_broken(h->db)) {
        db_close(h->db);
        h->db = NULL;
    }
    int rc = h->db ? 0 : staging_reader(c->o.staging, &h->db, e);
    if (rc < 0)
        return rc;
    rc = db_int(h->db,
                "SELECT sequence FROM stream WHERE source = $1 AND epoch = $2 AND subject = $3",
                DB_ARGS(DB_T(m->source), DB_I(m->epoch), DB_T(m->subject)), 0, head, e);
    if (rc == ERR_NOT_FOUND) {
        *head = 0;
        return 0;
    }
    return rc;
}

static void on_offer(struct capture *c, const struct heal_message *m)
{
    struct err e = {0};
    int64_t head = 0;
    if (head_of(c, m, &head, &e) < 0 || head >= m->last)
        return;
    struct heal_message wanted = *m;
    wanted.type = HEAL_WANT;
    wanted.first = head + 1;
    say(c, &wanted);
}

static void want_gaps(struct capture *c, struct slice source)
{
    struct capture_heal *h = c->heal;
    struct err e = {0};
    heal_gaps_clear(&h->gaps);
    if (heal_gaps_of(c->o.staging, source, &h->gaps, &e) < 0)
        return;
    for (size_t i = 0; i < h->gaps.n; i++)
        want(c, &h->gaps.list[i]);
}

static void on_here(struct capture *c, const struct heal_message *m)
{
    want_gaps(c, m->source);
    c->heal->anew = true; /* at the next look, so that several relays are asked once */
}

static void on_offer_end(struct capture *c, const struct heal_message *m)
{
    struct capture_heal *h = c->heal;
    want_gaps(c, m->source);
    const struct heal_message end = {.type = HEAL_WANT_END, .token = m->token, .source = m->source};
    say(c, &end);
    h->look_ms = 0;
    if (slice_is(m->token, h->token)) {
        h->offered = true;
    } else if (!slice_is(m->token, h->compared) &&
               slice_copy(m->token, h->compared, sizeof h->compared)) {
        /* A relay saw its log change: is ours the one it was? */
        log_event(LOG_INFO, "capture.compare", "partitions=%zu", c->positions.n);
        capture_reopen(c);
    }
}

static void on_answer(struct capture *c, const struct heal_message *m)
{
    struct err e = {0};
    if (slice_is(m->result, HEAL_SENT))
        return;
    struct slice answer = slice_is(m->result, HEAL_PARKED) ? SLICE("the queue refuses it")
                                                           : SLICE("the store does not hold it");
    if (heal_gap_answered(c->o.staging, m->source, m->epoch, m->subject, m->first, m->last, answer,
                          &e) < 0)
        capture_trouble(c, "capture.answer", &e);
}

/* Ours, or another capture's: its round is as good. */
static void on_ask(struct capture *c, const struct heal_message *m)
{
    struct capture_heal *h = c->heal;
    if (slice_is(m->token, h->token))
        return;
    forget_round(h);
    (void)slice_copy(m->token, h->token, sizeof h->token);
}

static bool is_healed(const struct capture_heal *h, struct slice source)
{
    for (size_t i = 0; i < h->healed_n; i++) {
        if (slice_is(source, h->healed[i]))
            return true;
    }
    return false;
}

static void on_healed(struct capture *c, const struct heal_message *m)
{
    struct capture_heal *h = c->heal;
    if (!slice_is(m->token, h->token) || is_healed(h, m->source) || h->healed_n == SOURCES)
        return;
    char *source = slice_dup(m->source);
    if (source)
        h->healed[h->healed_n++] = source;
    h->look_ms = 0;
}

static void hear(struct capture *c)
{
    struct capture_heal *h = c->heal;
    struct heal_message m;
    int rc = 0;
    for (int i = 0; i < HEAR && h->line && c->source; i++) {
        rc = heal_line_next(h->line, &m, NULL);
        if (rc < 0)
            break;
        if (m.type == HEAL_HERE)
            on_here(c, &m);
        else if (m.type == HEAL_ASK)
            on_ask(c, &m);
        else if (m.type == HEAL_OFFER)
            on_offer(c, &m);
        else if (m.type == HEAL_OFFER_END)
            on_offer_end(c, &m);
        else if (m.type == HEAL_ANSWER)
            on_answer(c, &m);
        else if (m.type == HEAL_HEALED)
            on_healed(c, &m);
    }
    if (rc == ERR_RETRY)
        close_line(h);
}

/* ---- looking at what is open ---- */

/* Not while a thread may be moving it. */
static const struct staging_position *position_of(struct capture *c, int32_t part)
{
    capture_write_wait(c);
    for (size_t i = 0; i < c->positions.n; i++) {
        if (c->positions.at[i].part == part)
            return &c->positions.at[i];
    }
    return NULL;
}

static int ask_embedded(struct capture *c, const struct heal_gap *g, struct err *e)
{
    int64_t pos = 0;
    int rc = heal_embedded_find(c->o.embedded->store_url, g, &pos, e);
    if (rc == ERR_NOT_FOUND)
        return heal_gap_answered(c->o.staging, slice_of(g->source), g->epoch, slice_of(g->subject),
                                 g->first, g->last, SLICE("the store does not hold it"), e);
    const struct staging_position *at = position_of(c, 0);
    if (rc < 0 || !at)
        return rc;
    log_event(LOG_INFO, "capture.read-again", "position=%" PRId64, pos);
    rc = heal_reread(c->o.staging, at, pos, e);
    if (rc == 0)
        capture_reopen(c);
    return rc;
}

static int look_at_gaps(struct capture *c, bool anew, struct err *e)
{
    struct capture_heal *h = c->heal;
    heal_gaps_clear(&h->gaps);
    int rc = heal_gaps_due(c->o.staging, anew, &h->gaps, e);
    for (size_t i = 0; rc == 0 && i < h->gaps.n && c->source; i++) {
        if (c->o.kafka)
            want(c, &h->gaps.list[i]);
        else
            rc = ask_embedded(c, &h->gaps.list[i], e);
    }
    return rc;
}

/* A store stands behind the records: the log as it is now is read from its beginning. */
static int read_anew(struct capture *c, const struct staging_position *at, struct err *e)
{
    int64_t low = 0;
    int64_t high = 0;
    int rc = kafka_ends(c->o.kafka, at->part, ENDS_MS, &low, &high, e);
    if (rc == 0)
        rc = heal_reread(c->o.staging, at, low, e);
    if (rc == 0)
        log_event(LOG_WARN, "capture.read-again",
                  "partition=%" PRId32 " offset=%" PRId64 " position=%" PRId64, at->part, low,
                  at->pos);
    return rc;
}

/* Every source with captured records has said that it is done. */
static int all_healed(struct capture *c, bool *all, struct err *e)
{
    struct capture_heal *h = c->heal;
    OWN(own_staging_txn) struct staging_txn t = {0};
    OWN(own_db_rows) struct db_rows *r = NULL;
    *all = false;
    if (h->healed_n == 0)
        return 0;
    int rc = staging_begin(c->o.staging, &t, e);
    if (rc == 0)
        rc = db_query(t.db, "SELECT DISTINCT source FROM stream LIMIT 1000", DB_NO_ARGS, &r, e);
    bool every = true;
    while (rc == 0 && (rc = db_rows_next(r, e)) == 1) {
        every &= is_healed(h, db_rows_slice(r, 0));
        rc = 0;
    }
    *all = rc == 0 && every;
    return rc;
}

static void ask(struct capture *c)
{
    struct capture_heal *h = c->heal;
    uuid_v7(clock_wall_us(), h->token);
    const struct heal_message m = {.type = HEAL_ASK, .token = slice_of(h->token)};
    say(c, &m);
}

struct log_work {
    bool all_healed, reopen;
};

static int look_at_log(struct capture *c, const struct heal_log *l, struct log_work *w,
                       struct err *e)
{
    const struct staging_position *at = position_of(c, l->part);
    if (!at)
        return 0;
    bool reads = source_reads(c->source, l->part);
    if (reads && !l->reread)
        return heal_log_close(c->o.staging, l, "the log is the one captured before again", e);
    if (reads && w->all_healed)
        return heal_log_close(c->o.staging, l, "what the log lost was sent again by the store", e);
    if (!reads && c->o.kafka && c->heal->offered) {
        int rc = read_anew(c, at, e);
        w->reopen |= rc == 0;
        return rc;
    }
    w->reopen |= l->due && l->again && !reads;
    return 0;
}

static int look_at_logs(struct capture *c, bool anew, struct err *e)
{
    struct capture_heal *h = c->heal;
    struct log_work w = {0};
    h->logs.n = 0;
    int rc = heal_logs_open(c->o.staging, anew, &h->logs, e);
    if (rc < 0)
        return rc;
    bool due = anew && h->logs.n > 0;
    for (size_t i = 0; i < h->logs.n; i++)
        due |= h->logs.list[i].due;
    /* What was answered before a log changed says nothing about it. */
    if (h->logs.n == 0 || due)
        forget_round(h);
    if (due && c->o.kafka)
        ask(c);
    rc = all_healed(c, &w.all_healed, e);
    for (size_t i = 0; rc == 0 && i < h->logs.n; i++)
        rc = look_at_log(c, &h->logs.list[i], &w, e);
    if (w.reopen)
        capture_reopen(c);
    return rc;
}

void capture_heal_turn(struct capture *c)
{
    struct capture_heal *h = c->heal;
    struct err e = {0};
    if (!c->source || c->away || atomic_load(&c->held))
        return;
    if (c->o.kafka && line_open(c))
        hear(c);
    if (!c->source || clock_mono_ms() < h->look_ms)
        return;
    h->look_ms = clock_mono_ms() + LOOK_MS;
    const bool anew = h->anew && (!c->o.kafka || h->line);
    int rc = look_at_gaps(c, anew, &e);
    if (rc == 0 && c->source)
        rc = look_at_logs(c, anew, &e);
    if (rc == 0 && anew)
        h->anew = false;
    if (rc < 0 && rc != ERR_CONFLICT)
        capture_trouble(c, "capture.heal", &e);
}
