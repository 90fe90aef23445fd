/* SPDX-License-Identifier: Apache-2.0 */
/* The table of incidents: open once, close, visit. The commands are incident_command.c. */
#include "mgccomp/incident.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "mgccomp/incident_private.h"
#include "mgccomp/kept.h"

#include <string.h>

static struct db_value number_or_null(int64_t v, int64_t none)
{
    return v == none ? DB_N : DB_I(v);
}

static struct db_value text_or_null(struct slice s)
{
    return s.p ? DB_T(s) : DB_N;
}

int64_t incident_waits_us(void)
{
    return clock_wall_us() + INCIDENT_WAIT_MS * INT64_C(1000);
}

int incident_open(struct staging_txn *t, const struct incident *i, bool *opened, struct err *e)
{
    int64_t changed = 0;
    int rc = staging_lock_gate(t, e);
    if (rc < 0)
        return rc;
    rc = db_run(
        t->db,
        "INSERT INTO incident (kind, object, stream, source, subject, part, first, last,"
        " batch, instance, opened_us, detail, waits_us)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
        " ON CONFLICT (kind, object) WHERE closed_us IS NULL DO NOTHING",
        DB_ARGS(DB_T(slice_of(i->kind)), DB_T(i->object), number_or_null(i->stream, 0),
                text_or_null(i->source), text_or_null(i->subject), number_or_null(i->part, -1),
                number_or_null(i->first, 0), number_or_null(i->last, 0), text_or_null(i->batch),
                text_or_null(i->instance), DB_I(i->opened_us ? i->opened_us : clock_wall_us()),
                DB_T(i->detail.p ? i->detail : SLICE("")),
                DB_I(strcmp(i->kind, INCIDENT_GAP) == 0 ? incident_waits_us() : 0)),
        &changed, e);
    FAULT("incident.open.after");
    if (rc < 0)
        return rc;
    if (opened)
        *opened = changed > 0;
    return 0;
}

int incident_close(struct staging_txn *t, const char *kind, struct slice object, const char *how,
                   struct err *e)
{
    int64_t open = 0;
    int rc = db_int(t->db,
                    "SELECT count(*) FROM incident WHERE kind = $1 AND object = $2"
                    " AND closed_us IS NULL",
                    DB_ARGS(DB_T(slice_of(kind)), DB_T(object)), 0, &open, e);
    if (rc < 0 || !open)
        return rc;
    rc = kept_released(t, e);
    if (rc < 0)
        return rc;
    return db_run(
        t->db,
        "UPDATE incident SET closed_us = $3, closed_how = $4"
        " WHERE kind = $1 AND object = $2 AND closed_us IS NULL",
        DB_ARGS(DB_T(slice_of(kind)), DB_T(object), DB_I(clock_wall_us()), DB_T(slice_of(how))),
        NULL, e);
}

int incident_close_batch(struct staging_txn *t, struct slice batch, const char *how, struct err *e)
{
    int rc = incident_close(t, INCIDENT_PARKED, batch, how, e);
    return rc == 0 ? incident_close(t, INCIDENT_DAMAGED, batch, how, e) : rc;
}

/* Kinds that a newer program wrote are shown all the same. */
static const char *kind_of(struct slice text, char other[32])
{
    static const char *const known[] = {
        INCIDENT_GAP,       INCIDENT_ALTERED,     INCIDENT_FORK,       INCIDENT_REPEAT,
        INCIDENT_FAR_AHEAD, INCIDENT_LOG_CHANGED, INCIDENT_UNREADABLE, INCIDENT_PARKED,
        INCIDENT_DAMAGED,   INCIDENT_RESTORED,    INCIDENT_BACKLOG,    INCIDENT_OPTIONS,
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (slice_is(text, known[i]))
            return known[i];
    }
    return slice_copy(text, other, 32) ? other : "unknown";
}

static int visit_row(const struct db_rows *r, incident_visit_fn *visit, void *arg, struct err *e)
{
    char other[32];
    struct incident i = {
        .id = db_rows_int(r, 0),
        .kind = kind_of(db_rows_slice(r, 1), other),
        .object = db_rows_slice(r, 2),
        .stream = db_rows_int(r, 3),
        .source = db_rows_slice(r, 4),
        .subject = db_rows_slice(r, 5),
        .part = db_rows_null(r, 6) ? -1 : db_rows_int(r, 6),
        .first = db_rows_int(r, 7),
        .last = db_rows_int(r, 8),
        .batch = db_rows_slice(r, 9),
        .instance = db_rows_slice(r, 10),
        .opened_us = db_rows_int(r, 11),
        .closed_us = db_rows_int(r, 12),
        .closed_how = db_rows_slice(r, 13),
        .detail = db_rows_slice(r, 14),
        .proposed_us = db_rows_int(r, 15),
        .proposed_by = db_rows_slice(r, 16),
        .proposed_why = db_rows_slice(r, 17),
        .accepted_by = db_rows_slice(r, 18),
        .accepted_why = db_rows_slice(r, 19),
        .waits_us = db_rows_int(r, 20),
        .answer = db_rows_slice(r, 21),
        .lost = db_rows_int(r, 22),
    };
    return visit(arg, &i, e);
}

int incident_each(struct db *db, bool all, incident_visit_fn *visit, void *arg, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc =
        db_query(db,
                 "SELECT id, kind, object, stream, source, subject, part, first, last, batch,"
                 " instance, opened_us, closed_us, closed_how, detail, proposed_us, proposed_by,"
                 " proposed_why, accepted_by, accepted_why, waits_us, answer, lost FROM incident"
                 " WHERE closed_us IS NULL OR $1 = 1 ORDER BY id",
                 DB_ARGS(DB_I(all ? 1 : 0)), &r, e);
    if (rc < 0)
        return rc;
    for (rc = db_rows_next(r, e); rc == 1; rc = db_rows_next(r, e)) {
        rc = visit_row(r, visit, arg, e);
        if (rc < 0)
            return rc;
    }
    return rc;
}
