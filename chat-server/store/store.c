/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending: a group of events becomes rows of one table in one transaction. The row is the record,
 * the message and the outbox at once, so that nothing else has to be kept in step with it. What an
 * event becomes is event.c; reading is store_read.c; whose turn it is to write is claim.c.
 */
#include "chat-server/store/store.h"

#include "base/fault.h"
#include "base/own.h"
#include "chat-server/store/claim.h"
#include "chat-server/store/store_inside.h"
#include "chat-server/store/store_schema.h"

#include <string.h>

enum { COLUMNS = 9, /* of a row */ PATIENCE_MS = 10000 };

static bool data_error(int class)
{
    return class == ERR_REJECTED || class == ERR_CONFLICT;
}

/* A log long enough that a page of an index is written back once for many records. What is read
 * again soon is little: the ends of the streams in use. People wait for what is stored, and their
 * clients for half a minute. */
static int tune(struct db *db, int flags, struct err *e)
{
    if (db_kind(db) != DB_SQLITE)
        return db_patience(db, PATIENCE_MS, e);
    if (flags & DB_READ_ONLY)
        return 0;
    return db_script(db, "PRAGMA cache_size = -8192; PRAGMA wal_autocheckpoint = 8000", e);
}

static int open_handle(struct store **out, const char *url, int flags, struct err *e)
{
    OWN(own_store) struct store *s = calloc(1, sizeof *s);
    if (!s)
        return err_memory(e, "opening the store");
    s->claims.lock_fd = -1;
    buf_init(&s->bytes, 2 * STORE_MAX_GROUP_BYTES);
    buf_init(&s->text, (size_t)STORE_MAX_GROUP * RECORD_MAX_SUBJECT);
    buf_init(&s->members, RECORD_MAX_BYTES + 64);
    s->json = json_doc_new();
    s->streams = streams_new(STORE_MAX_STREAMS, STORE_MAX_STREAM_BYTES);
    s->once = once_new(ONCE_MAX);
    s->url = slice_dup(slice_of(url));
    if (!s->json || !s->streams || !s->once || !s->url)
        return err_memory(e, "opening the store");

    int rc = db_open(&s->db, url, flags, e);
    if (rc == 0)
        rc = store_schema_migrate(s->db, flags, e);
    if (rc == 0)
        rc = tune(s->db, flags, e);
    if (rc < 0)
        return rc;
    *out = s;
    s = NULL;
    return 0;
}

int store_open(struct store **out, const char *url, struct err *e)
{
    return open_handle(out, url, DB_CREATE, e);
}

int store_open_reader(struct store **out, const char *url, struct err *e)
{
    return open_handle(out, url, DB_READ_ONLY, e);
}

void store_close(struct store *s)
{
    if (!s)
        return;
    /* The connection before the lock: nobody else writes while ours still may. */
    db_close(s->db);
    claims_done(&s->claims);
    streams_free(s->streams);
    once_free(s->once);
    json_doc_free(s->json);
    buf_done(&s->bytes);
    buf_done(&s->text);
    buf_done(&s->members);
    free(s->states);
    free(s->url);
    free(s);
}

struct db *store_db(struct store *s)
{
    return s->db;
}

void store_on_stored(struct store *s, store_stored_fn *stored, void *arg)
{
    s->stored = stored;
    s->stored_arg = arg;
}

bool store_broken(const struct store *s)
{
    return db_broken(s->db);
}

int store_claim(struct store *s, struct slice source, struct err *e)
{
    int rc = claims_add(&s->claims, s->db, s->url, source, e);
    return rc < 0 ? rc : epoch_load(s, source, e);
}

static void row_values(const struct store *s, const struct event_state *st,
                       struct db_value values[COLUMNS])
{
    struct slice once = {(const char *)st->once, ONCE_SIZE};
    struct slice producer = {(const char *)st->producer, st->producer_n};
    struct slice hash = {(const char *)st->hash, SHA256_SIZE};
    struct slice raw = {s->bytes.p + st->record_at, st->record_n};

    values[0] = DB_I(st->stream);
    values[1] = DB_I(st->row_sequence);
    values[2] = DB_I(st->kind);
    values[3] = st->chat_id ? DB_I(st->chat_id) : DB_N;
    values[4] = DB_I(st->prior);
    values[5] = st->has_once ? DB_B(once) : DB_N;
    values[6] = st->producer_n ? DB_B(producer) : DB_N;
    values[7] = DB_B(hash);
    values[8] = DB_B(raw);
}

static int insert_rows(struct store *s, size_t n, struct err *e)
{
    static const enum db_type types[COLUMNS] = {DB_INT,   DB_INT,   DB_INT,   DB_INT,  DB_INT,
                                                DB_BYTES, DB_BYTES, DB_BYTES, DB_BYTES};
    struct db_copy *copy = NULL;
    int rc = db_copy_begin(s->db, "record",
                           "stream, sequence, kind, chat_id, prior, once, producer, hash, raw",
                           types, COLUMNS, &copy, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        struct db_value values[COLUMNS];
        if (s->states[i].class < 0 || s->states[i].duplicate)
            continue;
        row_values(s, &s->states[i], values);
        rc = db_copy_row(copy, values, e);
        if (rc < 0) {
            db_copy_abort(copy);
            return rc;
        }
    }
    return db_copy_end(copy, e);
}

static int build_all(struct store *s, const struct store_event *events, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (s->states[i].class < 0)
            continue;
        int rc = event_build(s, &events[i], &s->states[i], e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int presence_all(struct store *s, const struct store_event *events, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (s->states[i].class < 0 || s->states[i].duplicate ||
            events[i].presence == STORE_PRESENCE_NONE)
            continue;
        int rc = event_presence(s, &events[i], e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The usual way: all at once, and any trouble with the data fails the group. */
static int store_together(struct store *s, const struct store_event *events, size_t n,
                          struct err *e)
{
    int rc = build_all(s, events, n, e);
    if (rc == 0)
        rc = insert_rows(s, n, e);
    if (rc == 0)
        rc = presence_all(s, events, n, e);
    return rc;
}

static int store_one(struct store *s, const struct store_event *event, struct event_state *st,
                     struct err *e)
{
    static const char insert[] =
        "INSERT INTO record (stream, sequence, kind, chat_id, prior, once, producer, hash, raw)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    if (st->producer_n) {
        int rc = event_find_producer(s, event, st, e);
        if (rc != ERR_NOT_FOUND)
            return rc;
    }
    uint64_t mark = once_mark(s->once);
    int rc = event_build(s, event, st, e);
    if (rc < 0 || st->duplicate || st->class < 0)
        return rc;

    struct db_value values[COLUMNS];
    row_values(s, st, values);
    rc = db_savepoint(s->db, e);
    if (rc < 0)
        return rc;
    rc = db_run(s->db, insert, values, COLUMNS, NULL, e);
    if (rc == 0 && event->presence != STORE_PRESENCE_NONE)
        rc = event_presence(s, event, e);
    if (!data_error(rc))
        return rc < 0 ? rc : db_savepoint_keep(s->db, e);
    st->head->now = st->before;
    once_undo(s->once, mark);
    int undone = db_savepoint_undo(s->db, NULL);
    return undone < 0 ? undone : rc;
}

/* After a data error: each by itself, so that only the bad ones stay out. Sequence, previous hash
 * and bytes are made anew from the heads. */
static int store_singly(struct store *s, const struct store_event *events, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        struct event_state *st = &s->states[i];
        struct err why = {0};
        if (st->class < 0)
            continue;
        int rc = store_one(s, &events[i], st, &why);
        if (rc < 0 && !data_error(rc)) {
            if (e)
                *e = why;
            return rc;
        }
        if (rc < 0) {
            st->class = ERR_REJECTED;
            (void)snprintf(st->text, sizeof st->text, "%.159s", why.text);
        }
    }
    return 0;
}

static size_t count_rows(const struct store *s, size_t n)
{
    size_t rows = 0;
    for (size_t i = 0; i < n; i++)
        rows += s->states[i].class == 0 && !s->states[i].duplicate;
    return rows;
}

/* AUTOINCREMENT numbers the rows of one transaction one after the other. */
static int note_positions(struct store *s, size_t n, struct err *e)
{
    int64_t pos = 0;
    if (db_kind(s->db) != DB_SQLITE || count_rows(s, n) == 0)
        return 0;
    int rc = db_int(s->db, "SELECT max(pos) FROM record", DB_NO_ARGS, 0, &pos, e);
    for (size_t i = n; rc == 0 && i > 0; i--) {
        if (s->states[i - 1].class == 0 && !s->states[i - 1].duplicate)
            s->states[i - 1].pos = pos--;
    }
    return rc;
}

struct also {
    store_also_fn *run;
    void *arg;
};

typedef int store_way_fn(struct store *s, const struct store_event *events, size_t n,
                         struct err *e);

static int transaction(struct store *s, store_way_fn *way, const struct store_event *events,
                       size_t n, const struct also *also, struct err *e)
{
    OWN(own_db_rollback) struct db *txn = NULL;

    buf_clear(&s->bytes);
    s->once_mark = once_mark(s->once);
    int rc = db_begin(s->db, e);
    if (rc < 0)
        return rc;
    txn = s->db;
    rc = claims_check(&s->claims, s->db, e);
    if (rc == 0)
        rc = way(s, events, n, e);
    if (rc == 0)
        rc = note_positions(s, n, e);
    if (rc == 0 && also->run && count_rows(s, n) < n)
        rc = err_set(e, s->states[0].class == ERR_CONFLICT ? ERR_CONFLICT : ERR_REJECTED, "%s",
                     s->states[0].text);
    if (rc == 0 && also->run)
        rc = also->run(s, also->arg, e);
    FAULT("store.commit.before");
    if (rc == 0)
        rc = db_commit(s->db, e);
    FAULT("store.commit.after");
    if (rc == 0)
        txn = NULL;
    return rc;
}

/* Memory follows the outcome: what is durable, or nothing where the outcome is not known. */
static int settle_heads(struct store *s, int rc)
{
    if (rc == 0) {
        streams_commit(s->streams);
    } else if (rc == ERR_DOUBT || db_broken(s->db) || s->claims.lease_ms > 0) {
        /* A stream taken over in a transaction that failed is not ours. */
        streams_clear(s->streams);
        once_clear(s->once);
    } else {
        streams_undo(s->streams);
        once_undo(s->once, s->once_mark);
    }
    return rc;
}

static void fill_result(const struct store *s, const struct event_state *st, int class,
                        const struct err *e, struct store_result *r)
{
    if (st->class < 0) {
        *r = (struct store_result){.class = st->class};
        memcpy(r->text, st->text, sizeof r->text);
        return;
    }
    *r = (struct store_result){
        .class = class,
        .duplicate = st->duplicate,
        .stream = st->stream,
        .sequence = st->row_sequence,
        .chat_id = st->chat_id,
        .pos = st->pos,
    };
    memcpy(r->hash, st->hash, SHA256_SIZE);
    if (!st->duplicate && (class == 0 || class == ERR_DOUBT))
        r->record = (struct slice){s->bytes.p + st->record_at, st->record_n};
    if (class < 0)
        (void)snprintf(r->text, sizeof r->text, "%.159s", e->text);
}

static void fill_results(const struct store *s, size_t n, int class, const struct err *e,
                         struct store_result *results)
{
    for (size_t i = 0; i < n; i++)
        fill_result(s, &s->states[i], class, e, &results[i]);
}

static void tell_stored(const struct store *s, const struct store_event *events, size_t n,
                        const struct store_result *results)
{
    for (size_t i = 0; s->stored && i < n; i++) {
        if (results[i].class == 0 && !results[i].duplicate)
            s->stored(s->stored_arg, event_subject(s, &events[i], &s->states[i]), &results[i]);
    }
}

static void fresh_bytes(struct store *s)
{
    buf_done(&s->bytes);
    buf_init(&s->bytes, 2 * STORE_MAX_GROUP_BYTES);
}

static int make_states(struct store *s, const struct store_event *events, size_t n, struct err *e)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += events[i].members.n + events[i].raw.n;
    if (n > STORE_MAX_GROUP || bytes > STORE_MAX_GROUP_BYTES)
        return err_set(e, ERR_REJECTED, "a group of %zu events and %zu bytes is too large", n,
                       bytes);
    if (n > s->states_n) {
        struct event_state *states = realloc(s->states, n * sizeof *states);
        if (!states)
            return err_memory(e, "storing a group");
        s->states = states;
        s->states_n = n;
    }
    if (s->bytes.cap > STORE_KEEP_BYTES)
        fresh_bytes(s);
    buf_clear(&s->text);
    for (size_t i = 0; i < n; i++)
        event_prepare(s, &events[i], &s->states[i]);
    return 0;
}

static bool all_refused(const struct store *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s->states[i].class == 0)
            return false;
    }
    return true;
}

static void fail_all(size_t n, int class, const struct err *e, struct store_result *results)
{
    for (size_t i = 0; i < n; i++) {
        results[i] = (struct store_result){.class = class};
        (void)snprintf(results[i].text, sizeof results[i].text, "%.159s", e->text);
    }
}

int store_append_with(struct store *s, const struct store_event *events, size_t n,
                      struct store_result *results, store_also_fn *run, void *arg, struct err *e)
{
    struct err own = {0};
    struct err *why = e ? e : &own;
    struct also also = {run, arg};

    int rc = make_states(s, events, n, why);
    if (rc < 0) {
        fail_all(n, rc, why, results);
        return rc;
    }
    if (!run && all_refused(s, n)) {
        fill_results(s, n, 0, why, results);
        return 0;
    }
    rc = settle_heads(s, transaction(s, store_together, events, n, &also, why));
    if (data_error(rc))
        rc = settle_heads(s, transaction(s, store_singly, events, n, &also, why));
    fill_results(s, n, rc, why, results);
    if (rc == 0)
        tell_stored(s, events, n, results);
    return rc;
}

int store_append(struct store *s, const struct store_event *events, size_t n,
                 struct store_result *results, struct err *e)
{
    return store_append_with(s, events, n, results, NULL, NULL, e);
}
