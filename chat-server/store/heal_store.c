/* SPDX-License-Identifier: Apache-2.0 */
/* The queue's ends and changes as the store remembers them. */
#include "chat-server/store/heal_store.h"

#include "base/clock.h"
#include "base/own.h"

int store_set_queue_end(struct store *s, struct slice source, int32_t part, int64_t offset,
                        struct err *e)
{
    return db_run(store_db(s),
                  "INSERT INTO queue_end (source, part, last) VALUES ($1, $2, $3)"
                  " ON CONFLICT (source, part) DO UPDATE SET last = excluded.last",
                  DB_ARGS(DB_T(source), DB_I(part), DB_I(offset)), NULL, e);
}

int store_queue_ends(struct store *s, struct slice source, store_queue_end_fn *visit, void *arg,
                     struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(store_db(s), "SELECT part, last FROM queue_end WHERE source = $1",
                      DB_ARGS(DB_T(source)), &r, e);
    while (rc == 0) {
        rc = db_rows_next(r, e);
        if (rc <= 0)
            return rc;
        rc = visit(arg, (int32_t)db_rows_int(r, 0), db_rows_int(r, 1), e);
    }
    return rc;
}

int store_log_change_open(struct store *s, struct slice source, int32_t part, int64_t before,
                          int64_t after, struct err *e)
{
    return db_run(
        store_db(s),
        "INSERT INTO log_change (source, part, before_offset, after_offset, opened_us)"
        " VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (source, part) WHERE closed_us IS NULL DO UPDATE"
        " SET opened_us = excluded.opened_us",
        DB_ARGS(DB_T(source), DB_I(part), DB_I(before), DB_I(after), DB_I(clock_wall_us())), NULL,
        e);
}

int store_log_change_close(struct store *s, struct slice source, int64_t until_us, const char *how,
                           int64_t *left, struct err *e)
{
    int rc = db_run(
        store_db(s),
        "UPDATE log_change SET closed_us = $3, closed_how = $4"
        " WHERE source = $1 AND closed_us IS NULL AND opened_us <= $2",
        DB_ARGS(DB_T(source), DB_I(until_us), DB_I(clock_wall_us()), DB_T(slice_of(how))), NULL, e);
    if (rc < 0)
        return rc;
    return db_int(store_db(s),
                  "SELECT count(*) FROM log_change WHERE source = $1 AND closed_us IS NULL",
                  DB_ARGS(DB_T(source)), 0, left, e);
}

int store_log_changes(struct store *s, bool all, store_log_change_fn *visit, void *arg,
                      struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(store_db(s),
                      "SELECT id, source, part, before_offset, after_offset, opened_us, closed_us"
                      " FROM log_change WHERE closed_us IS NULL OR $1 = 1 ORDER BY id LIMIT 1000",
                      DB_ARGS(DB_I(all ? 1 : 0)), &r, e);
    while (rc == 0) {
        rc = db_rows_next(r, e);
        if (rc <= 0)
            return rc;
        const struct store_log_change c = {
            .id = db_rows_int(r, 0),
            .source = db_rows_slice(r, 1),
            .part = (int32_t)db_rows_int(r, 2),
            .before = db_rows_int(r, 3),
            .after = db_rows_int(r, 4),
            .opened_us = db_rows_int(r, 5),
            .closed_us = db_rows_int(r, 6),
        };
        rc = visit(arg, &c, e);
    }
    return rc;
}

int store_find_stream(struct store *s, struct slice source, int64_t epoch, struct slice subject,
                      int64_t *stream, struct err *e)
{
    return db_int(store_db(s),
                  "SELECT id FROM stream WHERE source = $1 AND epoch = $2 AND subject = $3",
                  DB_ARGS(DB_T(source), DB_I(epoch), DB_T(subject)), 0, stream, e);
}

int store_first_pos(struct store *s, int64_t stream, int64_t first, int64_t last, int64_t *pos,
                    struct err *e)
{
    int64_t found = 0;
    int rc = db_int(store_db(s),
                    "SELECT min(pos) FROM record WHERE stream = $1 AND sequence >= $2"
                    " AND sequence <= $3",
                    DB_ARGS(DB_I(stream), DB_I(first), DB_I(last)), 0, &found, e);
    if (rc == 0 && found == 0)
        rc = err_set(e, ERR_NOT_FOUND, "the store holds none of these records");
    if (rc == 0)
        *pos = found;
    return rc;
}
