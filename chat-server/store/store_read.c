/* SPDX-License-Identifier: Apache-2.0 */
/* Reading: pages by position, by stream and by chat id, who is in a room, every stream's head. */
#include "base/own.h"
#include "chat-server/store/store_inside.h"

#include <string.h>

enum { STREAMS_PAGE = 500, EPOCHS_MAX = 64 };

/* Columns of every query that visits rows: pos, stream, sequence, chat id, kind, raw. */
static int visit_rows(struct db_rows *rows, size_t max_bytes, store_visit_fn *visit, void *arg,
                      struct err *e)
{
    size_t bytes = 0;
    for (;;) {
        int rc = db_rows_next(rows, e);
        if (rc <= 0)
            return rc;
        struct store_row row = {
            .pos = db_rows_int(rows, 0),
            .stream = db_rows_int(rows, 1),
            .sequence = db_rows_int(rows, 2),
            .chat_id = db_rows_int(rows, 3),
            .kind = (enum record_kind)db_rows_int(rows, 4),
            .raw = db_rows_slice(rows, 5),
        };
        rc = visit(arg, &row, e);
        if (rc < 0)
            return rc;
        bytes += row.raw.n;
        if (max_bytes && bytes >= max_bytes)
            return 0;
    }
}

static int visit_query(struct store *s, const char *sql, const struct db_value *args, size_t n,
                       size_t max_bytes, store_visit_fn *visit, void *arg, struct err *e)
{
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(s->db, sql, args, n, &rows, e);
    return rc < 0 ? rc : visit_rows(rows, max_bytes, visit, arg, e);
}

static int need_sqlite(struct store *s, struct err *e)
{
    if (db_kind(s->db) == DB_SQLITE)
        return 0;
    return err_set(e, ERR_CONFIG, "only the embedded store is read by position");
}

int store_read_from(struct store *s, int64_t from, size_t max, size_t max_bytes,
                    store_visit_fn *visit, void *arg, struct err *e)
{
    static const char read[] = "SELECT pos, stream, sequence, chat_id, kind, raw FROM record"
                               " WHERE pos >= $1 ORDER BY pos LIMIT $2";
    int rc = need_sqlite(s, e);
    if (rc < 0)
        return rc;
    return visit_query(s, read, DB_ARGS(DB_I(from), DB_I((int64_t)max)), max_bytes, visit, arg, e);
}

int store_last_pos(struct store *s, int64_t *pos, struct err *e)
{
    int rc = need_sqlite(s, e);
    if (rc < 0)
        return rc;
    return db_int(s->db, "SELECT max(pos) FROM record", DB_NO_ARGS, 0, pos, e);
}

int store_read_stream(struct store *s, int64_t stream, int64_t first, int64_t last, size_t max,
                      store_visit_fn *visit, void *arg, struct err *e)
{
    static const char lite[] =
        "SELECT pos, stream, sequence, chat_id, kind, raw FROM record WHERE stream = $1"
        " AND sequence >= $2 AND sequence <= $3 ORDER BY sequence LIMIT $4";
    static const char postgres[] =
        "SELECT 0, stream, sequence, chat_id, kind, raw FROM record WHERE stream = $1"
        " AND sequence >= $2 AND sequence <= $3 ORDER BY sequence LIMIT $4";
    return visit_query(s, db_kind(s->db) == DB_SQLITE ? lite : postgres,
                       DB_ARGS(DB_I(stream), DB_I(first), DB_I(last), DB_I((int64_t)max)), 0, visit,
                       arg, e);
}

/* The newest post, or one with a chat id of at least `before` and near it. *at: its sequence, 0
 * when there is none. */
static int find_post(struct store *s, int64_t stream, int64_t before, int64_t *at, struct err *e)
{
    static const char above[] = "SELECT sequence FROM record WHERE stream = $1 AND chat_id >= $2"
                                " AND chat_id % 64 = 0 ORDER BY chat_id LIMIT 1";
    static const char newest[] =
        "SELECT CASE WHEN chat_id IS NULL THEN prior ELSE sequence END FROM record"
        " WHERE stream = $1 ORDER BY sequence DESC LIMIT 1";
    if (before > 0) {
        int rc = db_int(s->db, above, DB_ARGS(DB_I(stream), DB_I(before)), 0, at, e);
        if (rc != ERR_NOT_FOUND)
            return rc;
    }
    return db_int(s->db, newest, DB_ARGS(DB_I(stream)), 0, at, e);
}

/* A room's stream of one epoch, as far as a page of posts is concerned. */
struct posts_of {
    int64_t stream;
    int64_t at, top; /* a post at or above the page's end, or the newest one, and its chat id */
};

/* The newest epoch first. */
static int find_streams(struct store *s, struct slice source, struct slice room,
                        struct posts_of out[EPOCHS_MAX], size_t *n, struct err *e)
{
    static const char find[] = "SELECT id FROM stream WHERE source = $1 AND subject = $2"
                               " ORDER BY epoch DESC LIMIT $3";
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(s->db, find, DB_ARGS(DB_T(source), DB_T(room), DB_I(EPOCHS_MAX)), &rows, e);
    for (*n = 0; rc == 0; (*n)++) {
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            return rc;
        out[*n] = (struct posts_of){.stream = db_rows_int(rows, 0)};
        rc = 0;
    }
    return rc;
}

static int find_top(struct store *s, struct posts_of *p, int64_t before, struct err *e)
{
    static const char chat_id_of[] =
        "SELECT chat_id FROM record WHERE stream = $1 AND sequence = $2";
    int rc = find_post(s, p->stream, before, &p->at, e);
    if (rc == 0)
        rc = db_int(s->db, chat_id_of, DB_ARGS(DB_I(p->stream), DB_I(p->at)), 0, &p->top, e);
    return rc == ERR_NOT_FOUND ? 0 : rc; /* no posts there: top 0 */
}

/* From post to post by `prior`, and back in order. Chat ids have no gaps and go on from one epoch
 * to the next. */
static int visit_posts(struct store *s, const struct posts_of *p, int64_t first, int64_t end,
                       store_visit_fn *visit, void *arg, struct err *e)
{
    static const char read[] =
        "WITH RECURSIVE walk (sequence, chat_id, prior) AS ("
        " SELECT sequence, chat_id, prior FROM record WHERE stream = $1 AND sequence = $2"
        " UNION ALL SELECT r.sequence, r.chat_id, r.prior FROM walk w"
        " JOIN record r ON r.stream = $1 AND r.sequence = w.prior WHERE w.chat_id > $3)"
        " SELECT 0, r.stream, r.sequence, r.chat_id, r.kind, r.raw FROM walk w"
        " JOIN record r ON r.stream = $1 AND r.sequence = w.sequence"
        " WHERE w.chat_id >= $3 AND w.chat_id < $4 ORDER BY w.chat_id";
    return visit_query(s, read, DB_ARGS(DB_I(p->stream), DB_I(p->at), DB_I(first), DB_I(end)), 0,
                       visit, arg, e);
}

int store_read_posts(struct store *s, struct slice source, struct slice room, int64_t before,
                     size_t count, store_visit_fn *visit, void *arg, struct err *e)
{
    struct posts_of epochs[EPOCHS_MAX];
    size_t n = 0;
    size_t used = 0;
    int64_t wanted = count < INT32_MAX ? (int64_t)count : INT32_MAX;
    int64_t end = before > 0 ? before : INT64_MAX;
    int64_t first = INT64_MAX; /* not known before the newest post is */
    int rc = find_streams(s, source, room, epochs, &n, e);
    for (; rc == 0 && used < n && wanted > 0; used++) {
        struct posts_of *p = &epochs[used];
        rc = find_top(s, p, before, e);
        if (rc == 0 && first == INT64_MAX && p->top > 0) {
            end = end <= p->top ? end : p->top + 1;
            first = end > wanted ? end - wanted : 1;
        }
        if (p->top > 0 && p->top < first)
            break;
    }
    while (rc == 0 && used > 0) {
        const struct posts_of *p = &epochs[--used];
        if (p->top > 0)
            rc = visit_posts(s, p, first, end, visit, arg, e);
    }
    return rc;
}

int store_members(struct store *s, struct slice room, store_member_fn *visit, void *arg,
                  struct err *e)
{
    static const char read[] = "SELECT uri, endpoint, name, session, joined_us FROM participant"
                               " WHERE room = $1 ORDER BY uri, endpoint, session";
    OWN(own_db_rows) struct db_rows *rows = NULL;

    int rc = db_query(s->db, read, DB_ARGS(DB_T(room)), &rows, e);
    while (rc == 0) {
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            return rc;
        struct store_member m = {
            .participant = db_rows_slice(rows, 0),
            .endpoint = db_rows_slice(rows, 1),
            .name = db_rows_slice(rows, 2),
            .session = db_rows_slice(rows, 3),
            .joined_us = db_rows_int(rows, 4),
        };
        rc = visit(arg, &m, e);
    }
    return rc;
}

/* One page of streams. *last: the highest number seen; *n: how many. */
static int streams_page(struct store *s, int64_t *last, size_t *n, store_stream_fn *visit,
                        void *arg, struct err *e)
{
    static const char read[] =
        "SELECT s.id, s.epoch, s.source, s.subject, s.relayed, r.sequence, r.hash,"
        " COALESCE(e.epoch, 1) FROM stream s LEFT JOIN epoch e ON e.source = s.source"
        " JOIN record r ON r.stream = s.id AND r.sequence ="
        " (SELECT max(q.sequence) FROM record q WHERE q.stream = s.id)"
        " WHERE s.id > $1 ORDER BY s.id LIMIT $2";
    OWN(own_db_rows) struct db_rows *rows = NULL;

    *n = 0;
    int rc = db_query(s->db, read, DB_ARGS(DB_I(*last), DB_I(STREAMS_PAGE)), &rows, e);
    while (rc == 0) {
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            return rc;
        struct store_stream st = {
            .id = db_rows_int(rows, 0),
            .epoch = db_rows_int(rows, 1),
            .source = db_rows_slice(rows, 2),
            .subject = db_rows_slice(rows, 3),
            .relayed = db_rows_int(rows, 4),
            .sequence = db_rows_int(rows, 5),
            .source_epoch = db_rows_int(rows, 7),
        };
        struct slice hash = db_rows_slice(rows, 6);
        if (hash.n == SHA256_SIZE)
            memcpy(st.hash, hash.p, SHA256_SIZE);
        *last = st.id;
        (*n)++;
        rc = visit(arg, &st, e);
    }
    return rc;
}

int store_streams(struct store *s, store_stream_fn *visit, void *arg, struct err *e)
{
    int64_t last = 0;
    size_t n = 0;
    do {
        int rc = streams_page(s, &last, &n, visit, arg, e);
        if (rc < 0)
            return rc;
    } while (n == STREAMS_PAGE);
    return 0;
}
