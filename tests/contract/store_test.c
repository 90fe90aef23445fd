/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chat-server/store, the same cases on SQLite and on a private PostgreSQL: what is appended is a
 * contiguous chain, whatever is killed, repeated or refused on the way.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/own.h"
#include "chat-server/store/directory.h"
#include "chat-server/store/store.h"
#include "chat-server/store/writer.h"
#include "mgccomp/chain.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#define SOURCE SLICE("sip:pool.example.com")
#define ROOM   SLICE("ma-chan://example.com/one")

extern char **environ;

static const char *scratch;
static int cases;

struct place {
    enum db_kind kind;
    char url[512];
    struct store *s;
};

/* A database of its own for each case, dropped with the server or the scratch folder. */
static void fresh_url(struct place *p)
{
    cases++;
    if (p->kind == DB_SQLITE) {
        (void)snprintf(p->url, sizeof p->url, "sqlite:%s/store%d.db", scratch, cases);
        return;
    }
    const char *server = getenv("HOLDFAST_TEST_POSTGRES");
    OWN(own_db) struct db *db = NULL;
    struct err e = {0};
    char sql[64];
    assert_non_null(server);
    (void)snprintf(sql, sizeof sql, "CREATE DATABASE store%d", cases);
    if (db_open(&db, server, 0, &e) < 0 || db_script(db, sql, &e) < 0)
        fail_msg("%s", e.text);
    const char *at = strstr(server, "/postgres?");
    assert_non_null(at);
    (void)snprintf(p->url, sizeof p->url, "%.*s/store%d%s", (int)(at - server), server, cases,
                   at + strlen("/postgres"));
}

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        int rc_ = (call);                                                                          \
        if (rc_ < 0)                                                                               \
            fail_msg("%s: %d %s", #call, rc_, e.text);                                             \
    } while (0)

#define FAILS(class_, call)                                                                        \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        int rc_ = (call);                                                                          \
        if (rc_ != (class_))                                                                       \
            fail_msg("%s: %d, not %d: %s", #call, rc_, (class_), e.text);                          \
    } while (0)

static int set_up(void **state, enum db_kind kind)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->kind = kind;
    fresh_url(p);
    OK(store_open(&p->s, p->url, &e));
    *state = p;
    return 0;
}

static int set_up_sqlite(void **state)
{
    return set_up(state, DB_SQLITE);
}

static int set_up_postgres(void **state)
{
    return set_up(state, DB_POSTGRES);
}

static int tear_down(void **state)
{
    struct place *p = *state;
    store_close(p->s);
    free(p);
    return 0;
}

static void reopen(struct place *p)
{
    store_close(p->s);
    p->s = NULL;
    OK(store_open(&p->s, p->url, &e));
}

static struct store_event post_in(struct slice room, const char *members)
{
    return (struct store_event){
        .source = SOURCE,
        .subject = room,
        .kind = RECORD_POST,
        .time_us = clock_wall_us(),
        .members = slice_of(members),
        .numbered = true,
    };
}

static struct store_event post(const char *members)
{
    return post_in(ROOM, members);
}

#define HELLO "\"participant\":\"sip:ann@example.com\",\"text\":\"hello\""

/* ---- reading a stream back and judging it ---- */
struct check {
    struct json_doc *d;
    struct chain_head head;
    int64_t count, chat_id, last_pos;
    const char *subject;
    size_t kinds[RECORD_KINDS];
};

static int check_row(void *arg, const struct store_row *row, struct err *e)
{
    struct check *c = arg;
    struct record r;
    int rc = record_decode(c->d, row->raw, &r, e);
    if (rc < 0)
        return rc;
    if (!r.sequenced || r.sequence != row->sequence || r.kind != row->kind ||
        (r.kind == RECORD_POST && r.chat_id != row->chat_id))
        return err_set(e, ERR_FAULT, "the row and its record differ at %" PRId64, row->sequence);
    if (chain_judge(&c->head, r.sequence, r.previous) != CHAIN_NEXT)
        return err_set(e, ERR_FAULT, "the chain breaks at %" PRId64, row->sequence);
    if (r.chat_id && r.chat_id != ++c->chat_id)
        return err_set(e, ERR_FAULT, "chat id %" PRId64 " breaks the count", r.chat_id);
    c->head.sequence = r.sequence;
    memcpy(c->head.hash, r.hash, SHA256_SIZE);
    c->kinds[r.kind]++;
    c->count++;
    return 0;
}

static struct check check_stream(struct store *s, int64_t stream)
{
    struct check c = {.d = json_doc_new()};
    assert_non_null(c.d);
    for (;;) {
        int64_t before = c.count;
        OK(store_read_stream(s, stream, before + 1, INT64_MAX, 100, check_row, &c, &e));
        if (c.count == before)
            break;
    }
    json_doc_free(c.d);
    c.d = NULL;
    return c;
}

struct find_stream {
    struct slice source, subject;
    int64_t id;
    struct chain_head head;
    size_t all;
};

static int find_visit(void *arg, const struct store_stream *st, struct err *e)
{
    struct find_stream *f = arg;
    (void)e;
    f->all++;
    if (slice_eq(st->subject, f->subject) && slice_eq(st->source, f->source)) {
        f->id = st->id;
        f->head.sequence = st->sequence;
        memcpy(f->head.hash, st->hash, SHA256_SIZE);
    }
    return 0;
}

static struct find_stream find(struct store *s, struct slice source, struct slice subject)
{
    struct find_stream f = {.source = source, .subject = subject};
    OK(store_streams(s, find_visit, &f, &e));
    return f;
}

static struct check check_room(struct store *s, struct slice room)
{
    struct find_stream f = find(s, SOURCE, room);
    assert_true(f.id > 0);
    struct check c = check_stream(s, f.id);
    assert_int_equal(c.head.sequence, f.head.sequence);
    assert_memory_equal(c.head.hash, f.head.hash, SHA256_SIZE);
    return c;
}

/* ---- the cases ---- */
static void appended_is_read_back(void **state)
{
    struct place *p = *state;
    struct store_event events[3] = {post(HELLO), post(HELLO), post(HELLO)};
    struct store_result r[3];

    events[1].kind = RECORD_JOIN;
    events[1].numbered = false;
    OK(store_claim(p->s, SOURCE, &e));
    OK(store_append(p->s, events, 3, r, &e));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(r[i].class, 0);
        assert_int_equal(r[i].sequence, i + 1);
        assert_false(r[i].duplicate);
        assert_int_equal(r[i].stream, r[0].stream);
        assert_true(r[i].record.n > 0);
        assert_int_equal(r[i].pos, p->kind == DB_SQLITE ? i + 1 : 0);
    }
    assert_int_equal(r[0].chat_id, 1);
    assert_int_equal(r[1].chat_id, 0);
    assert_int_equal(r[2].chat_id, 2);
    struct check c = check_room(p->s, ROOM);
    assert_int_equal(c.count, 3);
    assert_memory_equal(c.head.hash, r[2].hash, SHA256_SIZE);
}

static void streams_interleave(void **state)
{
    struct place *p = *state;
    static const char *const rooms[] = {"r:a", "r:b", "r:c"};
    struct store_event events[90];
    struct store_result r[90];

    OK(store_claim(p->s, SOURCE, &e));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 90; i++)
            events[i] = post_in(slice_of(rooms[(i * 7 + round) % 3]), HELLO);
        OK(store_append(p->s, events, 90, r, &e));
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(check_room(p->s, slice_of(rooms[i])).count, 90);
    assert_int_equal(find(p->s, SOURCE, ROOM).all, 3);
}

static void heads_after_reopen(void **state)
{
    struct place *p = *state;
    struct store_event event = post(HELLO);
    struct store_result r;

    for (int i = 1; i <= 5; i++) {
        OK(store_claim(p->s, SOURCE, &e));
        OK(store_append(p->s, &event, 1, &r, &e));
        assert_int_equal(r.sequence, i);
        assert_int_equal(r.chat_id, i);
        reopen(p);
    }
    assert_int_equal(check_room(p->s, ROOM).count, 5);
}

static void one_bad_event_stays_out(void **state)
{
    struct place *p = *state;
    char big[RECORD_MAX_SUBJECT + 2];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    struct store_event events[8];
    struct store_result r[8];

    for (int i = 0; i < 8; i++)
        events[i] = post(HELLO);
    events[1].members = SLICE("\"participant\":\"sip:ann\",\"text\":\"\xff\"");
    events[2].subject = slice_of(big);
    events[3].members = SLICE("\"participant\":\"sip:ann\"}");
    events[4].source = SLICE("sip:other.example.com");
    events[5].presence = STORE_PRESENCE_LEAVE;
    events[5].session = SLICE("urn:x");
    events[5].participant = SLICE("sip:ann");
    events[6].subject = SLICE("a\0b");
    OK(store_claim(p->s, SOURCE, &e));
    OK(store_append(p->s, events, 8, r, &e));
    for (int i = 1; i < 7; i++) {
        if (r[i].class != ERR_REJECTED || r[i].text[0] == '\0')
            fail_msg("event %d: class %d, %s", i, r[i].class, r[i].text);
        assert_int_equal(r[i].sequence, 0);
    }
    assert_int_equal(r[0].class, 0);
    assert_int_equal(r[7].class, 0);
    assert_int_equal(r[7].sequence, 2);
    assert_int_equal(r[7].chat_id, 2);
    OK(store_append(p->s, events + 7, 1, r, &e));
    assert_int_equal(r[0].sequence, 3);
    assert_int_equal(check_room(p->s, ROOM).count, 3);
}

static void once_is_once(void **state)
{
    struct place *p = *state;
    struct store_event events[4] = {post(HELLO), post(HELLO), post(HELLO), post(HELLO)};
    struct store_result r[4];

    for (int i = 0; i < 4; i++) {
        events[i].has_once = true;
        events[i].once[0] = (uint8_t)(i == 2 ? 0 : i);
    }
    OK(store_claim(p->s, SOURCE, &e));
    OK(store_append(p->s, events, 4, r, &e));
    assert_true(r[2].duplicate);
    assert_int_equal(r[2].class, 0);
    assert_int_equal(r[2].sequence, 1);
    assert_int_equal(r[2].chat_id, 1);
    assert_memory_equal(r[2].hash, r[0].hash, SHA256_SIZE);
    assert_null(r[2].record.p);
    assert_int_equal(r[3].sequence, 3);
    uint8_t hash[SHA256_SIZE];
    memcpy(hash, r[3].hash, sizeof hash);

    reopen(p);
    OK(store_claim(p->s, SOURCE, &e));
    events[1].once[0] = 9;
    OK(store_append(p->s, events, 4, r, &e));
    assert_true(r[0].duplicate && r[2].duplicate && r[3].duplicate);
    assert_false(r[1].duplicate);
    assert_int_equal(r[1].sequence, 4);
    assert_int_equal(r[3].sequence, 3);
    assert_memory_equal(r[3].hash, hash, SHA256_SIZE);
    /* A join that comes again changes nothing either. */
    struct store_event join = post(HELLO);
    join.kind = RECORD_JOIN;
    join.numbered = false;
    join.has_once = true;
    join.once[0] = 77;
    join.presence = STORE_PRESENCE_JOIN;
    join.session = SLICE("urn:x");
    join.participant = SLICE("sip:ann@example.com");
    OK(store_append(p->s, &join, 1, r, &e));
    assert_false(r[0].duplicate);
    OK(store_append(p->s, &join, 1, r, &e));
    assert_true(r[0].duplicate && r[0].sequence == 5);
    assert_int_equal(check_room(p->s, ROOM).count, 5);
}

#define RAW(id, more)                                                                              \
    "{\"specversion\":\"1.0\",\"id\":\"" id "\",\"type\":\"org.example.note\","                    \
    "\"time\":\"2026-11-24T06:12:19Z\",\"subject\":\"irc:one\"" more "}"

static struct store_event raw_event(const char *raw)
{
    return (struct store_event){.source = SLICE("irc"), .raw = slice_of(raw)};
}

static int producer_bytes(void *arg, const struct store_row *row, struct err *e)
{
    const char *own = arg;
    size_t n = strlen(own);
    if (row->raw.n < n || memcmp(row->raw.p, own, n - 1) != 0)
        return err_set(e, ERR_FAULT, "%.*s", SLICE_ARG(row->raw));
    return 0;
}

static void producers_records(void **state)
{
    struct place *p = *state;
    struct store_event events[5] = {
        raw_event(RAW("1", "")),
        raw_event(RAW("2", ",\"source\":\"irc\"") " \r"),
        raw_event(RAW("1", "")),
        raw_event(RAW("1", ",\"more\":1")),
        raw_event(RAW("3", ",\"source\":\"elsewhere\"")),
    };
    struct store_result r[5];
    char own[] = RAW("1", "");
    OK(store_claim(p->s, SLICE("irc"), &e));
    OK(store_append(p->s, events, 5, r, &e));
    assert_int_equal(r[0].class, 0);
    assert_int_equal(r[1].class, 0);
    assert_int_equal(r[1].sequence, 2);
    assert_true(r[2].class == 0 && r[2].duplicate);
    assert_int_equal(r[3].class, ERR_REJECTED);
    assert_non_null(strstr(r[3].text, "other content"));
    assert_int_equal(r[4].class, ERR_REJECTED);
    assert_non_null(strstr(r[4].text, "elsewhere"));
    OK(store_read_stream(p->s, r[0].stream, 1, 1, 1, producer_bytes, own, &e));
    struct check c = check_stream(p->s, r[0].stream);
    assert_int_equal(c.count, 2);
    OK(store_append(p->s, events, 2, r, &e));
    assert_true(r[0].duplicate && r[1].duplicate);
}

static void sequenced_producer_keeps_its_chain(void **state)
{
    struct place *p = *state;
    char previous[SHA256_HEX];
    char raw[4][600];
    uint8_t hash[SHA256_SIZE] = {0};
    struct store_event events[4];
    struct store_result r[4];

    for (int i = 0; i < 4; i++) {
        hex_encode(hash, SHA256_SIZE, previous);
        (void)snprintf(raw[i], sizeof raw[i],
                       "{\"specversion\":\"1.0\",\"id\":\"s%d\",\"source\":\"irc\",\"type\":\"x\","
                       "\"time\":\"2026-11-24T06:12:19Z\",\"subject\":\"irc:two\",\"epoch\":3,"
                       "\"sequence\":\"%020d\",\"previous\":\"%s\"}",
                       i, i + 1, previous);
        sha256(raw[i], strlen(raw[i]), hash);
        events[i] = raw_event(raw[i]);
    }
    OK(store_claim(p->s, SLICE("irc"), &e));
    struct store_event gap[2] = {events[0], events[2]};
    OK(store_append(p->s, gap, 2, r, &e));
    assert_int_equal(r[0].class, 0);
    assert_int_equal(r[1].class, ERR_REJECTED);
    assert_non_null(strstr(r[1].text, "does not follow"));
    OK(store_append(p->s, events, 4, r, &e));
    assert_true(r[0].duplicate);
    for (int i = 1; i < 4; i++) {
        assert_int_equal(r[i].class, 0);
        assert_int_equal(r[i].sequence, i + 1);
        assert_true(slice_is(r[i].record, raw[i]));
    }
    assert_int_equal(check_stream(p->s, r[3].stream).count, 4);
    struct store_event other = raw_event(raw[3]);
    char altered[600];
    (void)snprintf(altered, sizeof altered, "%s", raw[3]);
    memcpy(strstr(altered, "s3"), "s4", 2);
    memcpy(strstr(altered, "00004\""), "00005\"", 6);
    other.raw = slice_of(altered);
    OK(store_append(p->s, &other, 1, r, &e));
    assert_int_equal(r[0].class, ERR_REJECTED);
    assert_non_null(strstr(r[0].text, "not the hash"));
}

static void big_records(void **state)
{
    struct place *p = *state;
    OWN(own_buf) struct buf b;
    struct store_event events[4];
    struct store_result r[4];

    buf_init(&b, RECORD_MAX_BYTES);
    buf_text(&b, "\"participant\":\"sip:ann\",\"text\":\"");
    while (b.n < RECORD_MAX_BYTES - 600)
        buf_char(&b, 'x');
    buf_char(&b, '"');
    for (int i = 0; i < 4; i++)
        events[i] = post(b.p);
    OK(store_claim(p->s, SOURCE, &e));
    OK(store_append(p->s, events, 4, r, &e));
    for (int i = 0; i < 4; i++)
        assert_int_equal(r[i].class, 0);
    b.n--;
    for (int i = 0; i < 590; i++)
        buf_char(&b, 'x');
    buf_char(&b, '"');
    events[0] = post(HELLO);
    events[1].members = buf_view(&b);
    OK(store_append(p->s, events, 2, r, &e));
    assert_int_equal(r[0].class, 0);
    assert_int_equal(r[1].class, ERR_REJECTED);
    assert_non_null(strstr(r[1].text, "more than 524288"));
    assert_int_equal(check_room(p->s, ROOM).count, 5);
}

static void second_claim_is_refused(void **state)
{
    struct place *p = *state;
    OWN(own_store) struct store *other = NULL;

    OK(store_claim(p->s, SOURCE, &e));
    OK(store_claim(p->s, SOURCE, &e));
    OK(store_claim(p->s, SLICE("irc"), &e));
    OK(store_open(&other, p->url, &e));
    FAILS(ERR_CONFLICT, store_claim(other, SOURCE, &e));
    FAILS(ERR_CONFLICT, store_begin_session(other, SOURCE, SLICE("urn:b"), SLICE(""), &e));
    store_close(p->s);
    p->s = NULL;
    OK(store_claim(other, SOURCE, &e));
}

struct pages {
    int64_t first, last, count, pos;
};

static int page_visit(void *arg, const struct store_row *row, struct err *e)
{
    struct pages *g = arg;
    if (g->count && row->chat_id != g->last + 1)
        return err_set(e, ERR_FAULT, "chat id %" PRId64 " after %" PRId64, row->chat_id, g->last);
    if (!g->count)
        g->first = row->chat_id;
    g->last = row->chat_id;
    g->pos = row->pos;
    g->count++;
    return 0;
}

static int stop_visit(void *arg, const struct store_row *row, struct err *e)
{
    (void)arg;
    (void)row;
    return err_set(e, ERR_AGAIN, "enough");
}

static void history_pages(void **state)
{
    struct place *p = *state;
    struct store_event events[50];
    struct store_result r[50];
    struct pages g = {0};

    OK(store_claim(p->s, SOURCE, &e));
    for (int i = 0; i < 50; i++)
        events[i] = post(HELLO);
    OK(store_append(p->s, events, 50, r, &e));
    OK(store_read_posts(p->s, SOURCE, ROOM, 0, 20, page_visit, &g, &e));
    assert_true(g.first == 31 && g.last == 50 && g.count == 20);
    g = (struct pages){0};
    OK(store_read_posts(p->s, SOURCE, ROOM, 31, 100, page_visit, &g, &e));
    assert_true(g.first == 1 && g.last == 30);
    g = (struct pages){0};
    OK(store_read_posts(p->s, SOURCE, SLICE("r:none"), 0, 20, page_visit, &g, &e));
    assert_int_equal(g.count, 0);
    FAILS(ERR_AGAIN, store_read_posts(p->s, SOURCE, ROOM, 0, 20, stop_visit, &g, &e));
    OK(store_append(p->s, events, 1, r, &e));
}

/* Posts far apart among records of other kinds, pages from any post on, and after a reopening. */
static void history_among_others(void **state)
{
    enum { POSTS = 150, EACH = 5 };
    struct place *p = *state;
    struct store_event events[EACH];
    struct store_result r[EACH];

    OK(store_claim(p->s, SOURCE, &e));
    for (int i = 0; i < EACH; i++) {
        events[i] = post(HELLO);
        events[i].kind = i == 2 ? RECORD_POST : RECORD_READ;
        events[i].numbered = i == 2;
    }
    for (int n = 1; n <= POSTS; n++) {
        OK(store_append(p->s, events, EACH, r, &e));
        assert_int_equal(r[2].chat_id, n);
        if (n == 70) {
            reopen(p);
            OK(store_claim(p->s, SOURCE, &e));
        }
    }
    for (int before = 0; before <= POSTS + 10; before++) {
        struct pages g = {0};
        int end = before == 0 || before > POSTS ? POSTS + 1 : before;
        int first = end > 20 ? end - 20 : 1;
        OK(store_read_posts(p->s, SOURCE, ROOM, before, 20, page_visit, &g, &e));
        assert_int_equal(g.count, end - first);
        if (g.count > 0)
            assert_true(g.first == first && g.last == end - 1);
    }
}

static void embedded_queue(void **state)
{
    struct place *p = *state;
    struct store_event events[50];
    struct store_result r[50];
    struct pages g = {0};
    int64_t last = 0;

    if (p->kind == DB_POSTGRES) {
        FAILS(ERR_CONFIG, store_read_from(p->s, 1, 10, 0, page_visit, &g, &e));
        return;
    }
    OK(store_claim(p->s, SOURCE, &e));
    OK(store_last_pos(p->s, &last, &e));
    assert_int_equal(last, 0);
    for (int i = 0; i < 50; i++)
        events[i] = post(HELLO);
    OK(store_append(p->s, events, 50, r, &e));
    assert_int_equal(r[49].pos, 50);
    OK(store_last_pos(p->s, &last, &e));
    assert_int_equal(last, 50);
    OK(store_read_from(p->s, 11, 20, 1 << 20, page_visit, &g, &e));
    assert_true(g.count == 20 && g.first == 11 && g.pos == 30);
    g = (struct pages){0};
    OK(store_read_from(p->s, 1, 50, 1, page_visit, &g, &e));
    assert_int_equal(g.count, 1);
}

static void relayed_only_rises(void **state)
{
    struct place *p = *state;
    struct store_event event = post(HELLO);
    struct store_result r;
    int64_t relayed = 7;

    OK(store_claim(p->s, SOURCE, &e));
    OK(store_append(p->s, &event, 1, &r, &e));
    OK(store_relayed(p->s, r.stream, &relayed, &e));
    assert_int_equal(relayed, 0);
    OK(store_set_relayed(p->s, r.stream, 5, &e));
    OK(store_set_relayed(p->s, r.stream, 3, &e));
    OK(store_relayed(p->s, r.stream, &relayed, &e));
    assert_int_equal(relayed, 5);
}

/* ---- sessions ---- */
static struct store_event presence(enum store_presence what, struct slice room, const char *who,
                                   struct slice session)
{
    return (struct store_event){
        .source = SOURCE,
        .subject = room,
        .kind = what == STORE_PRESENCE_JOIN ? RECORD_JOIN : RECORD_LEAVE,
        .time_us = clock_wall_us(),
        .members = SLICE("\"participant\":\"sip:x\""),
        .presence = what,
        .session = session,
        .participant = slice_of(who),
        .endpoint = SLICE("epid-1"),
        .name = SLICE("Ann \xc3\x89"),
    };
}

static int count_member(void *arg, const struct store_member *m, struct err *e)
{
    (void)e;
    if (m->participant.n && m->session.n && m->joined_us && slice_is(m->endpoint, "epid-1"))
        ++*(int *)arg;
    return 0;
}

static int members_of(struct store *s, struct slice room)
{
    int n = 0;
    OK(store_members(s, room, count_member, &n, &e));
    return n;
}

static void session_runs(void **state)
{
    struct place *p = *state;
    struct slice session = SLICE("urn:uuid:1");
    struct store_event events[3] = {
        presence(STORE_PRESENCE_JOIN, ROOM, "sip:ann", session),
        presence(STORE_PRESENCE_JOIN, ROOM, "sip:bob", session),
        presence(STORE_PRESENCE_LEAVE, ROOM, "sip:ann", session),
    };
    struct store_result r[3];

    OK(store_begin_session(p->s, SOURCE, session, SLICE("\"server\":\"a\",\"version\":\"1\""), &e));
    OK(store_append(p->s, events, 3, r, &e));
    assert_int_equal(members_of(p->s, ROOM), 1);
    OK(store_append(p->s, events + 2, 1, r, &e));
    assert_int_equal(r[0].class, ERR_REJECTED);
    OK(store_end_session(p->s, &e));
    assert_int_equal(members_of(p->s, ROOM), 0);
    struct check c = check_room(p->s, ROOM);
    assert_int_equal(c.kinds[RECORD_JOIN], 2);
    assert_int_equal(c.kinds[RECORD_LEAVE], 2);
    c = check_room(p->s, session);
    assert_int_equal(c.kinds[RECORD_SESSION_START], 1);
    assert_int_equal(c.kinds[RECORD_SESSION_STOP], 1);
}

static void lost_writer_is_stopped(void **state)
{
    struct place *p = *state;
    struct store_event event = post(HELLO);
    struct store_result r;
    OWN(own_db) struct db *db = NULL;

    OK(store_begin_session(p->s, SOURCE, SLICE("urn:a"), SLICE(""), &e));
    OK(store_append(p->s, &event, 1, &r, &e));
    OK(db_open(&db, p->url, 0, &e));
    if (p->kind == DB_POSTGRES)
        OK(db_script(db, "SET search_path TO chat", &e));
    OK(db_script(db, "UPDATE writer SET session = 'urn:b'", &e));
    FAILS(ERR_STOPPED, store_append(p->s, &event, 1, &r, &e));
    assert_int_equal(r.class, ERR_STOPPED);
    reopen(p);
    FAILS(ERR_STOPPED, store_resume_session(p->s, SOURCE, SLICE("urn:a"), &e));
    OK(store_resume_session(p->s, SOURCE, SLICE("urn:b"), &e));
    OK(store_append(p->s, &event, 1, &r, &e));
    assert_int_equal(r.sequence, 2);
}

/* ---- killed processes ---- */
/* Runs this program again as a child that does `work` on the database until it is killed; its
 * standard output tells what was acknowledged. */
struct child {
    pid_t pid;
    int out;
};

static struct child start_child(const char *work, const char *url)
{
    struct child c;
    int ends[2];
    char path[] = "/proc/self/exe";
    char *argv[] = {path, (char *)(uintptr_t)work, (char *)(uintptr_t)url, NULL};
    posix_spawn_file_actions_t actions;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], 1), 0);
    assert_int_equal(posix_spawn(&c.pid, path, &actions, NULL, argv, environ), 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(ends[1]);
    c.out = ends[0];
    return c;
}

/* Reads acknowledged numbers until the child ended, killing it after `kill_at` of them; the last
 * one is returned. */
static int64_t watch_child(struct child *c, int64_t kill_at)
{
    int64_t last = 0;
    int64_t seen = 0;
    for (;;) {
        int64_t value;
        ssize_t n = read(c->out, &value, sizeof value);
        if (n == 0)
            break;
        if (n < 0)
            continue;
        assert_int_equal(n, sizeof value);
        last = value;
        if (++seen == kill_at)
            (void)kill(c->pid, SIGKILL);
    }
    (void)close(c->out);
    int status;
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    if (!WIFSIGNALED(status) && WEXITSTATUS(status) != 0)
        fail_msg("the child failed with %d", WEXITSTATUS(status));
    return last;
}

static void tell(int64_t value)
{
    if (write(1, &value, sizeof value) != (ssize_t)sizeof value)
        _exit(3);
}

static int append_for_ever(const char *url)
{
    struct store *s = NULL;
    struct err e = {0};
    struct store_event events[16];
    struct store_result r[16];

    if (store_open(&s, url, &e) < 0)
        return 1;
    /* A killed PostgreSQL client's lock goes when the server notices. */
    int64_t until = clock_mono_ms() + 10000;
    int rc = store_claim(s, SOURCE, &e);
    while (rc == ERR_CONFLICT && clock_mono_ms() < until) {
        (void)poll(NULL, 0, 20);
        rc = store_claim(s, SOURCE, &e);
    }
    for (int i = 0; i < 16; i++)
        events[i] = post_in(i % 2 ? ROOM : SLICE("r:other"), HELLO);
    while (rc == 0) {
        rc = store_append(s, events, 16, r, &e);
        for (int i = 1; rc == 0 && i < 16; i += 2)
            tell(r[i].sequence);
    }
    return 2;
}

static void killed_while_appending(void **state)
{
    struct place *p = *state;
    store_close(p->s);
    p->s = NULL;
    for (int round = 0; round < 4; round++) {
        struct child c = start_child("append", p->url);
        int64_t acknowledged = watch_child(&c, 150 + 37 * round);
        assert_true(acknowledged > 0);
        OK(store_open(&p->s, p->url, &e));
        assert_true(check_room(p->s, ROOM).count >= acknowledged);
        (void)check_room(p->s, SLICE("r:other"));
        store_close(p->s);
        p->s = NULL;
    }
    OK(store_open(&p->s, p->url, &e));
}

enum { CROWD = 600 };

/* Fills rooms and dies without ending the session. */
static int join_crowd(const char *url)
{
    struct store *s = NULL;
    struct err e = {0};
    if (store_open(&s, url, &e) < 0 ||
        store_begin_session(s, SOURCE, SLICE("urn:dead"), SLICE("\"server\":\"d\""), &e) < 0)
        return 1;
    for (int i = 0; i < CROWD; i++) {
        char who[32];
        struct store_result r;
        (void)snprintf(who, sizeof who, "sip:u%d", i);
        struct store_event event =
            presence(STORE_PRESENCE_JOIN, i % 2 ? ROOM : SLICE("r:other"), who, SLICE("urn:dead"));
        if (store_append(s, &event, 1, &r, &e) < 0 || r.class < 0)
            return 2;
    }
    tell(CROWD);
    for (;;)
        (void)poll(NULL, 0, 1000);
}

static void count_leave(void *arg, struct slice subject, const struct store_result *r)
{
    (void)arg;
    (void)subject;
    tell(r->sequence);
}

/* The next server; told to be killed while it writes the leaves. */
static int next_server(const char *url)
{
    struct store *s = NULL;
    struct err e = {0};
    char session[64];
    (void)snprintf(session, sizeof session, "urn:next-%ld", (long)getpid());
    if (store_open(&s, url, &e) < 0)
        return 1;
    store_on_stored(s, count_leave, NULL);
    int64_t until = clock_mono_ms() + 10000;
    int rc = store_begin_session(s, SOURCE, slice_of(session), SLICE(""), &e);
    while (rc == ERR_CONFLICT && clock_mono_ms() < until) {
        (void)poll(NULL, 0, 20);
        rc = store_begin_session(s, SOURCE, slice_of(session), SLICE(""), &e);
    }
    store_close(s);
    return rc < 0 ? 2 : 0;
}

static void dead_participants_leave_once(void **state)
{
    struct place *p = *state;
    store_close(p->s);
    p->s = NULL;
    struct child c = start_child("join", p->url);
    assert_int_equal(watch_child(&c, 1), CROWD);
    c = start_child("next", p->url);
    (void)watch_child(&c, 1);
    c = start_child("next", p->url);
    (void)watch_child(&c, 300);
    c = start_child("next", p->url);
    (void)watch_child(&c, -1);

    OK(store_open(&p->s, p->url, &e));
    assert_int_equal(members_of(p->s, ROOM), 0);
    assert_int_equal(members_of(p->s, SLICE("r:other")), 0);
    struct check a = check_room(p->s, ROOM);
    struct check b = check_room(p->s, SLICE("r:other"));
    assert_int_equal(a.kinds[RECORD_JOIN] + b.kinds[RECORD_JOIN], CROWD);
    assert_int_equal(a.kinds[RECORD_LEAVE] + b.kinds[RECORD_LEAVE], CROWD);
    struct check d = check_room(p->s, SLICE("urn:dead"));
    assert_int_equal(d.kinds[RECORD_SESSION_START], 1);
    assert_int_equal(d.kinds[RECORD_SESSION_STOP], 1);
}

/* ---- rooms and users ---- */
static int room_is(void *arg, const struct directory_room *r, struct err *e)
{
    (void)e;
    if (slice_is(r->name, "Trading \xc3\xa9") && slice_is(r->members, "sip:ann@example.com"))
        ++*(int *)arg;
    return 0;
}

static int user_is(void *arg, const struct directory_user *u, struct err *e)
{
    (void)e;
    if (slice_is(u->uri, "sip:ann@example.com") && slice_is(u->name, "Ann"))
        ++*(int *)arg;
    return 0;
}

static void rooms_and_users(void **state)
{
    struct place *p = *state;
    struct slice domain = SLICE("example.com");
    struct slice none = SLICE("");
    char uri[256] = "";
    int n = 0;

    OK(directory_add_room(p->s, domain, SLICE("Trading \xc3\xa9"), none,
                          SLICE("sip:ann@example.com"), false, uri, &e));
    assert_non_null(strstr(uri, "ma-chan://example.com/"));
    FAILS(ERR_CONFLICT,
          directory_add_room(p->s, domain, SLICE("Trading \xc3\xa9"), none, none, false, uri, &e));
    FAILS(ERR_REJECTED, directory_add_room(p->s, domain, none, none, none, false, uri, &e));
    FAILS(ERR_REJECTED,
          directory_add_room(p->s, domain, SLICE("a\nb"), none, none, false, uri, &e));
    FAILS(ERR_REJECTED,
          directory_add_room(p->s, SLICE("a/b"), SLICE("x"), none, none, false, uri, &e));
    FAILS(ERR_REJECTED,
          directory_add_room(p->s, domain, SLICE("x"), none, SLICE("ann, bob"), false, uri, &e));
    OK(directory_find_room(p->s, slice_of(uri), room_is, &n, &e));
    OK(directory_find_room_named(p->s, SLICE("Trading \xc3\xa9"), room_is, &n, &e));
    OK(directory_rooms(p->s, room_is, &n, &e));
    assert_int_equal(n, 3);
    FAILS(ERR_NOT_FOUND, directory_find_room(p->s, SLICE("ma-chan://x/y"), room_is, &n, &e));

    OK(directory_add_user(p->s, SLICE("sip:ann@example.com"), SLICE("Ann"), &e));
    FAILS(ERR_CONFLICT, directory_add_user(p->s, SLICE("sip:ann@example.com"), SLICE("A"), &e));
    FAILS(ERR_REJECTED, directory_add_user(p->s, SLICE("sip:Ann@example.com"), SLICE("A"), &e));
    FAILS(ERR_REJECTED, directory_add_user(p->s, SLICE("sip:ann"), SLICE("A"), &e));
    n = 0;
    OK(directory_find_user(p->s, SLICE("sip:ann@example.com"), user_is, &n, &e));
    OK(directory_users(p->s, user_is, &n, &e));
    assert_int_equal(n, 2);
    FAILS(ERR_NOT_FOUND, directory_find_user(p->s, SLICE("sip:bob@example.com"), user_is, &n, &e));
}

/* ---- the writing thread ---- */
static void writer_stores(void **state)
{
    struct place *p = *state;
    enum { N = 2000 };
    struct writer *w = NULL;
    struct writer_state ws;
    struct store_event *events = calloc(N, sizeof *events);
    struct store_result *r = calloc(N, sizeof *r);
    struct writer_options o = {.url = p->url};

    assert_true(events && r);
    store_close(p->s);
    p->s = NULL;
    OK(writer_start(&w, &o, &e));
    OK(writer_begin_session(w, SOURCE, SLICE("urn:w"), SLICE(""), &e));
    OK(writer_claim(w, SLICE("irc"), &e));
    for (int i = 0; i < N; i++) {
        events[i] = post_in(i % 3 ? ROOM : SLICE("r:other"), HELLO);
        events[i].has_once = true;
        memcpy(events[i].once, &i, sizeof i);
    }
    events[7].members = SLICE("not json");
    OK(writer_submit_wait(w, events, N, r, &e));
    for (int i = 0; i < N; i++)
        assert_int_equal(r[i].class, i == 7 ? ERR_REJECTED : 0);
    OK(writer_submit_wait(w, events, 10, r, &e));
    assert_true(r[0].duplicate && r[9].duplicate);
    writer_state(w, &ws);
    assert_true(ws.reachable && !ws.lost_session && ws.waiting == 0);
    assert_int_equal(ws.stored, N); /* N - 1 posts and the session's start */
    writer_stop(w);
    OK(store_open(&p->s, p->url, &e));
    assert_int_equal(check_room(p->s, ROOM).count + check_room(p->s, SLICE("r:other")).count,
                     N - 1);
    assert_int_equal(check_room(p->s, SLICE("urn:w")).count, 2);
    free(events);
    free(r);
}

static void cut_connections(const char *url)
{
    OWN(own_db) struct db *db = NULL;
    OK(db_open(&db, url, 0, &e));
    OK(db_script(db,
                 "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                 " WHERE pid <> pg_backend_pid() AND datname = current_database()",
                 &e));
}

struct cutter {
    const char *url;
    atomic_bool done;
};

static void *cut_for_ever(void *arg)
{
    struct cutter *c = arg;
    unsigned pause = 7;
    while (!c->done) {
        cut_connections(c->url);
        pause = pause * 1103515245 + 12345;
        (void)poll(NULL, 0, (int)(250 + pause / 65536 % 200)); /* reconnecting takes 50 and more */
    }
    return NULL;
}

/* Connections are cut at any moment, also within commits: nothing is stored twice or lost, though
 * nothing here has a `once` key. */
static void writer_survives_cuts(void **state)
{
    struct place *p = *state;
    enum { ROUNDS = 400, EACH = 60 };
    struct writer *w = NULL;
    struct store_event events[EACH];
    struct store_result r[EACH];
    struct writer_options o = {.url = p->url};
    struct cutter cutter = {.url = p->url};
    pthread_t thread;
    int64_t acknowledged = 0;

    if (p->kind != DB_POSTGRES)
        return;
    OK(writer_start(&w, &o, &e));
    OK(writer_begin_session(w, SOURCE, SLICE("urn:w"), SLICE(""), &e));
    assert_int_equal(pthread_create(&thread, NULL, cut_for_ever, &cutter), 0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < EACH; i++)
            events[i] = post(HELLO);
        int rc = writer_submit_wait(w, events, EACH, r, NULL);
        while (rc == ERR_RETRY && r[0].class == ERR_RETRY) {
            (void)poll(NULL, 0, 5);
            rc = writer_submit_wait(w, events, EACH, r, NULL);
        }
        assert_int_equal(rc, 0);
        for (int i = 0; i < EACH; i++)
            assert_int_equal(r[i].sequence, ++acknowledged);
    }
    cutter.done = true;
    assert_int_equal(pthread_join(thread, NULL), 0);
    writer_stop(w);
    reopen(p);
    assert_int_equal(check_room(p->s, ROOM).count, ROUNDS * EACH);
    assert_int_equal(check_room(p->s, SLICE("urn:w")).count, 2);
}

static int set_pages(struct store *s, void *arg, struct err *e)
{
    return db_script(store_db(s), arg, e);
}

/* A full disk: answered with "later", nothing lost, and on it goes once there is room. */
static void writer_waits_for_room(void **state)
{
    struct place *p = *state;
    enum { EACH = 200 };
    struct writer *w = NULL;
    struct writer_state ws;
    struct store_event events[EACH];
    struct store_result r[EACH];
    struct writer_options o = {.url = p->url};
    char full[] = "PRAGMA max_page_count = 1";
    char roomy[] = "PRAGMA max_page_count = 100000";

    if (p->kind != DB_SQLITE)
        return;
    OK(writer_start(&w, &o, &e));
    OK(writer_claim(w, SOURCE, &e));
    for (int i = 0; i < EACH; i++)
        events[i] = post(HELLO);
    OK(writer_submit_wait(w, events, EACH, r, &e));
    OK(writer_call(w, set_pages, full, &e));
    assert_int_equal(writer_submit_wait(w, events, EACH, r, NULL), ERR_RETRY);
    assert_int_equal(r[0].class, ERR_RETRY);
    assert_int_equal(r[EACH - 1].class, ERR_RETRY);
    OK(writer_call(w, set_pages, roomy, &e));
    int64_t until = clock_mono_ms() + 10000;
    do {
        (void)poll(NULL, 0, 10);
        writer_state(w, &ws);
    } while (!ws.reachable && clock_mono_ms() < until);
    OK(writer_submit_wait(w, events, EACH, r, &e));
    assert_int_equal(r[EACH - 1].sequence, 2 * EACH);
    writer_stop(w);
    assert_int_equal(check_room(p->s, ROOM).count, 2 * EACH);
}

static int run_child(const char *work, const char *url)
{
    if (strcmp(work, "append") == 0)
        return append_for_ever(url);
    if (strcmp(work, "join") == 0)
        return join_crowd(url);
    if (strcmp(work, "next") == 0)
        return next_server(url);
    return 9;
}

#define ON_BOTH(f)                                                                                 \
    {#f ", SQLite", f, set_up_sqlite, tear_down, NULL},                                            \
    {                                                                                              \
#f ", PostgreSQL", f, set_up_postgres, tear_down, NULL                                     \
    }

int main(int argc, char **argv)
{
    if (argc == 3)
        return run_child(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        ON_BOTH(appended_is_read_back),
        ON_BOTH(streams_interleave),
        ON_BOTH(heads_after_reopen),
        ON_BOTH(one_bad_event_stays_out),
        ON_BOTH(once_is_once),
        ON_BOTH(producers_records),
        ON_BOTH(sequenced_producer_keeps_its_chain),
        ON_BOTH(big_records),
        ON_BOTH(second_claim_is_refused),
        ON_BOTH(history_pages),
        ON_BOTH(history_among_others),
        ON_BOTH(embedded_queue),
        ON_BOTH(relayed_only_rises),
        ON_BOTH(session_runs),
        ON_BOTH(lost_writer_is_stopped),
        ON_BOTH(killed_while_appending),
        ON_BOTH(dead_participants_leave_once),
        ON_BOTH(rooms_and_users),
        ON_BOTH(writer_stores),
        ON_BOTH(writer_survives_cuts),
        ON_BOTH(writer_waits_for_room),
    };
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    if (!scratch) {
        print_error("run beside a private PostgreSQL: tests/parts/with postgres -- %s\n", argv[0]);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
