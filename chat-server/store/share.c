/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions that share a source: leased rows, and who owns which room. What a session may do is
 * decided by its row alone, which each of its transactions locks first (claims_check): closing a
 * session begins with a compare-and-swap on that row, and from then on nothing of it commits.
 */
#include "base/clock.h"
#include "base/own.h"
#include "chat-server/store/store_inside.h"

#define NOW_US "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
enum { LEASE_MIN_MS = 100, LEASE_MAX_MS = 3600 * 1000 };

struct sharing {
    struct session_step step;
    int64_t lease_ms;
};

static int row_shared(struct store *s, void *arg, struct err *e)
{
    static const char sql[] =
        "INSERT INTO session (uri, source, details, started_us, lease_us)"
        " SELECT $1, $2, $3, $4, $5 + " NOW_US " WHERE NOT EXISTS (SELECT 1 FROM session x"
        " WHERE x.source = $2 AND x.ended_us IS NULL AND x.lease_us = 0)";
    const struct sharing *sharing = arg;
    const struct session_step *step = &sharing->step;
    int64_t changed = 0;
    int rc = db_run(s->db, sql,
                    DB_ARGS(DB_T(step->session), DB_T(step->source), DB_T(step->details),
                            DB_I(clock_wall_us()), DB_I(sharing->lease_ms * 1000)),
                    &changed, e);
    if (rc == 0 && changed == 0)
        return err_set(e, ERR_CONFLICT,
                       "the source has an exclusive writer, or had one that was"
                       " never closed");
    return rc;
}

int store_share_session(struct store *s, struct slice source, struct slice session,
                        struct slice members, int64_t lease_ms, struct err *e)
{
    if (db_kind(s->db) != DB_POSTGRES)
        return err_set(e, ERR_CONFIG, "only a store in PostgreSQL has several writers");
    if (session.n == 0 || session.n > RECORD_MAX_SUBJECT || members.n > SESSION_DETAILS_MAX)
        return err_set(e, ERR_REJECTED, "the session's URI or details are too long");
    if (lease_ms < LEASE_MIN_MS || lease_ms > LEASE_MAX_MS)
        return err_set(e, ERR_REJECTED, "a lease of %lld ms is out of range", (long long)lease_ms);
    if (s->claims.session || s->claims.count > 0)
        return err_set(e, ERR_FAULT, "this handle writes already");
    int rc = claims_note(&s->claims, source, e);
    if (rc == 0)
        rc = epoch_load(s, source, e);
    if (rc < 0)
        return rc;
    struct sharing sharing = {{source, session, members.p ? members : SLICE(""), false}, lease_ms};
    rc = session_append(s, &sharing.step, RECORD_SESSION_START, members, row_shared, &sharing, e);
    if (rc == 0)
        rc = claims_set_session(&s->claims, source, session, e);
    if (rc < 0) {
        claims_done(&s->claims);
        return rc;
    }
    s->claims.lease_ms = lease_ms;
    /* The session's own stream, too, is owned from its next record on. */
    streams_clear(s->streams);
    return 0;
}

static int need_shared(const struct store *s, struct err *e)
{
    return s->claims.lease_ms > 0 ? 0 : err_set(e, ERR_FAULT, "this handle shares no source");
}

int store_renew_session(struct store *s, struct err *e)
{
    int rc = need_shared(s, e);
    return rc < 0 ? rc : claims_check(&s->claims, s->db, e);
}

/* The first that is fenced already and not done, or has lapsed. */
static int find_lapsed(struct store *s, char **uri, char **details, struct err *e)
{
    static const char sql[] =
        "SELECT uri, details FROM session WHERE source = $1 AND uri <> $2 AND ended_us IS NULL"
        " AND (lease_us < 0 OR (lease_us > 0 AND lease_us < " NOW_US ")) ORDER BY lease_us, uri"
        " LIMIT 1";
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(
        s->db, sql,
        DB_ARGS(DB_T(slice_of(s->claims.session_source)), DB_T(slice_of(s->claims.session))), &rows,
        e);
    if (rc == 0)
        rc = db_rows_next(rows, e);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(e, ERR_NOT_FOUND, "no session has lapsed");
    OWN(own_mem) char *a = slice_dup(db_rows_slice(rows, 0));
    OWN(own_mem) char *b = slice_dup(db_rows_slice(rows, 1));
    if (!a || !b)
        return err_memory(e, "closing a session");
    *uri = a;
    *details = b;
    a = b = NULL;
    return 0;
}

/* Waits for a transaction of that session in hand, which renews its lease. */
static int fence(struct store *s, struct slice session, struct err *e)
{
    static const char sql[] = "UPDATE session SET lease_us = -1 WHERE uri = $1 AND ended_us IS NULL"
                              " AND (lease_us < 0 OR (lease_us > 0 AND lease_us < " NOW_US "))";
    int64_t changed = 0;
    int rc = db_run(s->db, sql, DB_ARGS(DB_T(session)), &changed, e);
    if (rc == 0 && changed == 0)
        return err_set(e, ERR_CONFLICT, "the session is alive again, or closed");
    return rc;
}

int store_close_lapsed(struct store *s, struct err *e)
{
    OWN(own_mem) char *uri = NULL;
    OWN(own_mem) char *details = NULL;
    int rc = need_shared(s, e);
    if (rc == 0)
        rc = claims_check(&s->claims, s->db, e);
    if (rc == 0)
        rc = find_lapsed(s, &uri, &details, e);
    if (rc == 0)
        rc = fence(s, slice_of(uri), e);
    if (rc < 0)
        return rc;
    struct session_step step = {slice_of(s->claims.session_source), slice_of(uri),
                                slice_of(details), true};
    rc = session_close(s, &step, "lost", e);
    /* A participant whose leave is recorded already: another closes the same session. */
    return rc == ERR_REJECTED ? ERR_CONFLICT : rc;
}

static int take_room(struct store *s, struct slice room, struct err *e)
{
    OWN(own_db_rollback) struct db *txn = NULL;
    struct stream_head *head = NULL;
    struct slice source = slice_of(s->claims.session_source);
    const struct stream_key key = {source, room, claims_epoch(&s->claims, source)};
    int rc = db_begin(s->db, e);
    if (rc < 0)
        return rc;
    txn = s->db;
    rc = claims_check(&s->claims, s->db, e);
    if (rc == 0)
        rc = heads_take(s, &key, &head, e);
    if (rc == 0)
        rc = db_commit(s->db, e);
    if (rc == 0)
        txn = NULL;
    return rc;
}

int store_own_room(struct store *s, struct slice room, struct err *e)
{
    int rc = need_shared(s, e);
    if (rc < 0)
        return rc;
    rc = take_room(s, room, e);
    if (rc == 0)
        streams_commit(s->streams);
    else
        streams_clear(s->streams);
    return rc;
}

int store_owner(struct store *s, struct slice source, struct slice room, struct buf *session,
                int64_t *term, struct err *e)
{
    static const char sql[] = "SELECT owner, term FROM stream WHERE source = $1 AND subject = $2"
                              " ORDER BY epoch DESC LIMIT 1";
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(s->db, sql, DB_ARGS(DB_T(source), DB_T(room)), &rows, e);
    if (rc == 0)
        rc = db_rows_next(rows, e);
    if (rc < 0)
        return rc;
    if (rc == 1)
        buf_slice(session, db_rows_slice(rows, 0));
    *term = rc == 1 ? db_rows_int(rows, 1) : 0;
    return buf_ok(session, "the owner of a room", e);
}
