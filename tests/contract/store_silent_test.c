/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store whose database says nothing any more, on a private PostgreSQL: the process that serves
 * the writer is frozen at a named moment. Who waits gets an answer within a time, and what was in
 * doubt is there once, or not at all, as it was told.
 */
#include "base/clock.h"
#include "base/db_driver.h"
#include "chat-server/store/writer.h"
#include "store_place.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>

enum { PATIENCE_MS = 1000, AT_ONCE_MS = 4000, DOUBT_MS = 20000, LATEST_MS = 32000 };

static struct silent {
    const struct db_driver *real;
    struct db_driver freezing;
    pid_t pid;          /* serves the writer */
    bool in_commit;     /* frozen before one, else before a statement */
    atomic_bool frozen; /* it was */
} silent;

static void freeze(void)
{
    if (!atomic_exchange(&silent.frozen, true))
        (void)kill(silent.pid, SIGSTOP);
}

static int freezing_commit(struct db *db, struct err *e)
{
    if (silent.in_commit)
        freeze();
    return silent.real->commit(db, e);
}

static int freezing_copy(struct db_copy *c, struct err *e)
{
    if (!silent.in_commit)
        freeze();
    return silent.real->copy_end(c, e);
}

/* In the writer's thread: its next group meets a server that says nothing. */
static int lay(struct store *s, void *arg, struct err *e)
{
    struct db *db = store_db(s);
    int64_t pid = 0;
    int rc = db_int(db, "SELECT pg_backend_pid()", DB_NO_ARGS, 0, &pid, e);
    silent.in_commit = *(bool *)arg;
    silent.pid = (pid_t)pid;
    silent.frozen = false;
    silent.real = db->driver;
    silent.freezing = *db->driver;
    silent.freezing.commit = freezing_commit;
    silent.freezing.copy_end = freezing_copy;
    db->driver = &silent.freezing;
    return rc < 0 ? rc : db_patience(db, PATIENCE_MS, e);
}

static void wake(void)
{
    if (silent.pid)
        (void)kill(silent.pid, SIGCONT);
    silent.pid = 0;
}

static int tear_down_awake(void **state)
{
    wake();
    return tear_down(state);
}

static struct writer *begin(struct place *p)
{
    const struct writer_options o = {.url = p->url};
    struct writer *w = NULL;
    store_close(p->s);
    p->s = NULL;
    OK(writer_start(&w, &o, &e));
    OK(writer_claim(w, SOURCE, &e));
    return w;
}

struct answer {
    atomic_int class; /* 1: none yet */
    int64_t sequence, since_ms, after_ms;
};

static void answered(struct writer_job *job, const struct store_result *result)
{
    struct answer *a = job->arg;
    a->sequence = result->sequence;
    a->after_ms = clock_mono_ms() - a->since_ms;
    a->class = result->class;
}

static void submit(struct writer *w, struct writer_job *job, struct answer *a)
{
    *a = (struct answer){.class = 1, .since_ms = clock_mono_ms()};
    *job = (struct writer_job){.event = post(HELLO), .done = answered, .arg = a};
    OK(writer_submit(w, job, &e));
}

static void await_answer(const struct answer *a)
{
    while (a->class == 1 && clock_mono_ms() - a->since_ms < 2 * LATEST_MS)
        (void)poll(NULL, 0, 10);
}

/* Until the store is reached again. */
static int64_t post_again(struct writer *w)
{
    const int64_t until = clock_mono_ms() + LATEST_MS;
    const struct store_event event = post(HELLO);
    struct store_result r;
    while (writer_submit_wait(w, &event, 1, &r, NULL) < 0 && clock_mono_ms() < until)
        (void)poll(NULL, 0, 50);
    assert_int_equal(r.class, 0);
    return r.sequence;
}

static void finish(struct place *p, struct writer *w, int64_t posts)
{
    writer_stop(w);
    OK(store_open(&p->s, p->url, &e));
    assert_int_equal(check_room(p->s, ROOM).count, posts);
}

/* A post is there; the server falls silent while it is given another one, which waits. */
static struct writer *begin_silence(struct place *p, bool in_commit, struct writer_job *job,
                                    struct answer *a)
{
    struct writer *w = begin(p);
    assert_int_equal(post_again(w), 1);
    OK(writer_call(w, lay, &in_commit, &e));
    submit(w, job, a);
    return w;
}

/* Nothing of the group is there, and everybody may be told so. */
static void a_statement_that_hangs_is_answered_soon(void **state)
{
    struct place *p = *state;
    struct writer_job job;
    struct answer a;
    struct writer *w = begin_silence(p, false, &job, &a);
    await_answer(&a);
    assert_true(silent.frozen);
    assert_int_equal(a.class, ERR_RETRY);
    assert_in_range(a.after_ms, PATIENCE_MS, 2 * AT_ONCE_MS);
    wake();
    assert_int_equal(post_again(w), 2);
    finish(p, w, 2);
}

/* The server wakes, does what it was told, and the new connection finds it. */
static void a_commit_that_hangs_is_looked_up(void **state)
{
    struct place *p = *state;
    struct writer_job job;
    struct answer a;
    struct writer *w = begin_silence(p, true, &job, &a);
    while (!silent.frozen)
        (void)poll(NULL, 0, 10);
    (void)poll(NULL, 0, 2 * PATIENCE_MS); /* a connection more is tried, and not let in */
    assert_int_equal(a.class, 1);
    wake();
    await_answer(&a);
    assert_int_equal(a.class, 0);
    assert_int_equal(a.sequence, 2);
    assert_int_equal(post_again(w), 3);
    finish(p, w, 3);
}

/* Nobody knows, and nobody waits for ever; when the server wakes it is known again before anything
 * is stored behind it. */
static void a_commit_that_stays_in_doubt_is_said_to_be(void **state)
{
    struct place *p = *state;
    struct writer_job job;
    struct writer_job later;
    struct answer a;
    struct answer b;
    struct writer *w = begin_silence(p, true, &job, &a);
    while (!silent.frozen)
        (void)poll(NULL, 0, 10);
    submit(w, &later, &b);
    await_answer(&a);
    await_answer(&b);
    assert_int_equal(a.class, ERR_DOUBT);
    assert_in_range(a.after_ms, DOUBT_MS, LATEST_MS);
    assert_int_equal(b.class, ERR_RETRY);
    later = (struct writer_job){.event = post(HELLO), .done = answered, .arg = &b};
    assert_int_equal(writer_submit(w, &later, NULL), ERR_RETRY);
    wake();
    assert_int_equal(post_again(w), 3);
    finish(p, w, 3);
}

int main(int argc, char **argv)
{
    (void)argc;
#define ON_POSTGRES(f) cmocka_unit_test_setup_teardown(f, set_up_postgres, tear_down_awake)
    const struct CMUnitTest tests[] = {
        ON_POSTGRES(a_statement_that_hangs_is_answered_soon),
        ON_POSTGRES(a_commit_that_hangs_is_looked_up),
        ON_POSTGRES(a_commit_that_stays_in_doubt_is_said_to_be),
    };
    return has_scratch(argv[0]) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
