/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The archiver's thread: leads while it has the lease, looks which instances there are, lets each
 * take its next step, and sleeps until a worker, capture or the clock has something. Starting it,
 * with the rows and sections of instances, is in archiver_start.c.
 */
#include "adapters/host/archiver_private.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "mgccomp/backlog.h"
#include "mgccomp/drain_request.h"
#include "mgccomp/lease.h"

#include <string.h>

enum {
    LOOK_MS = 500,     /* between looks at the instance table */
    BACKLOG_MS = 5000, /* between looks at what waits too long */
    STANDBY_MS = 1000, /* between tries to lead */
    WAIT_MS = 1000,
    TROUBLE_MS = 1000, /* after an error of database or machine */
    CANCEL_AFTER_MS = 7000,
    KILL_AFTER_MS = 10000,
    RENEW_MS = LEASE_MS * 2 / 3, /* with less than that left */
    WORKER_SLACK_MS = 1000,      /* a worker is gone so long before the lease ends */
};

/* The same trouble is said once, not at every turn. */
static void trouble(struct archiver *a, const char *event, const struct err *e)
{
    if (strcmp(a->last_trouble, e->text) == 0)
        return;
    (void)snprintf(a->last_trouble, sizeof a->last_trouble, "%s", e->text);
    log_error(event, e, "%s", "");
}

static void drop_runner(struct archiver *a, size_t i)
{
    runner_free(a->runners[i]);
    a->runners[i] = a->runners[--a->runner_count];
}

/* Without the lease another archiver may have our batches: nothing of ours may go on. */
static void stop_leading(struct archiver *a)
{
    for (size_t i = 0; i < a->runner_count; i++)
        runner_kill(a->runners[i]);
    while (a->runner_count)
        drop_runner(a, a->runner_count - 1);
    db_close(a->context.reader);
    a->context.reader = NULL;
    a->leading = false;
}

/* Renews the lease in time and lets workers run as long as it lasts. False once it has ended. */
static bool keep_leading(struct archiver *a)
{
    struct staging *st = a->context.staging;
    struct err e = {0};
    int64_t left = lease_until_ms(st) - clock_mono_ms();
    if (left <= 0 || db_broken(a->context.reader))
        return false;
    if (left < RENEW_MS && lease_renew(st, &e) < 0)
        trouble(a, "archiver.lease", &e);
    int64_t until = lease_until_ms(st);
    a->context.until_ms = until == INT64_MAX ? until : until - WORKER_SLACK_MS;
    for (size_t i = 0; i < a->runner_count; i++)
        runner_extend(a->runners[i], a->context.until_ms);
    return until > clock_mono_ms();
}

static bool lead(struct archiver *a)
{
    struct err e = {0};
    if (a->leading && keep_leading(a))
        return true;
    if (a->leading)
        log_event(LOG_WARN, "archiver.lost", "%s", "");
    stop_leading(a);
    int rc = staging_reader(a->context.staging, &a->context.reader, &e);
    if (rc == 0)
        rc = lease_take(a->context.staging, LEASE_MS, &e);
    if (rc == 0)
        rc = older_copy_check(a->older, a->context.staging, a->context.reader, &e);
    if (rc < 0) {
        trouble(a, rc == ERR_CONFLICT ? "archiver.standby" : "archiver.database", &e);
        stop_leading(a);
        lease_give(a->context.staging);
        return false;
    }
    log_event(LOG_INFO, "archiver.leads", "%s", "");
    a->last_trouble[0] = '\0';
    a->leading = true;
    a->look_ms = 0;
    if (a->o.archived)
        wake_ring(a->o.archived);
    return keep_leading(a);
}

static struct runner *runner_of(struct archiver *a, int64_t instance)
{
    for (size_t i = 0; i < a->runner_count; i++) {
        if (a->runners[i]->row.id == instance)
            return a->runners[i];
    }
    return NULL;
}

/* One added while we run. What is wrong with its set-up is shown at the instance. */
static int begin_instance(struct archiver *a, const struct ledger_instance *row, struct err *e)
{
    struct adapter_options *options = NULL;
    if (strcmp(row->state, "active") != 0 || a->runner_count == LEDGER_MAX_INSTANCES)
        return 0;
    int rc = archiver_options_of(&a->o, row, &options, e);
    if (rc == ERR_CONFIG || rc == ERR_NOT_FOUND) {
        log_error("adapter.failed", e, "adapter=%s", row->name);
        return ledger_instance_state(a->o.staging, row->id, "failed", slice_of(e->text), e);
    }
    if (rc == 0 && options->module.readback != row->readback)
        rc = ledger_instance_readback(a->o.staging, row->id, options->module.readback, e);
    if (rc < 0) {
        adapter_options_free(options);
        return rc;
    }
    rc = runner_new(&a->runners[a->runner_count], row, options, a->o.scratch_dir, e);
    if (rc < 0)
        return rc;
    a->runners[a->runner_count++]->present = true;
    return 0;
}

struct rows {
    struct ledger_instance all[LEDGER_MAX_INSTANCES];
    size_t n;
};

static int keep_row(void *arg, const struct ledger_instance *i, struct err *e)
{
    struct rows *rows = arg;
    (void)e;
    if (rows->n < LEDGER_MAX_INSTANCES)
        rows->all[rows->n++] = *i;
    return 0;
}

/* A person who resumes an instance has mended its cause: no pause for what failed before. */
static void refresh(struct runner *r, const struct ledger_instance *row)
{
    if (strcmp(r->row.state, "active") != 0 && strcmp(row->state, "active") == 0) {
        r->next_ms = 0;
        backoff_reset(&r->backoff);
    }
    r->row = *row;
    r->present = true;
}

static void drop_absent(struct archiver *a)
{
    for (size_t i = a->runner_count; i-- > 0;) {
        if (a->runners[i]->present)
            continue;
        runner_kill(a->runners[i]);
        drop_runner(a, i);
    }
}

/* Also of those that are paused or failed: theirs is what waits longest. */
static int look_at_backlog(struct archiver *a, const struct rows *rows, struct err *e)
{
    int rc = 0;
    if (!a->o.backlog_ms || clock_mono_ms() < a->backlog_ms)
        return 0;
    a->backlog_ms = clock_mono_ms() + BACKLOG_MS;
    for (size_t i = 0; rc == 0 && i < rows->n; i++) {
        const struct runner *r = runner_of(a, rows->all[i].id);
        int64_t oldest_us = 0;
        rc = backlog_oldest(a->context.reader, rows->all[i].id, &oldest_us, e);
        const int64_t age_ms = (clock_wall_us() - oldest_us) / 1000;
        const struct backlog b = {
            .instance = slice_of(rows->all[i].name),
            .age_ms = oldest_us ? age_ms - (r ? r->options->due.interval_ms : 0) : -1,
            .bound_ms = a->o.backlog_ms};
        if (rc == 0)
            rc = backlog_judge(a->o.staging, &b, e);
    }
    return rc;
}

static int look(struct archiver *a, struct err *e)
{
    OWN(own_mem) struct rows *rows = calloc(1, sizeof *rows);
    bool wished = false;
    if (!rows)
        return err_memory(e, "the list of adapters");
    int rc = ledger_instances(a->context.reader, false, keep_row, rows, e);
    if (rc == 0)
        rc = drain_requested(a->context.reader, clock_wall_us(), &wished, e);
    if (rc < 0)
        return rc;
    a->context.draining = wished;
    for (size_t i = 0; i < a->runner_count; i++)
        a->runners[i]->present = false;
    for (size_t i = 0; i < rows->n; i++) {
        struct runner *r = runner_of(a, rows->all[i].id);
        if (r) {
            refresh(r, &rows->all[i]);
        } else if (!a->context.stopping) {
            int failed = begin_instance(a, &rows->all[i], e);
            rc = failed < 0 ? failed : rc;
        }
    }
    drop_absent(a);
    return rc < 0 ? rc : look_at_backlog(a, rows, e);
}

/* Shown at the instance, unless the ledger itself is out of reach. Once: it is the state that
 * counts here, not every turn. */
static void show_trouble(struct archiver *a, struct runner *r, const struct err *e)
{
    if (strcmp(r->trouble, e->text) == 0)
        return;
    (void)snprintf(r->trouble, sizeof r->trouble, "%s", e->text);
    log_error("archiver.trouble", e, "adapter=%s", r->row.name);
    (void)ledger_failed(a->o.staging, r->row.id, slice_of(e->text), 0, NULL);
}

/* One instance's trouble is not another's. */
static void step_all(struct archiver *a, int64_t *wait_ms)
{
    for (size_t i = 0; i < a->runner_count; i++) {
        struct runner *r = a->runners[i];
        struct err e = {0};
        if (runner_step(r, &a->context, wait_ms, &e) == 0)
            continue;
        show_trouble(a, r, &e);
        r->next_ms = clock_mono_ms() + TROUBLE_MS;
        *wait_ms = *wait_ms < TROUBLE_MS ? *wait_ms : TROUBLE_MS;
    }
    if (a->context.archived && a->o.archived)
        wake_ring(a->o.archived);
    a->context.archived = false;
}

static void clear_bell(const struct wake *w)
{
    uint64_t n;
    ssize_t got = w ? read(w->fd, &n, sizeof n) : 0;
    (void)got;
}

static void sleep_until_something(struct archiver *a, int64_t wait_ms)
{
    struct pollfd p[2 + 2 * LEDGER_MAX_INSTANCES];
    int n = 0;
    p[n++] = (struct pollfd){.fd = a->own.fd, .events = POLLIN};
    if (a->o.captured)
        p[n++] = (struct pollfd){.fd = a->o.captured->fd, .events = POLLIN};
    for (size_t i = 0; i < a->runner_count; i++)
        n += runner_poll(a->runners[i], p + n);
    (void)poll(p, (nfds_t)n, wait_ms < 0 ? 0 : (int)wait_ms);
    clear_bell(&a->own);
    clear_bell(a->o.captured);
}

static void turn(struct archiver *a)
{
    int64_t wait_ms = WAIT_MS;
    struct err e = {0};
    if (!lead(a)) {
        sleep_until_something(a, STANDBY_MS);
        return;
    }
    if (clock_mono_ms() >= a->look_ms) {
        a->look_ms = clock_mono_ms() + LOOK_MS;
        if (look(a, &e) < 0)
            trouble(a, "archiver.trouble", &e);
    }
    step_all(a, &wait_ms);
    int64_t look_in = a->look_ms - clock_mono_ms();
    sleep_until_something(a, wait_ms < look_in ? wait_ms : look_in);
}

static bool any_busy(const struct archiver *a)
{
    for (size_t i = 0; i < a->runner_count; i++) {
        if (runner_busy(a->runners[i]))
            return true;
    }
    return false;
}

/* Workers may finish what they have; then they are asked, then killed. */
static void wind_down(struct archiver *a)
{
    int64_t began = clock_mono_ms();
    bool asked = false;
    a->context.stopping = true;
    while (a->leading && keep_leading(a) && any_busy(a) &&
           clock_mono_ms() - began < KILL_AFTER_MS) {
        int64_t wait_ms = 100;
        if (!asked && clock_mono_ms() - began >= CANCEL_AFTER_MS) {
            asked = true;
            for (size_t i = 0; i < a->runner_count; i++)
                runner_cancel(a->runners[i]);
        }
        step_all(a, &wait_ms);
        sleep_until_something(a, wait_ms);
    }
    stop_leading(a);
    lease_give(a->context.staging);
}

void *archiver_run_thread(void *arg)
{
    struct archiver *a = arg;
    while (!atomic_load(&a->stop))
        turn(a);
    wind_down(a);
    return NULL;
}

void archiver_stop(struct archiver *a)
{
    if (!a)
        return;
    atomic_store(&a->stop, true);
    wake_ring(&a->own);
    (void)pthread_join(a->thread, NULL);
    wake_done(&a->own);
    older_copy_free(a->older);
    free(a);
}
