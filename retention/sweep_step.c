/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one transaction of the sweep does. Reasons to keep can't come or go while it holds the gate,
 * so the rows that a statement finds for a reason are those that the gate was asked about; that
 * their number is the same is checked all the same.
 */
#include "retention/sweep_step.h"

#include "base/fault.h"
#include "base/own.h"
#include "mgccomp/kept.h"
#include "mgccomp/lease.h"
#include "retention/gate.h"

#include <inttypes.h>
#include <string.h>

static int read_holders(struct staging_txn *t, struct sweep_step *s, struct err *e)
{
    int rc = ledger_holders(t->db, s->generation, s->part, s->holders, &s->holder_count, e);
    if (rc == 0)
        rc = ledger_optional(t->db, s->generation, s->part, s->optional, &s->optional_count, e);
    if (rc < 0)
        return rc;
    s->low = s->holder_count ? INT64_MAX : 0;
    for (size_t i = 0; i < s->holder_count; i++) {
        if (s->holders[i].pos < s->low)
            s->low = s->holders[i].pos;
    }
    return 0;
}

static int begin(struct staging *st, struct staging_txn *t, struct sweep_step *s, struct err *e)
{
    s->looked = 0;
    s->n = 0;
    s->moved = 0;
    s->why = NULL;
    s->stuck = -1;
    int rc = lease_begin(st, t, e);
    if (rc == 0)
        rc = staging_lock_gate(t, e);
    if (rc == 0)
        rc = read_holders(t, s, e);
    return rc == 0 ? kept_reasons(t, &s->reasons, e) : rc;
}

static struct gate_facts facts_of(const struct sweep_step *s, int64_t pos)
{
    struct gate_facts f = {.required = (int)s->holder_count};
    for (size_t i = 0; i < s->holder_count; i++) {
        const struct ledger_holder *h = &s->holders[i];
        if (h->pos <= pos)
            continue;
        f.required_settled++;
        f.full_readback += h->readback == LEDGER_READBACK_FULL && pos >= h->full_from;
    }
    return f;
}

/* Who has not got a row waits for it here; what shuts it alone may wait elsewhere. */
static int judge(struct sweep_step *s, const struct db_rows *r, struct err *e)
{
    int64_t pos = db_rows_int(r, 0);
    struct slice hash = db_rows_slice(r, 4);
    struct gate_facts f = facts_of(s, pos);
    const char *why = gate_keeps(&f);
    if (hash.n != SHA256_SIZE)
        return err_set(e, ERR_FAULT, "partition %" PRId32 " position %" PRId64 ": no hash", s->part,
                       pos);
    if (why) {
        s->stuck = pos;
        s->why = why;
        return 0;
    }
    f.incident = db_rows_int(r, 5) != 0;
    f.in_hand = db_rows_int(r, 6) != 0;
    why = gate_keeps(&f);
    if (s->looked++ == 0)
        s->first = pos;
    s->last = pos;
    if (why) {
        s->moved++;
        s->why = why;
        return 0;
    }
    struct swept_row *row = &s->rows[s->n++];
    *row = (struct swept_row){.pos = pos,
                              .stream = db_rows_int(r, 1),
                              .sequence = db_rows_int(r, 2),
                              .flags = db_rows_int(r, 3)};
    memcpy(row->hash, hash.p, SHA256_SIZE);
    return 0;
}

static int read_rows(struct staging_txn *t, struct sweep_step *s, const char *sql, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(t->db, sql,
                      DB_ARGS(DB_I(s->generation), DB_I(s->part), DB_I(s->low), DB_I(SWEEP_ROWS)),
                      &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        int judged = judge(s, r, e);
        if (judged < 0)
            return judged;
        if (s->stuck >= 0)
            return 0;
    }
    return rc;
}

static int wrong_count(const struct sweep_step *s, int64_t rows, size_t due, struct err *e)
{
    return err_set(e, ERR_FAULT,
                   "partition %" PRId32 ": %" PRId64 " rows would have gone instead of %zu",
                   s->part, rows, due);
}

static struct kept_range range_of(const struct sweep_step *s)
{
    return (struct kept_range){s->generation, s->part, s->first, s->last};
}

static int move_rows(struct staging_txn *t, const struct sweep_step *s, struct err *e)
{
    const struct kept_range range = range_of(s);
    int64_t moved = 0;
    if (!s->moved)
        return 0;
    int rc = kept_move(t, &range, &moved, e);
    return rc == 0 && moved != (int64_t)s->moved ? wrong_count(s, moved, s->moved, e) : rc;
}

static int delete_rows(struct staging_txn *t, const struct sweep_step *s, struct err *e)
{
    int64_t gone = 0;
    int rc = db_run(t->db,
                    "DELETE FROM record WHERE generation = $1 AND part = $2 AND pos >= $3"
                    " AND pos <= $4",
                    DB_ARGS(DB_I(s->generation), DB_I(s->part), DB_I(s->first), DB_I(s->last)),
                    &gone, e);
    return rc == 0 && gone != (int64_t)s->looked ? wrong_count(s, gone, s->looked, e) : rc;
}

/* Instances that nobody waits for: what goes before they took it is counted at them. */
static int count_missed(struct staging_txn *t, const struct sweep_step *s, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s->optional_count; i++) {
        int64_t missed = 0;
        for (size_t k = 0; k < s->n; k++)
            missed += s->rows[k].pos >= s->optional[i].pos;
        if (missed)
            rc = ledger_missed(t, s->optional[i].instance, missed, e);
    }
    return rc;
}

/* What is said of records that are gone, and the commit. */
static int finish(struct staging_txn *t, struct sweep_step *s, struct err *e)
{
    int64_t now = 0;
    int rc = db_now_us(t->db, &now, e);
    if (rc == 0)
        rc = count_missed(t, s, e);
    if (rc == 0 && s->n)
        rc = staging_tally(t, SLICE("deleted"), (int64_t)s->n, e);
    if (rc == 0)
        rc = sweep_hashes(t, s->rows, s->n, now, e);
    FAULT("sweep.commit.before");
    if (rc == 0)
        rc = staging_commit(t, e);
    FAULT("sweep.commit.after");
    return rc;
}

#define FIRST_COLUMNS "SELECT r.pos, r.stream, r.sequence, r.flags, r.hash, "
#define BELOW         " r.generation = $1 AND r.part = $2 AND r.pos < $3"
#define OLDEST        " ORDER BY r.pos LIMIT $4"
#define FLAG(reason)  "CASE WHEN " reason " THEN 1 ELSE 0 END"

int sweep_staged(struct staging *st, struct sweep_step *s, struct err *e)
{
    static const char plain[] = FIRST_COLUMNS "0, 0 FROM record r WHERE" BELOW OLDEST;
    static const char careful[] =
        FIRST_COLUMNS FLAG(KEPT_SHUT) ", " FLAG(KEPT_IN_HAND) " FROM record r WHERE" BELOW OLDEST;
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = begin(st, &t, s, e);
    if (rc == 0)
        rc = read_rows(&t, s, s->reasons ? careful : plain, e);
    if (rc < 0 || s->looked == 0)
        return rc;
    rc = move_rows(&t, s, e);
    if (s->moved)
        FAULT("kept.moved");
    if (rc == 0)
        rc = delete_rows(&t, s, e);
    FAULT("sweep.deleted");
    return rc == 0 ? finish(&t, s, e) : rc;
}

int sweep_kept(struct staging *st, struct sweep_step *s, struct err *e)
{
    static const char sql[] = FIRST_COLUMNS "0, 0 FROM kept r WHERE" BELOW " AND NOT " KEPT_SHUT
                                            " AND NOT " KEPT_IN_HAND OLDEST;
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t gone = 0;
    int rc = begin(st, &t, s, e);
    if (rc == 0)
        rc = read_rows(&t, s, sql, e);
    if (rc < 0 || s->looked == 0)
        return rc;
    const struct kept_range range = range_of(s);
    rc = kept_delete(&t, &range, &gone, e);
    if (rc == 0 && gone != (int64_t)s->looked)
        rc = wrong_count(s, gone, s->looked, e);
    FAULT("kept.deleted");
    return rc == 0 ? finish(&t, s, e) : rc;
}
