/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sweep's passes and its thread. A pass takes each partition in small steps (sweep_step.c): one
 * transaction over millions of rows would block capture for half a minute.
 */
#include "retention/sweep.h"

#include "base/app.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "base/stop.h"
#include "mgccomp/kept.h"
#include "mgccomp/lease.h"
#include "retention/sweep_step.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum {
    PARTS = 256,
    PAUSE_MS = 10000,
    KEPT_EVERY_MS = 3600 * 1000, /* kept records are looked at, even if nothing was released */
    PRUNE_EVERY_MS = 3600 * 1000,
};
/* Hashes of deleted records are kept so long, so that a late repeat is told from a fork. */
static const int64_t hash_age_us = INT64_C(7) * 24 * 3600 * 1000000;

struct part {
    int64_t generation;
    int32_t part;
};

static int next_parts(struct staging *st, int64_t after, struct part out[PARTS], size_t *n,
                      struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    OWN(own_db_rows) struct db_rows *r = NULL;
    *n = 0;
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = db_query(t.db,
                      "SELECT q.generation, p.part FROM queue q CROSS JOIN position p"
                      " WHERE p.part > $1 ORDER BY p.part LIMIT $2",
                      DB_ARGS(DB_I(after), DB_I(PARTS)), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        out[*n].generation = db_rows_int(r, 0);
        out[*n].part = (int32_t)db_rows_int(r, 1);
        ++*n;
    }
    return rc;
}

struct sweep {
    struct sweep_options o;
    struct wake own; /* when the caller gave none */
    pthread_t thread;
    _Atomic bool stop;
    char last_stuck[200];
    int64_t prune_ms;
    int64_t releases, kept_ms; /* what was released, and when, as of the last look at kept ones */
};

static bool stopping(const struct sweep *s)
{
    return s && atomic_load(&s->stop);
}

/* Said once for each place, not at every pass. */
static void say_stuck(struct sweep *s, const struct sweep_step *at)
{
    char text[200] = "";
    if (!s || at->stuck < 0)
        return;
    (void)snprintf(text, sizeof text, "partition=%" PRId32 " position=%" PRId64 " because=\"%s\"",
                   at->part, at->stuck, at->why);
    if (strcmp(text, s->last_stuck) != 0)
        log_event(LOG_WARN, "sweep.stuck", "%s", text);
    memcpy(s->last_stuck, text, sizeof text);
}

static void say_moved(const struct sweep *s, const struct sweep_step *at)
{
    if (s && at->moved)
        log_event(LOG_WARN, "sweep.kept", "partition=%" PRId32 " rows=%zu because=\"%s\"", at->part,
                  at->moved, at->stuck < 0 ? at->why : "an incident or an adapter");
}

static int sweep_part(struct staging *st, struct sweep *s, struct sweep_step *at, bool kept_too,
                      int64_t *rows, struct err *e)
{
    do {
        int rc = sweep_staged(st, at, e);
        if (rc < 0)
            return rc;
        say_moved(s, at);
        say_stuck(s, at);
        *rows += (int64_t)at->n;
        if (at->looked && s && s->o.swept)
            s->o.swept(s->o.swept_arg, at->part, at->last + 1);
    } while (at->looked == SWEEP_ROWS && !stopping(s));
    if (!kept_too)
        return 0;
    do {
        int rc = sweep_kept(st, at, e);
        if (rc < 0)
            return rc;
        *rows += (int64_t)at->n;
    } while (at->looked == SWEEP_ROWS && !stopping(s));
    return 0;
}

/* Kept records may be many and stay long: they are looked at when a reason to keep has ended. */
static int look_at_kept(struct staging *st, const struct sweep *s, int64_t *releases, bool *wanted,
                        struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = kept_releases(t.db, releases, e);
    if (rc == 0)
        *wanted = !s || *releases != s->releases || clock_mono_ms() >= s->kept_ms + KEPT_EVERY_MS;
    return rc;
}

static int all_parts(struct staging *st, struct sweep *s, struct sweep_step *at, bool kept_too,
                     int64_t *total, struct err *e)
{
    struct part parts[PARTS];
    size_t n = 0;
    int64_t after = INT64_C(-1);
    do {
        int rc = next_parts(st, after, parts, &n, e);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < n && !stopping(s); i++) {
            at->generation = parts[i].generation;
            at->part = parts[i].part;
            after = parts[i].part;
            rc = sweep_part(st, s, at, kept_too, total, e);
            if (rc < 0)
                return rc;
        }
    } while (n == PARTS && !stopping(s));
    return 0;
}

static int pass(struct staging *st, struct sweep *s, int64_t *rows, struct err *e)
{
    int64_t total = 0;
    int64_t releases = 0;
    bool kept_too = false;
    OWN(own_mem) struct sweep_step *at = calloc(1, sizeof *at);
    OWN(own_mem) struct swept_row *room = calloc(SWEEP_ROWS, sizeof *room);
    if (!at || !room)
        return err_memory(e, "a sweep");
    at->rows = room;
    int rc = look_at_kept(st, s, &releases, &kept_too, e);
    if (rc == 0)
        rc = all_parts(st, s, at, kept_too, &total, e);
    if (rc < 0)
        return rc;
    if (s && kept_too) {
        s->releases = releases;
        s->kept_ms = clock_mono_ms();
    }
    *rows = total;
    return 0;
}

int sweep_once(struct staging *st, int64_t *rows, struct err *e)
{
    return pass(st, NULL, rows, e);
}

/* Retried at the next pass, whatever failed: nothing was deleted that should not be. */
static void one_pass(struct sweep *s)
{
    struct err e = {0};
    int64_t rows = 0;
    int rc = pass(s->o.staging, s, &rows, &e);
    if (rc < 0 && rc != ERR_STOPPED)
        log_error("sweep.failed", &e, "%s", "");
    else if (rows)
        log_event(LOG_INFO, "sweep.deleted", "rows=%" PRId64, rows);
}

static void prune(struct sweep *s)
{
    struct err e = {0};
    if (clock_mono_ms() < s->prune_ms)
        return;
    s->prune_ms = clock_mono_ms() + PRUNE_EVERY_MS;
    int rc = sweep_prune(s->o.staging, hash_age_us, &e);
    if (rc < 0 && rc != ERR_STOPPED)
        log_error("sweep.prune", &e, "%s", "");
}

/* The archiver of the same process takes the lease, and rings when it has it. */
static bool leads(const struct sweep *s)
{
    return lease_until_ms(s->o.staging) > clock_mono_ms();
}

static void *run(void *arg)
{
    struct sweep *s = arg;
    while (!stopping(s) && !stop_requested()) {
        if (leads(s)) {
            one_pass(s);
            prune(s);
        }
        if (!stopping(s))
            (void)wake_wait(s->o.archived, PAUSE_MS);
    }
    return NULL;
}

int sweep_start(struct sweep **out, const struct sweep_options *o, struct err *e)
{
    OWN(own_mem) struct sweep *s = calloc(1, sizeof *s);
    if (!s)
        return err_memory(e, "the sweep");
    s->o = *o;
    s->releases = -1;
    s->own.fd = -1;
    if (!s->o.archived) {
        if (!wake_init(&s->own))
            return err_set(e, ERR_RETRY, "the sweep's doorbell can't be made");
        s->o.archived = &s->own;
    }
    int rc = pthread_create(&s->thread, NULL, run, s);
    if (rc != 0) {
        wake_done(&s->own);
        return err_set(e, ERR_RETRY, "the sweep's thread can't be started: %s", strerror(rc));
    }
    *out = s;
    s = NULL;
    return 0;
}

void sweep_stop(struct sweep *s)
{
    if (!s)
        return;
    atomic_store(&s->stop, true);
    wake_ring(s->o.archived);
    (void)pthread_join(s->thread, NULL);
    wake_done(&s->own);
    free(s);
}
