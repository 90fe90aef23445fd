/* SPDX-License-Identifier: Apache-2.0 */
#include "mgccomp/backlog.h"

#include "base/clock.h"
#include "base/own.h"

enum { OBJECT_SIZE = 80 };

static void object_of(struct slice instance, char out[OBJECT_SIZE])
{
    if (instance.p)
        (void)snprintf(out, OBJECT_SIZE, "adapter %.*s", SLICE_ARG(instance));
    else
        (void)snprintf(out, OBJECT_SIZE, "capture");
}

int backlog_oldest(struct db *db, int64_t instance, int64_t *captured_us, struct err *e)
{
    /* By keys alone: of each partition the first record behind what is verified. */
    static const char sql[] =
        "SELECT min(w.captured_us) FROM (SELECT (SELECT r.captured_us FROM record r"
        " WHERE r.generation = s.generation AND r.part = s.part AND r.pos >= s.done"
        " ORDER BY r.pos LIMIT 1) AS captured_us FROM ("
        " SELECT q.generation AS generation, p.part AS part,"
        " COALESCE((SELECT min(g.from_pos) FROM batch b JOIN batch_range g ON g.batch = b.id"
        " WHERE b.instance = $1 AND b.state <> 'verified' AND b.state <> 'parked'"
        " AND g.generation = q.generation AND g.part = p.part), c.pos, 0) AS done"
        " FROM queue q CROSS JOIN position p LEFT JOIN cursor c ON c.instance = $1"
        " AND c.generation = q.generation AND c.part = p.part) s) w";
    return db_int(db, sql, DB_ARGS(DB_I(instance)), 0, captured_us, e);
}

int backlog_close(struct staging_txn *t, struct slice instance, const char *how, struct err *e)
{
    char object[OBJECT_SIZE];
    object_of(instance, object);
    return incident_close(t, INCIDENT_BACKLOG, slice_of(object), how, e);
}

static int open_one(struct staging_txn *t, const struct backlog *b, struct err *e)
{
    char object[OBJECT_SIZE];
    char since[CLOCK_TEXT_SIZE];
    char detail[160];
    const int64_t now_us = clock_wall_us();
    object_of(b->instance, object);
    clock_format(now_us - b->age_ms * 1000, since);
    (void)snprintf(detail, sizeof detail, "the oldest record was due %s before %.19sZ",
                   b->instance.p ? "in that archive" : "to be captured", since);
    const struct incident i = {.kind = INCIDENT_BACKLOG,
                               .object = slice_of(object),
                               .part = -1,
                               .instance = b->instance,
                               .opened_us = now_us,
                               .detail = slice_of(detail)};
    return incident_open(t, &i, NULL, e);
}

int backlog_judge(struct staging *st, const struct backlog *b, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    if (b->age_ms <= b->bound_ms && b->age_ms > b->bound_ms / 2)
        return 0;
    int rc = staging_begin(st, &t, e);
    if (rc == 0 && b->age_ms > b->bound_ms)
        rc = open_one(&t, b, e);
    else if (rc == 0)
        rc = backlog_close(&t, b->instance, "what waited was taken", e);
    return rc < 0 ? rc : staging_commit(&t, e);
}
