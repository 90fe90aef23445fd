/* SPDX-License-Identifier: Apache-2.0 */
/* Server sessions of a store on SQLite and on a private PostgreSQL: taken over, killed while they
 * append, and closed by the next one. */
#include "store_place.h"

#include "base/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

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

int main(int argc, char **argv)
{
    if (argc == 3)
        return run_child(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        ON_BOTH(session_runs),
        ON_BOTH(lost_writer_is_stopped),
        ON_BOTH(killed_while_appending),
        ON_BOTH(dead_participants_leave_once),
    };
    return has_scratch(argv[0]) ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
