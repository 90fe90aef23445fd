/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every adapter module has to keep to, tried on each of them: the same cases for a new one are
 * a line in `subjects`. What came out is read by adapter_outputs.py with other people's tools.
 * HOLDFAST_REFRESH=1 writes the golden files anew.
 */
#include "tests/contract/adapter_sample.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/own.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

extern char **environ;

struct subject {
    const char *name, *kind, *golden;
    const char *option, *value; /* one more option, or NULL */
    int outputs;                /* files or mails of the mixed batch */
    bool full;                  /* read-back */
};

static const struct subject subjects[] = {
    {"xml", "xml", "conversations.xml", NULL, NULL, 1, true},
    {"xml", "xml", "conversations-per-room.xml", "one-file-per-room", "yes", 5, true},
    {"tar", "tar", "archive.txt", NULL, NULL, 1, true},
    {"ndjson", "ndjson", "lines.ndjson", NULL, NULL, 1, true},
    {"smtp", "smtp", "mails.txt", NULL, NULL, 5, false},
};

struct fixture {
    const struct subject *subject;
    struct host host;
    struct sample sample;
    char root[256], target[300];
};

/* ---- tools ---- */

static int run_tool(const char *const *arguments, const char *output)
{
    posix_spawn_file_actions_t actions;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0600),
        0);
    pid_t child;
    assert_int_equal(posix_spawn(&child, arguments[0], &actions, NULL,
                                 (char *const *)(uintptr_t)arguments, environ),
                     0);
    (void)posix_spawn_file_actions_destroy(&actions);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void read_all(const char *path, struct buf *out)
{
    struct err e;
    if (file_read(path, 64 * 1024 * 1024, out, &e))
        fail_msg("%s", e.text);
}

static void ask(struct fixture *f, const char *verb, const char *expected, struct buf *out)
{
    char output[300];
    (void)snprintf(output, sizeof output, "%s/tool-output", f->root);
    const char *arguments[] = {"/usr/bin/python3",
                               HOLDFAST_CONTRACT "/adapter_outputs.py",
                               verb,
                               f->subject->kind,
                               f->target,
                               expected,
                               NULL};
    assert_int_equal(run_tool(arguments, output), 0);
    read_all(output, out);
}

static int count_outputs(struct fixture *f)
{
    OWN(own_buf) struct buf answer;
    buf_init(&answer, 1000);
    ask(f, "count", NULL, &answer);
    int64_t n;
    assert_true(text_i64(slice_trim(buf_view(&answer)), &n));
    return (int)n;
}

/* Every record of the batch is at the target, once. */
static void check_outputs(struct fixture *f)
{
    OWN(own_buf) struct buf answer;
    buf_init(&answer, 1000);
    char expected[300];
    (void)snprintf(expected, sizeof expected, "%s/expected", f->root);
    FILE *out = fopen(expected, "we");
    assert_non_null(out);
    sample_expect(&f->sample, out);
    assert_int_equal(fclose(out), 0);
    ask(f, "check", expected, &answer);
}

/* ---- set-up ---- */

/* For mails the folder of the server that takes them, emptied; for files a new folder. */
static void choose_target(struct fixture *f)
{
    if (strcmp(f->subject->name, "smtp") != 0) {
        (void)snprintf(f->target, sizeof f->target, "%s/out/deeper", f->root);
        host_option(&f->host, "directory", f->target);
        return;
    }
    const char *server = getenv("HOLDFAST_TEST_SMTP");
    const char *folder = getenv("HOLDFAST_TEST_SMTP_DIR");
    assert_non_null(server);
    assert_non_null(folder);
    (void)snprintf(f->target, sizeof f->target, "%s/mail/new", folder);
    DIR *d = opendir(f->target);
    assert_non_null(d);
    for (const struct dirent *entry = readdir(d); entry; entry = readdir(d))
        if (entry->d_name[0] != '.')
            assert_int_equal(unlinkat(dirfd(d), entry->d_name, 0), 0);
    (void)closedir(d);
    f->target[strlen(f->target) - 4] = '\0';
    host_option(&f->host, "server", server);
    host_option(&f->host, "from", "archive@example.test");
    host_option(&f->host, "to", "keep@example.test, second@example.test");
}

static void start(struct fixture *f, const struct subject *s)
{
    *f = (struct fixture){.subject = s};
    const char *base = getenv("HOLDFAST_TEST_SCRATCH");
    (void)snprintf(f->root, sizeof f->root, "%s/contract.XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(f->root));
    host_init(&f->host, HOLDFAST_MODULES, s->name, f->root);
    choose_target(f);
    if (s->option)
        host_option(&f->host, s->option, s->value);
}

static void end(struct fixture *f)
{
    sample_done(&f->sample);
    host_done(&f->host);
    assert_int_equal(file_remove_tree(f->root, NULL), 0);
}

static void use(struct fixture *f, void (*fill)(struct sample *s))
{
    sample_done(&f->sample);
    fill(&f->sample);
    host_batch(&f->host, &f->sample);
}

static void deliver_whole(struct fixture *f)
{
    struct mgc_error e;
    int32_t rc = host_deliver(&f->host, &e);
    if (rc != MGC_OK)
        fail_msg("%s: %d: %s", f->subject->name, rc, e.text);
    assert_true(host_all_settled(&f->host, MGC_OK));
}

static void verify_whole(struct fixture *f)
{
    struct mgc_error e;
    assert_int_equal(f->host.adapter->readback,
                     f->subject->full ? MGC_READBACK_FULL : MGC_READBACK_NONE);
    if (!f->subject->full)
        return;
    if (host_verify(&f->host, &e) != MGC_OK)
        fail_msg("%s: %s", f->subject->name, e.text);
}

/* ---- cases ---- */

static void empty_batch(struct fixture *f)
{
    use(f, sample_empty);
    deliver_whole(f);
    assert_int_equal(f->host.noted->settles, 0);
    assert_int_equal(count_outputs(f), 0);
    verify_whole(f);
}

static void golden(struct fixture *f)
{
    OWN(own_buf) struct buf made;
    OWN(own_buf) struct buf kept;
    buf_init(&made, 16 * 1024 * 1024);
    buf_init(&kept, 16 * 1024 * 1024);
    char path[300];
    (void)snprintf(path, sizeof path, "%s/golden/%s", HOLDFAST_CONTRACT, f->subject->golden);
    ask(f, "show", NULL, &made);
    if (getenv("HOLDFAST_REFRESH")) {
        struct err e;
        if (file_replace(path, buf_view(&made), 0644, &e))
            fail_msg("%s", e.text);
    }
    read_all(path, &kept);
    if (!slice_eq(buf_view(&made), buf_view(&kept)))
        fail_msg("%s: not what is written now; HOLDFAST_REFRESH=1 replaces it", path);
}

/* Every kind, hostile text, late, repeated, unknown and unreadable records. */
static void mixed_batch(struct fixture *f)
{
    use(f, sample_mixed);
    deliver_whole(f);
    check_outputs(f);
    assert_int_equal(count_outputs(f), f->subject->outputs);
    verify_whole(f);
    golden(f);
}

static void same_batch_twice(struct fixture *f)
{
    use(f, sample_mixed);
    deliver_whole(f);
    OWN(own_buf) struct buf first;
    OWN(own_buf) struct buf second;
    buf_init(&first, 16 * 1024 * 1024);
    buf_init(&second, 16 * 1024 * 1024);
    ask(f, "show", NULL, &first);
    host_batch(&f->host, &f->sample); /* as if nothing had been noted */
    deliver_whole(f);
    ask(f, "show", NULL, &second);
    assert_true(slice_eq(buf_view(&first), buf_view(&second)));
    check_outputs(f);
    verify_whole(f);
}

/* Mails: at most one repeat for each death; files: never one. */
static void killed_then_again(struct fixture *f, int *where, int at)
{
    struct mgc_error e;
    bool killed;
    host_batch(&f->host, &f->sample);
    *where = at;
    (void)host_deliver_apart(&f->host, 0, &killed, &e);
    *where = 0;
    assert_true(killed);
    int32_t rc = host_deliver_apart(&f->host, 0, &killed, &e);
    if (killed || rc != MGC_OK)
        fail_msg("%s: after death %d: %d: %s", f->subject->name, at, rc, e.text);
    assert_true(host_all_settled(&f->host, MGC_OK));
    verify_whole(f);
}

static void killed_reading(struct fixture *f)
{
    use(f, sample_mixed);
    deliver_whole(f);
    int nexts = f->host.noted->nexts;
    int step = 1 + nexts / 12;
    for (int at = 1; at <= nexts; at += step) {
        choose_target(f);
        assert_true(strcmp(f->subject->kind, "smtp") == 0 ||
                    file_remove_tree(f->target, NULL) == 0);
        killed_then_again(f, &f->host.kill_at_next, at);
        check_outputs(f);
        assert_int_equal(count_outputs(f), f->subject->outputs);
    }
}

static void killed_settling(struct fixture *f)
{
    use(f, sample_mixed);
    deliver_whole(f);
    int settles = f->host.noted->settles;
    for (int at = 1; at <= settles; at++) {
        choose_target(f);
        killed_then_again(f, &f->host.kill_before_settle, at);
        check_outputs(f);
        assert_int_equal(f->host.noted->found, f->host.adapter->find ? 1 : 0);
        bool mails = strcmp(f->subject->kind, "smtp") == 0;
        assert_int_equal(count_outputs(f), f->subject->outputs + (mails ? 1 : 0));
        if (at < settles) {
            choose_target(f);
            killed_then_again(f, &f->host.kill_after_settle, at);
            check_outputs(f);
            assert_int_equal(count_outputs(f), f->subject->outputs);
        }
    }
}

static void disk_full(struct fixture *f)
{
    struct mgc_error e;
    bool killed;
    use(f, sample_large);
    int32_t rc = host_deliver_apart(&f->host, 4096, &killed, &e);
    assert_false(killed);
    if (rc != MGC_RETRY)
        fail_msg("%s: full disk gives %d: %s", f->subject->name, rc, e.text);
    assert_true(strlen(e.text) > 0);
    assert_int_equal(host_settled(&f->host), 0);
    assert_int_equal(count_outputs(f), 0);
    deliver_whole(f);
    check_outputs(f);
    verify_whole(f);
}

static void cancelled(struct fixture *f)
{
    struct mgc_error e;
    use(f, sample_mixed);
    f->host.cancel_at_next = 3;
    assert_int_equal(host_deliver(&f->host, &e), MGC_CANCELLED);
    assert_int_equal(host_settled(&f->host), 0);
    assert_int_equal(count_outputs(f), 0);
    char byte;
    assert_int_equal(read(f->host.cancel[0], &byte, 1), 1);
    deliver_whole(f);
    check_outputs(f);
}

/* The batch's digest is printed as evidence: it must be that of the records. */
static void other_records(struct fixture *f)
{
    struct mgc_error e;
    use(f, sample_mixed);
    f->sample.batch.sha256[5] ^= 1;
    int32_t rc = host_deliver(&f->host, &e);
    assert_int_equal(rc, MGC_FAULT);
    assert_false(host_all_settled(&f->host, MGC_OK));
}

static void each_file(struct fixture *f, void (*change)(int dir_fd, const char *name))
{
    DIR *d = opendir(f->target);
    assert_non_null(d);
    for (const struct dirent *entry = readdir(d); entry; entry = readdir(d))
        if (entry->d_name[0] != '.') {
            change(dirfd(d), entry->d_name);
            break;
        }
    (void)closedir(d);
}

static void flip_byte(int dir_fd, const char *name)
{
    assert_int_equal(fchmodat(dir_fd, name, 0600, 0), 0);
    OWN(own_fd) int fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    off_t middle = lseek(fd, 0, SEEK_END) / 2;
    char byte;
    assert_int_equal(pread(fd, &byte, 1, middle), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, middle), 1);
}

static void cut_end(int dir_fd, const char *name)
{
    assert_int_equal(fchmodat(dir_fd, name, 0600, 0), 0);
    OWN(own_fd) int fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_END) - 20), 0);
}

static void take_away(int dir_fd, const char *name)
{
    assert_int_equal(unlinkat(dir_fd, name, 0), 0);
}

static void expect_fault(struct fixture *f, void (*change)(int dir_fd, const char *name),
                         bool with_receipt)
{
    struct mgc_error e;
    use(f, sample_mixed);
    deliver_whole(f);
    each_file(f, change);
    if (!with_receipt)
        f->host.noted->fact_count = 0;
    int32_t rc = host_verify(&f->host, &e);
    if (rc != MGC_FAULT)
        fail_msg("%s: verify gives %d", f->subject->name, rc);
    assert_non_null(strstr(e.text, f->target));
    assert_int_equal(file_remove_tree(f->target, NULL), 0);
}

static void damaged_outputs(struct fixture *f)
{
    if (!f->subject->full)
        return;
    expect_fault(f, flip_byte, true);
    expect_fault(f, cut_end, true);
    expect_fault(f, cut_end, false);
    expect_fault(f, take_away, true);
}

/* A name that exists with other content is never rewritten. */
static void name_taken(struct fixture *f)
{
    if (!f->subject->full)
        return;
    struct mgc_error e;
    use(f, sample_mixed);
    deliver_whole(f);
    each_file(f, flip_byte);
    host_batch(&f->host, &f->sample);
    assert_int_equal(host_deliver(&f->host, &e), MGC_FAULT);
    assert_false(host_all_settled(&f->host, MGC_OK));
}

static void largest_texts(struct fixture *f)
{
    use(f, sample_large);
    deliver_whole(f);
    check_outputs(f);
    verify_whole(f);
}

static void each_subject(void (*one)(struct fixture *f))
{
    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
        struct fixture f;
        start(&f, &subjects[i]);
        one(&f);
        end(&f);
    }
}

#define CASE(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        each_subject(name);                                                                        \
    }
CASE(empty_batch)
CASE(mixed_batch)
CASE(same_batch_twice)
CASE(killed_reading)
CASE(killed_settling)
CASE(disk_full)
CASE(cancelled)
CASE(other_records)
CASE(damaged_outputs)
CASE(name_taken)
CASE(largest_texts)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_batch),      cmocka_unit_test(test_mixed_batch),
        cmocka_unit_test(test_same_batch_twice), cmocka_unit_test(test_killed_reading),
        cmocka_unit_test(test_killed_settling),  cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_cancelled),        cmocka_unit_test(test_other_records),
        cmocka_unit_test(test_damaged_outputs),  cmocka_unit_test(test_name_taken),
        cmocka_unit_test(test_largest_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
