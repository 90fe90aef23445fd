/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chat-server/store, the same cases on SQLite and on a private PostgreSQL: what is appended is a
 * contiguous chain, whatever is repeated or refused on the way; history and directory.
 */
#include "store_place.h"

#include "base/clock.h"
#include "chat-server/store/directory.h"

#include <inttypes.h>

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

/* What a repeat repeats was refused: it is no duplicate of anything then. */
static void a_repeat_of_what_stays_out_stays_out(void **state)
{
    struct place *p = *state;
    struct store_event events[3] = {post(HELLO), post(HELLO), post(HELLO)};
    struct store_result r[3];

    events[0].presence = STORE_PRESENCE_LEAVE; /* of one who is not in */
    events[0].session = SLICE("urn:x");
    events[0].participant = SLICE("sip:ann");
    for (int i = 0; i < 2; i++) {
        events[i].has_once = true;
        events[i].once[0] = 7;
    }
    events[1].members = SLICE("\"participant\":\"sip:ann\",\"text\":\"the second try\"");
    OK(store_claim(p->s, SOURCE, &e));
    OK(store_append(p->s, events, 3, r, &e));
    assert_int_equal(r[0].class, ERR_REJECTED);
    assert_int_equal(r[1].class, 0);
    assert_false(r[1].duplicate);
    assert_int_equal(r[1].sequence, 1);
    assert_int_equal(r[2].sequence, 2);
    assert_int_equal(check_room(p->s, ROOM).count, 2);
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

int main(int argc, char **argv)
{
    (void)argc;
    const struct CMUnitTest tests[] = {
        ON_BOTH(appended_is_read_back), ON_BOTH(streams_interleave),
        ON_BOTH(heads_after_reopen),    ON_BOTH(one_bad_event_stays_out),
        ON_BOTH(once_is_once),          ON_BOTH(a_repeat_of_what_stays_out_stays_out),
        ON_BOTH(producers_records),     ON_BOTH(sequenced_producer_keeps_its_chain),
        ON_BOTH(big_records),           ON_BOTH(second_claim_is_refused),
        ON_BOTH(history_pages),         ON_BOTH(history_among_others),
        ON_BOTH(embedded_queue),        ON_BOTH(relayed_only_rises),
        ON_BOTH(rooms_and_users),
    };
    return has_scratch(argv[0]) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
