/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deletion from mgccomp, by position range up to the first row that the gate keeps. Small steps:
 * one transaction over millions of rows would block capture for half a minute.
 */
#include "retention/sweep.h"

#include "base/app.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/own.h"
#include "base/stop.h"
#include "mgccomp/incident.h"
#include "retention/gate.h"
#include "retention/sweep_hashes.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum {
    STEP_ROWS = 10000,
    PARTS = 256,
    PAUSE_MS = 10000,
    PRUNE_EVERY_MS = 3600 * 1000,
};
/* Hashes of deleted records are kept so long, so that a late repeat is told from a fork. */
static const int64_t hash_age_us = INT64_C(7) * 24 * 3600 * 1000000;

struct step {
    int64_t generation;
    int32_t part;
    struct ledger_holder holders[LEDGER_MAX_INSTANCES];
    size_t holder_count;
    int64_t low; /* no required instance is before it */
    struct swept_row *rows;
    size_t n;
    const char *kept; /* why the row after the last one stays, or NULL */
    int64_t kept_pos;
};

static int read_holders(struct staging_txn *t, struct step *s, struct err *e)
{
    int rc = ledger_holders(t->db, s->generation, s->part, s->holders, &s->holder_count, e);
    if (rc < 0)
        return rc;
    s->low = s->holder_count ? INT64_MAX : 0;
    for (size_t i = 0; i < s->holder_count; i++) {
        if (s->holders[i].pos < s->low)
            s->low = s->holders[i].pos;
    }
    return 0;
}

static const char *row_kept(const struct step *s, int64_t pos, bool incident)
{
    struct gate_facts f = {.required = (int)s->holder_count, .incident = incident};
    for (size_t i = 0; i < s->holder_count; i++) {
        if (s->holders[i].pos <= pos)
            continue;
        f.required_settled++;
        f.full_readback += s->holders[i].readback == LEDGER_READBACK_FULL;
    }
    return gate_keeps(&f);
}

/* The oldest rows below the low water; with each, whether an open incident shuts its place. */
static int read_rows(struct staging_txn *t, struct step *s, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc =
        db_query(t->db,
                 "SELECT r.pos, r.stream, r.sequence, r.flags, r.hash,"
                 " CASE WHEN EXISTS (SELECT 1 FROM incident i WHERE i.closed_us IS NULL"
                 " AND i.kind <> 'backlog' AND (i.stream = r.stream"
                 " OR (i.stream IS NULL AND i.source = s.source)"
                 " OR (i.stream IS NULL AND i.source IS NULL AND i.part = r.part)))"
                 " THEN 1 ELSE 0 END"
                 " FROM record r LEFT JOIN stream s ON s.id = r.stream"
                 " WHERE r.generation = $1 AND r.part = $2 AND r.pos < $3"
                 " ORDER BY r.pos LIMIT $4",
                 DB_ARGS(DB_I(s->generation), DB_I(s->part), DB_I(s->low), DB_I(STEP_ROWS)), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        struct swept_row *row = &s->rows[s->n];
        struct slice hash = db_rows_slice(r, 4);
        *row = (struct swept_row){.pos = db_rows_int(r, 0),
                                  .stream = db_rows_int(r, 1),
                                  .sequence = db_rows_int(r, 2),
                                  .flags = db_rows_int(r, 3)};
        if (hash.n != SHA256_SIZE)
            return err_set(e, ERR_FAULT, "partition %" PRId32 " position %" PRId64 ": no hash",
                           s->part, row->pos);
        memcpy(row->hash, hash.p, SHA256_SIZE);
        s->kept = row_kept(s, row->pos, db_rows_int(r, 5) != 0);
        if (s->kept) {
            s->kept_pos = row->pos;
            return 0;
        }
        s->n++;
    }
    return rc;
}

static int delete_rows(struct staging_txn *t, const struct step *s, struct err *e)
{
    int64_t gone = 0;
    int rc = db_run(t->db,
                    "DELETE FROM record WHERE generation = $1 AND part = $2 AND pos >= $3"
                    " AND pos <= $4",
                    DB_ARGS(DB_I(s->generation), DB_I(s->part), DB_I(s->rows[0].pos),
                            DB_I(s->rows[s->n - 1].pos)),
                    &gone, e);
    if (rc == 0 && gone != (int64_t)s->n)
        rc = err_set(e, ERR_FAULT,
                     "partition %" PRId32 ": %" PRId64 " rows would have gone instead of %zu",
                     s->part, gone, s->n);
    return rc;
}

/* One transaction; rows deleted are counted in s->n. */
static int step(struct staging *st, struct step *s, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t now = 0;
    s->n = 0;
    s->kept = NULL;
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = staging_lock_gate(&t, e);
    if (rc == 0)
        rc = read_holders(&t, s, e);
    if (rc == 0)
        rc = read_rows(&t, s, e);
    if (rc < 0 || s->n == 0)
        return rc;
    int64_t up_to = s->rows[s->n - 1].pos + 1;
    rc = db_now_us(t.db, &now, e);
    if (rc == 0)
        rc = delete_rows(&t, s, e);
    FAULT("sweep.deleted");
    if (rc == 0)
        rc = staging_tally(&t, SLICE("deleted"), (int64_t)s->n, e);
    if (rc == 0)
        rc = sweep_hashes(&t, s->rows, s->n, now, e);
    FAULT("sweep.commit.before");
    if (rc == 0)
        rc = staging_commit(&t, e);
    FAULT("sweep.commit.after");
    s->low = up_to;
    return rc;
}

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
    char last_kept[200];
};

static bool stopping(const struct sweep *s)
{
    return s && atomic_load(&s->stop);
}

/* Said once for each place, not at every pass. */
static void say_kept(struct sweep *s, const struct step *at)
{
    char text[200] = "";
    if (!s)
        return;
    if (at->kept)
        (void)snprintf(text, sizeof text,
                       "partition=%" PRId32 " position=%" PRId64 " because=\"%s\"", at->part,
                       at->kept_pos, at->kept);
    if (at->kept && strcmp(text, s->last_kept) != 0)
        log_event(LOG_WARN, "sweep.kept", "%s", text);
    if (at->kept)
        memcpy(s->last_kept, text, sizeof text);
}

static int sweep_part(struct staging *st, struct sweep *s, struct step *at, int64_t *rows,
                      struct err *e)
{
    do {
        int rc = step(st, at, e);
        if (rc < 0)
            return rc;
        say_kept(s, at);
        *rows += (int64_t)at->n;
        if (at->n && s && s->o.swept)
            s->o.swept(s->o.swept_arg, at->part, at->low);
    } while (at->n == STEP_ROWS && !stopping(s));
    return 0;
}

static int pass(struct staging *st, struct sweep *s, int64_t *rows, struct err *e)
{
    struct part parts[PARTS];
    size_t n = 0;
    int64_t after = INT64_C(-1);
    int64_t total = 0;
    OWN(own_mem) struct step *at = calloc(1, sizeof *at);
    OWN(own_mem) struct swept_row *room = calloc(STEP_ROWS, sizeof *room);
    if (!at || !room)
        return err_memory(e, "a sweep");
    at->rows = room;
    do {
        int rc = next_parts(st, after, parts, &n, e);
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < n && !stopping(s); i++) {
            at->generation = parts[i].generation;
            at->part = parts[i].part;
            after = parts[i].part;
            rc = sweep_part(st, s, at, &total, e);
            if (rc < 0)
                return rc;
        }
    } while (n == PARTS && !stopping(s));
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
    if (pass(s->o.staging, s, &rows, &e) < 0)
        log_error("sweep.failed", &e, "%s", "");
    else if (rows)
        log_event(LOG_INFO, "sweep.deleted", "rows=%" PRId64, rows);
}

static void *run(void *arg)
{
    struct sweep *s = arg;
    int64_t prune_ms = clock_mono_ms();
    while (!stopping(s) && !stop_requested()) {
        struct err e = {0};
        one_pass(s);
        if (clock_mono_ms() >= prune_ms) {
            prune_ms = clock_mono_ms() + PRUNE_EVERY_MS;
            if (sweep_prune(s->o.staging, hash_age_us, &e) < 0)
                log_error("sweep.prune", &e, "%s", "");
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
