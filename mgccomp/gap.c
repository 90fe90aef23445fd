/* SPDX-License-Identifier: Apache-2.0 */
/* A gap is one row of table incident, first..last still missing. */
#include "mgccomp/gap.h"

#include "base/clock.h"
#include "base/own.h"
#include "mgccomp/kept.h"

#include <inttypes.h>
#include <string.h>

struct gap {
    int64_t id, first, last;
};

void gap_object(int64_t stream, int64_t first, char out[GAP_OBJECT_SIZE])
{
    (void)snprintf(out, GAP_OBJECT_SIZE, "%" PRId64 ":%" PRId64, stream, first);
}

void gap_tail_object(int64_t epoch, struct slice source, struct slice subject,
                     char out[GAP_TAIL_OBJECT_SIZE])
{
    char name[RECORD_MAX_SOURCE + RECORD_MAX_SUBJECT + 64];
    uint8_t digest[SHA256_SIZE];
    char hex[SHA256_HEX];
    (void)snprintf(name, sizeof name, "%" PRId64 "\n%.*s\n%.*s", epoch, SLICE_ARG(source),
                   SLICE_ARG(subject));
    sha256(name, strlen(name), digest);
    hex_encode(digest, sizeof digest, hex);
    (void)snprintf(out, GAP_TAIL_OBJECT_SIZE, "tail:%.32s", hex);
}

int gap_accepted(struct db *db, int64_t stream, const char *tail, int64_t first, int64_t last,
                 int64_t *n, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int64_t next = first;
    *n = 0;
    int rc = db_first(db,
                      "SELECT first, last FROM incident WHERE kind = 'gap'"
                      " AND accepted_by IS NOT NULL AND (stream = $1 OR object = $2)"
                      " AND first <= $4 AND last >= $3 ORDER BY first",
                      DB_ARGS(DB_I(stream), DB_T(slice_of(tail)), DB_I(first), DB_I(last)), &r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        int64_t from = db_rows_int(r, 0) > next ? db_rows_int(r, 0) : next;
        int64_t to = db_rows_int(r, 1) < last ? db_rows_int(r, 1) : last;
        if (to < from)
            continue;
        *n += to - from + 1;
        next = to + 1;
    }
    return rc;
}

/* The totals' own gap lies within what was captured now: it goes on as this one. */
static int take_over(struct staging_txn *t, const struct incident *i, const char *tail,
                     int64_t head, bool *taken, struct err *e)
{
    int64_t changed = 0;
    int rc = db_run(t->db,
                    "UPDATE incident SET object = $2, stream = $3, first = $4, last = $5,"
                    " detail = $6 WHERE kind = 'gap' AND object = $1 AND closed_us IS NULL"
                    " AND first <= $4 AND last >= $5 AND last <= $7",
                    DB_ARGS(DB_T(slice_of(tail)), DB_T(i->object), DB_I(i->stream), DB_I(i->first),
                            DB_I(i->last), DB_T(i->detail), DB_I(head)),
                    &changed, e);
    *taken = changed > 0;
    return rc;
}

/* Accepted already, while nothing was there behind it. */
static int stay_accepted(struct staging_txn *t, const struct incident *i, const char *tail,
                         bool *accepted, struct err *e)
{
    int64_t n = 0;
    int rc = gap_accepted(t->db, i->stream, tail, i->first, i->last, &n, e);
    *accepted = n == i->last - i->first + 1;
    if (rc < 0 || !*accepted)
        return rc;
    return db_run(t->db,
                  "UPDATE incident SET closed_us = $3, closed_how = a.closed_how,"
                  " proposed_us = a.proposed_us, proposed_by = a.proposed_by,"
                  " proposed_why = a.proposed_why, accepted_by = a.accepted_by,"
                  " accepted_why = a.accepted_why FROM (SELECT closed_how, proposed_us,"
                  " proposed_by, proposed_why, accepted_by, accepted_why FROM incident"
                  " WHERE kind = 'gap' AND accepted_by IS NOT NULL AND object = $1"
                  " ORDER BY id DESC LIMIT 1) a"
                  " WHERE incident.kind = 'gap' AND incident.object = $2"
                  " AND incident.closed_us IS NULL",
                  DB_ARGS(DB_T(slice_of(tail)), DB_T(i->object), DB_I(clock_wall_us())), NULL, e);
}

int gap_open(struct staging_txn *t, const struct incident *i, int64_t epoch, int64_t head,
             bool *opened, struct err *e)
{
    char tail[GAP_TAIL_OBJECT_SIZE];
    bool known = false;
    *opened = false;
    gap_tail_object(epoch, i->source, i->subject, tail);
    int rc = staging_lock_gate(t, e);
    if (rc == 0)
        rc = take_over(t, i, tail, head, &known, e);
    if (rc < 0 || known)
        return rc;
    rc = incident_open(t, i, opened, e);
    if (rc == 0 && *opened)
        rc = stay_accepted(t, i, tail, &known, e);
    if (rc == 0 && known)
        *opened = false;
    return rc;
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
