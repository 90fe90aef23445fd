/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's instances and the low water. Batches are in ledger_batch.c, cutting in
 * ledger_cut.c. */
#include "mgccomp/ledger.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "mgccomp/incident.h"
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
                                  .next_try_us = db_rows_int(r, 10)};
    ledger_text(i->name, sizeof i->name, db_rows_slice(r, 1));
    ledger_text(i->module, sizeof i->module, db_rows_slice(r, 2));
    ledger_text(i->state, sizeof i->state, db_rows_slice(r, 3));
    ledger_text(i->last_error, sizeof i->last_error, db_rows_slice(r, 11));
}

int ledger_instances(struct db *db, bool retired_too, ledger_instance_fn *visit, void *arg,
                     struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db,
                      "SELECT id, name, module, state, required, readback, base, archived, batches,"
                      " failures, next_try_us, last_error FROM instance"
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

static bool name_valid(struct slice name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._-";
    if (name.n == 0 || name.n > 63)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (!memchr(allowed, name.p[i], sizeof allowed - 1))
            return false;
    }
    return true;
}

/* It starts at what is staged: for each partition the oldest record, or where capture stands. */
static int start_cursors(struct db *db, int64_t instance, struct err *e)
{
    return db_run(db,
                  "INSERT INTO cursor (instance, generation, part, pos)"
                  " SELECT $1, q.generation, p.part, COALESCE((SELECT min(r.pos) FROM record r"
                  " WHERE r.generation = q.generation AND r.part = p.part), p.pos)"
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
    if (name_valid(name) && name_valid(new->module))
        return 0;
    return err_set(e, ERR_CONFIG,
                   "adapter '%.*s': names are 1 to 63 ASCII letters, digits, '.', '_', '-'",
                   name.n > 80 ? 80 : (int)name.n, name.p ? name.p : "");
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

static int parked_ids(struct db *db, int64_t instance, char id[37], struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db, "SELECT id FROM batch WHERE instance = $1 AND state = 'parked'",
                      DB_ARGS(DB_I(instance)), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    if (rc == 1)
        ledger_text(id, 37, db_rows_slice(r, 0));
    return rc;
}

int ledger_retire(struct staging *st, struct slice name, struct slice reason, struct err *e)
{
    char text[300];
    char parked[37] = "";
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
        rc = parked_ids(t.db, id, parked, e);
    if (rc == 1)
        rc = incident_close(&t, INCIDENT_PARKED, slice_of(parked), "adapter retired", e);
    return rc == 0 ? staging_commit(&t, e) : rc;
}

/* One statement that must touch a row, in a transaction of its own. */
static int change(struct staging *st, const char *sql, const struct db_value *args, size_t n,
                  struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t changed = 0;
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = db_run(t.db, sql, args, n, &changed, e);
    if (rc == 0 && changed == 0)
        rc = err_set(e, ERR_NOT_FOUND, "the adapter is retired");
    return rc == 0 ? staging_commit(&t, e) : rc;
}

int ledger_instance_state(struct staging *st, int64_t instance, const char *state, struct slice why,
                          struct err *e)
{
    char text[300];
    struct slice reason = ledger_reason(text, sizeof text, why);
    return change(st,
                  "UPDATE instance SET state = $2, last_error = $3, next_try_us = 0"
                  " WHERE id = $1 AND state <> 'retired'",
                  DB_ARGS(DB_I(instance), DB_T(slice_of(state)), reason.n ? DB_T(reason) : DB_N),
                  e);
}

int ledger_instance_readback(struct staging *st, int64_t instance, int32_t readback, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    /* It decides what may be deleted, so the sweep must see it before its next step. */
    if (rc == 0)
        rc = staging_lock_gate(&t, e);
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

int ledger_holders(struct db *db, int64_t generation, int32_t part,
                   struct ledger_holder out[LEDGER_MAX_INSTANCES], size_t *n, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    size_t count = 0;
    int rc = db_query(db,
                      "SELECT i.id, i.name, i.readback, COALESCE("
                      "(SELECT min(r.from_pos) FROM batch b JOIN batch_range r ON r.batch = b.id"
                      " WHERE b.instance = i.id AND b.state <> 'verified'"
                      " AND r.generation = $1 AND r.part = $2),"
                      "(SELECT c.pos FROM cursor c WHERE c.instance = i.id AND c.generation = $1"
                      " AND c.part = $2), 0)"
                      " FROM instance i WHERE i.required = 1 AND i.state <> 'retired'"
                      " ORDER BY i.name",
                      DB_ARGS(DB_I(generation), DB_I(part)), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        if (count == LEDGER_MAX_INSTANCES)
            return err_set(e, ERR_FAULT, "over %d required adapters", LEDGER_MAX_INSTANCES);
        struct ledger_holder *h = &out[count++];
        h->instance = db_rows_int(r, 0);
        ledger_text(h->name, sizeof h->name, db_rows_slice(r, 1));
        h->readback = (int32_t)db_rows_int(r, 2);
        h->pos = db_rows_int(r, 3);
    }
    if (rc == 0)
        *n = count;
    return rc;
}

int ledger_low_water(struct staging_txn *t, int64_t generation, int32_t part, int64_t *pos,
                     char why[200], struct err *e)
{
    struct ledger_holder holders[LEDGER_MAX_INSTANCES];
    size_t n = 0;
    int64_t oldest = 0;
    bool full = false;
    int rc = ledger_holders(t->db, generation, part, holders, &n, e);
    if (rc == 0)
        rc = db_int(t->db,
                    "SELECT COALESCE((SELECT min(r.pos) FROM record r WHERE r.generation = $1"
                    " AND r.part = $2), (SELECT p.pos FROM position p WHERE p.part = $2), 0)",
                    DB_ARGS(DB_I(generation), DB_I(part)), 0, &oldest, e);
    if (rc < 0)
        return rc;
    const struct ledger_holder *last = NULL;
    for (size_t i = 0; i < n; i++) {
        full = full || holders[i].readback == LEDGER_READBACK_FULL;
        if (!last || holders[i].pos < last->pos)
            last = &holders[i];
    }
    if (!last || !full) {
        *pos = oldest;
        (void)snprintf(why, 200, "%s",
                       last ? "no required adapter reads back what it wrote"
                            : "no adapter is required");
        return 0;
    }
    *pos = last->pos;
    (void)snprintf(why, 200, "adapter %s is at %lld", last->name, (long long)last->pos);
    return 0;
}
