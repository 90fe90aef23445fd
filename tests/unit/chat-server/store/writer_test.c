/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commits whose answer never comes: a proxy between the writer and a private PostgreSQL cuts the
 * connection right before or right after the server committed. Everything else of the writer is in
 * tests/contract/store_writer_test.c.
 */
#include "base/clock.h"
#include "base/own.h"
#include "chat-server/store/writer.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

#define SOURCE SLICE("sip:pool.example.com")
#define ROOM   SLICE("r:one")

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        int rc_ = (call);                                                                          \
        if (rc_ < 0)                                                                               \
            fail_msg("%s: %d %s", #call, rc_, e.text);                                             \
    } while (0)

/* ---- the proxy ---- */
enum { PAIRS = 16, PASS = 0, CUT_BEFORE = 1, CUT_AFTER = 2, AWAY = 3 };

struct pair {
    int client, server; /* -1: free */
    bool doomed;        /* the answer to COMMIT is not passed on */
};
struct proxy {
    char real[108], path[108];
    int listener;
    pthread_t thread;
    atomic_int mode; /* CUT_*: for the next COMMIT, then PASS or, with away_after, AWAY */
    atomic_bool away_after, stop;
    atomic_int accepted; /* connections that reached the server */
    struct pair pairs[PAIRS];
};

static int unix_socket(const char *path, bool listening)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int rc = listening ? bind(fd, (const struct sockaddr *)&a, sizeof a)
                       : connect(fd, (const struct sockaddr *)&a, sizeof a);
    if (rc == 0 && listening)
        rc = listen(fd, PAIRS);
    if (rc == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static void drop(struct pair *q)
{
    (void)close(q->client);
    (void)close(q->server);
    *q = (struct pair){-1, -1, false};
}

static void send_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t part = send(fd, bytes, n, MSG_NOSIGNAL);
        if (part <= 0)
            return;
        bytes += part;
        n -= (size_t)part;
    }
}

static void after_cut(struct proxy *x)
{
    atomic_store(&x->mode, atomic_load(&x->away_after) ? AWAY : PASS);
}

/* From the client. A simple query "COMMIT" is one message that nothing else precedes. */
static void from_client(struct proxy *x, struct pair *q)
{
    char bytes[65536];
    ssize_t n = recv(q->client, bytes, sizeof bytes, 0);
    if (n <= 0) {
        drop(q);
        return;
    }
    int mode = atomic_load(&x->mode);
    bool commit = n >= 12 && bytes[0] == 'Q' && memcmp(bytes + 5, "COMMIT", 7) == 0;
    if (commit && mode == CUT_BEFORE) {
        after_cut(x);
        drop(q);
        return;
    }
    q->doomed = commit && mode == CUT_AFTER;
    send_all(q->server, bytes, (size_t)n);
}

static void from_server(struct proxy *x, struct pair *q)
{
    char bytes[65536];
    ssize_t n = recv(q->server, bytes, sizeof bytes, 0);
    if (n <= 0 || q->doomed) {
        if (q->doomed)
            after_cut(x);
        drop(q);
        return;
    }
    send_all(q->client, bytes, (size_t)n);
}

static void accept_one(struct proxy *x)
{
    int client = accept(x->listener, NULL, NULL);
    int server = atomic_load(&x->mode) == AWAY ? -1 : unix_socket(x->real, false);
    for (int i = 0; i < PAIRS && server >= 0; i++) {
        if (x->pairs[i].client < 0) {
            x->pairs[i] = (struct pair){client, server, false};
            atomic_fetch_add(&x->accepted, 1);
            return;
        }
    }
    (void)close(client);
    if (server >= 0)
        (void)close(server);
}

static void *proxy_run(void *arg)
{
    struct proxy *x = arg;
    while (!atomic_load(&x->stop)) {
        struct pollfd fds[1 + 2 * PAIRS];
        fds[0] = (struct pollfd){.fd = x->listener, .events = POLLIN};
        for (int i = 0; i < PAIRS; i++) {
            fds[1 + 2 * i] = (struct pollfd){.fd = x->pairs[i].client, .events = POLLIN};
            fds[2 + 2 * i] = (struct pollfd){.fd = x->pairs[i].server, .events = POLLIN};
        }
        if (poll(fds, 1 + 2 * PAIRS, 20) <= 0)
            continue;
        for (int i = 0; i < PAIRS; i++) {
            if (fds[1 + 2 * i].revents)
                from_client(x, &x->pairs[i]);
            if (fds[2 + 2 * i].revents && x->pairs[i].server == fds[2 + 2 * i].fd)
                from_server(x, &x->pairs[i]);
        }
        if (fds[0].revents)
            accept_one(x);
    }
    return NULL;
}

struct place {
    struct proxy proxy;
    char real_url[512], url[512];
    struct writer *w;
    atomic_size_t told;
};

static int cases;

static void start_proxy(struct place *p, const char *server)
{
    struct proxy *x = &p->proxy;
    const char *scratch = getenv("HOLDFAST_TEST_SCRATCH");
    char folder[64];
    char host[108];
    char port[16];
    assert_non_null(scratch);
    assert_int_equal(sscanf(strstr(server, "host="), "host=%100[^&]", host), 1);
    assert_int_equal(sscanf(strstr(server, "port="), "port=%15[^&]", port), 1);
    (void)snprintf(folder, sizeof folder, "%.48s/p%d", scratch, cases);
    assert_int_equal(mkdir(folder, 0700), 0);
    (void)snprintf(x->path, sizeof x->path, "%s/.s.PGSQL.%s", folder, port);
    (void)snprintf(x->real, sizeof x->real, "%.80s/.s.PGSQL.%s", host, port);
    for (int i = 0; i < PAIRS; i++)
        x->pairs[i] = (struct pair){-1, -1, false};
    x->listener = unix_socket(x->path, true);
    assert_true(x->listener >= 0);
    (void)snprintf(p->url, sizeof p->url, "postgresql:///writer%d?host=%s&port=%s&user=holdfast",
                   cases, folder, port);
    (void)snprintf(p->real_url, sizeof p->real_url,
                   "postgresql:///writer%d?host=%s&port=%s&user=holdfast", cases, host, port);
    assert_int_equal(pthread_create(&x->thread, NULL, proxy_run, x), 0);
}

static void count_told(void *arg, struct slice subject, const struct store_result *r)
{
    struct place *p = arg;
    if (slice_eq(subject, ROOM) && r->record.n > 0)
        atomic_fetch_add(&p->told, 1);
}

static int set_up(void **state)
{
    const char *server = getenv("HOLDFAST_TEST_POSTGRES");
    struct place *p = calloc(1, sizeof *p);
    OWN(own_db) struct db *db = NULL;
    char sql[64];
    assert_true(server && p);
    cases++;
    (void)snprintf(sql, sizeof sql, "CREATE DATABASE writer%d", cases);
    OK(db_open(&db, server, 0, &e));
    OK(db_script(db, sql, &e));
    start_proxy(p, server);
    struct writer_options o = {.url = p->url, .stored = count_told, .stored_arg = p};
    OK(writer_start(&p->w, &o, &e));
    OK(writer_begin_session(p->w, SOURCE, SLICE("urn:w"), SLICE(""), &e));
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    atomic_store(&p->proxy.mode, PASS);
    writer_stop(p->w);
    atomic_store(&p->proxy.stop, true);
    (void)pthread_join(p->proxy.thread, NULL);
    for (int i = 0; i < PAIRS; i++) {
        if (p->proxy.pairs[i].client >= 0)
            drop(&p->proxy.pairs[i]);
    }
    (void)close(p->proxy.listener);
    free(p);
    return 0;
}

static int64_t count_posts(const struct place *p)
{
    OWN(own_db) struct db *db = NULL;
    int64_t n = 0;
    OK(db_open(&db, p->real_url, 0, &e));
    OK(db_int(db,
              "SELECT count(*) FROM chat.record r JOIN chat.stream s ON s.id = r.stream"
              " WHERE s.subject = 'r:one'",
              DB_NO_ARGS, 0, &n, &e));
    return n;
}

enum { EACH = 20 };

static int submit(struct place *p, struct store_result *r)
{
    struct store_event events[EACH];
    for (int i = 0; i < EACH; i++)
        events[i] = (struct store_event){
            .source = SOURCE,
            .subject = ROOM,
            .kind = RECORD_POST,
            .time_us = clock_wall_us(),
            .members = SLICE("\"participant\":\"sip:ann\",\"text\":\"hello\""),
            .numbered = true,
        };
    return writer_submit_wait(p->w, events, EACH, r, NULL);
}

static void cut_at(void **state, int mode)
{
    struct place *p = *state;
    struct store_result r[EACH];
    for (int round = 0; round < 5; round++) {
        atomic_store(&p->proxy.mode, mode);
        assert_int_equal(submit(p, r), 0);
        assert_int_equal(atomic_load(&p->proxy.mode), PASS);
        for (int i = 0; i < EACH; i++) {
            assert_int_equal(r[i].class, 0);
            assert_false(r[i].duplicate);
            assert_int_equal(r[i].sequence, round * EACH + i + 1);
            assert_int_equal(r[i].chat_id, round * EACH + i + 1);
        }
    }
    assert_int_equal(count_posts(p), 5 * EACH);
    assert_int_equal(atomic_load(&p->told), 5 * EACH);
}

static void cut_before_commit(void **state)
{
    cut_at(state, CUT_BEFORE);
}

static void cut_after_commit(void **state)
{
    cut_at(state, CUT_AFTER);
}

static void do_sql(const struct place *p, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    OK(db_open(&db, p->real_url, 0, &e));
    OK(db_script(db, sql, &e));
}

/* The store comes back too late to say what became of the group: nobody is told that it was stored,
 * and those behind it are refused rather than stored before it is known. Nor is that forgotten when
 * the store is back and can't be asked at once. */
static void in_doubt_for_long(void **state)
{
    struct place *p = *state;
    struct store_result r[EACH];
    struct writer_state ws;
    atomic_store(&p->proxy.away_after, true);
    atomic_store(&p->proxy.mode, CUT_AFTER);
    assert_int_equal(submit(p, r), ERR_DOUBT);
    for (int i = 0; i < EACH; i++)
        assert_int_equal(r[i].class, ERR_DOUBT);
    assert_int_equal(submit(p, r), ERR_RETRY);
    assert_int_equal(atomic_load(&p->told), 0);
    do_sql(p, "ALTER TABLE chat.record RENAME TO aside");
    atomic_store(&p->proxy.accepted, 0);
    atomic_store(&p->proxy.away_after, false);
    atomic_store(&p->proxy.mode, PASS);
    int64_t until = clock_mono_ms() + 20000;
    do {
        (void)poll(NULL, 0, 10);
        writer_state(p->w, &ws);
    } while (!ws.reachable && atomic_load(&p->proxy.accepted) < 2 && clock_mono_ms() < until);
    assert_false(ws.reachable);
    do_sql(p, "ALTER TABLE chat.aside RENAME TO record");
    do {
        (void)poll(NULL, 0, 10);
        writer_state(p->w, &ws);
    } while (!ws.reachable && clock_mono_ms() < until);
    assert_true(ws.reachable && !ws.lost_session);
    /* It was committed: who passes records on is told after all. */
    assert_int_equal(atomic_load(&p->told), EACH);
    assert_int_equal(submit(p, r), 0);
    assert_int_equal(r[0].sequence, EACH + 1);
    assert_int_equal(count_posts(p), 2 * EACH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cut_before_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cut_after_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(in_doubt_for_long, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
