/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outcomes. The classes are the contract's: retry waits and tries again, config stops the instance
 * for a person, rejected parks the batch, fault (and every crash, hang and lie) is tried again a
 * few times and then parks the batch.
 */
#include "adapters/host/runner_end.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_FAULTS = 5 };

void runner_garbage(struct runner *r, const char *text)
{
    r->has_result = false;
    r->garbage = true;
    (void)snprintf(r->text, sizeof r->text, "%.*s", (int)sizeof r->text - 1, text);
    child_kill(&r->child);
}

int runner_verified(struct runner *r, struct runner_context *c, struct err *e)
{
    int rc = ledger_batch_state(c->staging, &r->batch, "verified", (struct slice){0}, e);
    if (rc < 0)
        return rc;
    r->faults = 0;
    r->next_ms = 0;
    r->trouble[0] = '\0';
    backoff_reset(&r->backoff);
    c->archived = true;
    log_event(LOG_INFO, "adapter.verified",
              "adapter=%s batch=%s records=%" PRId64 " attempts=%" PRId64, r->row.name, r->batch.id,
              r->batch.records, r->batch.attempts);
    return 0;
}

static int park(struct runner *r, struct runner_context *c, const char *why, struct err *e)
{
    char text[LOG_TEXT_SIZE];
    int rc = ledger_batch_state(c->staging, &r->batch, "parked", slice_of(why), e);
    if (rc < 0)
        return rc;
    r->faults = 0;
    log_event(LOG_ERROR, "adapter.parked", "adapter=%s batch=%s because=%s", r->row.name,
              r->batch.id, log_text(text, slice_of(why)));
    return ledger_failed(c->staging, r->row.id, slice_of(why), 0, e);
}

int runner_unfit(struct runner *r, struct runner_context *c, struct err *e)
{
    char why[sizeof e->text];
    memcpy(why, e->text, sizeof why);
    return park(r, c, why, e);
}

static int try_later(struct runner *r, struct runner_context *c, const char *why, struct err *e)
{
    char text[LOG_TEXT_SIZE];
    int64_t pause = backoff_next(&r->backoff);
    r->next_ms = clock_mono_ms() + pause;
    log_event(LOG_WARN, "adapter.retry",
              "adapter=%s batch=%s attempt=%" PRId64 " pause_ms=%" PRId64 " because=%s",
              r->row.name, r->batch.id, r->batch.attempts, pause, log_text(text, slice_of(why)));
    return ledger_failed(c->staging, r->row.id, slice_of(why), clock_wall_us() + pause * 1000, e);
}

static int stop_instance(struct runner *r, struct runner_context *c, const char *why, struct err *e)
{
    char text[LOG_TEXT_SIZE];
    int rc = ledger_instance_state(c->staging, r->row.id, "failed", slice_of(why), e);
    if (rc < 0)
        return rc;
    (void)snprintf(r->row.state, sizeof r->row.state, "failed");
    log_event(LOG_ERROR, "adapter.failed", "adapter=%s because=%s", r->row.name,
              log_text(text, slice_of(why)));
    return 0;
}

/* Progress makes an attempt no fault, however it ended: a batch may be larger than a deadline. */
static int fault(struct runner *r, struct runner_context *c, const char *why, struct err *e)
{
    r->faults = r->progress ? 1 : r->faults + 1;
    return r->faults >= MAX_FAULTS ? park(r, c, why, e) : try_later(r, c, why, e);
}

struct verdicts {
    int64_t done; /* records */
    bool rejected;
    char note[300];
};

static int add_verdict(void *arg, const struct ledger_settlement *s, struct err *e)
{
    struct verdicts *v = arg;
    (void)e;
    if (slice_is(s->verdict, "done"))
        v->done += s->last - s->first + 1;
    if (v->rejected || !slice_is(s->verdict, "rejected"))
        return 0;
    v->rejected = true;
    (void)snprintf(v->note, sizeof v->note, "%.*s", SLICE_ARG(s->note));
    return 0;
}

/* What was settled before, a module may settle again and again. */
static void note_progress(struct runner *r, int64_t done)
{
    int64_t before = strcmp(r->done_of, r->batch.id) == 0 ? r->done : 0;
    r->progress = done > before;
    r->done = done;
    memcpy(r->done_of, r->batch.id, sizeof r->done_of);
}

/* deliver came back with success: is everything settled, as what? */
static int delivered(struct runner *r, struct runner_context *c, struct err *e)
{
    int rc = ledger_batch_state(c->staging, &r->batch, "settled", (struct slice){0}, e);
    if (rc == 0) {
        r->faults = 0;
        r->next_ms = 0;
        return 0;
    }
    if (rc != ERR_CONFLICT)
        return rc;
    if (r->said_retry)
        return try_later(r, c, r->text, e);
    return fault(r, c, "the module said that all is delivered, but did not settle all", e);
}

static int delivery_failed(struct runner *r, struct runner_context *c, const char *text,
                           struct err *e)
{
    switch (r->result) {
    case MGC_RETRY:
    case MGC_CANCELLED:
        return try_later(r, c, text, e);
    case MGC_REJECTED:
        return park(r, c, text, e);
    case MGC_CONFIG:
        return stop_instance(r, c, text, e);
    default:
        return fault(r, c, text, e);
    }
}

static int verification_failed(struct runner *r, struct runner_context *c, const char *text,
                               struct err *e)
{
    char why[WIRE_MAX_TEXT + 40];
    (void)snprintf(why, sizeof why, "read-back: %s", text);
    switch (r->result) {
    case MGC_RETRY:
    case MGC_CANCELLED:
        return try_later(r, c, why, e);
    case MGC_CONFIG:
        return stop_instance(r, c, why, e);
    case MGC_FAULT:
    case MGC_NOT_FOUND:
        return park(r, c, why, e);
    default:
        return fault(r, c, why, e);
    }
}

/* Without a result the module crashed, hung, or ended the process. */
static int without_result(struct runner *r, struct runner_context *c, const char *why,
                          struct err *e)
{
    char text[160];
    if (c->stopping)
        return 0;
    if (r->hung)
        (void)snprintf(text, sizeof text,
                       "the module was still busy after its deadline of %" PRId64
                       " ms, and was killed",
                       r->options->deadline_ms);
    else if (r->garbage)
        (void)snprintf(text, sizeof text, "%.*s", (int)sizeof text - 1, r->text);
    else
        (void)snprintf(text, sizeof text, "%s", why[0] ? why : "the worker ended without a result");
    return fault(r, c, text, e);
}

int runner_ended(struct runner *r, struct runner_context *c, enum runner_state was, const char *why,
                 struct err *e)
{
    struct verdicts verdicts = {0};
    FAULT("worker.ended");
    r->progress = false;
    if (was == RUNNER_DELIVERING) {
        int rc = ledger_settlements(c->reader, &r->batch, add_verdict, &verdicts, e);
        if (rc < 0)
            return rc;
        note_progress(r, verdicts.done);
        if (verdicts.rejected)
            return park(r, c, verdicts.note, e);
    }
    if (!r->has_result)
        return without_result(r, c, why, e);
    if (c->stopping && r->result == MGC_CANCELLED)
        return 0;
    if (r->result == MGC_OK)
        return was == RUNNER_DELIVERING ? delivered(r, c, e) : runner_verified(r, c, e);
    const char *text = r->text[0] ? r->text : "the module gave no reason";
    return was == RUNNER_DELIVERING ? delivery_failed(r, c, text, e)
                                    : verification_failed(r, c, text, e);
}
