/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one writing handle of mgccomp: a lock, a connection that is made anew between transactions,
 * and the few rows that capture, archiver and sweep share: gate, tally, positions, which log it is.
 */
#include "mgccomp/staging.h"

#include "base/clock.h"
#include "base/own.h"
#include "mgccomp/schema.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

struct staging {
    pthread_mutex_t lock;
    struct db *db; /* NULL: to be connected at the next begin */
    char *url;
    struct staging_lease lease;
};

/* Capture appends, the sweep deletes soon after: a log of 128 MiB writes a page back once for many
 * changes. The cache holds the pages that a batch changes. */
static int tune(struct db *db, struct err *e)
{
    if (db_kind(db) != DB_SQLITE)
        return 0;
    return db_script(db, "PRAGMA cache_size = -10240; PRAGMA wal_autocheckpoint = 32000", e);
}

static int connect_now(struct staging *st, int flags, struct err *e)
{
    OWN(own_db) struct db *db = NULL;
    int rc = db_open(&db, st->url, flags, e);
    if (rc < 0)
        return err_wrap(e, "mgccomp");
    rc = schema_migrate(db, e);
    if (rc == 0)
        rc = tune(db, e);
    if (rc < 0)
        return err_wrap(e, "mgccomp");
    st->db = db;
    db = NULL;
    return 0;
}

int staging_open(struct staging **out, const char *url, struct err *e)
{
    struct staging *st = calloc(1, sizeof *st);
    if (!st)
        return err_memory(e, "opening mgccomp");
    if (pthread_mutex_init(&st->lock, NULL) != 0) {
        free(st);
        return err_memory(e, "opening mgccomp");
    }
    st->url = strdup(url);
    int rc = st->url ? connect_now(st, DB_CREATE, e) : err_memory(e, "opening mgccomp");
    if (rc < 0) {
        staging_close(st);
        return rc;
    }
    st->lease.alone = db_kind(st->db) == DB_SQLITE;
    *out = st;
    return 0;
}

void staging_close(struct staging *st)
{
    if (!st)
        return;
    db_close(st->db);
    (void)pthread_mutex_destroy(&st->lock);
    free(st->url);
    free(st);
}

struct staging_lease *staging_lease(struct staging *st)
{
    return &st->lease;
}

const char *staging_url(const struct staging *st)
{
    return st->url;
}

static void disconnect(struct staging *st)
{
    db_close(st->db);
    st->db = NULL;
}

/* A connection that broke while idle shows only at the first statement; nothing was done yet, so
 * that one may be tried again on a new connection. Flags 0: a file that vanished is not made anew.
 */
static int begin_locked(struct staging *st, struct err *e)
{
    if (st->db && db_broken(st->db))
        disconnect(st);
    bool fresh = !st->db;
    int rc = fresh ? connect_now(st, 0, e) : 0;
    if (rc < 0)
        return rc;
    rc = db_begin(st->db, e);
    if (rc < 0 && !fresh && db_broken(st->db)) {
        disconnect(st);
        rc = connect_now(st, 0, e);
        if (rc == 0)
            rc = db_begin(st->db, e);
    }
    return rc;
}

int staging_begin(struct staging *st, struct staging_txn *t, struct err *e)
{
    (void)pthread_mutex_lock(&st->lock);
    int rc = begin_locked(st, e);
    if (rc < 0) {
        (void)pthread_mutex_unlock(&st->lock);
        return rc;
    }
    *t = (struct staging_txn){.st = st, .db = st->db};
    return 0;
}

int staging_commit(struct staging_txn *t, struct err *e)
{
    struct staging *st = t->st;
    int rc = db_commit(t->db, e);
    if (rc == 0 && t->leads_until_ms)
        atomic_store(&st->lease.until_ms, t->leads_until_ms);
    *t = (struct staging_txn){0};
    (void)pthread_mutex_unlock(&st->lock);
    return rc;
}

void staging_abort(struct staging_txn *t)
{
    if (!t->st)
        return;
    struct staging *st = t->st;
    db_rollback(t->db);
    *t = (struct staging_txn){0};
    (void)pthread_mutex_unlock(&st->lock);
}

int staging_reader(struct staging *st, struct db **out, struct err *e)
{
    return db_open(out, st->url, DB_READ_ONLY, e);
}

int staging_lock_gate(struct staging_txn *t, struct err *e)
{
    if (t->gate)
        return 0;
    int64_t changed = 0;
    int rc = db_run(t->db, "UPDATE gate SET version = version + 1 WHERE id = 1", DB_NO_ARGS,
                    &changed, e);
    if (rc < 0)
        return rc;
    if (changed != 1)
        return err_set(e, ERR_FAULT, "mgccomp has no gate row");
    t->gate = true;
    return 0;
}

int staging_tally(struct staging_txn *t, struct slice name, int64_t add, struct err *e)
{
    return db_run(t->db,
                  "INSERT INTO tally (name, value) VALUES ($1, $2)"
                  " ON CONFLICT (name) DO UPDATE SET value = tally.value + excluded.value",
                  DB_ARGS(DB_T(name), DB_I(add)), NULL, e);
}

int staging_tally_get(struct db *db, struct slice name, int64_t *out, struct err *e)
{
    return db_int(db, "SELECT CAST(coalesce(sum(value), 0) AS bigint) FROM tally WHERE name = $1",
                  DB_ARGS(DB_T(name)), 0, out, e);
}

static int position_read(struct db *db, struct staging_position *p, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    struct staging_position found = {.part = p->part};
    int rc = db_first(db, "SELECT pos, hash, shift FROM position WHERE part = $1",
                      DB_ARGS(DB_I(p->part)), &r, e);
    if (rc < 0)
        return rc;
    if (rc == 1) {
        struct slice hash = db_rows_slice(r, 1);
        found.pos = db_rows_int(r, 0);
        found.shift = db_rows_int(r, 2);
        found.has_hash = hash.n == SHA256_SIZE;
        if (found.has_hash)
            memcpy(found.hash, hash.p, SHA256_SIZE);
    }
    *p = found;
    return 0;
}

int staging_positions(struct staging *st, struct staging_position *positions, size_t n,
                      struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = position_read(t.db, &positions[i], e);
    return rc < 0 ? rc : staging_commit(&t, e);
}

int staging_reread(struct staging_txn *t, const struct staging_position *at, int64_t offset,
                   struct err *e)
{
    int64_t changed = 0;
    int rc =
        db_run(t->db,
               "UPDATE position SET shift = pos - $2, hash = NULL"
               " WHERE part = $1 AND pos = $3 AND shift = $4",
               DB_ARGS(DB_I(at->part), DB_I(offset), DB_I(at->pos), DB_I(at->shift)), &changed, e);
    if (rc < 0 || changed == 1)
        return rc;
    return err_set(e, ERR_CONFLICT, "another capture moved the position of partition %" PRId32,
                   at->part);
}

static int queue_compare(struct db_rows *r, struct slice driver, struct slice identity,
                         int64_t *generation, struct err *e)
{
    if (!slice_eq(db_rows_slice(r, 0), driver) || !slice_eq(db_rows_slice(r, 1), identity))
        return err_set(e, ERR_CONFLICT,
                       "mgccomp was filled from the queue %.*s %.*s, not from %.*s %.*s."
                       " Configure that queue, or start with an empty mgccomp",
                       SLICE_ARG(db_rows_slice(r, 0)), SLICE_ARG(db_rows_slice(r, 1)),
                       SLICE_ARG(driver), SLICE_ARG(identity));
    *generation = db_rows_int(r, 2);
    return 0;
}

static int queue_known(struct db *db, struct slice driver, struct slice identity,
                       int64_t *generation, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db, "SELECT driver, identity, generation FROM queue WHERE id = 1", DB_NO_ARGS,
                      &r, e);
    if (rc < 0)
        return rc;
    rc = db_rows_next(r, e);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(e, ERR_NOT_FOUND, "no queue was captured yet");
    return queue_compare(r, driver, identity, generation, e);
}

int staging_queue(struct staging *st, struct slice driver, struct slice identity,
                  int64_t *generation, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t found = 1;
    int rc = staging_begin(st, &t, e);
    if (rc < 0)
        return rc;
    rc = db_run(t.db,
                "INSERT INTO queue (id, driver, identity, generation) VALUES (1, $1, $2, 1)"
                " ON CONFLICT (id) DO NOTHING",
                DB_ARGS(DB_T(driver), DB_T(identity)), NULL, e);
    if (rc == 0)
        rc = queue_known(t.db, driver, identity, &found, e);
    if (rc == 0)
        rc = staging_commit(&t, e);
    if (rc < 0)
        return rc;
    *generation = found;
    return 0;
}
