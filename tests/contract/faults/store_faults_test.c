/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store with everything failing once that may fail (way.h): each failure is a clean error, what
 * failed can be done again, and in the end every stream is a whole chain with what was appended,
 * once.
 */
#include "base/clock.h"
#include "base/own.h"
#include "chat-server/store/directory.h"
#include "chat-server/store/heal_store.h"
#include "chat-server/store/store.h"
#include "mgccomp/chain.h"
#include "tests/contract/faults/way.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SOURCE SLICE("sip:pool.example.com")
#define ROOM   SLICE("ma-chan://example.com/one")
#define ONE    SLICE("urn:uuid:one")
#define TWO    SLICE("urn:uuid:two")
#define ANN    "\"participant\":\"sip:ann@example.com\",\"text\":\"hello\""

enum { GROUP = 6 };

struct place {
    const char *postgres; /* NULL: SQLite */
    char url[512];
    struct store *s;
    struct slice session; /* to write for after a reconnect; absent: none */
    int64_t stream;       /* of ROOM */
    bool sharing;
    struct err e;
};

static void fresh_url(struct place *p, const char *scratch)
{
    static int cases;
    OWN(own_db) struct db *db = NULL;
    char sql[64];
    cases++;
    if (!p->postgres) {
        (void)snprintf(p->url, sizeof p->url, "sqlite:%s/store%d.db", scratch, cases);
        return;
    }
    (void)snprintf(sql, sizeof sql, "CREATE DATABASE faults%d", cases);
    ok(db_open(&db, p->postgres, 0, &p->e), &p->e);
    ok(db_script(db, sql, &p->e), &p->e);
    const char *at = strstr(p->postgres, "/postgres?");
    assert_non_null(at);
    (void)snprintf(p->url, sizeof p->url, "%.*s/faults%d%s", (int)(at - p->postgres), p->postgres,
                   cases, at + strlen("/postgres"));
}

/* What the writer does when the store broke. PostgreSQL may still hold the lock of the connection
 * that went for a moment. */
static void connected(void *arg)
{
    struct place *p = arg;
    if (p->s && !store_broken(p->s))
        return;
    int rc = ERR_CONFLICT;
    for (int i = 0; rc == ERR_CONFLICT && i < 100000; i++) {
        store_close(p->s);
        p->s = NULL;
        ok(store_open(&p->s, p->url, &p->e), &p->e);
        rc = p->session.n ? store_resume_session(p->s, SOURCE, p->session, &p->e) : 0;
    }
    /* An end that was in doubt took place. */
    if (rc == ERR_STOPPED)
        p->session = (struct slice){0};
    else
        ok(rc, &p->e);
}

/* ---- the steps ---- */

static int open_store(void *arg)
{
    struct place *p = arg;
    return store_open(&p->s, p->url, &p->e);
}

static int add_room(void *arg)
{
    struct place *p = arg;
    char uri[256];
    return directory_add_room(p->s, SLICE("example.com"), SLICE("One"), SLICE("the first"),
                              SLICE("sip:ann@example.com"), false, uri, &p->e);
}

static int add_user(void *arg)
{
    struct place *p = arg;
    return directory_add_user(p->s, SLICE("sip:ann@example.com"), SLICE("Ann"), &p->e);
}

static int see_room(void *arg, const struct directory_room *r, struct err *e)
{
    (void)arg;
    (void)r;
    (void)e;
    return 0;
}

static int see_user(void *arg, const struct directory_user *u, struct err *e)
{
    (void)arg;
    (void)u;
    (void)e;
    return 0;
}

static int read_directory(void *arg)
{
    struct place *p = arg;
    int rc = directory_rooms(p->s, see_room, NULL, &p->e);
    if (rc == 0)
        rc = directory_users(p->s, see_user, NULL, &p->e);
    if (rc == 0)
        rc = directory_find_room_named(p->s, SLICE("One"), see_room, NULL, &p->e);
    if (rc == 0)
        rc = directory_find_user(p->s, SLICE("sip:ann@example.com"), see_user, NULL, &p->e);
    return rc;
}

static int begin(struct place *p, struct slice session)
{
    return store_begin_session(p->s, SOURCE, session, SLICE("\"server\":\"a\""), &p->e);
}

static int begin_one(void *arg)
{
    return begin(arg, ONE);
}

static int begin_two(void *arg)
{
    return begin(arg, TWO);
}

/* As the writer does it, whether the beginning was in doubt or not. */
static int resume(struct place *p, struct slice session)
{
    int rc = store_resume_session(p->s, SOURCE, session, &p->e);
    if (rc == 0)
        p->session = session;
    return rc;
}

static int resume_one(void *arg)
{
    return resume(arg, ONE);
}

static int resume_two(void *arg)
{
    return resume(arg, TWO);
}

static int append(struct place *p, const struct store_event *events, size_t n, size_t refused)
{
    struct store_result r[GROUP];
    size_t not_stored = 0;
    int rc = store_append(p->s, events, n, r, &p->e);
    for (size_t i = 0; i < n; i++) {
        assert_true(r[i].class == 0 || r[i].text[0]);
        not_stored += r[i].class < 0;
        if (r[i].class != ERR_REJECTED && r[i].class < 0 && rc == 0)
            rc = r[i].class;
    }
    /* The same ones each time, whatever failed around them. */
    if (rc == 0)
        assert_int_equal(not_stored, refused);
    return rc;
}

static struct store_event post(struct slice room, uint8_t once)
{
    return (struct store_event){.source = SOURCE,
                                .subject = room,
                                .kind = RECORD_POST,
                                .time_us = clock_wall_us(),
                                .members = SLICE(ANN),
                                .numbered = true,
                                .has_once = true,
                                .once = {once}};
}

static struct store_event join(struct slice session, uint8_t once)
{
    struct store_event event = post(ROOM, once);
    event.kind = RECORD_JOIN;
    event.numbered = false;
    event.presence = STORE_PRESENCE_JOIN;
    event.session = session;
    event.participant = SLICE("sip:ann@example.com");
    event.endpoint = SLICE("e");
    event.name = SLICE("Ann");
    return event;
}

#define RAW(id)                                                                                    \
    SLICE("{\"specversion\":\"1.0\",\"id\":\"" id "\",\"type\":\"org.example.note\","              \
          "\"time\":\"2026-11-24T06:12:19Z\",\"subject\":\"" id "\"}")

static int append_group(void *arg)
{
    struct place *p = arg;
    struct store_event events[GROUP] = {join(p->session, 1),   post(ROOM, 2),
                                        post(SLICE("r:b"), 3), {.source = SOURCE, .raw = RAW("a")},
                                        post(ROOM, 5),         post(ROOM, 2)};
    return append(p, events, GROUP, 0);
}

/* One leave too many: the group is stored one by one. */
static int append_with_a_bad_one(void *arg)
{
    struct place *p = arg;
    struct store_event events[GROUP] = {post(ROOM, 11),
                                        join(p->session, 12),
                                        post(ROOM, 13),
                                        {.source = SOURCE, .raw = RAW("a")},
                                        {.source = SOURCE, .raw = RAW("c")},
                                        join(p->session, 14)};
    events[1].kind = RECORD_LEAVE;
    events[1].presence = STORE_PRESENCE_LEAVE;
    events[1].participant = SLICE("sip:nobody@example.com");
    return append(p, events, GROUP, 1);
}

static int see_row(void *arg, const struct store_row *row, struct err *e)
{
    (void)arg;
    (void)row;
    (void)e;
    return 0;
}

static int find_room(void *arg, const struct store_stream *st, struct err *e)
{
    struct place *p = arg;
    (void)e;
    if (slice_eq(st->subject, ROOM))
        p->stream = st->id;
    return 0;
}

static int see_member(void *arg, const struct store_member *m, struct err *e)
{
    (void)m;
    (void)e;
    ++*(int *)arg;
    return 0;
}

static int read_all(void *arg)
{
    struct place *p = arg;
    int members = 0;
    int64_t last = 0;
    int rc = store_streams(p->s, find_room, p, &p->e);
    if (rc == 0)
        rc = store_read_stream(p->s, p->stream, 1, 100, 100, see_row, NULL, &p->e);
    if (rc == 0)
        rc = store_read_posts(p->s, SOURCE, ROOM, 0, 10, see_row, NULL, &p->e);
    if (rc == 0)
        rc = store_members(p->s, ROOM, see_member, &members, &p->e);
    if (rc == 0)
        assert_int_equal(members, 1);
    if (rc == 0 && !p->postgres)
        rc = store_last_pos(p->s, &last, &p->e);
    if (rc == 0 && !p->postgres)
        rc = store_read_from(p->s, 1, 100, 1 << 20, see_row, NULL, &p->e);
    return rc;
}

static int see_parked(void *arg, const struct store_parked *parked, struct err *e)
{
    (void)arg;
    (void)parked;
    (void)e;
    return 0;
}

static int note_relayed(void *arg)
{
    struct place *p = arg;
    int64_t relayed = 0;
    int rc = store_set_relayed(p->s, p->stream, 1, &p->e);
    if (rc == 0)
        rc = store_park(p->s, p->stream, 2, SLICE("too large"), &p->e);
    if (rc == 0)
        rc = store_relayed(p->s, p->stream, &relayed, &p->e);
    if (rc == 0)
        rc = store_parked(p->s, see_parked, NULL, &p->e);
    if (rc == 0)
        assert_int_equal(relayed, 2);
    return rc;
}

static int see_end(void *arg, int32_t part, int64_t offset, struct err *e)
{
    (void)arg;
    (void)part;
    (void)offset;
    (void)e;
    return 0;
}

static int see_change(void *arg, const struct store_log_change *c, struct err *e)
{
    (void)arg;
    (void)c;
    (void)e;
    return 0;
}

static int note_log(void *arg)
{
    struct place *p = arg;
    int64_t left = 1;
    int64_t found = 0;
    int rc = store_set_queue_end(p->s, SOURCE, 0, 7, &p->e);
    if (rc == 0)
        rc = store_queue_ends(p->s, SOURCE, see_end, NULL, &p->e);
    if (rc == 0)
        rc = store_log_change_open(p->s, SOURCE, 0, 7, 3, &p->e);
    if (rc == 0)
        rc = store_log_changes(p->s, false, see_change, NULL, &p->e);
    if (rc == 0)
        rc = store_log_change_close(p->s, SOURCE, INT64_MAX, "sent again", &left, &p->e);
    if (rc == 0)
        rc = store_find_stream(p->s, SOURCE, 1, ROOM, &found, &p->e);
    if (rc == 0 && !p->postgres)
        rc = store_first_pos(p->s, found, 1, 2, &left, &p->e);
    if (rc == 0)
        assert_int_equal(found, p->stream);
    return rc;
}

/* The process dies with somebody in a room; the next session says that they left. */
static int die(void *arg)
{
    struct place *p = arg;
    p->session = (struct slice){0};
    store_close(p->s);
    p->s = NULL;
    return 0;
}

static int end(void *arg)
{
    struct place *p = arg;
    int rc = p->session.n ? store_end_session(p->s, &p->e) : 0;
    if (rc == 0)
        p->session = (struct slice){0};
    return rc;
}

#define STEP(fn, ...)                                                                              \
    {                                                                                              \
        .name = #fn, .run = fn, .ready = connected, __VA_ARGS__                                    \
    }
static const struct faults_step steps[] = {
    {.name = "open_store", .run = open_store},
    STEP(add_room, .again = ERR_CONFLICT),
    STEP(add_user, .again = ERR_CONFLICT),
    STEP(read_directory),
    STEP(begin_one, .again = ERR_CONFLICT),
    STEP(resume_one),
    STEP(append_group),
    STEP(append_with_a_bad_one),
    STEP(read_all),
    STEP(note_relayed),
    STEP(note_log),
    STEP(die),
    STEP(begin_two, .again = ERR_CONFLICT),
    STEP(resume_two),
    STEP(append_group),
    STEP(end),
};

/* ---- what is there in the end ---- */

struct chain {
    struct json_doc *doc;
    struct chain_head head;
    int64_t rows;
};

static int judge_row(void *arg, const struct store_row *row, struct err *e)
{
    struct chain *c = arg;
    struct record r;
    int rc = record_decode(c->doc, row->raw, &r, e);
    if (rc == 0 && chain_judge(&c->head, r.sequence, r.previous) != CHAIN_NEXT)
        rc = err_set(e, ERR_FAULT, "the chain breaks at %" PRId64, r.sequence);
    if (rc < 0)
        return rc;
    c->head.sequence = r.sequence;
    memcpy(c->head.hash, r.hash, SHA256_SIZE);
    c->rows++;
    return 0;
}

static void judge_all(struct place *p, int64_t *rows)
{
    OWN(own_store) struct store *s = NULL;
    int64_t streams = 0;
    *rows = 0;
    ok(store_open_reader(&s, p->url, &p->e), &p->e);
    ok(db_int(store_db(s), "SELECT max(id) FROM stream", DB_NO_ARGS, 0, &streams, &p->e), &p->e);
    for (int64_t id = 1; id <= streams; id++) {
        struct chain c = {.doc = json_doc_new()};
        assert_non_null(c.doc);
        ok(store_read_stream(s, id, 1, INT64_MAX, 1000, judge_row, &c, &p->e), &p->e);
        json_doc_free(c.doc);
        *rows += c.rows;
    }
}

static const char *const told[] = {
    "SELECT count(*) FROM record",
    "SELECT count(*) FROM record WHERE kind = 1",
    "SELECT count(*) FROM record WHERE kind = 2",
    "SELECT count(*) FROM record WHERE kind = 3",
    "SELECT max(chat_id) FROM record",
    "SELECT count(*) FROM record WHERE producer IS NOT NULL",
    "SELECT count(*) FROM participant",
    "SELECT count(*) FROM session WHERE ended_us IS NULL",
    "SELECT count(*) FROM session",
    "SELECT count(*) FROM parked",
    "SELECT count(*) FROM log_change WHERE closed_us IS NULL",
    "SELECT count(*) FROM room",
    "SELECT count(*) FROM chat_user",
};
enum { TOLD = sizeof told / sizeof told[0] };

static void walk(const struct parts *parts, const char *postgres, enum fault_kind kind,
                 int64_t *out)
{
    struct place p = {.postgres = postgres};
    int64_t rows = 0;
    fresh_url(&p, parts->scratch);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        faults_sweep(kind, &steps[i], &p);
    connected(&p);
    for (size_t i = 0; i < TOLD; i++)
        ok(db_int(store_db(p.s), told[i], DB_NO_ARGS, 0, &out[i], &p.e), &p.e);
    store_close(p.s);
    judge_all(&p, &rows);
    assert_int_equal(rows, out[0]);
}

static bool worth(const int64_t *out)
{
    return out[0] > 10 && out[2] > 0 && out[8] == 2;
}

int main(void)
{
    static const struct way way = {walk, told, TOLD, worth};
    return way_main(&way);
}
