/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server sessions. The writer's row names the session that may write; the session's row is there
 * from its session-start record to its session-stop. Every step is one transaction that leaves a
 * state from which the next start goes on: a participant's row goes with its leave record.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "chat-server/store/store_inside.h"

#include <string.h>

enum { LEAVES_AT_ONCE = 256 };

/* A copied row of participants, as offsets into one buffer. */
struct member {
    size_t at, room_n, uri_n, endpoint_n, name_n;
    size_t members_at, members_n;
};

struct leaving {
    struct buf text;
    struct member members[LEAVES_AT_ONCE];
    struct store_event events[LEAVES_AT_ONCE];
    struct store_result results[LEAVES_AT_ONCE];
    size_t n;
};

static void leaving_free(struct leaving *l)
{
    if (l)
        buf_done(&l->text);
    free(l);
}

OWN_DEFINE(leaving, struct leaving, leaving_free)

static int read_members(struct store *s, struct slice session, struct leaving *l, struct err *e)
{
    static const char read[] = "SELECT room, uri, endpoint, name FROM participant"
                               " WHERE session = $1 ORDER BY room, uri, endpoint LIMIT $2";
    OWN(own_db_rows) struct db_rows *rows = NULL;

    buf_clear(&l->text);
    l->n = 0;
    int rc = db_query(s->db, read, DB_ARGS(DB_T(session), DB_I(LEAVES_AT_ONCE)), &rows, e);
    if (rc < 0)
        return rc;
    while (l->n < LEAVES_AT_ONCE) {
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            break;
        struct member *m = &l->members[l->n++];
        m->at = l->text.n;
        m->room_n = db_rows_slice(rows, 0).n;
        m->uri_n = db_rows_slice(rows, 1).n;
        m->endpoint_n = db_rows_slice(rows, 2).n;
        m->name_n = db_rows_slice(rows, 3).n;
        for (int column = 0; column < 4; column++)
            buf_slice(&l->text, db_rows_slice(rows, column));
    }
    return rc < 0 ? rc : buf_ok(&l->text, "participants of a session", e);
}

static struct slice part(const struct leaving *l, size_t *at, size_t n)
{
    struct slice out = {l->text.p + *at, n};
    *at += n;
    return out;
}

static void member_event(const struct leaving *l, const struct member *m, struct store_event *event)
{
    size_t at = m->at;
    event->subject = part(l, &at, m->room_n);
    event->participant = part(l, &at, m->uri_n);
    event->endpoint = part(l, &at, m->endpoint_n);
    event->name = part(l, &at, m->name_n);
    event->members = (struct slice){l->text.p + m->members_at, m->members_n};
}

/* The buffer moves as it grows, so that members are written first and slices are taken after. */
static int make_leaves(struct leaving *l, struct slice source, struct slice session, struct err *e)
{
    for (size_t i = 0; i < l->n; i++) {
        struct member *m = &l->members[i];
        struct store_event event = {0};
        OWN(own_buf) struct buf b;
        buf_init(&b, RECORD_MAX_BYTES);
        member_event(l, m, &event);
        buf_char(&b, '{');
        json_put_string(&b, "participant", event.participant);
        json_put_string(&b, "name", event.name);
        json_put_string(&b, "endpoint", event.endpoint);
        json_put_string(&b, "session", session);
        json_put_string(&b, "reason", SLICE("server-stopped"));
        int rc = buf_ok(&b, "a leave record", e);
        if (rc < 0)
            return rc;
        m->members_at = l->text.n;
        m->members_n = b.n - 1;
        buf_add(&l->text, b.p + 1, b.n - 1);
    }
    int64_t now = clock_wall_us();
    for (size_t i = 0; i < l->n; i++) {
        l->events[i] = (struct store_event){
            .source = source,
            .kind = RECORD_LEAVE,
            .time_us = now,
            .presence = STORE_PRESENCE_LEAVE,
            .session = session,
        };
        member_event(l, &l->members[i], &l->events[i]);
    }
    return buf_ok(&l->text, "leave records", e);
}

static int first_failure(const struct store_result *results, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (results[i].class < 0)
            return err_set(e, results[i].class, "%s", results[i].text);
    }
    return 0;
}

static int close_participants(struct store *s, struct slice source, struct slice session,
                              struct err *e)
{
    OWN(own_leaving) struct leaving *l = calloc(1, sizeof *l);
    if (!l)
        return err_memory(e, "ending a session");
    buf_init(&l->text, STORE_MAX_GROUP_BYTES);
    for (;;) {
        int rc = read_members(s, session, l, e);
        if (rc < 0 || l->n == 0)
            return rc;
        rc = make_leaves(l, source, session, e);
        if (rc == 0)
            rc = store_append(s, l->events, l->n, l->results, e);
        FAULT("session.leaves.after");
        if (rc == 0)
            rc = first_failure(l->results, l->n, e);
        if (rc < 0)
            return rc;
    }
}

static int row_started(struct store *s, void *arg, struct err *e)
{
    const struct session_step *step = arg;
    return db_run(s->db,
                  "INSERT INTO session (uri, source, details, started_us) VALUES ($1, $2, $3, $4)",
                  DB_ARGS(DB_T(step->session), DB_T(step->source), DB_T(step->details),
                          DB_I(clock_wall_us())),
                  NULL, e);
}

static int row_ended(struct store *s, void *arg, struct err *e)
{
    const struct session_step *step = arg;
    int64_t changed = 0;
    int rc = db_run(s->db, "UPDATE session SET ended_us = $1 WHERE uri = $2 AND ended_us IS NULL",
                    DB_ARGS(DB_I(clock_wall_us()), DB_T(step->session)), &changed, e);
    if (rc == 0 && changed == 0)
        return err_set(e, ERR_CONFLICT, "the session has been ended already");
    if (rc < 0 || step->dead)
        return rc;
    return db_run(s->db, "UPDATE writer SET session = NULL WHERE source = $1 AND session = $2",
                  DB_ARGS(DB_T(step->source), DB_T(step->session)), NULL, e);
}

int session_append(struct store *s, const struct session_step *step, enum record_kind kind,
                   struct slice members, store_also_fn *also, void *arg, struct err *e)
{
    struct store_event event = {
        .source = step->source,
        .subject = step->session,
        .kind = kind,
        .time_us = clock_wall_us(),
        .members = members,
    };
    struct store_result result;
    int rc = store_append_with(s, &event, 1, &result, also, arg, e);
    return rc < 0 ? rc : first_failure(&result, 1, e);
}

int session_close(struct store *s, struct session_step *step, const char *reason, struct err *e)
{
    OWN(own_buf) struct buf members;
    buf_init(&members, SESSION_DETAILS_MAX + 256);
    int rc = close_participants(s, step->source, step->session, e);
    if (rc < 0)
        return rc;

    buf_char(&members, '{');
    buf_slice(&members, step->details);
    json_put_string(&members, "reason", slice_of(reason));
    rc = buf_ok(&members, "a session-stop record", e);
    if (rc < 0)
        return rc;
    struct slice inner = {members.p + 1, members.n - 1};
    FAULT("session.end.before");
    rc = session_append(s, step, RECORD_SESSION_STOP, inner, row_ended, step, e);
    FAULT("session.end.after");
    return rc;
}

/* Copies the first open session of the source other than `session`; ERR_NOT_FOUND. */
static int find_dead(struct store *s, struct slice source, struct slice session, char **uri,
                     char **details, struct err *e)
{
    static const char find[] = "SELECT uri, details FROM session WHERE source = $1 AND uri <> $2"
                               " AND ended_us IS NULL ORDER BY started_us LIMIT 1";
    OWN(own_db_rows) struct db_rows *rows = NULL;

    int rc = db_query(s->db, find, DB_ARGS(DB_T(source), DB_T(session)), &rows, e);
    if (rc == 0)
        rc = db_rows_next(rows, e);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(e, ERR_NOT_FOUND, "no dead session");
    OWN(own_mem) char *a = slice_dup(db_rows_slice(rows, 0));
    OWN(own_mem) char *b = slice_dup(db_rows_slice(rows, 1));
    if (!a || !b)
        return err_memory(e, "closing dead sessions");
    *uri = a;
    *details = b;
    a = b = NULL;
    return 0;
}

static int close_dead(struct store *s, struct slice source, struct slice session, struct err *e)
{
    for (;;) {
        OWN(own_mem) char *uri = NULL;
        OWN(own_mem) char *details = NULL;
        int rc = find_dead(s, source, session, &uri, &details, e);
        if (rc == ERR_NOT_FOUND)
            return 0;
        if (rc < 0)
            return rc;
        struct session_step step = {source, slice_of(uri), slice_of(details), true};
        rc = session_close(s, &step, "lost", e);
        if (rc < 0)
            return rc;
    }
}

/* Sessions that share the source and have lapsed are closed like dead ones; others are alive. */
int session_fence_shared(struct store *s, struct slice source, struct err *e)
{
    static const char fence[] = "UPDATE session SET lease_us = -1 WHERE source = $1 AND ended_us IS"
                                " NULL AND lease_us > 0 AND lease_us < $2";
    static const char alive[] =
        "SELECT count(*) FROM session WHERE source = $1 AND ended_us IS NULL AND lease_us > 0";
    int64_t now = 0;
    int64_t n = 0;
    int rc = db_now_us(s->db, &now, e);
    if (rc == 0)
        rc = db_run(s->db, fence, DB_ARGS(DB_T(source), DB_I(now)), NULL, e);
    if (rc == 0)
        rc = db_int(s->db, alive, DB_ARGS(DB_T(source)), 0, &n, e);
    if (rc == 0 && n > 0)
        return err_set(e, ERR_CONFLICT, "%lld server sessions share the source", (long long)n);
    return rc;
}

/* From here on a former writer's transactions find that the row names another session. */
static int take_writer(struct store *s, struct slice source, struct slice session, struct err *e)
{
    static const char take[] = "INSERT INTO writer (source, session) VALUES ($1, $2)"
                               " ON CONFLICT (source) DO UPDATE SET session = excluded.session";
    int rc = store_claim(s, source, e);
    if (rc == 0)
        rc = session_fence_shared(s, source, e);
    if (rc == 0)
        rc = db_run(s->db, take, DB_ARGS(DB_T(source), DB_T(session)), NULL, e);
    if (rc == 0)
        rc = claims_set_session(&s->claims, source, session, e);
    return rc;
}

int store_begin_session(struct store *s, struct slice source, struct slice session,
                        struct slice members, struct err *e)
{
    if (session.n == 0 || session.n > RECORD_MAX_SUBJECT || members.n > SESSION_DETAILS_MAX)
        return err_set(e, ERR_REJECTED, "the session's URI or details are too long");
    if (s->claims.session)
        return err_set(e, ERR_FAULT, "this handle has begun a session already");
    int rc = take_writer(s, source, session, e);
    FAULT("session.begin.taken");
    if (rc == 0)
        rc = close_dead(s, source, session, e);
    FAULT("session.begin.before");
    struct session_step step = {source, session, members.p ? members : SLICE(""), false};
    if (rc == 0)
        rc = session_append(s, &step, RECORD_SESSION_START, members, row_started, &step, e);
    FAULT("session.begin.after");
    if (rc < 0)
        claims_forget_session(&s->claims);
    return rc;
}

int store_resume_session(struct store *s, struct slice source, struct slice session, struct err *e)
{
    struct claims probe = {.lock_fd = -1};
    OWN(own_mem) char *a = slice_dup(source);
    OWN(own_mem) char *b = slice_dup(session);
    if (!a || !b)
        return err_memory(e, "resuming a session");
    probe.session_source = a;
    probe.session = b;

    int claimed = store_claim(s, source, e);
    if (claimed < 0 && claimed != ERR_CONFLICT)
        return claimed;
    struct err why = {0};
    int rc = claims_check(&probe, s->db, &why);
    if (rc < 0) {
        if (e)
            *e = why;
        return rc;
    }
    return claimed < 0 ? claimed : claims_set_session(&s->claims, source, session, e);
}

int store_end_session(struct store *s, struct err *e)
{
    static const char find[] = "SELECT details FROM session WHERE uri = $1";
    if (!s->claims.session)
        return err_set(e, ERR_FAULT, "no session was begun");
    OWN(own_db_rows) struct db_rows *rows = NULL;
    struct slice session = slice_of(s->claims.session);
    int rc = db_query(s->db, find, DB_ARGS(DB_T(session)), &rows, e);
    if (rc == 0)
        rc = db_rows_next(rows, e);
    if (rc < 0)
        return rc;
    OWN(own_mem) char *details = slice_dup(db_rows_slice(rows, 0));
    if (!details)
        return err_memory(e, "ending a session");
    db_rows_free(rows);
    rows = NULL;
    struct session_step step = {slice_of(s->claims.session_source), session, slice_of(details),
                                false};
    rc = session_close(s, &step, "stopped", e);
    if (rc == 0)
        claims_forget_session(&s->claims);
    return rc;
}
