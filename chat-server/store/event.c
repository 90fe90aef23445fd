/* SPDX-License-Identifier: Apache-2.0 */
/* One event on its way into the table: checked, given its place in the stream, made into bytes. */
#include "base/clock.h"
#include "base/own.h"
#include "chat-server/store/plain.h"
#include "chat-server/store/store_inside.h"
#include "mgccomp/chain.h"

#include <string.h>

/* 2200-01-01: what lies further out is judged in full. */
#define PLAIN_TIME_END_US INT64_C(7258118400000000)

static bool fits(struct slice s, size_t min, size_t max)
{
    if (s.n < min || s.n > max || !utf8_valid(s))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    }
    return true;
}

static int check_presence(const struct store_event *event, struct err *e)
{
    if (event->presence == STORE_PRESENCE_NONE)
        return 0;
    if (!fits(event->session, 1, RECORD_MAX_SUBJECT))
        return err_set(e, ERR_REJECTED, "session of a presence is missing or not plain text");
    if (!fits(event->participant, 1, RECORD_MAX_PARTICIPANT))
        return err_set(e, ERR_REJECTED, "participant is missing, too long or not plain text");
    if (!fits(event->endpoint, 0, RECORD_MAX_PARTICIPANT))
        return err_set(e, ERR_REJECTED, "endpoint is too long or not plain text");
    if (!fits(event->name, 0, RECORD_MAX_PARTICIPANT))
        return err_set(e, ERR_REJECTED, "name is too long or not plain text");
    return 0;
}

/* A producer's (source, id) is never stored twice. Ids that rise stay neighbours in the index, so
 * that a group touches few of its pages; of a long id the end is hashed. */
static void producer_key(struct slice source, struct slice id, struct event_state *st)
{
    uint8_t hash[SHA256_SIZE];
    size_t whole = id.n <= STORE_KEY_WHOLE ? id.n : STORE_KEY_HEAD;
    sha256(source.p, source.n, hash);
    memcpy(st->producer, hash, STORE_KEY_SOURCE);
    memcpy(st->producer + STORE_KEY_SOURCE, id.p, whole);
    st->producer_n = STORE_KEY_SOURCE + whole;
    if (whole < id.n) {
        sha256(id.p, id.n, hash);
        memcpy(st->producer + st->producer_n, hash, SHA256_SIZE);
        st->producer_n += SHA256_SIZE;
    }
}

static void own_sha256(struct sha256 **d)
{
    sha256_free(*d);
}

static int prepare_raw(struct store *s, const struct store_event *event, struct event_state *st,
                       struct err *e)
{
    struct record r;
    int rc = record_decode_producer(s->json, slice_trim(event->raw), &r, e);
    if (rc < 0)
        return rc;
    if (r.source.p && !slice_eq(r.source, event->source))
        return err_set(e, ERR_REJECTED, "source is \"%.*s\", not \"%.*s\"",
                       r.source.n < 60 ? (int)r.source.n : 60, r.source.p,
                       event->source.n < 60 ? (int)event->source.n : 60, event->source.p);

    producer_key(event->source, r.id, st);
    st->kind = r.kind;
    st->has = (struct record_has){r.source.p != NULL, r.sequenced};
    st->epoch = r.sequenced ? r.epoch : claims_epoch(&s->claims, event->source);
    st->sequence = r.sequence;
    memcpy(st->previous, r.previous, SHA256_SIZE);
    st->subject_at = s->text.n;
    st->subject_n = r.subject.n;
    buf_slice(&s->text, r.subject);
    return buf_ok(&s->text, "subjects of a group", e);
}

static int prepare_own(const struct store *s, const struct store_event *event,
                       struct event_state *st, struct err *e)
{
    if (!record_type(event->kind))
        return err_set(e, ERR_REJECTED, "kind %d is not known", (int)event->kind);
    if (!fits(event->subject, 1, RECORD_MAX_SUBJECT))
        return err_set(e, ERR_REJECTED, "subject is missing, too long or not plain text");
    if (event->members.n > RECORD_MAX_BYTES)
        return err_set(e, ERR_REJECTED, "record has over %d bytes", RECORD_MAX_BYTES);
    st->kind = event->kind;
    st->epoch = claims_epoch(&s->claims, event->source);
    st->has_once = event->has_once;
    memcpy(st->once, event->once, ONCE_SIZE);
    return 0;
}

void event_prepare(struct store *s, const struct store_event *event, struct event_state *st)
{
    struct err e = {0};

    memset(st, 0, sizeof *st);
    if (!claims_has(&s->claims, event->source))
        st->class = err_set(&e, ERR_REJECTED, "source \"%.*s\" is not claimed by this writer",
                            event->source.n < 60 ? (int)event->source.n : 60,
                            event->source.p ? event->source.p : "");
    else
        st->class = event->raw.p ? prepare_raw(s, event, st, &e) : prepare_own(s, event, st, &e);
    if (st->class == 0)
        st->class = check_presence(event, &e);
    if (st->class < 0)
        (void)snprintf(st->text, sizeof st->text, "%.159s", e.text);
}

struct slice event_subject(const struct store *s, const struct store_event *event,
                           const struct event_state *st)
{
    if (event->raw.p)
        return (struct slice){s->text.p + st->subject_at, st->subject_n};
    return event->subject;
}

static int check_place(const struct event_state *st, const struct stream_state *now, struct err *e)
{
    struct chain_head head = {.sequence = now->sequence};
    memcpy(head.hash, now->hash, SHA256_SIZE);
    switch (chain_judge(&head, st->sequence, st->previous)) {
    case CHAIN_NEXT:
        return 0;
    case CHAIN_ALTERED:
        return err_set(e, ERR_REJECTED,
                       "previous of sequence %lld is not the hash of the record before it",
                       (long long)st->sequence);
    default:
        return err_set(e, ERR_REJECTED, "sequence %lld does not follow the stream's last, %lld",
                       (long long)st->sequence, (long long)now->sequence);
    }
}

static int build_raw(struct store *s, const struct store_event *event, const struct event_state *st,
                     const struct stream_state *now, struct err *e)
{
    struct record_head h = {
        .source = event->source,
        .epoch = st->epoch,
        .sequence = now->sequence + 1,
        .previous = now->hash,
    };
    if (st->has.epoch_sequence_previous) {
        int rc = check_place(st, now, e);
        if (rc < 0)
            return rc;
    }
    return record_complete(&s->bytes, slice_trim(event->raw), &st->has, &h, e);
}

static void build_own(struct store *s, const struct store_event *event,
                      const struct event_state *st, const struct stream_state *now)
{
    char id[37];
    struct slice members = event->members;

    if (st->chat_id) {
        buf_clear(&s->members);
        buf_text(&s->members, "\"chatId\":");
        buf_i64(&s->members, st->chat_id);
        if (members.n > 0)
            buf_char(&s->members, ',');
        buf_slice(&s->members, members);
        members = buf_view(&s->members);
    }
    uuid_v7(clock_wall_us(), id);
    struct record_head h = {
        .id = id,
        .source = event->source,
        .type = slice_of(record_type(event->kind)),
        .subject = event->subject,
        .time_us = event->time_us,
        .epoch = st->epoch,
        .sequence = now->sequence + 1,
        .previous = now->hash,
    };
    record_build(&s->bytes, &h, members);
}

/* What nobody could read later is never stored: our own records are read back like others'. */
static int check_built(struct store *s, const struct store_event *event, struct event_state *st,
                       struct err *e)
{
    struct slice raw = {s->bytes.p + st->record_at, st->record_n};
    if (raw.n > RECORD_MAX_BYTES)
        return err_set(e, ERR_REJECTED, "record has %zu bytes, more than %d", raw.n,
                       RECORD_MAX_BYTES);
    if (event->raw.p) {
        sha256(raw.p, raw.n, st->hash);
        return 0;
    }
    if (fits(event->source, 1, RECORD_MAX_SOURCE) && event->time_us >= 0 &&
        event->time_us < PLAIN_TIME_END_US && plain_members(event->kind, event->members)) {
        sha256(raw.p, raw.n, st->hash);
        return 0;
    }
    struct record r;
    int rc = record_decode(s->json, raw, &r, e);
    if (rc < 0)
        return rc;
    memcpy(st->hash, r.hash, SHA256_SIZE);
    return 0;
}

static int stored_hash(struct store *s, struct event_state *st, struct err *e)
{
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(s->db, "SELECT hash FROM record WHERE stream = $1 AND sequence = $2",
                      DB_ARGS(DB_I(st->stream), DB_I(st->row_sequence)), &rows, e);
    if (rc == 0)
        rc = db_rows_next(rows, e);
    if (rc < 0)
        return rc;
    struct slice hash = db_rows_slice(rows, 0);
    if (rc == 0 || hash.n != SHA256_SIZE)
        return err_set(e, ERR_FAULT, "a record that was stored before is not there");
    memcpy(st->hash, hash.p, SHA256_SIZE);
    return 0;
}

/* An event that was stored before is not stored again, be it in this group or earlier. */
static int seen_before(struct store *s, struct stream_head *head, const struct stream_key *key,
                       struct event_state *st, struct err *e)
{
    struct once_place place;
    int rc = heads_window(s, head, key, e);
    if (rc < 0 || !once_find(s->once, st->once, &place))
        return rc;
    st->duplicate = true;
    st->stream = place.stream;
    st->row_sequence = place.sequence;
    st->chat_id = place.chat_id;
    for (const struct event_state *x = s->states; x < st; x++) {
        if (x->class == 0 && !x->duplicate && x->stream == st->stream &&
            x->row_sequence == st->row_sequence) {
            memcpy(st->hash, x->hash, SHA256_SIZE);
            return 0;
        }
    }
    return stored_hash(s, st, e);
}

/* This event alone stays out; the others of its group go in. */
static int refuse(struct event_state *st, int class, const struct err *e)
{
    st->class = class;
    (void)snprintf(st->text, sizeof st->text, "%.159s", e ? e->text : "");
    return 0;
}

int event_build(struct store *s, const struct store_event *event, struct event_state *st,
                struct err *e)
{
    struct stream_head *head = NULL;
    const struct stream_key key = {event->source, event_subject(s, event, st), st->epoch};
    st->duplicate = false; /* in a group that failed it was one of an event that may stay out now */
    int rc = heads_take(s, &key, &head, e);
    if (rc == ERR_CONFLICT && s->claims.lease_ms > 0)
        return refuse(st, rc, e);
    if (rc == 0 && st->has_once)
        rc = seen_before(s, head, &key, st, e);
    if (rc < 0 || st->duplicate)
        return rc;
    if (head->now.sequence >= RECORD_MAX_SEQUENCE)
        return err_set(e, ERR_REJECTED, "the stream is full");

    st->chat_id = event->numbered && !event->raw.p ? head->now.chat_id + 1 : 0;
    st->record_at = s->bytes.n;
    if (event->raw.p)
        rc = build_raw(s, event, st, &head->now, e);
    else
        build_own(s, event, st, &head->now);
    if (rc == 0)
        rc = buf_ok(&s->bytes, "group of records", e);
    if (rc < 0)
        return rc;
    st->record_n = s->bytes.n - st->record_at;
    rc = check_built(s, event, st, e);
    if (rc < 0)
        return rc;

    st->head = head;
    st->before = head->now;
    st->stream = head->now.stream;
    st->row_sequence = ++head->now.sequence;
    memcpy(head->now.hash, st->hash, SHA256_SIZE);
    st->prior = head->now.post;
    if (st->chat_id) {
        head->now.chat_id = st->chat_id;
        head->now.post = st->row_sequence;
    }
    if (st->has_once)
        once_add(s->once, st->once, &(struct once_place){st->stream, st->row_sequence, st->chat_id},
                 false);
    return 0;
}

static int presence_key(const struct store_event *event, uint8_t out[SHA256_SIZE], struct err *e)
{
    const struct slice parts[] = {event->session, event->subject, event->participant,
                                  event->endpoint};
    OWN(own_sha256) struct sha256 *digest = sha256_new();
    if (!digest)
        return err_memory(e, "presence");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        sha256_add(digest, parts[i].p, parts[i].n);
        sha256_add(digest, "", 1);
    }
    sha256_end(digest, out);
    return 0;
}

int event_presence(struct store *s, const struct store_event *event, struct err *e)
{
    static const char join[] =
        "INSERT INTO participant (key, session, room, uri, endpoint, name, joined_us)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (key) DO UPDATE SET name = excluded.name";
    static const char leave[] = "DELETE FROM participant WHERE key = $1";
    uint8_t key[SHA256_SIZE];

    int rc = presence_key(event, key, e);
    if (rc < 0)
        return rc;
    struct slice key_bytes = {(const char *)key, sizeof key};
    if (event->presence == STORE_PRESENCE_JOIN)
        return db_run(s->db, join,
                      DB_ARGS(DB_B(key_bytes), DB_T(event->session), DB_T(event->subject),
                              DB_T(event->participant), DB_T(event->endpoint), DB_T(event->name),
                              DB_I(event->time_us)),
                      NULL, e);
    int64_t changed = 0;
    rc = db_run(s->db, leave, DB_ARGS(DB_B(key_bytes)), &changed, e);
    if (rc == 0 && changed == 0)
        return err_set(e, ERR_REJECTED, "the participant is not in the room");
    return rc;
}

/* The stored bytes of a producer's record begin with the producer's own, up to the closing brace.
 */
static bool same_content(struct slice stored, struct slice producer)
{
    struct slice own = slice_trim(producer);
    return own.n > 0 && stored.n >= own.n && memcmp(stored.p, own.p, own.n - 1) == 0 &&
           (stored.p[own.n - 1] == ',' || stored.n == own.n);
}

int event_find_producer(struct store *s, const struct store_event *event, struct event_state *st,
                        struct err *e)
{
    static const char find[] = "SELECT stream, sequence, hash, raw FROM record WHERE producer = $1";
    OWN(own_db_rows) struct db_rows *rows = NULL;
    struct slice key = {(const char *)st->producer, st->producer_n};

    int rc = db_query(s->db, find, DB_ARGS(DB_B(key)), &rows, e);
    if (rc == 0)
        rc = db_rows_next(rows, e);
    if (rc < 0)
        return rc;
    struct slice hash = db_rows_slice(rows, 2);
    if (rc == 0 || hash.n != SHA256_SIZE)
        return err_set(e, ERR_NOT_FOUND, "no such record");
    if (!same_content(db_rows_slice(rows, 3), event->raw))
        return err_set(e, ERR_REJECTED,
                       "a record of this source and id is stored already, with other content");
    st->duplicate = true;
    st->stream = db_rows_int(rows, 0);
    st->row_sequence = db_rows_int(rows, 1);
    memcpy(st->hash, hash.p, SHA256_SIZE);
    return 0;
}
