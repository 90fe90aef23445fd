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

static int find_stream(struct store *s, struct slice source, int64_t epoch, struct slice subject,
                       int64_t *id, struct err *e)
{
    return db_int(s->db, "SELECT id FROM stream WHERE source = $1 AND epoch = $2 AND subject = $3",
                  DB_ARGS(DB_T(source), DB_I(epoch), DB_T(subject)), 0, id, e);
}

/* Another session may be adding the same one. */
static int add_stream(struct store *s, struct slice source, int64_t epoch, struct slice subject,
                      int64_t *id, struct err *e)
{
    int rc = db_run(s->db,
                    "INSERT INTO stream (source, epoch, subject) VALUES ($1, $2, $3)"
                    " ON CONFLICT (source, epoch, subject) DO NOTHING",
                    DB_ARGS(DB_T(source), DB_I(epoch), DB_T(subject)), NULL, e);
    return rc < 0 ? rc : find_stream(s, source, epoch, subject, id, e);
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

int heads_take(struct store *s, struct slice source, int64_t epoch, struct slice subject,
               struct stream_head **out, struct err *e)
{
    bool fresh;
    struct stream_head *head = streams_take(s->streams, source, epoch, subject, &fresh);
    if (!head)
        return err_memory(e, "heads of streams");
    if (head->now.stream == 0) {
        int64_t id = 0;
        int rc = find_stream(s, source, epoch, subject, &id, e);
        bool added = rc == ERR_NOT_FOUND;
        if (added)
            rc = add_stream(s, source, epoch, subject, &id, e);
        if (rc == 0)
            rc = own_stream(s, id, e);
        if (rc == 0 && !(added && s->claims.lease_ms == 0))
            rc = load_head(s, &head->now, id, e);
        if (rc < 0)
            return rc;
        head->now.stream = id;
        if (!added || head->now.sequence > 0)
            head->durable = head->now;
    }
    *out = head;
    return 0;
}

/* A head is cached as long as its stream is in use, so that only what was durable before that has
 * to be read. */
int heads_window(struct store *s, struct stream_head *head, struct err *e)
{
    static const char newest[] = "SELECT once, sequence, chat_id FROM record WHERE stream = $1"
                                 " ORDER BY sequence DESC LIMIT $2";
    if (head->windowed)
        return 0;
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = 0;
    if (head->durable.stream)
        rc = db_query(s->db, newest, DB_ARGS(DB_I(head->now.stream), DB_I(ONCE_OF_A_STREAM)), &rows,
                      e);
    while (rc == 0 && rows) {
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            break;
        struct slice once = db_rows_slice(rows, 0);
        struct once_place place = {head->now.stream, db_rows_int(rows, 1), db_rows_int(rows, 2)};
        if (once.n == ONCE_SIZE)
            once_add(s->once, (const uint8_t *)once.p, &place, true);
        rc = 0;
    }
    if (rc == 0)
        head->windowed = true;
    return rc;
}
