/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writing thread and the control totals of a store on SQLite and on a private PostgreSQL, when
 * another server takes the session, a stored row is damaged, or more is wanted than there may be.
 */
#include "store_place.h"

#include "base/clock.h"
#include "chat-server/store/directory.h"
#include "chat-server/store/totals.h"
#include "chat-server/store/writer.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#define SESSION SLICE("urn:a")

enum { PATIENCE_MS = 20000 };

static void do_sql(struct place *p, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    OK(db_open(&db, p->url, 0, &e));
    if (p->kind == DB_POSTGRES)
        OK(db_script(db, "SET search_path TO chat", &e));
    OK(db_script(db, sql, &e));
}

/* The store is the writer's from here on. */
static struct writer *start_writer(struct place *p, size_t max_jobs)
{
    struct writer *w = NULL;
    const struct writer_options o = {.url = p->url, .max_jobs = max_jobs};
    store_close(p->s);
    p->s = NULL;
    OK(writer_start(&w, &o, &e));
    return w;
}

static struct writer *begin_session(struct place *p, size_t max_jobs)
{
    struct writer *w = start_writer(p, max_jobs);
    OK(writer_begin_session(w, SOURCE, SESSION, SLICE(""), &e));
    return w;
}

static void stop_writer(struct place *p, struct writer *w)
{
    writer_stop(w);
    OK(store_open(&p->s, p->url, &e));
}

static void submit(struct writer *w, int class)
{
    const struct store_event event = post(HELLO);
    struct store_result r = {0};
    FAILS(class, writer_submit_wait(w, &event, 1, &r, &e));
    assert_int_equal(r.class, class);
}

/* ---- another writes now ---- */

static void nothing_is_stored_by_who_lost_the_session(void **state)
{
    struct place *p = *state;
    struct writer *w = begin_session(p, 0);
    struct writer_state ws;
    submit(w, 0);
    do_sql(p, "UPDATE writer SET session = 'urn:b'");
    submit(w, ERR_STOPPED);
    writer_state(w, &ws);
    assert_true(ws.lost_session && !ws.reachable);
    submit(w, ERR_STOPPED);
    stop_writer(p, w);
    assert_int_equal(check_room(p->s, ROOM).count, 1);
}

/* Told as the last thing that they say, and never again. */
static void totals_end_with_the_session(void **state)
{
    struct place *p = *state;
    struct writer *w = begin_session(p, 0);
    struct totals *t = NULL;
    struct writer_state ws = {0};
    struct totals_options o = {.store_url = p->url,
                               .writer = w,
                               .source = SOURCE,
                               .subject = SESSION,
                               .cadence_ms = 10,
                               .part_bytes = 1300};
    const uint8_t secret[SIGN_KEY_SIZE] = {5};
    OK(sign_key_from(&o.key, secret, &e));
    for (int i = 0; i < 4; i++) {
        char room[20];
        (void)snprintf(room, sizeof room, "r:%d", i);
        const struct store_event event = post_in(slice_of(room), HELLO);
        struct store_result r = {0};
        OK(writer_submit_wait(w, &event, 1, &r, &e));
    }
    do_sql(p, "UPDATE writer SET session = 'urn:b'");
    OK(totals_start(&t, &o, &e));
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (!ws.lost_session) {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 10);
        writer_state(w, &ws);
    }
    totals_stop(t);
    FAILS(ERR_STOPPED, totals_write_once(&o, &e));
    stop_writer(p, w);
    assert_int_equal(check_room(p->s, SESSION).kinds[RECORD_TOTALS], 0);
}

/* ---- damage ---- */

static void a_damaged_head_is_not_built_upon(void **state)
{
    struct place *p = *state;
    struct writer *w = begin_session(p, 0);
    struct writer_state ws;
    submit(w, 0);
    stop_writer(p, w);
    do_sql(p, "UPDATE record SET hash = substr(hash, 1, 5) WHERE kind = 3"); /* the post */
    w = start_writer(p, 0);
    OK(writer_claim(w, SOURCE, &e));
    submit(w, ERR_FAULT);
    writer_state(w, &ws);
    assert_false(ws.lost_session);
    const struct store_event other = post_in(SLICE("r:other"), HELLO);
    struct store_result r = {0};
    OK(writer_submit_wait(w, &other, 1, &r, &e));
    assert_int_equal(r.class, 0);
    stop_writer(p, w);
}

/* Its records stay as they are; the next start has nothing to close. */
static void a_session_that_was_ended_by_hand(void **state)
{
    struct place *p = *state;
    struct writer *w = begin_session(p, 0);
    submit(w, 0);
    do_sql(p, "UPDATE session SET ended_us = 1");
    stop_writer(p, w);
    struct check c = check_room(p->s, SESSION);
    assert_int_equal(c.kinds[RECORD_SESSION_START], 1);
    assert_int_equal(c.kinds[RECORD_SESSION_STOP], 0);
    assert_int_equal(check_room(p->s, ROOM).count, 1);
}

static void a_session_that_can_not_be_recorded_does_not_begin(void **state)
{
    struct place *p = *state;
    struct writer *w = start_writer(p, 0);
    FAILS(ERR_REJECTED, writer_begin_session(w, SOURCE, SESSION, SLICE("no members"), &e));
    OK(writer_begin_session(w, SOURCE, SESSION, SLICE(""), &e));
    submit(w, 0);
    stop_writer(p, w);
    assert_int_equal(check_room(p->s, SESSION).kinds[RECORD_SESSION_START], 1);
}

/* ---- too much ---- */

static void a_stream_that_is_full_takes_no_more(void **state)
{
    struct place *p = *state;
    struct writer *w = begin_session(p, 0);
    submit(w, 0);
    stop_writer(p, w);
    do_sql(p, "UPDATE record SET sequence = 999999999999999999 WHERE kind = 3");
    w = start_writer(p, 0);
    OK(writer_claim(w, SOURCE, &e));
    const struct store_event events[] = {post(HELLO), post_in(SLICE("r:other"), HELLO)};
    struct store_result r[2];
    OK(writer_submit_wait(w, events, 2, r, &e));
    assert_int_equal(r[0].class, ERR_REJECTED);
    assert_string_equal(r[0].text, "the stream is full");
    assert_int_equal(r[1].class, 0);
    stop_writer(p, w);
}

struct gate {
    atomic_bool entered, open;
};

static int wait_at(struct store *s, void *arg, struct err *e)
{
    struct gate *g = arg;
    (void)s;
    (void)e;
    atomic_store(&g->entered, true);
    while (!atomic_load(&g->open))
        (void)poll(NULL, 0, 5);
    return 0;
}

struct caller {
    struct writer *w;
    struct gate *gate;
    int rc;
};

static void *call(void *arg)
{
    struct caller *c = arg;
    c->rc = writer_call(c->w, wait_at, c->gate, NULL);
    return NULL;
}

static void *submit_two(void *arg)
{
    struct caller *c = arg;
    const struct store_event events[] = {post(HELLO), post(HELLO)};
    struct store_result r[2];
    c->rc = writer_submit_wait(c->w, events, 2, r, NULL);
    return NULL;
}

static atomic_int done_with;

static void count_done(struct writer_job *job, const struct store_result *result)
{
    (void)job;
    assert_int_equal(result->class, 0);
    atomic_fetch_add(&done_with, 1);
}

/* While the thread is held by a call, another call and a large group wait for their turn; a single
 * job is told that there is no room, whether by number or by size. */
static void who_comes_too_early_waits_or_is_told(void **state)
{
    struct place *p = *state;
    struct writer *w = begin_session(p, 2);
    struct gate first = {0};
    struct gate second = {.open = true};
    struct caller callers[] = {{.w = w, .gate = &first}, {.w = w, .gate = &second}, {.w = w}};
    pthread_t threads[3];
    struct writer_job one = {.event = post(HELLO), .done = count_done};
    struct writer_job large = one;
    atomic_store(&done_with, 0);
    assert_int_equal(pthread_create(&threads[0], NULL, call, &callers[0]), 0);
    while (!atomic_load(&first.entered))
        (void)poll(NULL, 0, 5);
    OK(writer_submit(w, &one, &e));
    large.event.members.n = (size_t)64 << 20; /* not looked at: it is refused */
    FAILS(ERR_RETRY, writer_submit(w, &large, &e));
    assert_int_equal(pthread_create(&threads[1], NULL, call, &callers[1]), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, submit_two, &callers[2]), 0);
    (void)poll(NULL, 0, 300);
    assert_false(atomic_load(&second.entered));
    struct writer_job more = one;
    OK(writer_submit(w, &more, &e));
    struct writer_job too_many = one;
    FAILS(ERR_RETRY, writer_submit(w, &too_many, &e));
    atomic_store(&first.open, true);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(callers[i].rc, 0);
    }
    assert_true(atomic_load(&second.entered));
    stop_writer(p, w);
    assert_int_equal(atomic_load(&done_with), 2);
    assert_int_equal(check_room(p->s, ROOM).count, 4);
}

/* More bytes than a group may have are several groups. */
static void large_records_go_in_several_groups(void **state)
{
    enum { N = 40, TEXT = 400000 };
    static const char begin[] = "\"participant\":\"sip:ann\",\"text\":\"";
    struct place *p = *state;
    struct writer *w = begin_session(p, 0);
    struct store_event events[N];
    struct store_result r[N];
    OWN(own_mem) char *members = malloc(sizeof begin + TEXT + 1);
    assert_non_null(members);
    memcpy(members, begin, sizeof begin);
    memset(members + sizeof begin - 1, 'x', TEXT);
    memcpy(members + sizeof begin - 1 + TEXT, "\"", 2);
    for (int i = 0; i < N; i++)
        events[i] = post_in(i % 2 ? ROOM : SLICE("r:other"), members);
    OK(writer_submit_wait(w, events, N, r, &e));
    for (int i = 0; i < N; i++)
        assert_int_equal(r[i].class, 0);
    submit(w, 0); /* with what the large ones took given back */
    stop_writer(p, w);
    assert_int_equal(check_room(p->s, ROOM).count, N / 2 + 1);
}

static void so_many_sources_and_no_more(void **state)
{
    struct place *p = *state;
    struct writer *w = begin_session(p, 0);
    char name[20];
    int n = 0;
    int rc = 0;
    for (; rc == 0 && n < 1000; n++) {
        (void)snprintf(name, sizeof name, "src:%d", n);
        rc = writer_claim(w, slice_of(name), NULL);
    }
    assert_int_equal(rc, ERR_REJECTED);
    assert_int_equal(n, 16);                 /* beside the session's */
    OK(writer_claim(w, SLICE("src:0"), &e)); /* known */
    submit(w, 0);
    stop_writer(p, w);
}

static void a_room_has_so_many_members(void **state)
{
    struct place *p = *state;
    char uri[256];
    OWN(own_mem) char *members = malloc(70001);
    assert_non_null(members);
    memset(members, ' ', 70000);
    members[70000] = '\0';
    FAILS(ERR_REJECTED, directory_add_room(p->s, SLICE("example.com"), SLICE("One"), SLICE(""),
                                           (struct slice){members, 70000}, false, uri, &e));
    OK(directory_add_room(p->s, SLICE("example.com"), SLICE("One"), SLICE(""),
                          (struct slice){members, 60000}, false, uri, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(nothing_is_stored_by_who_lost_the_session),
        ON_BOTH(totals_end_with_the_session),
        ON_BOTH(a_damaged_head_is_not_built_upon),
        ON_BOTH(a_session_that_was_ended_by_hand),
        ON_BOTH(a_session_that_can_not_be_recorded_does_not_begin),
        ON_BOTH(a_stream_that_is_full_takes_no_more),
        ON_BOTH(who_comes_too_early_waits_or_is_told),
        ON_BOTH(large_records_go_in_several_groups),
        ON_BOTH(so_many_sources_and_no_more),
        ON_BOTH(a_room_has_so_many_members),
    };
    if (!has_scratch("store_trouble_test"))
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
