/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An instance's way through a batch: cut or found open, attempted, settled, read back, verified.
 * Every step is in the ledger before the next one begins, so a kill anywhere leads back here with
 * the same batch. What a worker's end means is in runner_end.c.
 */
#include "adapters/host/runner.h"

#include "adapters/host/delivered.h"
#include "adapters/host/runner_end.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"

#include <inttypes.h>
#include <string.h>

enum {
    FIRST_PAUSE_MS = 1000,
    LAST_PAUSE_MS = 5 * 60 * 1000,
    IDLE_MS = 1000, /* how often time alone is looked at */
    CUT_PAUSE_MS = 200,
    GRACE_MS = 5000,         /* at most, between asking a worker to return and killing it */
    SILENT_MS = 1000,        /* a worker may live on without its socket */
    MESSAGES = 256,          /* of one worker before others get their turn */
    MAX_SAID = 1000,         /* lines of the log that an attempt may fill */
    MAX_RECEIPTS = 16 << 20, /* bytes of a batch's: they are kept, and given to the read-back */
};

int runner_new(struct runner **out, const struct ledger_instance *row,
               struct adapter_options *options, const char *scratch_dir, struct err *e)
{
    OWN(own_adapter_options) struct adapter_options *taken = options;
    OWN(own_mem) struct runner *r = calloc(1, sizeof *r);
    if (!r)
        return err_memory(e, "an adapter");
    r->doc = json_doc_new();
    if (!r->doc)
        return err_memory(e, "an adapter");
    r->row = *row;
    r->options = taken;
    taken = NULL;
    child_init(&r->child);
    batch_spool_init(&r->spool, scratch_dir, r->row.name);
    backoff_init(&r->backoff, FIRST_PAUSE_MS, LAST_PAUSE_MS);
    *out = r;
    r = NULL;
    return 0;
}

static void clear_scratch(struct runner *r)
{
    if (r->scratch[0])
        (void)file_remove_tree(r->scratch, NULL);
    r->scratch[0] = '\0';
}

void runner_free(struct runner *r)
{
    char why[80];
    child_kill(&r->child);
    (void)child_wait(&r->child, 2000, why);
    clear_scratch(r);
    batch_spool_done(&r->spool);
    adapter_options_free(r->options);
    json_doc_free(r->doc);
    free(r);
}

bool runner_busy(const struct runner *r)
{
    return r->state != RUNNER_IDLE;
}

static int make_scratch(struct runner *r, struct runner_context *c, struct err *e)
{
    int n = snprintf(r->scratch, sizeof r->scratch, "%s/%s", c->scratch_dir, r->row.name);
    if (n < 0 || (size_t)n >= sizeof r->scratch) {
        r->scratch[0] = '\0';
        return err_set(e, ERR_CONFIG, "the scratch folder has too long a name");
    }
    int rc = file_remove_tree(r->scratch, e);
    return rc == 0 ? file_make_dirs(r->scratch, e) : rc;
}

static int send_task(struct runner *r, enum wire_do what, struct err *e)
{
    OWN(own_buf) struct buf task;
    buf_init(&task, CHILD_MAX_TASK);
    int rc = batch_task(&r->batch, what, r->row.name, r->options, r->scratch, &task, e);
    if (rc == 0)
        rc = child_send(&r->child, buf_view(&task), e);
    if (task.p)
        explicit_bzero(task.p, task.cap);
    return rc;
}

static int start_worker(struct runner *r, struct runner_context *c, enum wire_do what,
                        struct err *e)
{
    OWN(own_fd) int spool = -1;
    int rc = make_scratch(r, c, e);
    if (rc == 0)
        rc = batch_spool_open(&r->spool, c->reader, &r->batch, &spool, e);
    FAULT("spool.after");
    if (rc == 0)
        rc = child_start(&r->child, c->program, r->options->path, spool, c->until_ms, e);
    if (rc < 0)
        return rc;
    r->state = what == WIRE_DELIVER ? RUNNER_DELIVERING : RUNNER_VERIFYING;
    r->started_ms = clock_mono_ms();
    r->cancelled = false;
    r->hung = false;
    r->garbage = false;
    r->silent_ms = 0;
    r->said_retry = false;
    r->said = 0;
    r->has_result = false;
    r->text[0] = '\0';
    /* A worker that is gone already shows when it is reaped. */
    (void)send_task(r, what, NULL);
    FAULT("worker.started");
    return 0;
}

/* The frozen batch goes to a worker, unless the last attempt settled all of it before it died. */
static int begin_delivery(struct runner *r, struct runner_context *c, struct err *e)
{
    int rc = ledger_batch_state(c->staging, &r->batch, "settled", (struct slice){0}, e);
    if (rc != ERR_CONFLICT)
        return rc;
    adapter_options_digest(r->options, r->batch.options);
    rc = ledger_attempt(c->staging, &r->batch, e);
    if (rc == 0)
        rc = delivered_note(c->delivered_dir, r->row.name, r->batch.number, e);
    FAULT("delivered.noted");
    return rc == 0 ? start_worker(r, c, WIRE_DELIVER, e) : rc;
}

static int begin_verification(struct runner *r, struct runner_context *c, struct err *e)
{
    if (r->options->module.verifies)
        return start_worker(r, c, WIRE_VERIFY, e);
    return runner_verified(r, c, e);
}

/* Cuts a batch, its records going into the spool on the way. */
static int cut(struct runner *r, struct runner_context *c, struct err *e)
{
    struct ledger_due due = r->options->due;
    const struct ledger_sink sink = {batch_spool_record, &r->spool};
    due.now = c->draining;
    batch_spool_done(&r->spool);
    int rc = ledger_cut(c->staging, &r->row, &due, &sink, &r->batch, e);
    /* A spool that is not whole is filled anew when it is needed. */
    if (rc < 0 || batch_spool_whole(&r->spool, &r->batch, NULL) < 0)
        batch_spool_done(&r->spool);
    return rc;
}

/* The open batch, or one that is cut now. ERR_NOT_FOUND: there is nothing to do. */
static int find_work(struct runner *r, struct runner_context *c, struct err *e)
{
    int rc = ledger_open_batch(c->staging, r->row.id, &r->batch, e);
    return rc == ERR_NOT_FOUND ? cut(r, c, e) : rc;
}

static bool allowed(const struct runner *r, const struct runner_context *c, int64_t *wait_ms)
{
    int64_t pause = r->next_ms - clock_mono_ms();
    if (c->stopping || strcmp(r->row.state, "active") != 0)
        return false;
    if (pause > 0 && pause < *wait_ms)
        *wait_ms = pause;
    return pause <= 0;
}

static int begin(struct runner *r, struct runner_context *c, int64_t *wait_ms, struct err *e)
{
    if (!allowed(r, c, wait_ms))
        return 0;
    int rc = find_work(r, c, e);
    if (rc == ERR_NOT_FOUND) {
        r->next_ms = clock_mono_ms() + CUT_PAUSE_MS;
        *wait_ms = *wait_ms < IDLE_MS ? *wait_ms : IDLE_MS;
        return 0;
    }
    *wait_ms = 0;
    if (rc < 0)
        return rc;
    rc = strcmp(r->batch.state, "frozen") == 0 ? begin_delivery(r, c, e)
                                               : begin_verification(r, c, e);
    return rc == ERR_FAULT ? runner_unfit(r, c, e) : rc;
}

static void answer(struct runner *r, int32_t rc, struct slice text)
{
    OWN(own_buf) struct buf out;
    buf_init(&out, CHILD_MAX_MESSAGE);
    wire_answer_write(&out, rc, text);
    /* A worker that has closed its end is seen as gone elsewhere. */
    (void)child_send(&r->child, buf_view(&out), NULL);
}

static int32_t class_for_module(int rc)
{
    return rc == ERR_CONFLICT || rc == ERR_REJECTED || rc == ERR_FAULT ? MGC_FAULT : MGC_RETRY;
}

/* A module that says the same a million times fills no disk with it. */
static bool may_say(struct runner *r)
{
    if (r->said < MAX_SAID) {
        r->said++;
        return true;
    }
    if (r->said++ == MAX_SAID)
        log_event(LOG_WARN, "adapter.quiet",
                  "adapter=%s because=\"the attempt has said %d things\"", r->row.name, MAX_SAID);
    return false;
}

/* The verdict is on disk before the module hears of it. */
static void settle(struct runner *r, struct runner_context *c, const struct wire_message *m)
{
    struct err e = {0};
    OWN(own_buf) struct buf receipt;
    buf_init(&receipt, CHILD_MAX_MESSAGE);
    if (m->rc == MGC_RETRY) {
        r->said_retry = true;
        (void)snprintf(r->text, sizeof r->text, "%.*s", SLICE_ARG(m->text));
        answer(r, MGC_OK, SLICE(""));
        return;
    }
    wire_facts_write(&receipt, m->facts);
    int rc = buf_ok(&receipt, "a receipt", &e);
    if (rc == 0 && r->spool.receipts + (int64_t)receipt.n > MAX_RECEIPTS)
        rc = err_set(&e, ERR_FAULT, "batch %s: its receipts have over %d bytes", r->batch.id,
                     MAX_RECEIPTS);
    if (rc == 0)
        rc = ledger_settle(c->staging, &r->batch, m->first, m->last,
                           m->rc == MGC_OK ? "done" : "rejected", buf_view(&receipt), m->text, &e);
    if (rc == 0)
        r->spool.receipts += (int64_t)receipt.n;
    else if (may_say(r))
        log_error("adapter.settle", &e, "adapter=%s batch=%s", r->row.name, r->batch.id);
    answer(r, rc == 0 ? MGC_OK : class_for_module(rc), slice_of(rc == 0 ? "" : e.text));
}

static void module_log(struct runner *r, const struct wire_message *m)
{
    static const enum log_level levels[] = {LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR};
    char text[LOG_TEXT_SIZE];
    if (!may_say(r))
        return;
    log_event(levels[m->rc < 0 || m->rc > 3 ? 3 : m->rc], "adapter.says", "adapter=%s text=%s",
              r->row.name, log_text(text, m->text));
}

static void take(struct runner *r, struct runner_context *c, const struct wire_message *m)
{
    bool lies = m->kind == WIRE_DESCRIPTION ||
                (m->kind == WIRE_SETTLE &&
                 (r->state != RUNNER_DELIVERING ||
                  (m->rc != MGC_OK && m->rc != MGC_REJECTED && m->rc != MGC_RETRY)));
    if (lies) {
        runner_garbage(r, "the worker said what it may not say now");
    } else if (m->kind == WIRE_SETTLE) {
        settle(r, c, m);
    } else if (m->kind == WIRE_LOG) {
        module_log(r, m);
    } else {
        r->has_result = true;
        r->result = m->rc;
        if (m->text.n || !r->said_retry)
            (void)snprintf(r->text, sizeof r->text, "%.*s", SLICE_ARG(m->text));
        /* All that counts is durable; its exit handlers are not waited for. */
        child_kill(&r->child);
    }
}

static void listen_to(struct runner *r, struct runner_context *c, int64_t *wait_ms)
{
    for (int i = 0; i < MESSAGES && !r->child.killed; i++) {
        struct slice message;
        struct wire_message m;
        struct err e = {0};
        child_flush(&r->child);
        int rc = child_receive(&r->child, &message, &e);
        if (rc == 1)
            rc = wire_message_read(r->doc, message, &m, &e);
        else if (rc == 0 || rc == ERR_NOT_FOUND)
            return;
        if (rc < 0) {
            runner_garbage(r, e.text);
            return;
        }
        take(r, c, &m);
    }
    *wait_ms = 0;
}

/* Asked at the deadline, killed some time after it. */
static void watch_clock(struct runner *r, int64_t *wait_ms)
{
    int64_t deadline = r->options->deadline_ms;
    int64_t grace = deadline / 2 < GRACE_MS ? deadline / 2 : GRACE_MS;
    int64_t now = clock_mono_ms() - r->started_ms;
    if (now >= deadline && !r->cancelled)
        runner_cancel(r);
    if (now >= deadline + grace && !r->child.killed) {
        r->hung = true;
        child_kill(&r->child);
    }
    int64_t left = (now < deadline ? deadline : deadline + grace) - now;
    if (!r->child.killed && left < *wait_ms)
        *wait_ms = left > 0 ? left : 0;
}

static int go_on(struct runner *r, struct runner_context *c, int64_t *wait_ms, struct err *e)
{
    char why[80];
    listen_to(r, c, wait_ms);
    watch_clock(r, wait_ms);
    if (!r->child.killed && !r->child.ended)
        return 0;
    if (!child_reaped(&r->child, why)) {
        if (!r->silent_ms)
            r->silent_ms = clock_mono_ms();
        /* It has nothing more to say; how it ends by itself tells why. */
        if (clock_mono_ms() - r->silent_ms > SILENT_MS)
            child_kill(&r->child);
        *wait_ms = *wait_ms < 20 ? *wait_ms : 20;
        return 0;
    }
    *wait_ms = 0;
    clear_scratch(r);
    enum runner_state was = r->state;
    r->state = RUNNER_IDLE;
    return runner_ended(r, c, was, why, e);
}

int runner_step(struct runner *r, struct runner_context *c, int64_t *wait_ms, struct err *e)
{
    return runner_busy(r) ? go_on(r, c, wait_ms, e) : begin(r, c, wait_ms, e);
}

int runner_poll(const struct runner *r, struct pollfd p[2])
{
    if (!runner_busy(r) || r->child.fd < 0)
        return 0;
    int n = 0;
    /* A socket at its end is always readable. */
    if (!r->child.ended)
        p[n++] = (struct pollfd){.fd = r->child.fd,
                                 .events = (short)(POLLIN | (r->child.out.n ? POLLOUT : 0))};
    if (r->child.pid_fd >= 0)
        p[n++] = (struct pollfd){.fd = r->child.pid_fd, .events = POLLIN};
    return n;
}

void runner_cancel(struct runner *r)
{
    if (!runner_busy(r))
        return;
    r->cancelled = true;
    child_cancel(&r->child);
}

void runner_extend(struct runner *r, int64_t until_ms)
{
    child_extend(&r->child, until_ms);
}

void runner_kill(struct runner *r)
{
    child_kill(&r->child);
}
