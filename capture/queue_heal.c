/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capture does the asking and the relays the sending; this only has them do it now, and waits. For
 * a source whose own process runs the relay started here waits for a lock, and that process
 * answers.
 */
#include "capture/queue_heal.h"

#include "base/clock.h"
#include "base/own.h"
#include "base/stop.h"
#include "capture/heal_incident.h"
#include "chat-server/store/heal_line.h"
#include "chat-server/store/heal_store.h"
#include "chat-server/store/relay.h"
#include "mgccomp/incident.h"

#include <inttypes.h>
#include <string.h>

enum { SOURCES = 32, PARKED = 200, LOOK_MS = 250, ASK_MS = 5000, LOGS_MS = 20000, HEAR = 1000 };

struct parked {
    int64_t stream, epoch, sequence;
    char *source, *subject;
    bool refused; /* again */
    bool seen;    /* it still is parked */
};

struct healing {
    const struct queue_heal_input *in;
    struct db *db;
    char *sources[SOURCES]; /* those the store holds */
    bool touched[SOURCES];  /* it has something to send */
    size_t sources_n;
    bool more_sources;
    struct relay *relays[SOURCES];
    struct heal_line *line;
    struct parked parked[PARKED];
    size_t parked_n;
    int64_t given_up;      /* refused records that people accepted as lost: nobody waits for them */
    struct heal_work work; /* what mgccomp waits for */
    int64_t changes;       /* logs that changed, as the relays saw it */
    int64_t asked_ms, logs_ms;
};

static void healing_free(struct healing *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->sources_n; i++) {
        relay_stop(h->relays[i]);
        free(h->sources[i]);
    }
    for (size_t i = 0; i < h->parked_n; i++) {
        free(h->parked[i].source);
        free(h->parked[i].subject);
    }
    heal_line_close(h->line);
    db_close(h->db);
    free(h);
}

OWN_DEFINE(healing, struct healing, healing_free)

/* ---- what there is to do ---- */

static int take_stream(void *arg, const struct store_stream *s, struct err *e)
{
    struct healing *h = arg;
    for (size_t i = 0; i < h->sources_n; i++) {
        if (slice_is(s->source, h->sources[i]))
            return 0;
    }
    if (h->sources_n == SOURCES) {
        h->more_sources = true;
        return 0;
    }
    char *source = slice_dup(s->source);
    if (!source)
        return err_memory(e, "queue heal");
    h->sources[h->sources_n++] = source;
    return 0;
}

static int count_change(void *arg, const struct store_log_change *c, struct err *e)
{
    (void)c;
    (void)e;
    ++*(int64_t *)arg;
    return 0;
}

static int take_parked(void *arg, const struct store_parked *p, struct err *e)
{
    struct healing *h = arg;
    int64_t since_us = 0;
    int rc = incident_given_up(h->db, p->source, p->epoch, p->subject, p->sequence, &since_us, e);
    h->given_up += rc == 0 && since_us;
    if (rc < 0 || since_us)
        return rc;
    for (size_t i = 0; i < h->parked_n; i++) {
        struct parked *known = &h->parked[i];
        if (known->stream == p->stream && known->sequence == p->sequence) {
            known->seen = true;
            return 0;
        }
    }
    if (h->parked_n == PARKED)
        return 0;
    struct parked *fresh = &h->parked[h->parked_n++];
    *fresh = (struct parked){.stream = p->stream,
                             .epoch = p->epoch,
                             .sequence = p->sequence,
                             .source = slice_dup(p->source),
                             .subject = slice_dup(p->subject),
                             .seen = true};
    return fresh->source && fresh->subject ? 0 : err_memory(e, "queue heal");
}

static int look(struct healing *h, struct err *e)
{
    h->changes = 0;
    h->given_up = 0;
    for (size_t i = 0; i < h->parked_n; i++)
        h->parked[i].seen = false;
    int rc = store_log_changes(h->in->store, false, count_change, &h->changes, e);
    if (rc == 0)
        rc = store_parked(h->in->store, take_parked, h, e);
    if (rc == 0)
        rc = heal_work_of(h->db, (const char *const *)h->sources, h->sources_n, &h->work,
                          h->touched, e);
    return rc;
}

static int64_t parked_where(const struct healing *h, bool refused)
{
    int64_t n = 0;
    for (size_t i = 0; i < h->parked_n; i++)
        n += h->parked[i].seen && h->parked[i].refused == refused;
    return n;
}

static bool waits(const struct healing *h)
{
    return h->work.waiting > 0 || h->work.logs > 0 || h->changes > 0 || parked_where(h, false) > 0;
}

/* ---- having it done ---- */

static bool has_parked(const struct healing *h, const char *source)
{
    for (size_t i = 0; i < h->parked_n; i++) {
        if (strcmp(h->parked[i].source, source) == 0)
            return true;
    }
    return false;
}

/* A changed log closes only when every source has said that it is done. */
static int start_relays(struct healing *h, struct err *e)
{
    bool all = h->work.logs > 0 || h->changes > 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && h->in->kafka && i < h->sources_n; i++) {
        if (!all && !h->touched[i] && !has_parked(h, h->sources[i]))
            continue;
        const struct relay_options o = {.store_url = h->in->store_url,
                                        .kafka = *h->in->kafka,
                                        .source = slice_of(h->sources[i])};
        rc = relay_start(&h->relays[i], &o, e);
    }
    return rc == 0 && h->in->kafka ? heal_line_open(&h->line, h->in->kafka, e) : rc;
}

static int want_parked(struct healing *h, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && h->line && i < h->parked_n; i++) {
        const struct parked *p = &h->parked[i];
        const struct heal_message m = {.type = HEAL_WANT,
                                       .source = slice_of(p->source),
                                       .subject = slice_of(p->subject),
                                       .epoch = p->epoch,
                                       .first = p->sequence,
                                       .last = p->sequence};
        if (p->seen && !p->refused)
            rc = heal_line_send(h->line, &m, e);
    }
    return rc;
}

static int hear(struct healing *h, struct err *e)
{
    struct heal_message m;
    int rc = h->line ? 0 : ERR_AGAIN;
    for (int n = 0; rc == 0 && n < HEAR; n++) {
        rc = heal_line_next(h->line, &m, NULL);
        if (rc < 0)
            break;
        if (m.type != HEAL_ANSWER || !slice_is(m.result, HEAL_PARKED))
            continue;
        for (size_t i = 0; i < h->parked_n; i++) {
            struct parked *p = &h->parked[i];
            p->refused |= slice_is(m.source, p->source) && slice_is(m.subject, p->subject) &&
                          m.epoch == p->epoch && m.first <= p->sequence && m.last >= p->sequence;
        }
    }
    if (rc != ERR_RETRY)
        return 0;
    heal_line_close(h->line); /* it hears no more; what was missed is asked for again */
    h->line = NULL;
    return heal_line_open(&h->line, h->in->kafka, e);
}

/* What is asked before a relay listens is lost, so it is asked again and again; what was answered
 * stays answered, but for the first time. */
static int ask(struct healing *h, struct err *e)
{
    const bool first = h->asked_ms == 0;
    const int64_t now = clock_mono_ms();
    int rc = 0;
    if (!first && now - h->asked_ms < ASK_MS)
        return 0;
    h->asked_ms = now;
    for (size_t i = 0; rc == 0 && i < h->sources_n; i++)
        rc = heal_gaps_again(h->in->staging, slice_of(h->sources[i]), first, e);
    if (rc == 0 && (first || now - h->logs_ms > LOGS_MS)) {
        h->logs_ms = now;
        rc = heal_logs_again(h->in->staging, e);
    }
    return rc < 0 ? rc : want_parked(h, e);
}

static int heal(struct healing *h, struct app_io *io, int64_t ms, struct err *e)
{
    struct app_progress progress;
    int64_t until = clock_mono_ms() + ms;
    app_progress_start(&progress, io, "waiting for the stores");
    int rc = start_relays(h, e);
    while (rc == 0) {
        rc = ask(h, e);
        if (rc == 0)
            rc = hear(h, e);
        if (rc == 0)
            rc = look(h, e);
        if (rc < 0 || !waits(h) || clock_mono_ms() > until || stop_wait(LOOK_MS))
            break;
        app_progress_step(&progress, h->work.gaps, 0);
    }
    app_progress_end(&progress, h->work.gaps);
    return rc;
}

/* ---- telling ---- */

/* What was open at the beginning. */
struct found {
    int64_t gaps, logs, parked;
};

static int report(const struct healing *h, struct app_io *io, const struct found *f)
{
    const struct heal_work *w = &h->work;
    int64_t left = parked_where(h, true) + parked_where(h, false);
    bool well = w->gaps + w->elsewhere + w->logs + h->changes + left == 0;
    (void)fprintf(io->out, "%s\n",
                  !well         ? "something is still missed"
                  : h->given_up ? "nothing is missed but what was accepted as lost"
                                : "nothing is missed");
    if (f->gaps > w->gaps || f->logs > w->logs || f->parked > left)
        (void)fprintf(io->out,
                      "  gaps closed: %" PRId64 ", changed logs: %" PRId64
                      ", refused records that got through: %" PRId64 "\n",
                      f->gaps - w->gaps, f->logs - w->logs, f->parked - left);
    if (w->gaps > w->waiting)
        (void)fprintf(io->out, "  %" PRId64 " gaps stand: their store has not what is missing\n",
                      w->gaps - w->waiting);
    if (w->waiting || w->logs || h->changes)
        (void)fprintf(io->out,
                      "  %" PRId64 " gaps and %" PRId64 " changed logs were not settled in time. Is"
                      " capture running? Type: holdfast queue check\n",
                      w->waiting, w->logs + h->changes);
    if (w->elsewhere)
        (void)fprintf(io->out,
                      "  %" PRId64 " gaps are of sources without a store here: only they can send"
                      " what is missing\n",
                      w->elsewhere);
    if (left)
        (void)fprintf(io->out, "  %" PRId64 " records are refused by the queue\n", left);
    if (h->given_up)
        (void)fprintf(io->out,
                      "  %" PRId64 " records that the queue refused were accepted as lost: nobody"
                      " waits for them\n",
                      h->given_up);
    if (h->more_sources)
        (void)fprintf(io->out, "  more than %d sources: the others were not asked\n", SOURCES);
    if (!well)
        (void)fprintf(io->out, "Type: holdfast incident list\n");
    return well ? APP_OK : APP_FAILED;
}

int queue_heal_command(struct app_io *io, const struct queue_heal_input *in, int argc, char **argv)
{
    const char *timeout = "60s";
    const struct app_option options[] = {{"timeout", &timeout, NULL}, {0}};
    OWN(own_healing) struct healing *h = calloc(1, sizeof *h);
    struct err e = {0};
    int64_t ms = 0;
    int operands = 0;
    if (!h)
        return err_memory(&e, "queue heal"), app_fail(io, &e);
    h->in = in;
    int rc = app_options(options, argc, argv, &operands, &e);
    if (rc == 0 && (operands > 0 || !text_duration_ms(slice_of(timeout), &ms)))
        rc = err_set(&e, ERR_CONFIG, "queue heal takes --timeout and a duration such as 60s");
    if (rc == 0)
        rc = staging_reader(in->staging, &h->db, &e);
    if (rc == 0)
        rc = store_streams(in->store, take_stream, h, &e);
    if (rc == 0)
        rc = look(h, &e);
    const struct found f = {h->work.gaps, h->work.logs, parked_where(h, false)};
    if (rc == 0 && (f.gaps > 0 || waits(h)))
        rc = heal(h, io, ms, &e);
    return rc < 0 ? app_fail(io, &e) : report(h, io, &f);
}
