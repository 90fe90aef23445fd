/* SPDX-License-Identifier: Apache-2.0 */
/* Frozen batches: reading them, what was settled in them, and the only place where a batch changes
 * its state: frozen, settled, verified, or parked for a person. */
#include "base/fault.h"
#include "base/own.h"
#include "mgccomp/incident.h"
#include "mgccomp/kept.h"
#include "mgccomp/lease.h"
#include "mgccomp/ledger.h"
#include "mgccomp/ledger_private.h"

#include <inttypes.h>
#include <string.h>

static int batch_ranges(struct db *db, struct ledger_batch *b, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db,
                      "SELECT generation, part, from_pos, to_pos FROM batch_range"
                      " WHERE batch = $1 ORDER BY generation, part",
                      DB_ARGS(DB_T(slice_of(b->id))), &r, e);
    b->range_count = 0;
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        if (b->range_count == LEDGER_MAX_RANGES)
            return err_set(e, ERR_FAULT, "batch %s: over %d ranges", b->id, LEDGER_MAX_RANGES);
        b->ranges[b->range_count++] = (struct ledger_range){.generation = db_rows_int(r, 0),
                                                            .part = (int32_t)db_rows_int(r, 1),
                                                            .from = db_rows_int(r, 2),
                                                            .to = db_rows_int(r, 3)};
    }
    return rc;
}

static int batch_row(struct db *db, int64_t instance, struct ledger_batch *b, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db,
                      "SELECT id, number, stem, state, cut_us, records, bytes, attempts, digest"
                      " FROM batch WHERE instance = $1 AND state <> 'verified'"
                      " AND state IN ('frozen', 'settled') ORDER BY number LIMIT 1",
                      DB_ARGS(DB_I(instance)), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(e, ERR_NOT_FOUND, "no open batch");
    struct slice digest = db_rows_slice(r, 8);
    if (digest.n != SHA256_SIZE)
        return err_set(e, ERR_FAULT, "a batch's digest has %zu bytes", digest.n);
    b->instance = instance;
    ledger_text(b->id, sizeof b->id, db_rows_slice(r, 0));
    b->number = db_rows_int(r, 1);
    ledger_text(b->stem, sizeof b->stem, db_rows_slice(r, 2));
    ledger_text(b->state, sizeof b->state, db_rows_slice(r, 3));
    b->cut_us = db_rows_int(r, 4);
    b->records = db_rows_int(r, 5);
    b->bytes = db_rows_int(r, 6);
    b->attempts = db_rows_int(r, 7);
    memcpy(b->digest, digest.p, SHA256_SIZE);
    return 0;
}

int ledger_open_batch(struct staging *st, int64_t instance, struct ledger_batch *out, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    struct ledger_batch b;
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = batch_row(t.db, instance, &b, e);
    if (rc == 0)
        rc = batch_ranges(t.db, &b, e);
    if (rc == 0)
        *out = b;
    return rc;
}

int ledger_batch_records(struct db *db, const struct ledger_batch *b, ledger_record_fn *visit,
                         void *arg, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    /* NULLs sort differently in the two databases; the greatest integer does not. */
    int rc = db_query(db,
                      "SELECT r.raw, r.note, r.hash, r.stream, r.sequence, r.flags, r.time_us,"
                      " r.captured_us, r.queued_us, r.part, r.pos" LEDGER_FROM_BATCH
                      " ORDER BY COALESCE(r.stream, 9223372036854775807),"
                      " COALESCE(r.sequence, 9223372036854775807), r.part, r.pos",
                      DB_ARGS(DB_T(slice_of(b->id))), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        struct slice hash = db_rows_slice(r, 2);
        if (hash.n != SHA256_SIZE)
            return err_set(e, ERR_FAULT, "batch %s: a record's hash has %zu bytes", b->id, hash.n);
        struct ledger_record record = {.raw = db_rows_slice(r, 0),
                                       .note = db_rows_slice(r, 1),
                                       .hash = (const uint8_t *)hash.p,
                                       .stream = db_rows_int(r, 3),
                                       .sequence = db_rows_int(r, 4),
                                       .flags = db_rows_int(r, 5),
                                       .time_us = db_rows_int(r, 6),
                                       .captured_us = db_rows_int(r, 7),
                                       .queued_us = db_rows_int(r, 8),
                                       .part = (int32_t)db_rows_int(r, 9),
                                       .pos = db_rows_int(r, 10)};
        int told = visit(arg, &record, e);
        if (told < 0)
            return told;
    }
    return rc;
}

int ledger_batch_roster(struct db *db, const struct ledger_batch *b, struct buf *out, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db, "SELECT roster FROM batch WHERE id = $1", DB_ARGS(DB_T(slice_of(b->id))),
                      &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(e, ERR_NOT_FOUND, "no batch %s", b->id);
    buf_slice(out, db_rows_slice(r, 0));
    return buf_ok(out, "a batch's roster", e);
}

/* 1: exactly this was settled before; 0: nothing touches it. */
static int settled_before(struct db *db, const struct ledger_batch *b, int64_t first, int64_t last,
                          struct slice verdict, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db,
                      "SELECT first, last, verdict FROM settlement"
                      " WHERE batch = $1 AND first <= $3 AND last >= $2 ORDER BY first LIMIT 1",
                      DB_ARGS(DB_T(slice_of(b->id)), DB_I(first), DB_I(last)), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    if (rc <= 0)
        return rc;
    if (db_rows_int(r, 0) == first && db_rows_int(r, 1) == last &&
        slice_eq(db_rows_slice(r, 2), verdict))
        return 1;
    return err_set(e, ERR_CONFLICT,
                   "batch %s: records %" PRId64 "-%" PRId64 " were settled otherwise before", b->id,
                   first, last);
}

static int batch_state_is(struct db *db, const struct ledger_batch *b, char state[16],
                          struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db, "SELECT state FROM batch WHERE id = $1", DB_ARGS(DB_T(slice_of(b->id))),
                      &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(e, ERR_NOT_FOUND, "no batch %s", b->id);
    ledger_text(state, 16, db_rows_slice(r, 0));
    return 0;
}

int ledger_settle(struct staging *st, const struct ledger_batch *b, int64_t first, int64_t last,
                  const char *verdict, struct slice receipt, struct slice note, struct err *e)
{
    if (first < 0 || first > last || last >= b->records)
        return err_set(e, ERR_REJECTED,
                       "batch %s has %" PRId64 " records, not %" PRId64 "-%" PRId64, b->id,
                       b->records, first, last);
    char state[16];
    char text[300];
    int64_t now = 0;
    struct slice reason = ledger_reason(text, sizeof text, note);
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = lease_begin(st, &t, e);
    if (rc == 0)
        rc = settled_before(t.db, b, first, last, slice_of(verdict), e);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = batch_state_is(t.db, b, state, e);
    if (rc == 0 && strcmp(state, "frozen") != 0)
        rc = err_set(e, ERR_CONFLICT, "batch %s is %s", b->id, state);
    if (rc == 0)
        rc = db_now_us(t.db, &now, e);
    if (rc == 0)
        rc = db_run(t.db,
                    "INSERT INTO settlement (batch, first, last, verdict, receipt, note,"
                    " settled_us) VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    DB_ARGS(DB_T(slice_of(b->id)), DB_I(first), DB_I(last), DB_T(slice_of(verdict)),
                            DB_T(receipt), reason.n ? DB_T(reason) : DB_N, DB_I(now)),
                    NULL, e);
    FAULT("settle.commit.before");
    if (rc == 0)
        rc = staging_commit(&t, e);
    FAULT("settle.commit.after");
    return rc;
}

int ledger_settlements(struct db *db, const struct ledger_batch *b, ledger_settlement_fn *visit,
                       void *arg, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db,
                      "SELECT first, last, verdict, receipt, note FROM settlement"
                      " WHERE batch = $1 ORDER BY first",
                      DB_ARGS(DB_T(slice_of(b->id))), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        struct ledger_settlement s = {.first = db_rows_int(r, 0),
                                      .last = db_rows_int(r, 1),
                                      .verdict = db_rows_slice(r, 2),
                                      .receipt = db_rows_slice(r, 3),
                                      .note = db_rows_slice(r, 4)};
        int told = visit(arg, &s, e);
        if (told < 0)
            return told;
    }
    return rc;
}

static int all_done(struct db *db, const struct ledger_batch *b, struct err *e)
{
    int64_t done = 0;
    /* sum() of bigint is numeric in PostgreSQL. */
    int rc = db_int(db,
                    "SELECT CAST(COALESCE(sum(last - first + 1), 0) AS BIGINT) FROM settlement"
                    " WHERE batch = $1 AND verdict = 'done'",
                    DB_ARGS(DB_T(slice_of(b->id))), 0, &done, e);
    if (rc == 0 && done != b->records)
        rc = err_set(e, ERR_CONFLICT, "batch %s: %" PRId64 " of %" PRId64 " records are settled",
                     b->id, done, b->records);
    return rc;
}

/* What the sweep kept may go now: because an instance that is not required had it in hand, or from
 * before this one got it. */
static int release(struct staging_txn *t, const struct ledger_batch *b, struct err *e)
{
    int64_t wanted = 0;
    int rc =
        db_int(t->db,
               "SELECT CASE WHEN EXISTS (SELECT 1 FROM instance WHERE id = $1 AND required = 0)"
               " OR EXISTS (SELECT 1 FROM batch_range g JOIN kept k ON k.generation ="
               " g.generation AND k.part = g.part AND k.pos >= g.from_pos AND k.pos < g.to_pos"
               " WHERE g.batch = $2) THEN 1 ELSE 0 END",
               DB_ARGS(DB_I(b->instance), DB_T(slice_of(b->id))), 0, &wanted, e);
    return rc < 0 || !wanted ? rc : kept_released(t, e);
}

/* What status counts: in the transaction that makes it true. */
static int count_archived(struct staging_txn *t, const struct ledger_batch *b, struct err *e)
{
    int rc = db_run(t->db,
                    "INSERT INTO archived (instance, stream, records)"
                    " SELECT $2, COALESCE(r.stream, 0), count(*)" LEDGER_FROM_BATCH
                    " GROUP BY COALESCE(r.stream, 0) ON CONFLICT (instance, stream)"
                    " DO UPDATE SET records = archived.records + excluded.records",
                    DB_ARGS(DB_T(slice_of(b->id)), DB_I(b->instance)), NULL, e);
    if (rc == 0)
        rc = db_run(t->db,
                    "UPDATE instance SET archived = archived + $2, failures = 0,"
                    " last_error = NULL, next_try_us = 0 WHERE id = $1",
                    DB_ARGS(DB_I(b->instance), DB_I(b->records)), NULL, e);
    if (rc == 0)
        rc = incident_close_batch(t, slice_of(b->id), "delivered and verified", e);
    return rc;
}

/* The roster says who was in each room, for every batch anew, and would be most of mgccomp in a
 * year. The archive has it now. */
static int verified(struct staging_txn *t, const struct ledger_batch *b, struct err *e)
{
    int rc = release(t, b, e);
    if (rc == 0)
        rc = count_archived(t, b, e);
    if (rc < 0)
        return rc;
    return db_run(t->db, "UPDATE batch SET roster = $2 WHERE id = $1",
                  DB_ARGS(DB_T(slice_of(b->id)), DB_B(SLICE(LEDGER_NO_ROSTER))), NULL, e);
}

static int instance_name(struct db *db, int64_t instance, char out[64], struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc =
        db_query(db, "SELECT name FROM instance WHERE id = $1", DB_ARGS(DB_I(instance)), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    if (rc == 1)
        ledger_text(out, 64, db_rows_slice(r, 0));
    return rc < 0 ? rc : 0;
}

static int open_parked(struct staging_txn *t, const struct ledger_batch *b, bool refuted,
                       struct slice why, struct err *e)
{
    char name[64] = "";
    bool opened;
    int rc = 0;
    /* The read-back found something else than the receipts say: all is to be delivered again. */
    if (refuted)
        rc = db_run(t->db, "UPDATE settlement SET verdict = 'refuted' WHERE batch = $1",
                    DB_ARGS(DB_T(slice_of(b->id))), NULL, e);
    if (rc == 0)
        rc = instance_name(t->db, b->instance, name, e);
    struct incident i = {.kind = refuted ? INCIDENT_DAMAGED : INCIDENT_PARKED,
                         .object = slice_of(b->id),
                         .part = -1,
                         .batch = slice_of(b->id),
                         .instance = slice_of(name),
                         .detail = why};
    if (rc == 0)
        rc = db_now_us(t->db, &i.opened_us, e);
    return rc == 0 ? incident_open(t, &i, &opened, e) : rc;
}

/* A batch whose adapter was retired meanwhile is nobody's to see to, and its records may be gone.
 * The gate is locked as by whoever retires it. */
static int still_wanted(struct staging_txn *t, const struct ledger_batch *b, struct err *e)
{
    int64_t retired = 0;
    int rc = staging_lock_gate(t, e);
    if (rc == 0)
        rc = db_int(t->db, "SELECT count(*) FROM instance WHERE id = $1 AND state = 'retired'",
                    DB_ARGS(DB_I(b->instance)), 0, &retired, e);
    return rc == 0 && retired ? err_set(e, ERR_NOT_FOUND, "the adapter is retired") : rc;
}

int ledger_batch_state(struct staging *st, struct ledger_batch *b, const char *state,
                       struct slice why, struct err *e)
{
    static const char *const before[][2] = {{"settled", "frozen"},
                                            {"verified", "settled"},
                                            {"parked", "frozen"},
                                            {"parked", "settled"}};
    char old[16];
    char text[300];
    struct slice reason = ledger_reason(text, sizeof text, why);
    int64_t now = 0;
    bool allowed = false;
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = lease_begin(st, &t, e);
    if (rc == 0 && strcmp(state, "parked") == 0)
        rc = still_wanted(&t, b, e);
    if (rc == 0)
        rc = batch_state_is(t.db, b, old, e);
    for (size_t i = 0; rc == 0 && i < sizeof before / sizeof before[0]; i++)
        allowed = allowed || (!strcmp(before[i][0], state) && !strcmp(before[i][1], old));
    if (rc == 0 && !allowed && strcmp(old, state) != 0)
        rc = err_set(e, ERR_CONFLICT, "batch %s is %s and can't become %s", b->id, old, state);
    if (rc == 0 && allowed && strcmp(state, "settled") == 0)
        rc = all_done(t.db, b, e);
    if (rc == 0 && allowed && strcmp(state, "verified") == 0)
        rc = verified(&t, b, e);
    if (rc == 0 && allowed && strcmp(state, "parked") == 0)
        rc = open_parked(&t, b, strcmp(old, "settled") == 0, reason, e);
    if (rc == 0)
        rc = db_now_us(t.db, &now, e);
    if (rc == 0 && allowed)
        rc = db_run(t.db,
                    "UPDATE batch SET state = $2, changed_us = $3, last_error = $4 WHERE id = $1",
                    DB_ARGS(DB_T(slice_of(b->id)), DB_T(slice_of(state)), DB_I(now),
                            reason.n ? DB_T(reason) : DB_N),
                    NULL, e);
    FAULT("batch.commit.before");
    if (rc == 0)
        rc = staging_commit(&t, e);
    FAULT("batch.commit.after");
    if (rc == 0)
        ledger_text(b->state, sizeof b->state, slice_of(state));
    return rc;
}

/* The batch is the same; where and how it is delivered may not be. A person who mends a set-up must
 * be able to, so it is not refused. */
static int note_options(struct staging_txn *t, const struct ledger_batch *b, struct err *e)
{
    static const uint8_t untold[SHA256_SIZE];
    const struct slice options = {(const char *)b->options, SHA256_SIZE};
    char object[80];
    char name[64] = "";
    int64_t others = 0;
    if (memcmp(b->options, untold, SHA256_SIZE) == 0)
        return 0;
    int rc = db_int(t->db, "SELECT count(*) FROM batch WHERE id = $1 AND options <> $2",
                    DB_ARGS(DB_T(slice_of(b->id)), DB_B(options)), 0, &others, e);
    if (rc == 0)
        rc = db_run(t->db, "UPDATE batch SET options = $2 WHERE id = $1",
                    DB_ARGS(DB_T(slice_of(b->id)), DB_B(options)), NULL, e);
    if (rc < 0 || !others)
        return rc;
    (void)snprintf(object, sizeof object, "%s attempt %" PRId64, b->id, b->attempts + 1);
    rc = instance_name(t->db, b->instance, name, e);
    const struct incident i = {.kind = INCIDENT_OPTIONS,
                               .object = slice_of(object),
                               .part = -1,
                               .batch = slice_of(b->id),
                               .instance = slice_of(name),
                               .detail = slice_of(object)};
    if (rc == 0)
        rc = incident_open(t, &i, NULL, e);
    return rc < 0 ? rc : incident_close(t, INCIDENT_OPTIONS, i.object, "noted", e);
}

int ledger_attempt(struct staging *st, struct ledger_batch *b, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t changed = 0;
    int rc = lease_begin(st, &t, e);
    if (rc == 0)
        rc = note_options(&t, b, e);
    if (rc == 0)
        rc = db_run(t.db,
                    "UPDATE batch SET attempts = attempts + 1 WHERE id = $1 AND state = 'frozen'",
                    DB_ARGS(DB_T(slice_of(b->id))), &changed, e);
    if (rc == 0 && changed == 0)
        rc = err_set(e, ERR_CONFLICT, "batch %s is not frozen", b->id);
    if (rc == 0)
        rc = db_run(t.db, "DELETE FROM settlement WHERE batch = $1 AND verdict <> 'done'",
                    DB_ARGS(DB_T(slice_of(b->id))), NULL, e);
    FAULT("attempt.commit.before");
    if (rc == 0)
        rc = staging_commit(&t, e);
    FAULT("attempt.commit.after");
    if (rc == 0)
        b->attempts++;
    return rc;
}
