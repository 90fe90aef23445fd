/* SPDX-License-Identifier: Apache-2.0 */
/* The writing thread of a store on SQLite and on a private PostgreSQL: connections that are cut, a
 * database that is full. */
#include "store_place.h"

#include "base/clock.h"
#include "base/file.h"
#include "chat-server/store/writer.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

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

enum { MANY = 200 };

struct submission {
    struct writer *w;
    int rc;
};

static void *submit_many(void *arg)
{
    struct submission *s = arg;
    struct store_event events[MANY];
    struct store_result r[MANY];
    for (int i = 0; i < MANY; i++)
        events[i] = post(HELLO);
    s->rc = writer_submit_wait(s->w, events, MANY, r, NULL);
    return NULL;
}

/* A stop with the disk full: what waits is tried until its time is up, and not without a pause. */
static void writer_stops_without_haste(void **state)
{
    struct place *p = *state;
    struct writer_state ws = {0};
    struct writer_options o = {.url = p->url};
    struct submission s = {0};
    char full[] = "PRAGMA max_page_count = 1";
    pthread_t thread;

    if (p->kind != DB_SQLITE)
        return;
    OK(writer_start(&s.w, &o, &e));
    OK(writer_claim(s.w, SOURCE, &e));
    OK(writer_call(s.w, set_pages, full, &e));
    assert_int_equal(pthread_create(&thread, NULL, submit_many, &s), 0);
    int64_t until = clock_mono_ms() + 10000;
    while (ws.waiting < MANY && clock_mono_ms() < until) {
        (void)poll(NULL, 0, 1);
        writer_state(s.w, &ws);
    }
    const clock_t before = clock();
    writer_stop(s.w);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(s.rc, ERR_RETRY);
    assert_true(clock() - before < CLOCKS_PER_SEC);
}

int main(int argc, char **argv)
{
    (void)argc;
    const struct CMUnitTest tests[] = {
        ON_BOTH(writer_stores),
        ON_BOTH(writer_survives_cuts),
        ON_BOTH(writer_waits_for_room),
        ON_BOTH(writer_stops_without_haste),
    };
    return has_scratch(argv[0]) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
