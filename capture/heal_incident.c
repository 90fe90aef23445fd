/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of table incident, as healing sees them. */
#include "capture/heal_incident.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "mgccomp/incident.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const int64_t settle_us = 2000000;
static const int64_t again_us = 30000000;
static const int64_t latest_us = 600000000;

void heal_gaps_clear(struct heal_gaps *g)
{
    for (size_t i = 0; i < g->n; i++) {
        free(g->list[i].source);
        free(g->list[i].subject);
    }
    g->n = 0;
}

static int take_gaps(struct db_rows *r, struct heal_gaps *out, struct err *e)
{
    int rc = db_rows_next(r, e);
    for (; rc == 1 && out->n < HEAL_GAPS; rc = db_rows_next(r, e)) {
        struct heal_gap *g = &out->list[out->n++];
        *g = (struct heal_gap){
            .id = db_rows_int(r, 0),
            .epoch = db_rows_int(r, 1),
            .first = db_rows_int(r, 2),
            .last = db_rows_int(r, 3),
            .source = slice_dup(db_rows_slice(r, 4)),
            .subject = slice_dup(db_rows_slice(r, 5)),
        };
        if (!g->source || !g->subject)
            return err_memory(e, "asking for what is missing");
    }
    return rc < 0 ? rc : 0;
}

static int read_due(struct db *db, int64_t now, bool anew, struct heal_gaps *out, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    /* The interval grows with the time that was waited in vain, to ten minutes: a question or its
     * answer may have been lost. Asked in the future: the clock was set back. */
    int rc = db_query(db,
                      "SELECT i.id, s.epoch, i.first, i.last, s.source, s.subject FROM incident i"
                      " JOIN stream s ON s.id = i.stream WHERE i.closed_us IS NULL"
                      " AND i.kind = 'gap' AND i.answer IS NULL"
                      " AND ($5 = 1 OR ((i.opened_us < $1 OR i.opened_us > $3)"
                      " AND (i.asked_us > $3 OR (i.asked_us < $2"
                      " AND (($3 - i.asked_us) > (i.asked_us - i.opened_us)"
                      " OR i.asked_us < $6)))))"
                      " ORDER BY i.id LIMIT $4",
                      DB_ARGS(DB_I(now - settle_us), DB_I(now - again_us), DB_I(now),
                              DB_I(HEAL_GAPS), DB_I(anew), DB_I(now - latest_us)),
                      &r, e);
    return rc < 0 ? rc : take_gaps(r, out, e);
}

static int note_asked(struct db *db, int64_t id, int64_t now, struct err *e)
{
    return db_run(db, "UPDATE incident SET asked_us = $2 WHERE id = $1",
                  DB_ARGS(DB_I(id), DB_I(now)), NULL, e);
}

int heal_gaps_due(struct staging *st, bool anew, struct heal_gaps *out, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t now = clock_wall_us();
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = read_due(t.db, now, anew, out, e);
    for (size_t i = 0; rc == 0 && i < out->n; i++)
        rc = note_asked(t.db, out->list[i].id, now, e);
    if (rc < 0 || out->n == 0)
        return rc;
    rc = staging_commit(&t, e);
    FAULT("asked.commit.after");
    return rc;
}

int heal_gaps_of(struct staging *st, struct slice source, struct heal_gaps *out, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = db_query(t.db,
                      "SELECT i.id, s.epoch, i.first, i.last, s.source, s.subject FROM incident i"
                      " JOIN stream s ON s.id = i.stream WHERE i.closed_us IS NULL"
                      " AND i.kind = 'gap' AND i.answer IS NULL AND i.source = $1"
                      " ORDER BY i.id LIMIT $2",
                      DB_ARGS(DB_T(source), DB_I(HEAL_GAPS)), &r, e);
    return rc < 0 ? rc : take_gaps(r, out, e);
}

int heal_gap_answered(struct staging *st, struct slice source, int64_t epoch, struct slice subject,
                      int64_t first, int64_t last, struct slice answer, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = db_run(t.db,
                    "UPDATE incident SET answer = $6"
                    " WHERE kind = 'gap' AND closed_us IS NULL AND answer IS NULL AND first >= $4"
                    " AND last <= $5 AND stream = (SELECT id FROM stream WHERE source = $1"
                    " AND epoch = $2 AND subject = $3)",
                    DB_ARGS(DB_T(source), DB_I(epoch), DB_T(subject), DB_I(first), DB_I(last),
                            DB_T(answer)),
                    NULL, e);
    return rc < 0 ? rc : staging_commit(&t, e);
}

int heal_gaps_again(struct staging *st, struct slice source, bool anew, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = db_run(t.db,
                    "UPDATE incident SET asked_us = 0, waits_us = $3, answer = NULL"
                    " WHERE kind = 'gap' AND closed_us IS NULL AND source = $1"
                    " AND (answer IS NULL OR $2 = 1)",
                    DB_ARGS(DB_T(source), DB_I(anew),
                            DB_I(clock_wall_us() + INCIDENT_WAIT_MS * INT64_C(1000))),
                    NULL, e);
    return rc < 0 ? rc : staging_commit(&t, e);
}

int heal_logs_again(struct staging *st, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = db_run(t.db,
                    "UPDATE incident SET asked_us = 1 WHERE kind = 'log-changed'"
                    " AND closed_us IS NULL",
                    DB_NO_ARGS, NULL, e);
    return rc < 0 ? rc : staging_commit(&t, e);
}

int heal_work_of(struct db *db, const char *const *sources, size_t n, struct heal_work *out,
                 bool *touched, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    struct heal_work w = {0};
    int rc = db_query(db,
                      "SELECT kind, source, answer FROM incident WHERE closed_us IS NULL"
                      " AND kind IN ('gap', 'log-changed')",
                      DB_NO_ARGS, &r, e);
    while (rc == 0 && (rc = db_rows_next(r, e)) == 1) {
        bool log = slice_is(db_rows_slice(r, 0), INCIDENT_LOG_CHANGED);
        bool ours = false;
        for (size_t i = 0; i < n && !log; i++) {
            bool here = slice_is(db_rows_slice(r, 1), sources[i]);
            touched[i] |= here;
            ours |= here;
        }
        w.logs += log;
        w.gaps += !log && ours;
        w.waiting += !log && ours && db_rows_null(r, 2);
        w.elsewhere += !log && !ours;
        rc = 0;
    }
    if (rc == 0)
        *out = w;
    return rc;
}

static int read_logs(struct db *db, int64_t now, struct heal_logs *out, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(
        db,
        "SELECT id, part, answer, CASE WHEN asked_us > $2 OR (asked_us < $1"
        " AND (($2 - asked_us) > (asked_us - opened_us) OR asked_us < $4))"
        " THEN 1 ELSE 0 END, asked_us"
        " FROM incident WHERE kind = 'log-changed' AND closed_us IS NULL"
        " ORDER BY id LIMIT $3",
        DB_ARGS(DB_I(now - again_us), DB_I(now), DB_I(HEAL_LOGS), DB_I(now - latest_us)), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1 && out->n < HEAL_LOGS; rc = db_rows_next(r, e))
        out->list[out->n++] = (struct heal_log){.id = db_rows_int(r, 0),
                                                .part = (int32_t)db_rows_int(r, 1),
                                                .reread = !db_rows_null(r, 2),
                                                .due = db_rows_int(r, 3) == 1,
                                                .again = db_rows_int(r, 4) > 0};
    return rc < 0 ? rc : 0;
}

int heal_logs_open(struct staging *st, bool anew, struct heal_logs *out, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t now = clock_wall_us();
    bool asked = false;
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = read_logs(t.db, now, out, e);
    for (size_t i = 0; rc == 0 && i < out->n; i++) {
        if (!anew && !out->list[i].due)
            continue;
        asked = true;
        rc = note_asked(t.db, out->list[i].id, now, e);
    }
    return rc < 0 || !asked ? rc : staging_commit(&t, e);
}

int heal_log_close(struct staging *st, const struct heal_log *l, const char *how, struct err *e)
{
    char object[32];
    (void)snprintf(object, sizeof object, "partition %" PRId32, l->part); /* as it was opened */
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = staging_lock_gate(&t, e);
    if (rc == 0)
        rc = incident_close(&t, INCIDENT_LOG_CHANGED, slice_of(object), how, e);
    if (rc < 0)
        return rc;
    FAULT("log.close.before");
    rc = staging_commit(&t, e);
    FAULT("log.close.after");
    return rc;
}

int heal_reread(struct staging *st, const struct staging_position *at, int64_t offset,
                struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = staging_reread(&t, at, offset, e);
    if (rc == 0)
        rc = db_run(t.db,
                    "UPDATE incident SET answer = 'read again', detail = detail ||"
                    " '; the log is read from its beginning, the store sends again what it lacks'"
                    " WHERE kind = 'log-changed' AND closed_us IS NULL AND part = $1"
                    " AND answer IS NULL",
                    DB_ARGS(DB_I(at->part)), NULL, e);
    if (rc < 0)
        return rc;
    FAULT("reread.commit.before");
    rc = staging_commit(&t, e);
    FAULT("reread.commit.after");
    return rc;
}
