/* SPDX-License-Identifier: Apache-2.0 */
/* What a stream's newest rows say, read when the stream is first used: its head, and the keys by
 * which an event that comes again is known. */
#include "base/own.h"
#include "chat-server/store/store_inside.h"

#include <string.h>

static int load_head(struct store *s, struct stream_state *out, int64_t stream, struct err *e)
{
    static const char newest[] = "SELECT sequence, hash, chat_id, prior FROM record"
                                 " WHERE stream = $1 ORDER BY sequence DESC LIMIT 1";
    /* max: also where somebody has damaged the table and that row is gone. */
    static const char chat_id_of[] =
        "SELECT max(chat_id) FROM record WHERE stream = $1 AND sequence >= $2";
    struct stream_state state = {.stream = stream};
    OWN(own_db_rows) struct db_rows *rows = NULL;

    int rc = db_query(s->db, newest, DB_ARGS(DB_I(stream)), &rows, e);
    if (rc == 0)
        rc = db_rows_next(rows, e);
    if (rc < 0)
        return rc;
    if (rc == 1) {
        struct slice hash = db_rows_slice(rows, 1);
        if (hash.n != SHA256_SIZE)
            return err_set(e, ERR_FAULT, "the newest record's hash has %zu bytes", hash.n);
        state.sequence = db_rows_int(rows, 0);
        state.chat_id = db_rows_int(rows, 2);
        state.post = state.chat_id ? state.sequence : db_rows_int(rows, 3);
        memcpy(state.hash, hash.p, SHA256_SIZE);
    }
    db_rows_free(rows);
    rows = NULL;
    if (state.post && !state.chat_id)
        rc = db_int(s->db, chat_id_of, DB_ARGS(DB_I(stream), DB_I(state.post)), 0, &state.chat_id,
                    e);
    if (rc < 0)
        return rc;
    *out = state;
    return 0;
}

static int find_stream(struct store *s, const struct stream_key *key, int64_t *id, struct err *e)
{
    return db_int(s->db, "SELECT id FROM stream WHERE source = $1 AND epoch = $2 AND subject = $3",
                  DB_ARGS(DB_T(key->source), DB_I(key->epoch), DB_T(key->subject)), 0, id, e);
}

/* The newest epoch of the same room before `epoch`. ERR_NOT_FOUND. */
static int find_earlier(struct store *s, const struct stream_key *key, int64_t *epoch, int64_t *id,
                        struct err *e)
{
    static const char find[] = "SELECT id, epoch FROM stream WHERE source = $1 AND subject = $2"
                               " AND epoch < $3 ORDER BY epoch DESC LIMIT 1";
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(s->db, find, DB_ARGS(DB_T(key->source), DB_T(key->subject), DB_I(*epoch)),
                      &rows, e);
    if (rc == 0)
        rc = db_rows_next(rows, e);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(e, ERR_NOT_FOUND, "no earlier epoch of the stream");
    *id = db_rows_int(rows, 0);
    *epoch = db_rows_int(rows, 1);
    return 0;
}

static int inherit_chat_id(struct store *s, const struct stream_key *key, struct stream_state *now,
                           struct err *e)
{
    int64_t epoch = key->epoch;
    int rc = 0;
    while (rc == 0 && epoch > 1 && now->chat_id == 0) {
        struct stream_state earlier = {0};
        int64_t id = 0;
        rc = find_earlier(s, key, &epoch, &id, e);
        if (rc == 0)
            rc = load_head(s, &earlier, id, e);
        now->chat_id = earlier.chat_id;
    }
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

/* Another session may be adding the same one. */
static int add_stream(struct store *s, const struct stream_key *key, int64_t *id, struct err *e)
{
    int rc = db_run(s->db,
                    "INSERT INTO stream (source, epoch, subject) VALUES ($1, $2, $3)"
                    " ON CONFLICT (source, subject, epoch) DO NOTHING",
                    DB_ARGS(DB_T(key->source), DB_I(key->epoch), DB_T(key->subject)), NULL, e);
    return rc < 0 ? rc : find_stream(s, key, id, e);
}

/* A stream whose owner's session is over is anybody's; the row's lock decides between two that want
 * it. The owner can't lose it while its session lives, so that a head once read stays true. */
static int own_stream(struct store *s, int64_t stream, struct err *e)
{
    static const char take[] =
        "UPDATE stream SET owner = $2, term = term + CASE WHEN owner = $2 THEN 0 ELSE 1 END"
        " WHERE id = $1 AND (owner IS NULL OR owner = $2 OR NOT EXISTS (SELECT 1 FROM session x"
        " WHERE x.uri = stream.owner AND x.ended_us IS NULL AND x.lease_us > 0))";
    int64_t changed = 0;
    if (s->claims.lease_ms == 0)
        return 0;
    int rc =
        db_run(s->db, take, DB_ARGS(DB_I(stream), DB_T(slice_of(s->claims.session))), &changed, e);
    if (rc == 0 && changed == 0)
        return err_set(e, ERR_CONFLICT, "another server session owns the room");
    return rc;
}

/* Fills in the head of a stream that was not in memory. */
static int load(struct store *s, const struct stream_key *key, struct stream_head *head,
                struct err *e)
{
    int64_t id = 0;
    int rc = find_stream(s, key, &id, e);
    bool added = rc == ERR_NOT_FOUND;
    if (added)
        rc = add_stream(s, key, &id, e);
    if (rc == 0)
        rc = own_stream(s, id, e);
    if (rc == 0 && !(added && s->claims.lease_ms == 0))
        rc = load_head(s, &head->now, id, e);
    if (rc == 0)
        rc = inherit_chat_id(s, key, &head->now, e);
    if (rc < 0)
        return rc;
    head->now.stream = id;
    if (!added || head->now.sequence > 0)
        head->durable = head->now;
    return 0;
}

int heads_take(struct store *s, const struct stream_key *key, struct stream_head **out,
               struct err *e)
{
    bool fresh;
    struct stream_head *head =
        streams_take(s->streams, key->source, key->epoch, key->subject, &fresh);
    if (!head)
        return err_memory(e, "heads of streams");
    if (head->now.stream == 0) {
        int rc = load(s, key, head, e);
        if (rc < 0)
            return rc;
    }
    *out = head;
    return 0;
}

/* *left: so many of a stream's newest rows are wanted, and are still. */
static int window_of(struct store *s, int64_t stream, int64_t *left, struct err *e)
{
    static const char newest[] = "SELECT once, sequence, chat_id FROM record WHERE stream = $1"
                                 " ORDER BY sequence DESC LIMIT $2";
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(s->db, newest, DB_ARGS(DB_I(stream), DB_I(*left)), &rows, e);
    while (rc == 0) {
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            break;
        struct slice once = db_rows_slice(rows, 0);
        struct once_place place = {stream, db_rows_int(rows, 1), db_rows_int(rows, 2)};
        if (once.n == ONCE_SIZE)
            once_add(s->once, (const uint8_t *)once.p, &place, true);
        (*left)--;
        rc = 0;
    }
    return rc;
}

/* A head is cached as long as its stream is in use, so that only what was durable before that has
 * to be read. */
int heads_window(struct store *s, struct stream_head *head, const struct stream_key *key,
                 struct err *e)
{
    int64_t left = ONCE_OF_A_STREAM;
    int64_t epoch = key->epoch;
    int rc = 0;
    if (head->windowed)
        return 0;
    if (head->durable.stream)
        rc = window_of(s, head->now.stream, &left, e);
    while (rc == 0 && left > 0 && epoch > 1) {
        int64_t earlier = 0;
        rc = find_earlier(s, key, &epoch, &earlier, e);
        if (rc == 0)
            rc = window_of(s, earlier, &left, e);
    }
    if (rc == ERR_NOT_FOUND)
        rc = 0;
    if (rc == 0)
        head->windowed = true;
    return rc;
}
