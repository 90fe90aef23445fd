/* SPDX-License-Identifier: Apache-2.0 */
/* What the queue has of each stream, and the records it refused, as rows of the store. */
#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "chat-server/store/store_inside.h"

int store_relayed(struct store *s, int64_t stream, int64_t *sequence, struct err *e)
{
    return db_int(s->db, "SELECT relayed FROM stream WHERE id = $1", DB_ARGS(DB_I(stream)), 0,
                  sequence, e);
}

int store_set_relayed(struct store *s, int64_t stream, int64_t sequence, struct err *e)
{
    return db_run(s->db, "UPDATE stream SET relayed = $2 WHERE id = $1 AND relayed < $2",
                  DB_ARGS(DB_I(stream), DB_I(sequence)), NULL, e);
}

int store_park(struct store *s, int64_t stream, int64_t sequence, struct slice reason,
               struct err *e)
{
    static const char park[] = "INSERT INTO parked (stream, sequence, since_us, reason)"
                               " VALUES ($1, $2, $3, $4) ON CONFLICT (stream, sequence) DO NOTHING";
    OWN(own_db_rollback) struct db *txn = NULL;

    int rc = db_begin(s->db, e);
    if (rc < 0)
        return rc;
    txn = s->db;
    rc =
        db_run(s->db, park,
               DB_ARGS(DB_I(stream), DB_I(sequence), DB_I(clock_wall_us()), DB_T(reason)), NULL, e);
    if (rc == 0)
        rc = store_set_relayed(s, stream, sequence, e);
    FAULT("park.commit.before");
    if (rc == 0)
        rc = db_commit(s->db, e);
    FAULT("park.commit.after");
    if (rc == 0)
        txn = NULL;
    return rc;
}

int store_unpark(struct store *s, int64_t stream, int64_t first, int64_t last, int64_t *n,
                 struct err *e)
{
    return db_run(s->db,
                  "DELETE FROM parked WHERE stream = $1 AND sequence >= $2 AND sequence <= $3",
                  DB_ARGS(DB_I(stream), DB_I(first), DB_I(last)), n, e);
}

int store_is_parked(struct store *s, int64_t stream, int64_t sequence, bool *parked, struct err *e)
{
    int64_t n = 0;
    int rc = db_int(s->db, "SELECT count(*) FROM parked WHERE stream = $1 AND sequence = $2",
                    DB_ARGS(DB_I(stream), DB_I(sequence)), 0, &n, e);
    *parked = rc == 0 && n > 0;
    return rc;
}

int store_parked(struct store *s, store_parked_fn *visit, void *arg, struct err *e)
{
    static const char read[] =
        "SELECT p.stream, p.sequence, p.since_us, p.reason, s.source, s.subject, s.epoch"
        " FROM parked p"
        " JOIN stream s ON s.id = p.stream ORDER BY p.since_us, p.stream, p.sequence LIMIT 10000";
    OWN(own_db_rows) struct db_rows *rows = NULL;

    int rc = db_query(s->db, read, DB_NO_ARGS, &rows, e);
    while (rc == 0) {
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            return rc;
        struct store_parked p = {
            .stream = db_rows_int(rows, 0),
            .sequence = db_rows_int(rows, 1),
            .since_us = db_rows_int(rows, 2),
            .reason = db_rows_slice(rows, 3),
            .source = db_rows_slice(rows, 4),
            .subject = db_rows_slice(rows, 5),
            .epoch = db_rows_int(rows, 6),
        };
        rc = visit(arg, &p, e);
    }
    return rc;
}
