/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's instances. How far each is: ledger_holders.c; batches: ledger_batch.c; cutting:
 * ledger_cut.c. */
#include "mgccomp/ledger.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "mgccomp/backlog.h"
#include "mgccomp/incident.h"
#include "mgccomp/kept.h"
#include "mgccomp/lease.h"
#include "mgccomp/ledger_private.h"

#include <string.h>

void ledger_text(char *out, size_t size, struct slice from)
{
    size_t n = from.n < size ? from.n : size - 1;
    while (n < from.n && n > 0 && ((unsigned char)from.p[n] & 0xc0) == 0x80)
        n--;
    if (n)
        memcpy(out, from.p, n);
    out[n] = '\0';
}

struct slice ledger_reason(char *out, size_t size, struct slice why)
{
    ledger_text(out, size, why);
    size_t n = strlen(out);
    size_t i = 0;
    while (i < n) {
        size_t step = utf8_sequence((struct slice){out + i, n - i});
        if (step == 0 || (step == 1 && ((unsigned char)out[i] < 0x20 || out[i] == 0x7f))) {
            out[i] = '?';
            step = 1;
        }
        i += step;
    }
    return (struct slice){out, n};
}

static void instance_row(const struct db_rows *r, struct ledger_instance *i)
{
    *i = (struct ledger_instance){.id = db_rows_int(r, 0),
                                  .required = db_rows_int(r, 4) != 0,
                                  .readback = (int32_t)db_rows_int(r, 5),
                                  .base = db_rows_int(r, 6),
                                  .archived = db_rows_int(r, 7),
                                  .batches = db_rows_int(r, 8),
                                  .failures = db_rows_int(r, 9),
                                  .next_try_us = db_rows_int(r, 10),
                                  .missed = db_rows_int(r, 13)};
    ledger_text(i->name, sizeof i->name, db_rows_slice(r, 1));
    ledger_text(i->module, sizeof i->module, db_rows_slice(r, 2));
    ledger_text(i->state, sizeof i->state, db_rows_slice(r, 3));
    ledger_text(i->last_error, sizeof i->last_error, db_rows_slice(r, 11));
    ledger_text(i->reason, sizeof i->reason, db_rows_slice(r, 12));
}

int ledger_instances(struct db *db, bool retired_too, ledger_instance_fn *visit, void *arg,
                     struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db,
                      "SELECT id, name, module, state, required, readback, base, archived, batches,"
                      " failures, next_try_us, last_error, reason, missed FROM instance"
                      " WHERE state <> 'retired' OR $1 = 1 ORDER BY name",
                      DB_ARGS(DB_I(retired_too)), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        struct ledger_instance i;
        instance_row(r, &i);
        int told = visit(arg, &i, e);
        if (told < 0)
            return told;
    }
    return rc;
}

static bool name_valid(struct slice name, size_t max)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._-";
    if (name.n == 0 || name.n > max)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (!memchr(allowed, name.p[i], sizeof allowed - 1))
            return false;
    }
    return true;
}

/* It starts at what is staged or kept: for each partition the oldest record, or where capture
 * stands. */
static int start_cursors(struct db *db, int64_t instance, struct err *e)
{
    return db_run(db,
                  "INSERT INTO cursor (instance, generation, part, pos)"
                  " SELECT $1, q.generation, p.part,"
                  " COALESCE((SELECT min(m.pos) FROM (SELECT min(r.pos) AS pos FROM record r"
                  " WHERE r.generation = q.generation AND r.part = p.part"
                  " UNION ALL SELECT min(k.pos) FROM kept k"
                  " WHERE k.generation = q.generation AND k.part = p.part) m), p.pos)"
                  " FROM queue q, position p",
                  DB_ARGS(DB_I(instance)), NULL, e);
}

static int insert_instance(struct staging_txn *t, const struct ledger_new *new, struct err *e)
{
    struct slice name = new->name;
    int64_t taken = 0;
    int64_t active = 0;
    int64_t base = 0;
    int64_t now = 0;
    int64_t id = 0;
    int rc = db_int(t->db, "SELECT count(*) FROM instance WHERE name = $1", DB_ARGS(DB_T(name)), 0,
                    &taken, e);
    if (rc == 0 && taken)
        rc = err_set(e, ERR_CONFLICT, "adapter '%.*s' was added before", SLICE_ARG(name));
    if (rc == 0)
        rc = db_int(t->db, "SELECT count(*) FROM instance WHERE state <> 'retired'", DB_NO_ARGS, 0,
                    &active, e);
    if (rc == 0 && active >= LEDGER_MAX_INSTANCES)
        rc = err_set(e, ERR_CONFIG, "%d adapters are the most", LEDGER_MAX_INSTANCES);
    if (rc == 0)
        rc = staging_tally_get(t->db, SLICE("deleted"), &base, e);
    if (rc == 0)
        rc = db_now_us(t->db, &now, e);
    if (rc == 0)
        rc = db_run(t->db,
                    "INSERT INTO instance (name, module, required, readback, state, base, archived,"
                    " batches, added_us, failures, next_try_us)"
                    " VALUES ($1, $2, $3, $4, 'active', $5, 0, 0, $6, 0, 0)",
                    DB_ARGS(DB_T(name), DB_T(new->module), DB_I(new->required), DB_I(new->readback),
                            DB_I(base), DB_I(now)),
                    NULL, e);
    if (rc == 0)
        rc = db_int(t->db, "SELECT id FROM instance WHERE name = $1", DB_ARGS(DB_T(name)), 0, &id,
                    e);
    return rc == 0 ? start_cursors(t->db, id, e) : rc;
}

static int check_names(const struct ledger_new *new, struct err *e)
{
    struct slice name = new->name;
    if (name_valid(name, LEDGER_MAX_NAME) && name_valid(new->module, LEDGER_MAX_MODULE))
        return 0;
    return err_set(e, ERR_CONFIG,
                   "adapter '%.*s': names are 1 to %d (a module's: %d) ASCII letters, digits, '.',"
                   " '_', '-'",
                   name.n > 80 ? 80 : (int)name.n, name.p ? name.p : "", LEDGER_MAX_NAME,
                   LEDGER_MAX_MODULE);
}

int ledger_add(struct staging *st, struct slice name, struct slice module, bool required,
               int32_t readback, struct err *e)
{
    const struct ledger_new new = {name, module, required, readback};
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = check_names(&new, e);
    if (rc == 0)
        rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = staging_lock_gate(&t, e);
    if (rc == 0)
        rc = insert_instance(&t, &new, e);
    return rc == 0 ? staging_commit(&t, e) : rc;
}

int ledger_add_first(struct staging *st, const struct ledger_new *all, size_t n, bool *added,
                     struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t there = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = check_names(&all[i], e);
    if (rc == 0)
        rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = staging_lock_gate(&t, e);
    if (rc == 0)
        rc = db_int(t.db, "SELECT count(*) FROM instance", DB_NO_ARGS, 0, &there, e);
    if (rc == 0 && there) {
        *added = false;
        return 0;
    }
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = insert_instance(&t, &all[i], e);
    FAULT("adapters.commit.before");
    if (rc == 0)
        rc = staging_commit(&t, e);
    FAULT("adapters.commit.after");
    if (rc == 0)
        *added = true;
    return rc;
}

/* The newest one below *number, which becomes its number. 0: there is none. */
static int next_parked(struct db *db, int64_t instance, int64_t *number, char id[37], struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_first(db,
                      "SELECT id, number FROM batch WHERE instance = $1 AND state <> 'verified'"
                      " AND state = 'parked' AND number < $2 ORDER BY number DESC LIMIT 1",
                      DB_ARGS(DB_I(instance), DB_I(*number)), &r, e);
    if (rc == 1) {
        ledger_text(id, 37, db_rows_slice(r, 0));
        *number = db_rows_int(r, 1);
    }
    return rc;
}

static int close_parked(struct staging_txn *t, int64_t instance, struct err *e)
{
    char id[37];
    int64_t number = INT64_MAX;
    int rc = next_parked(t->db, instance, &number, id, e);
    for (; rc == 1; rc = next_parked(t->db, instance, &number, id, e)) {
        int closed = incident_close_batch(t, slice_of(id), "adapter retired", e);
        if (closed < 0)
            return closed;
    }
    return rc;
}

int ledger_retire(struct staging *st, struct slice name, struct slice reason, struct err *e)
{
    char text[300];
    int64_t id = 0;
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = staging_lock_gate(&t, e);
    if (rc == 0)
        rc = db_int(t.db, "SELECT id FROM instance WHERE name = $1 AND state <> 'retired'",
                    DB_ARGS(DB_T(name)), 0, &id, e);
    if (rc == ERR_NOT_FOUND)
        return err_set(e, rc, "no adapter '%.*s'. See 'holdfast adapter list'", SLICE_ARG(name));
    if (rc == 0)
        rc = db_run(t.db, "UPDATE instance SET state = 'retired', reason = $2 WHERE id = $1",
                    DB_ARGS(DB_I(id), DB_T(ledger_reason(text, sizeof text, reason))), NULL, e);
    if (rc == 0)
        rc = kept_released(&t, e);
    if (rc == 0)
        rc = close_parked(&t, id, e);
    if (rc == 0)
        rc = backlog_close(&t, name, "adapter retired", e);
    return rc == 0 ? staging_commit(&t, e) : rc;
}

/* The leader's: one statement that must touch a row, in a transaction of its own. */
static int change(struct staging *st, const char *sql, const struct db_value *args, size_t n,
                  struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t changed = 0;
    int rc = lease_begin(st, &t, e);
    if (rc == 0)
        rc = db_run(t.db, sql, args, n, &changed, e);
    if (rc == 0 && changed == 0)
        rc = err_set(e, ERR_NOT_FOUND, "the adapter is retired");
    return rc == 0 ? staging_commit(&t, e) : rc;
}

/* Another state for the instance of that name, which must not be in the unwanted one. */
static int set_state(struct staging *st, struct slice name, const char *to, const char *unwanted,
                     const char *reason, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t known = 0;
    int64_t changed = 0;
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = db_int(t.db, "SELECT count(*) FROM instance WHERE name = $1 AND state <> 'retired'",
                    DB_ARGS(DB_T(name)), 0, &known, e);
    if (rc == 0 && !known)
        rc = err_set(e, ERR_NOT_FOUND, "no adapter '%.*s'. See 'holdfast adapter list'",
                     SLICE_ARG(name));
    if (rc == 0)
        rc = db_run(t.db,
                    "UPDATE instance SET state = $2, reason = $4, failures = 0, next_try_us = 0"
                    " WHERE name = $1 AND state <> 'retired' AND state <> $3",
                    DB_ARGS(DB_T(name), DB_T(slice_of(to)), DB_T(slice_of(unwanted)),
                            reason ? DB_T(slice_of(reason)) : DB_N),
                    &changed, e);
    if (rc == 0 && !changed)
        rc = err_set(e, ERR_CONFLICT, "adapter %.*s is %s already", SLICE_ARG(name), unwanted);
    return rc == 0 ? staging_commit(&t, e) : rc;
}

int ledger_pause(struct staging *st, struct slice name, struct slice reason, struct err *e)
{
    char text[300];
    (void)ledger_reason(text, sizeof text, reason);
    return set_state(st, name, "paused", "paused", text, e);
}

int ledger_resume(struct staging *st, struct slice name, struct err *e)
{
    return set_state(st, name, "active", "active", NULL, e);
}

int ledger_instance_state(struct staging *st, int64_t instance, const char *state, struct slice why,
                          struct err *e)
{
    char text[300];
    struct slice reason = ledger_reason(text, sizeof text, why);
    return change(st,
                  "UPDATE instance SET state = CASE WHEN state = 'paused' THEN state ELSE $2 END,"
                  " last_error = $3, next_try_us = 0 WHERE id = $1 AND state <> 'retired'",
                  DB_ARGS(DB_I(instance), DB_T(slice_of(state)), reason.n ? DB_T(reason) : DB_N),
                  e);
}

int ledger_instance_mended(struct staging *st, int64_t instance, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = db_run(t.db,
                    "UPDATE instance SET state = 'active', last_error = NULL, next_try_us = 0"
                    " WHERE id = $1 AND state = 'failed'",
                    DB_ARGS(DB_I(instance)), NULL, e);
    return rc == 0 ? staging_commit(&t, e) : rc;
}

#define VERIFIED_TO                                                                                \
    "(SELECT max(r.to_pos) FROM batch b JOIN batch_range r ON r.batch = b.id"                      \
    " WHERE b.instance = $1 AND b.state = 'verified' AND r.generation = cursor.generation"         \
    " AND r.part = cursor.part)"

/* What it verified so far was not read back to the last byte, whatever the module can now. */
static int full_from_now(struct db *db, int64_t instance, struct err *e)
{
    return db_run(db,
                  "UPDATE cursor SET full_from = " VERIFIED_TO
                  " WHERE instance = $1 AND full_from < " VERIFIED_TO,
                  DB_ARGS(DB_I(instance)), NULL, e);
}

int ledger_instance_readback(struct staging *st, int64_t instance, int32_t readback, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t before = 0;
    int rc = lease_begin(st, &t, e);
    /* It decides what may be deleted, so the sweep must see it before its next step. */
    if (rc == 0)
        rc = staging_lock_gate(&t, e);
    if (rc == 0)
        rc = db_int(t.db, "SELECT readback FROM instance WHERE id = $1", DB_ARGS(DB_I(instance)), 0,
                    &before, e);
    if (rc == 0 && before < LEDGER_READBACK_FULL && readback >= LEDGER_READBACK_FULL)
        rc = full_from_now(t.db, instance, e);
    if (rc == 0)
        rc = db_run(t.db, "UPDATE instance SET readback = $2 WHERE id = $1",
                    DB_ARGS(DB_I(instance), DB_I(readback)), NULL, e);
    return rc == 0 ? staging_commit(&t, e) : rc;
}

int ledger_failed(struct staging *st, int64_t instance, struct slice why, int64_t next_try_us,
                  struct err *e)
{
    char text[300];
    return change(
        st,
        "UPDATE instance SET failures = failures + 1, last_error = $2, next_try_us = $3"
        " WHERE id = $1 AND state <> 'retired'",
        DB_ARGS(DB_I(instance), DB_T(ledger_reason(text, sizeof text, why)), DB_I(next_try_us)), e);
}
