/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several writers of one source on PostgreSQL: rooms have one owner, a lapsed session is closed by
 * another, what was killed or frozen harms nobody's chain, and nothing acknowledged is lost.
 */
#include "base/clock.h"
#include "base/own.h"
#include "chat-server/store/store.h"
#include "mgccomp/chain.h"
#include "tests/expect.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#define SOURCE  SLICE("sip:pool.example.com")
#define ONE     SLICE("ma-chan://example.com/one")
#define TWO     SLICE("ma-chan://example.com/two")
#define MEMBERS "\"participant\":\"sip:ann@example.com\",\"text\":\"hello\""

enum { ROOMS = 6, WRITERS = 3, GROUP = 12, LEASE_MS = 1000, RUN_MS = 6000 };

extern char **environ;

static char url[512];
static int cases;

static int fresh_database(void **state)
{
    const char *server = getenv("HOLDFAST_TEST_POSTGRES");
    OWN(own_db) struct db *db = NULL;
    char sql[64];
    (void)state;
    (void)snprintf(sql, sizeof sql, "CREATE DATABASE share%d", ++cases);
    OK(db_open(&db, server, 0, &e));
    OK(db_script(db, sql, &e));
    const char *at = strstr(server, "/postgres?");
    assert_non_null(at);
    (void)snprintf(url, sizeof url, "%.*s/share%d%s", (int)(at - server), server, cases,
                   at + strlen("/postgres"));
    return 0;
}

static struct store *open_shared(const char *session, int64_t lease_ms)
{
    struct store *s = NULL;
    OK(store_open(&s, url, &e));
    OK(store_share_session(s, SOURCE, slice_of(session), SLICE("\"server\":\"x\""), lease_ms, &e));
    return s;
}

static struct store_event post_in(struct slice room)
{
    return (struct store_event){.source = SOURCE,
                                .subject = room,
                                .kind = RECORD_POST,
                                .time_us = clock_wall_us(),
                                .members = SLICE(MEMBERS),
                                .numbered = true};
}

static struct store_event join(struct slice room, const char *session)
{
    return (struct store_event){.source = SOURCE,
                                .subject = room,
                                .kind = RECORD_JOIN,
                                .time_us = clock_wall_us(),
                                .members = SLICE("\"participant\":\"sip:ann@example.com\""),
                                .presence = STORE_PRESENCE_JOIN,
                                .session = slice_of(session),
                                .participant = SLICE("sip:ann@example.com")};
}

/* ---- reading back ---- */
struct chain_walk {
    struct json_doc *d;
    struct chain_head head;
    int64_t chat_id, leaves, stops;
};

static int walk_row(void *arg, const struct store_row *row, struct err *e)
{
    struct chain_walk *w = arg;
    struct record r;
    int rc = record_decode(w->d, row->raw, &r, e);
    if (rc < 0)
        return rc;
    if (chain_judge(&w->head, r.sequence, r.previous) != CHAIN_NEXT)
        return err_set(e, ERR_FAULT, "sequence %lld does not follow", (long long)r.sequence);
    if (r.kind == RECORD_POST && r.chat_id != ++w->chat_id)
        return err_set(e, ERR_FAULT, "chat id %lld", (long long)r.chat_id);
    w->leaves += r.kind == RECORD_LEAVE;
    w->stops += r.kind == RECORD_SESSION_STOP;
    w->head.sequence = r.sequence;
    memcpy(w->head.hash, r.hash, SHA256_SIZE);
    return 0;
}

struct stream_find {
    struct slice subject;
    int64_t id, sequence;
};

static int find_stream(void *arg, const struct store_stream *st, struct err *e)
{
    struct stream_find *f = arg;
    (void)e;
    if (slice_eq(st->subject, f->subject)) {
        f->id = st->id;
        f->sequence = st->sequence;
    }
    return 0;
}

static struct chain_walk walk(struct store *s, struct slice subject)
{
    struct stream_find f = {.subject = subject};
    struct chain_walk w = {.d = json_doc_new()};
    OK(store_streams(s, find_stream, &f, &e));
    OK(store_read_stream(s, f.id, 1, f.sequence, (size_t)f.sequence + 1, walk_row, &w, &e));
    assert_int_equal(w.head.sequence, f.sequence);
    json_doc_free(w.d);
    w.d = NULL;
    return w;
}

static int64_t term_of(struct store *s, struct slice room, const char *owner)
{
    OWN(own_buf) struct buf session;
    int64_t term = 0;
    buf_init(&session, 1024);
    OK(store_owner(s, SOURCE, room, &session, &term, &e));
    assert_true(slice_is(buf_view(&session), owner));
    return term;
}

/* ---- the cases ---- */
static void each_room_has_one_owner(void **state)
{
    (void)state;
    struct store *a = open_shared("urn:a", 60000);
    struct store *b = open_shared("urn:b", 60000);
    struct store_event one = post_in(ONE);
    struct store_event both[2] = {post_in(ONE), post_in(TWO)};
    struct store_result r[2];

    OK(store_append(a, &one, 1, r, &e));
    assert_int_equal(r[0].class, 0);
    OK(store_append(b, both, 2, r, &e));
    assert_int_equal(r[0].class, ERR_CONFLICT);
    assert_int_equal(r[1].class, 0);
    FAILS(ERR_CONFLICT, store_own_room(b, ONE, &e));
    OK(store_own_room(b, TWO, &e));
    assert_int_equal(term_of(a, ONE, "urn:a"), 1);
    assert_int_equal(term_of(a, TWO, "urn:b"), 1);
    OK(store_renew_session(a, &e));
    FAILS(ERR_NOT_FOUND, store_close_lapsed(b, &e));

    OK(store_end_session(a, &e));
    OK(store_append(b, both, 2, r, &e));
    assert_int_equal(r[0].class, 0);
    assert_int_equal(r[0].sequence, 2);
    assert_int_equal(r[0].chat_id, 2);
    assert_int_equal(term_of(b, ONE, "urn:b"), 2);
    assert_int_equal(walk(b, ONE).head.sequence, 2);
    store_close(a);
    store_close(b);
}

static void close_when_lapsed(struct store *s)
{
    int64_t until = clock_mono_ms() + 60000;
    struct err e = {0};
    int rc = ERR_NOT_FOUND;
    while ((rc = store_close_lapsed(s, &e)) == ERR_NOT_FOUND && clock_mono_ms() < until)
        (void)poll(NULL, 0, 20);
    ok(rc, &e);
}

static void lapsed_session_is_closed_once(void **state)
{
    (void)state;
    struct store *a = open_shared("urn:a", 1500);
    struct store *b = open_shared("urn:b", 60000);
    struct store *c = open_shared("urn:c", 60000);
    struct store_event in = join(ONE, "urn:a");
    struct store_event one = post_in(ONE);
    struct store_result r;

    OK(store_append(a, &in, 1, &r, &e));
    FAILS(ERR_NOT_FOUND, store_close_lapsed(b, &e));
    close_when_lapsed(b);
    FAILS(ERR_NOT_FOUND, store_close_lapsed(c, &e));
    /* It wakes: whatever it tries, nothing of it is stored. */
    FAILS(ERR_STOPPED, store_append(a, &one, 1, &r, &e));
    assert_int_equal(r.class, ERR_STOPPED);
    FAILS(ERR_STOPPED, store_renew_session(a, &e));
    FAILS(ERR_STOPPED, store_own_room(a, TWO, &e));
    assert_int_equal(term_of(b, ONE, "urn:b"), 2);
    assert_int_equal(walk(b, ONE).leaves, 1);
    assert_int_equal(walk(b, ONE).head.sequence, 2);
    assert_int_equal(walk(b, SLICE("urn:a")).stops, 1);
    store_close(a);
    store_close(b);
    store_close(c);
}

static void late_but_unnoticed_goes_on(void **state)
{
    (void)state;
    struct store *a = open_shared("urn:a", 1000);
    struct store *b = open_shared("urn:b", 60000);
    struct store_event one = post_in(ONE);
    struct store_result r;

    (void)poll(NULL, 0, 1100); /* its lease ends meanwhile */
    OK(store_append(a, &one, 1, &r, &e));
    FAILS(ERR_NOT_FOUND, store_close_lapsed(b, &e));
    store_close(a);
    store_close(b);
}

static void alone_or_shared(void **state)
{
    (void)state;
    struct store *a = open_shared("urn:a", 60000);
    struct store *x = NULL;
    OK(store_open(&x, url, &e));
    FAILS(ERR_CONFLICT, store_begin_session(x, SOURCE, SLICE("urn:x"), SLICE(""), &e));
    OK(store_end_session(a, &e));
    OK(store_begin_session(x, SOURCE, SLICE("urn:x"), SLICE(""), &e));
    store_close(a);
    OK(store_open(&a, url, &e));
    FAILS(ERR_CONFLICT, store_share_session(a, SOURCE, SLICE("urn:b"), SLICE(""), 1000, &e));
    FAILS(ERR_FAULT, store_renew_session(a, &e));
    store_close(a);
    store_close(x);
}

/* ---- three processes, killed and frozen ---- */
struct ack {
    int64_t room, sequence;
    uint8_t hash[SHA256_SIZE];
};

static struct slice room_of(int64_t number)
{
    static char names[ROOMS][32];
    (void)snprintf(names[number], sizeof names[0], "r:%lld", (long long)number);
    return slice_of(names[number]);
}

static bool tell(const struct store_result *r, const int64_t *rooms, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct ack ack = {rooms[i], r[i].sequence, {0}};
        memcpy(ack.hash, r[i].hash, SHA256_SIZE);
        if (r[i].class == 0 && write(1, &ack, sizeof ack) != (ssize_t)sizeof ack)
            return false;
    }
    return true;
}

/* Writes to rooms by chance, mostly those that are its own by now. Exit codes: 3 stopped. */
static int write_for_ever(void)
{
    struct store *s = NULL;
    struct err e = {0};
    char session[64];
    struct store_event events[GROUP];
    struct store_result r[GROUP];
    int64_t rooms[GROUP];
    unsigned dice = (unsigned)getpid();

    (void)snprintf(session, sizeof session, "urn:%ld-%lld", (long)getpid(),
                   (long long)clock_mono_ms());
    int rc = store_open(&s, url, &e);
    if (rc == 0)
        rc = store_share_session(s, SOURCE, slice_of(session), SLICE(""), LEASE_MS, &e);
    for (int round = 0; rc == 0 || rc == ERR_RETRY || rc == ERR_CONFLICT; round++) {
        for (int i = 0; i < GROUP; i++) {
            dice = dice * 1103515245u + 12345u;
            rooms[i] = (dice >> 16) % ROOMS;
            events[i] = post_in(room_of(rooms[i]));
        }
        rc = store_append(s, events, GROUP, r, &e);
        if (rc == 0 && !tell(r, rooms, GROUP))
            return 0;
        if (rc == 0 && round % 20 == 0)
            rc = store_close_lapsed(s, &e);
        if (rc == ERR_NOT_FOUND)
            rc = 0;
    }
    (void)fprintf(stderr, "writer: %d %s\n", rc, e.text);
    return rc == ERR_STOPPED ? 3 : 4;
}

struct writer_child {
    pid_t pid;
    int out;
};

static void start_writer(struct writer_child *c)
{
    char path[] = "/proc/self/exe";
    char *argv[] = {path, url, NULL};
    int ends[2];
    posix_spawn_file_actions_t actions;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], 1), 0);
    assert_int_equal(posix_spawn(&c->pid, path, &actions, NULL, argv, environ), 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(ends[1]);
    c->out = ends[0];
}

struct acks {
    struct ack *list;
    size_t n, room;
};

/* Whole acks only: they are written in one piece, so that a kill leaves none torn. */
static void read_acks(struct acks *a, const struct writer_child *children, int timeout_ms)
{
    struct pollfd fds[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        fds[i] = (struct pollfd){.fd = children[i].out, .events = POLLIN};
    if (poll(fds, WRITERS, timeout_ms) <= 0)
        return;
    for (int i = 0; i < WRITERS; i++) {
        struct ack got[64];
        if (!(fds[i].revents & POLLIN))
            continue;
        ssize_t n = read(fds[i].fd, got, sizeof got);
        size_t whole = n > 0 ? (size_t)n / sizeof got[0] : 0;
        if (a->n + whole > a->room) {
            a->room = 2 * a->room + whole + 1000;
            a->list = realloc(a->list, a->room * sizeof *a->list);
            assert_non_null(a->list);
        }
        memcpy(a->list + a->n, got, whole * sizeof got[0]);
        a->n += whole;
    }
}

static void drain_and_end(struct acks *a, struct writer_child *c, int with)
{
    struct writer_child all[WRITERS] = {*c, {-1, -1}, {-1, -1}};
    size_t before;
    int status;
    (void)kill(c->pid, with);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    do {
        before = a->n;
        read_acks(a, all, 0);
    } while (a->n > before);
    (void)close(c->out);
}

static int same_hash(void *arg, const struct store_row *row, struct err *e)
{
    const struct ack *ack = arg;
    uint8_t hash[SHA256_SIZE];
    sha256(row->raw.p, row->raw.n, hash);
    if (memcmp(hash, ack->hash, SHA256_SIZE) != 0)
        return err_set(e, ERR_FAULT, "room %lld, sequence %lld has another content",
                       (long long)ack->room, (long long)ack->sequence);
    return ERR_AGAIN;
}

static void judge(const struct acks *a)
{
    struct store *s = NULL;
    int64_t all = 0;
    struct stream_find found[ROOMS];
    OK(store_open_reader(&s, url, &e));
    for (int i = 0; i < ROOMS; i++) {
        struct chain_walk w = walk(s, room_of(i));
        found[i] = (struct stream_find){.subject = room_of(i)};
        OK(store_streams(s, find_stream, &found[i], &e));
        assert_int_equal(w.chat_id, w.head.sequence);
        all += w.head.sequence;
    }
    for (size_t i = 0; i < a->n; i++) {
        struct ack ack = a->list[i];
        FAILS(ERR_AGAIN, store_read_stream(s, found[ack.room].id, ack.sequence, ack.sequence, 1,
                                           same_hash, &ack, &e));
    }
    assert_true(all >= (int64_t)a->n);
    store_close(s);
}

static void three_writers_killed_and_frozen(void **state)
{
    (void)state;
    struct writer_child c[WRITERS];
    struct acks a = {0};
    struct store *s = NULL;
    unsigned steps = 0;

    OK(store_open(&s, url, &e)); /* the schema is there before three come at once */
    store_close(s);
    for (int i = 0; i < WRITERS; i++)
        start_writer(&c[i]);
    int64_t end = clock_mono_ms() + RUN_MS;
    int64_t next = clock_mono_ms() + 700;
    while (clock_mono_ms() < end) {
        read_acks(&a, c, 20);
        if (clock_mono_ms() < next)
            continue;
        struct writer_child *victim = &c[steps % WRITERS];
        if (steps++ % 2 == 0) {
            drain_and_end(&a, victim, SIGKILL);
            start_writer(victim);
            next = clock_mono_ms() + 700;
            continue;
        }
        /* Frozen past its lease; when it wakes, another has closed its session. */
        (void)kill(victim->pid, SIGSTOP);
        int64_t until = clock_mono_ms() + LEASE_MS + 400;
        while (clock_mono_ms() < until)
            read_acks(&a, c, 20);
        (void)kill(victim->pid, SIGCONT);
        next = clock_mono_ms() + 300;
    }
    for (int i = 0; i < WRITERS; i++)
        drain_and_end(&a, &c[i], SIGKILL);
    assert_true(steps >= 3);
    assert_true(a.n > 100);
    judge(&a);
    free(a.list);
}

int main(int argc, char **argv)
{
    if (argc == 2) {
        (void)snprintf(url, sizeof url, "%s", argv[1]);
        return write_for_ever();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_room_has_one_owner, fresh_database),
        cmocka_unit_test_setup(lapsed_session_is_closed_once, fresh_database),
        cmocka_unit_test_setup(late_but_unnoticed_goes_on, fresh_database),
        cmocka_unit_test_setup(alone_or_shared, fresh_database),
        cmocka_unit_test_setup(three_writers_killed_and_frozen, fresh_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
