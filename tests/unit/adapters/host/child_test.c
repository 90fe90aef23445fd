/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker process seen from outside. Some are real ones with a real module, given tasks that are
 * wrong or left alone in the middle; the others are peers that keep to nothing. This program is
 * theirs too.
 */
#include "adapters/host/child.h"

#include "adapters/host/archiver.h"
#include "adapters/host/wire.h"
#include "base/clock.h"
#include "base/frame.h"
#include "base/own.h"
#include "tests/contract/spool_made.h"
#include "tests/expect.h"

#include <dirent.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLAIN HOLDFAST_ABI_MODULES "/mgc_plain.so"

enum { PATIENCE_MS = 20000 };

/* ---- peers ---- */

static int echo(void)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, CHILD_MAX_MESSAGE);
    return frame_recv(CHILD_SOCKET, CHILD_MAX_MESSAGE, -1, &b, NULL) < 0 ||
           frame_send(CHILD_SOCKET, buf_view(&b), NULL) < 0;
}

static int says(const char *bytes, size_t n)
{
    return write(CHILD_SOCKET, bytes, n) != (ssize_t)n;
}

/* 1 in the process that wants to be left behind, which says its number. */
static int become_daemon(void)
{
    char number[16];
    if (fork() > 0)
        return 0;
    (void)setsid();
    if (fork() > 0)
        return 0;
    (void)setsid();
    (void)setpgid(0, 0);
    int n = snprintf(number, sizeof number, "%d", (int)getpid());
    (void)frame_send(CHILD_SOCKET, (struct slice){number, (size_t)n}, NULL);
    return 1;
}

static int peer(const char *how)
{
    struct pollfd cancel = {.fd = CHILD_CANCEL, .events = POLLIN};
    if (strcmp(how, "echo") == 0)
        return echo();
    if (strcmp(how, "cut") == 0)
        return says("\0\0\0\x64"
                    "abc",
                    7);
    if (strcmp(how, "long") == 0)
        return says("\x7f\xff\xff\xff", 4);
    if (strcmp(how, "farewell") == 0)
        return says("\0\0\0\x03"
                    "bye",
                    7);
    if (strcmp(how, "cancelled") == 0)
        return poll(&cancel, 1, PATIENCE_MS) == 1 ? 7 : 8;
    if (strcmp(how, "daemon") == 0)
        return become_daemon() ? poll(NULL, 0, 2 * PATIENCE_MS) : 0;
    for (;;) /* silent */
        (void)poll(NULL, 0, -1);
}

/* ---- what tests say of a worker ---- */

struct fixture {
    struct child c;
    struct json_doc *doc;
    struct buf task;
    struct err e;
    char why[80];
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.doc = json_doc_new()};
    assert_non_null(f.doc);
    child_init(&f.c);
    buf_init(&f.task, CHILD_MAX_TASK);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    child_kill(&f->c);
    assert_true(child_wait(&f->c, PATIENCE_MS, f->why));
    json_doc_free(f->doc);
    buf_done(&f->task);
    return 0;
}

static void start(struct fixture *f, const char *module, int spool, int64_t until_ms)
{
    ok(child_start(&f->c, "/proc/self/exe", module, spool, until_ms, &f->e), &f->e);
}

/* The next thing that the worker's socket gives, as child_receive says. */
static int hear(struct fixture *f, struct slice *message)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    int rc = 0;
    while ((rc = child_receive(&f->c, message, &f->e)) == 0) {
        struct pollfd p = {.fd = f->c.fd, .events = POLLIN};
        assert_true(clock_mono_ms() < until);
        (void)poll(&p, 1, 100);
    }
    return rc;
}

static void hear_message(struct fixture *f, struct wire_message *m)
{
    struct slice message;
    int rc = hear(f, &message);
    if (rc != 1)
        fail_msg("class %d: %s", rc, f->e.text);
    ok(wire_message_read(f->doc, message, m, &f->e), &f->e);
}

static void hang_up(struct fixture *f)
{
    (void)close(f->c.fd);
    f->c.fd = -1;
}

static void ends(struct fixture *f, const char *how)
{
    assert_true(child_wait(&f->c, PATIENCE_MS, f->why));
    assert_string_equal(f->why, how);
}

/* ---- the socket ---- */

static void a_message_comes_back(void **state)
{
    struct fixture *f = *state;
    struct slice message = {0};
    start(f, "peer:echo", -1, INT64_MAX);
    ok(child_send(&f->c, SLICE("hello"), &f->e), &f->e);
    assert_int_equal(hear(f, &message), 1);
    assert_true(slice_is(message, "hello"));
    assert_int_equal(hear(f, &message), ERR_NOT_FOUND);
    ends(f, "");
}

static void what_is_cut_off_or_too_long_is_refused(void **state)
{
    struct fixture *f = *state;
    struct slice message;
    start(f, "peer:cut", -1, INT64_MAX);
    assert_int_equal(hear(f, &message), ERR_REJECTED);
    assert_non_null(strstr(f->e.text, "cut off"));
    ends(f, "");
    start(f, "peer:long", -1, INT64_MAX);
    assert_int_equal(hear(f, &message), ERR_REJECTED);
    assert_non_null(strstr(f->e.text, "over"));
    const struct slice long_one = {"", CHILD_MAX_TASK + 1};
    assert_int_equal(child_send(&f->c, long_one, &f->e), ERR_REJECTED);
}

/* Nobody waits for a worker that does not read, nor is hurt by one that is gone. */
static void what_is_not_read_waits(void **state)
{
    struct fixture *f = *state;
    struct slice message;
    OWN(own_mem) char *bytes = calloc(1, CHILD_MAX_TASK);
    assert_non_null(bytes);
    start(f, "peer:silent", -1, INT64_MAX);
    ok(child_send(&f->c, (struct slice){bytes, CHILD_MAX_TASK}, &f->e), &f->e);
    assert_true(f->c.out.n > 0);
    child_flush(&f->c);
    assert_true(f->c.out.n > 0);
    assert_false(child_wait(&f->c, 50, f->why));
    child_kill(&f->c);
    assert_int_equal(hear(f, &message), ERR_NOT_FOUND);
    child_flush(&f->c);
    assert_int_equal(f->c.out.n, 0);
    ends(f, "the worker was stopped");
}

/* Whether it dies before or after it is told anything, what it said comes first, then its end. */
static void one_that_died_before_it_was_told_is_heard(void **state)
{
    struct fixture *f = *state;
    struct slice message;
    start(f, "peer:farewell", -1, INT64_MAX);
    struct pollfd gone = {.fd = f->c.pid_fd, .events = POLLIN};
    assert_int_equal(poll(&gone, 1, PATIENCE_MS), 1);
    ok(child_send(&f->c, SLICE("hello"), &f->e), &f->e);
    assert_int_equal(hear(f, &message), 1);
    assert_true(slice_is(message, "bye"));
    assert_int_equal(hear(f, &message), ERR_NOT_FOUND);
    ends(f, "");
}

static void being_asked_to_return_can_be_polled(void **state)
{
    struct fixture *f = *state;
    start(f, "peer:cancelled", -1, INT64_MAX);
    child_cancel(&f->c);
    child_cancel(&f->c);
    ends(f, "the worker ended with status 7");
}

/* Gone, or dead and not collected by whoever inherited it. */
static bool is_gone(const char *number)
{
    char path[64];
    char state = 0;
    (void)snprintf(path, sizeof path, "/proc/%s/stat", number);
    FILE *f = fopen(path, "r");
    if (!f)
        return true;
    int n = fscanf(f, "%*d (%*[^)]) %c", &state);
    (void)fclose(f);
    return n == 1 && (state == 'Z' || state == 'X');
}

static void nothing_leaves_the_group(void **state)
{
    struct fixture *f = *state;
    struct slice message = {0};
    char number[16] = "";
    start(f, "peer:daemon", -1, INT64_MAX);
    assert_int_equal(hear(f, &message), 1);
    assert_true(slice_copy(message, number, sizeof number));
    assert_false(is_gone(number));
    assert_true(child_wait(&f->c, PATIENCE_MS, f->why)); /* the worker itself has ended */
    for (int64_t until = clock_mono_ms() + PATIENCE_MS; !is_gone(number);) {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 5);
    }
}

/* ---- starting ---- */

static size_t descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;
    assert_non_null(d);
    while (readdir(d))
        n++;
    (void)closedir(d);
    return n;
}

/* With room for one descriptor more each time, until all that are needed can be had. */
static void without_descriptors_none_is_started(void **state)
{
    struct fixture *f = *state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    size_t open = descriptors();
    int next = dup(0);
    assert_int_equal(close(next), 0);
    int refused = 0;
    int rc = ERR_RETRY;
    for (rlim_t most = (rlim_t)next; rc == ERR_RETRY && most < 100; most++) {
        const struct rlimit few = {most, before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        rc = child_start(&f->c, "/proc/self/exe", "peer:silent", -1, INT64_MAX, &f->e);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        if (rc == ERR_RETRY)
            assert_int_equal(descriptors(), open);
        refused += rc == ERR_RETRY;
    }
    ok(rc, &f->e);
    assert_true(refused > 4);
}

/* ---- its end ---- */

static void it_ends_by_itself_unless_that_is_put_off(void **state)
{
    struct fixture *f = *state;
    int64_t began = clock_mono_ms();
    start(f, PLAIN, -1, began + 300);
    child_extend(&f->c, began + 900);
    child_extend(&f->c, began + 600);
    ends(f, "the worker died of signal 9 (Killed)");
    assert_true(clock_mono_ms() >= began + 900);
    start(f, PLAIN, -1, began); /* in the past */
    ends(f, "the worker died of signal 9 (Killed)");
}

static void an_archiver_that_is_gone_ends_it(void **state)
{
    struct fixture *f = *state;
    static const struct wire_task describe = {.what = WIRE_DESCRIBE};
    start(f, PLAIN, -1, INT64_MAX);
    hang_up(f);
    ends(f, "the worker ended with status 1");
    start(f, PLAIN, -1, INT64_MAX);
    wire_task_write(&f->task, &describe);
    ok(child_send(&f->c, buf_view(&f->task), &f->e), &f->e);
    hang_up(f); /* it reads the task, and nobody hears the answer */
    ends(f, "the worker ended with status 1");
}

/* ---- tasks ---- */

static struct wire_task task(enum wire_do what)
{
    static char folder[400];
    static int n;
    (void)snprintf(folder, sizeof folder, "%s/child%d", getenv("HOLDFAST_TEST_SCRATCH"), ++n);
    assert_int_equal(mkdir(folder, 0700), 0);
    struct wire_task t = {.what = what,
                          .instance = SLICE("a"),
                          .scratch = slice_of(folder),
                          .id = SLICE("0198"),
                          .stem = SLICE("stem"),
                          .option_count = 3,
                          .number = 1,
                          .attempt = 1,
                          .records = 1,
                          .bytes = 1,
                          .deadline_ms = 60000};
    t.options[0] = (struct wire_option){SLICE("directory"), slice_of(folder), 0, true};
    t.options[1] = (struct wire_option){.name = SLICE("mode")};
    t.options[2] = (struct wire_option){.name = SLICE("password")};
    return t;
}

/* Starts a worker with a spool of one record, and gives it the task. */
static void give(struct fixture *f, struct wire_task *t)
{
    OWN(own_buf) struct buf spool;
    spool_made(&spool, t->digest, &SLICE("x"), 1, "{\"rooms\":[],\"rosters\":[]}", "[]");
    OWN(own_fd) int fd = spool_made_file(buf_view(&spool));
    start(f, PLAIN, fd, INT64_MAX);
    buf_clear(&f->task);
    wire_task_write(&f->task, t);
    ok(child_send(&f->c, buf_view(&f->task), &f->e), &f->e);
}

static void answers(struct fixture *f, int32_t rc, const char *text)
{
    struct wire_message m;
    hear_message(f, &m);
    assert_int_equal(m.kind, WIRE_END);
    assert_int_equal(m.rc, rc);
    if (!memmem(m.text.p, m.text.n, text, strlen(text)))
        fail_msg("\"%s\" is not in: %.*s", text, SLICE_ARG(m.text));
    ends(f, "");
}

static void wrong_tasks_are_refused(void **state)
{
    struct fixture *f = *state;
    struct wire_task t = task(WIRE_CHECK);
    give(f, &t);
    answers(f, MGC_OK, "");
    t.option_count = 2;
    give(f, &t);
    answers(f, MGC_CONFIG, "has other options than when they were read");
    t.option_count = 4;
    t.options[3].name = SLICE("more");
    give(f, &t);
    answers(f, MGC_CONFIG, "has other options than when they were read");
    t = task(WIRE_CHECK);
    t.scratch = SLICE("/no/such/folder");
    give(f, &t);
    answers(f, MGC_RETRY, "its scratch folder can't be entered");
    t = task(WIRE_DELIVER);
    t.records = 2;
    give(f, &t);
    answers(f, MGC_FAULT, "the spool is not batch 0198");
    start(f, PLAIN, -1, INT64_MAX);
    ok(child_send(&f->c, SLICE("{}"), &f->e), &f->e);
    answers(f, MGC_FAULT, "the task is malformed");
}

/* What it says up to its settlement. */
static void await_settlement(struct fixture *f)
{
    struct wire_message m = {.kind = WIRE_LOG};
    while (m.kind == WIRE_LOG)
        hear_message(f, &m);
    assert_int_equal(m.kind, WIRE_SETTLE);
    assert_int_equal(m.rc, MGC_OK);
}

/* It can't know whether it was taken down: the batch comes again. */
static void a_settlement_without_an_answer_ends_it(void **state)
{
    struct fixture *f = *state;
    struct wire_task t = task(WIRE_DELIVER);
    OWN(own_buf) struct buf answer;
    char path[500];
    give(f, &t);
    await_settlement(f);
    hang_up(f);
    ends(f, "the worker ended with status 1");
    (void)snprintf(path, sizeof path, "%.*s/stem.txt", SLICE_ARG(t.scratch));
    assert_int_equal(access(path, R_OK), 0);
    t = task(WIRE_DELIVER);
    give(f, &t);
    await_settlement(f);
    ok(child_send(&f->c, SLICE("{}"), &f->e), &f->e);
    ends(f, "the worker ended with status 1");
    t = task(WIRE_DELIVER);
    give(f, &t);
    await_settlement(f);
    buf_init(&answer, 1000);
    wire_answer_write(&answer, MGC_OK, SLICE(""));
    ok(child_send(&f->c, buf_view(&answer), &f->e), &f->e);
    answers(f, MGC_OK, "");
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(int argc, char **argv)
{
    if (argc > 2 && strncmp(argv[2], "peer:", 5) == 0)
        return peer(argv[2] + 5);
    if (argc > 1 && strcmp(argv[1], "worker") == 0)
        return worker_main(argc - 1, argv + 1);
    if (!getenv("HOLDFAST_TEST_SCRATCH")) {
        (void)fprintf(stderr, "run me through tests/parts/with smtp -- child_test\n");
        return 2;
    }
    const struct CMUnitTest tests[] = {
        CASE(a_message_comes_back),
        CASE(what_is_cut_off_or_too_long_is_refused),
        CASE(what_is_not_read_waits),
        CASE(one_that_died_before_it_was_told_is_heard),
        CASE(being_asked_to_return_can_be_polled),
        CASE(nothing_leaves_the_group),
        CASE(without_descriptors_none_is_started),
        CASE(it_ends_by_itself_unless_that_is_put_off),
        CASE(an_archiver_that_is_gone_ends_it),
        CASE(wrong_tasks_are_refused),
        CASE(a_settlement_without_an_answer_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
