/* SPDX-License-Identifier: Apache-2.0 */
/* A gap is one row of table incident, first..last still missing. */
#include "mgccomp/gap.h"

#include "base/clock.h"
#include "base/own.h"
#include "mgccomp/incident.h"
#include "mgccomp/kept.h"

#include <inttypes.h>

struct gap {
    int64_t id, first, last;
};

void gap_object(int64_t stream, int64_t first, char out[GAP_OBJECT_SIZE])
{
    (void)snprintf(out, GAP_OBJECT_SIZE, "%" PRId64 ":%" PRId64, stream, first);
}

/* 1: found; 0: none. */
static int find(struct db *db, int64_t stream, int64_t sequence, struct gap *out, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db,
                      "SELECT id, first, last FROM incident WHERE kind = 'gap' AND closed_us IS"
                      " NULL AND stream = $1 AND first <= $2 AND last >= $2"
                      " AND object NOT LIKE 'tail:%' ORDER BY id",
                      DB_ARGS(DB_I(stream), DB_I(sequence)), &r, e);
    if (rc < 0)
        return rc;
    rc = db_rows_next(r, e);
    if (rc == 1)
        *out = (struct gap){db_rows_int(r, 0), db_rows_int(r, 1), db_rows_int(r, 2)};
    return rc;
}

static int close_whole(struct staging_txn *t, const struct gap *g, struct err *e)
{
    int rc = kept_released(t, e);
    if (rc < 0)
        return rc;
    return db_run(t->db,
                  "UPDATE incident SET closed_us = $2, closed_how = 'the missing records arrived'"
                  " WHERE id = $1",
                  DB_ARGS(DB_I(g->id), DB_I(clock_wall_us())), NULL, e);
}

/* The part behind `sequence` becomes an incident of its own, open since the same moment. */
static int split_behind(struct db *db, int64_t stream, const struct gap *g, int64_t sequence,
                        struct err *e)
{
    char object[GAP_OBJECT_SIZE];
    gap_object(stream, sequence + 1, object);
    return db_run(db,
                  "INSERT INTO incident (kind, object, stream, source, subject, part, first, last,"
                  " opened_us, detail, waits_us, asked_us, answer)"
                  " SELECT kind, $2, stream, source, subject, part, $3, last, opened_us, detail,"
                  " waits_us, asked_us, answer"
                  " FROM incident WHERE id = $1",
                  DB_ARGS(DB_I(g->id), DB_T(slice_of(object)), DB_I(sequence + 1)), NULL, e);
}

static int set_range(struct db *db, int64_t stream, const struct gap *g, int64_t first,
                     int64_t last, struct err *e)
{
    char object[GAP_OBJECT_SIZE];
    gap_object(stream, first, object);
    return db_run(db, "UPDATE incident SET object = $2, first = $3, last = $4 WHERE id = $1",
                  DB_ARGS(DB_I(g->id), DB_T(slice_of(object)), DB_I(first), DB_I(last)), NULL, e);
}

int gap_fill(struct staging_txn *t, int64_t stream, int64_t sequence, bool *filled, struct err *e)
{
    struct gap g = {0};
    int rc = find(t->db, stream, sequence, &g, e);
    if (rc < 0)
        return rc;
    if (rc == 0) {
        *filled = false;
        return 0;
    }
    rc = staging_lock_gate(t, e);
    if (rc < 0)
        return rc;
    if (g.first == g.last)
        rc = close_whole(t, &g, e);
    else if (sequence == g.first)
        rc = set_range(t->db, stream, &g, sequence + 1, g.last, e);
    else {
        if (sequence < g.last)
            rc = split_behind(t->db, stream, &g, sequence, e);
        if (rc == 0)
            rc = set_range(t->db, stream, &g, g.first, sequence - 1, e);
    }
    if (rc < 0)
        return rc;
    *filled = true;
    return 0;
}
