/* SPDX-License-Identifier: Apache-2.0 */
/* The lease's row. A lapsed holder may be frozen in the middle of a transaction that locks it: its
 * connection is ended by whoever takes over. */
#include "mgccomp/lease.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "base/process.h"

#include <string.h>
#include <unistd.h>

#define NOW_US "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

struct row {
    char holder[128], process[STAGING_LEASE_HOLDER];
    int64_t term, since_us, until_us;
};

static int read_row(struct db *db, struct row *out, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db,
                      "SELECT holder, process, term, since_us, until_us FROM lease"
                      " WHERE name = 'archiver'",
                      DB_NO_ARGS, &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(e, ERR_FAULT, "mgccomp has no lease row");
    (void)slice_copy(db_rows_slice(r, 0), out->holder, sizeof out->holder);
    (void)slice_copy(db_rows_slice(r, 1), out->process, sizeof out->process);
    out->term = db_rows_int(r, 2);
    out->since_us = db_rows_int(r, 3);
    out->until_us = db_rows_int(r, 4);
    return 0;
}

/* "" stands for nobody. */
static bool is_ours(const struct staging_lease *l, const struct row *row)
{
    return l->process[0] && strcmp(l->process, row->process) == 0;
}

/* Who this handle is, from its first lease on: the process, and a word of its own. */
static void name_holder(struct staging_lease *l)
{
    char process[PROCESS_NAME_SIZE];
    char uuid[37];
    if (l->process[0])
        return;
    process_name(process);
    uuid_v7(clock_wall_us(), uuid);
    (void)snprintf(l->process, sizeof l->process, "%s %s", process, uuid);
}

static void describe_holder(char out[128])
{
    char host[96] = "";
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(out, 128, "%s, process %ld", host, (long)getpid());
}

/* The transaction that has the row's newest version under way, found by its number in xmax. */
static int end_holder(struct db *db, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db,
                      "SELECT pg_terminate_backend(k.pid) FROM lease l JOIN pg_locks k"
                      " ON k.locktype = 'transactionid' AND k.granted"
                      " AND k.mode = 'ExclusiveLock' AND k.transactionid = l.xmax"
                      " WHERE l.name = 'archiver'",
                      DB_NO_ARGS, &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    return rc < 0 ? rc : 0;
}

/* An end that no lease can have is of a time before the database's clock was set back: a holder
 * that lives renews it within seconds. */
static bool lapsed(const struct row *row, int64_t now_us)
{
    return row->until_us < now_us || row->until_us > now_us + LEASE_LONGEST_MS * INT64_C(1000);
}

static int take(struct staging_txn *t, const struct staging_lease *l, int64_t ms, struct row *row,
                struct err *e)
{
    char holder[128];
    int64_t now = 0;
    int64_t changed = 0;
    int rc = read_row(t->db, row, e);
    if (rc == 0)
        rc = db_now_us(t->db, &now, e);
    if (rc == 0 && !lapsed(row, now) && !is_ours(l, row) && !process_gone(row->process))
        rc = err_set(e, ERR_CONFLICT, "%s leads; this archiver stands by", row->holder);
    if (rc == 0 && !is_ours(l, row))
        rc = end_holder(t->db, e);
    describe_holder(holder);
    if (rc == 0)
        rc = db_run(
            t->db,
            "UPDATE lease SET holder = $1, process = $2, term = term + 1, since_us = " NOW_US
            ", until_us = $3 + " NOW_US " WHERE name = 'archiver' AND term = $4 AND until_us = $5",
            DB_ARGS(DB_T(slice_of(holder)), DB_T(slice_of(l->process)), DB_I(ms * 1000),
                    DB_I(row->term), DB_I(row->until_us)),
            &changed, e);
    if (rc == 0 && changed == 0)
        rc = err_set(e, ERR_CONFLICT, "another archiver was faster; this archiver stands by");
    return rc;
}

int lease_take(struct staging *st, int64_t ms, struct err *e)
{
    struct staging_lease *l = staging_lease(st);
    struct row row;
    if (l->alone)
        return 0;
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t began = clock_mono_ms();
    int rc = staging_begin(st, &t, e);
    if (rc < 0)
        return rc;
    atomic_store(&l->until_ms, 0);
    name_holder(l);
    rc = take(&t, l, ms, &row, e);
    if (rc < 0)
        return rc;
    l->term = row.term + 1;
    l->ms = ms;
    t.leads_until_ms = began + ms;
    FAULT("lease.commit.before");
    rc = staging_commit(&t, e);
    FAULT("lease.commit.after");
    return rc;
}

/* Within t. The row stays locked to its end: whoever would take the lease waits for that. */
static int lock(struct staging_txn *t, struct staging_lease *l, struct err *e)
{
    int64_t changed = 0;
    int64_t now = clock_mono_ms();
    if (atomic_load(&l->until_ms) <= now) {
        atomic_store(&l->until_ms, 0);
        return err_set(e, ERR_STOPPED, "this archiver does not lead");
    }
    int rc = db_run(
        t->db, "UPDATE lease SET until_us = $1 + " NOW_US " WHERE name = 'archiver' AND term = $2",
        DB_ARGS(DB_I(l->ms * 1000), DB_I(l->term)), &changed, e);
    if (rc < 0)
        return rc;
    if (changed == 0) {
        atomic_store(&l->until_ms, 0);
        return err_set(e, ERR_STOPPED, "another archiver leads now");
    }
    t->leads_until_ms = now + l->ms;
    return 0;
}

static int begin(struct staging *st, struct staging_txn *t, struct err *e)
{
    struct staging_lease *l = staging_lease(st);
    int rc = staging_begin(st, t, e);
    if (rc == 0 && !l->alone)
        rc = lock(t, l, e);
    if (rc < 0)
        staging_abort(t);
    return rc;
}

int lease_renew(struct staging *st, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = begin(st, &t, e);
    return rc == 0 ? staging_commit(&t, e) : rc;
}

/* What a transaction renews others see when it commits: until then it has what is left, and whoever
 * stands by ends it after that. A long one shall begin with most of the lease before it. */
int lease_begin(struct staging *st, struct staging_txn *t, struct err *e)
{
    const struct staging_lease *l = staging_lease(st);
    const int64_t left = atomic_load(&l->until_ms) - clock_mono_ms();
    int rc = !l->alone && left > 0 && left < LEASE_MS * 3 / 4 ? lease_renew(st, e) : 0;
    return rc == 0 ? begin(st, t, e) : rc;
}

void lease_give(struct staging *st)
{
    struct staging_lease *l = staging_lease(st);
    OWN(own_staging_txn) struct staging_txn t = {0};
    if (l->alone || lease_begin(st, &t, NULL) < 0)
        return;
    int rc = db_run(t.db, "UPDATE lease SET until_us = 0 WHERE name = 'archiver' AND term = $1",
                    DB_ARGS(DB_I(l->term)), NULL, NULL);
    t.leads_until_ms = 0;
    if (rc == 0 && staging_commit(&t, NULL) < 0)
        rc = ERR_RETRY;
    /* What was not given back lapses. */
    atomic_store(&l->until_ms, 0);
}

int64_t lease_until_ms(struct staging *st)
{
    struct staging_lease *l = staging_lease(st);
    return l->alone ? INT64_MAX : atomic_load(&l->until_ms);
}

int lease_look(struct db *db, struct lease_seen *out, struct err *e)
{
    struct row row;
    int rc = read_row(db, &row, e);
    *out = (struct lease_seen){.since_us = row.since_us, .until_us = row.until_us};
    memcpy(out->holder, row.holder, sizeof out->holder);
    return rc < 0 ? rc : db_now_us(db, &out->now, e);
}
