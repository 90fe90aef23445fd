/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/own.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

static char dir[] = "/tmp/hf-file.XXXXXX";

/* The durable steps in the order in which they were asked for, one letter each. */
static char steps[64];

int __real_fsync(int fd);
int __real_linkat(int from, const char *old, int to, const char *fresh, int flags);
int __real_renameat(int from, const char *old, int to, const char *fresh);
int __wrap_fsync(int fd);
int __wrap_linkat(int from, const char *old, int to, const char *fresh, int flags);
int __wrap_renameat(int from, const char *old, int to, const char *fresh);

static void note(char step)
{
    size_t n = strlen(steps);
    if (n < sizeof steps - 1)
        steps[n] = step;
}

int __wrap_fsync(int fd)
{
    struct stat s;
    assert_int_equal(fstat(fd, &s), 0);
    note(S_ISDIR(s.st_mode) ? 'd' : 'f');
    return __real_fsync(fd);
}

int __wrap_linkat(int from, const char *old, int to, const char *fresh, int flags)
{
    note('l');
    return __real_linkat(from, old, to, fresh, flags);
}

int __wrap_renameat(int from, const char *old, int to, const char *fresh)
{
    note('r');
    return __real_renameat(from, old, to, fresh);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    struct stat s;
    return file_remove_tree(dir, NULL) || stat(dir, &s) == 0;
}

/* A path in the test's folder; valid until the third next call. */
static const char *at(const char *name)
{
    static char paths[3][256];
    static int next;
    char *p = paths[next++ % 3];
    (void)snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static bool exists(const char *name)
{
    struct stat s;
    return lstat(at(name), &s) == 0;
}

static void holds(const char *name, const char *text)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(file_read(at(name), 1000, &b, NULL), 0);
    assert_string_equal(b.p, text);
}

static void folders_are_made_with_parents(void **state)
{
    (void)state;
    struct stat s;
    struct err e;
    assert_int_equal(file_make_dirs(at("a/b//c/"), &e), 0);
    assert_int_equal(stat(at("a/b/c"), &s), 0);
    assert_int_equal(s.st_mode & 07777, 0700);
    assert_int_equal(file_make_dirs(at("a/b/c"), &e), 0);
    assert_int_equal(file_replace(at("plain"), SLICE("x"), 0600, &e), 0);
    assert_int_equal(file_make_dirs(at("plain/b"), &e), ERR_CONFIG);
    assert_int_equal(file_make_dirs(at("plain"), &e), ERR_CONFIG);
    assert_int_equal(file_make_dirs("", &e), ERR_CONFIG);
    assert_int_equal(file_make_dirs("/", &e), 0);
}

static void reading_keeps_to_its_limit(void **state)
{
    (void)state;
    struct err e;
    OWN(own_buf) struct buf b;
    buf_init(&b, 100);
    buf_text(&b, "before ");
    assert_int_equal(file_replace(at("ten"), SLICE("0123456789"), 0600, &e), 0);
    assert_int_equal(file_read(at("ten"), 9, &b, &e), ERR_REJECTED);
    assert_int_equal(b.n, 7);
    assert_int_equal(file_read(at("ten"), 10, &b, &e), 0);
    assert_string_equal(b.p, "before 0123456789");
    assert_int_equal(file_read(at("absent"), 10, &b, &e), ERR_NOT_FOUND);
    assert_int_equal(e.errnum, ENOENT);
    assert_int_equal(file_read(dir, 10, &b, &e), ERR_CONFIG);
}

static void replacing_sets_content_and_mode(void **state)
{
    (void)state;
    struct stat s;
    assert_int_equal(file_replace(at("r"), SLICE("one"), 0600, NULL), 0);
    assert_int_equal(file_replace(at("r"), SLICE("two"), 0640, NULL), 0);
    holds("r", "two");
    assert_int_equal(stat(at("r"), &s), 0);
    assert_int_equal(s.st_mode & 07777, 0640);
    assert_int_equal(file_replace(at("none/r"), SLICE("x"), 0600, NULL), ERR_NOT_FOUND);
}

static void a_published_name_is_never_written_twice(void **state)
{
    (void)state;
    struct err e;
    for (int i = 0; i < 2; i++) {
        struct file_temp t;
        assert_int_equal(file_temp_open(&t, dir, "volume.tar", 0400, &e), 0);
        char temp[288];
        memcpy(temp, t.temp, sizeof temp);
        assert_int_equal(file_write_all(t.fd, i ? "second" : "first", i ? 6 : 5, &e), 0);
        assert_true(exists(temp));
        assert_int_equal(file_temp_publish(&t, &e), i ? ERR_CONFLICT : 0);
        assert_false(exists(temp));
        file_temp_abandon(&t);
    }
    holds("volume.tar", "first");
    assert_string_equal(e.text, "publish volume.tar: exists already");
}

static void a_name_appears_after_its_content(void **state)
{
    (void)state;
    struct file_temp t;
    assert_int_equal(file_temp_open(&t, dir, "ordered", 0600, NULL), 0);
    memset(steps, 0, sizeof steps);
    assert_int_equal(file_temp_publish(&t, NULL), 0);
    assert_string_equal(steps, "fld");
    memset(steps, 0, sizeof steps);
    assert_int_equal(file_replace(at("ordered2"), SLICE("x"), 0600, NULL), 0);
    assert_string_equal(steps, "frd");
    memset(steps, 0, sizeof steps);
    assert_int_equal(file_make_dirs(at("p/q"), NULL), 0);
    assert_string_equal(steps, "dd");
}

static void an_abandoned_file_leaves_nothing(void **state)
{
    (void)state;
    {
        OWN(own_file_temp) struct file_temp t;
        assert_int_equal(file_temp_open(&t, dir, "gone", 0600, NULL), 0);
        assert_int_equal(file_write_all(t.fd, "x", 1, NULL), 0);
    }
    assert_false(exists("gone"));
    OWN(own_file_temp) struct file_temp zeroed = {0};
    file_temp_abandon(&zeroed);
    assert_true(fcntl(0, F_GETFD) >= 0 || errno == EBADF);
}

static void bad_names_are_refused(void **state)
{
    (void)state;
    struct file_temp t;
    char big[400];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    assert_int_equal(file_temp_open(&t, dir, "", 0600, NULL), ERR_CONFIG);
    assert_int_equal(file_temp_open(&t, dir, "../x", 0600, NULL), ERR_CONFIG);
    assert_int_equal(file_temp_open(&t, dir, big, 0600, NULL), ERR_CONFIG);
    big[250] = '\0';
    assert_int_equal(file_temp_open(&t, dir, big, 0600, NULL), ERR_CONFIG);
    assert_int_equal(file_temp_open(&t, at("nowhere"), "x", 0600, NULL), ERR_NOT_FOUND);
}

static void draft_left_by_a_crash(const char *name)
{
    struct file_temp t;
    assert_int_equal(file_draft_open(&t, dir, name, 0600, NULL), 0);
    (void)close(t.fd);
    (void)close(t.temp_dir_fd);
    (void)close(t.dir_fd);
}

static int drafts(void)
{
    int n = 0;
    DIR *d = opendir(at(".incomplete"));
    assert_non_null(d);
    for (const struct dirent *entry = readdir(d); entry; entry = readdir(d))
        n += entry->d_name[0] != '.';
    assert_int_equal(closedir(d), 0);
    return n;
}

static void own_leftovers_are_swept_and_no_others(void **state)
{
    (void)state;
    assert_int_equal(file_sweep_drafts(dir, "batch-1", NULL), 0); /* there is no folder of drafts */
    draft_left_by_a_crash("batch-1.tar");
    draft_left_by_a_crash("batch-1.tar");
    draft_left_by_a_crash("batch-2.tar");
    assert_int_equal(file_replace(at("batch-1.tmp.0123"), SLICE("a person's"), 0600, NULL), 0);
    assert_int_equal(drafts(), 3);
    assert_int_equal(file_sweep_drafts(dir, "batch-1", NULL), 0);
    assert_int_equal(drafts(), 1);
    assert_true(exists("batch-1.tmp.0123"));
}

static void a_draft_becomes_a_file(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct file_temp t;
        struct err e = {0};
        assert_int_equal(file_draft_open(&t, dir, "volume-9.tar", 0400, &e), 0);
        assert_int_equal(file_write_all(t.fd, i ? "two" : "one", 3, &e), 0);
        assert_int_equal(file_temp_publish(&t, &e), i ? ERR_CONFLICT : 0);
    }
    OWN(own_buf) struct buf b;
    buf_init(&b, 100);
    assert_int_equal(file_read(at("volume-9.tar"), 100, &b, NULL), 0);
    assert_true(slice_is(buf_view(&b), "one"));
}

/* Tries the lock in another process, which exits with the class. */
static int lock_elsewhere(char text[512])
{
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = -1;
        struct err e = {0};
        int rc = file_lock_dir(dir, &fd, &e);
        ssize_t ignored = write(pipe_fds[1], e.text, sizeof e.text);
        _exit(ignored > 0 ? -rc : 99);
    }
    int status = 0;
    assert_int_equal(read(pipe_fds[0], text, 512), 512);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
    return -WEXITSTATUS(status);
}

static void a_folder_is_locked_by_one_process(void **state)
{
    (void)state;
    int fd = -1;
    char text[512];
    char expected[512];
    assert_int_equal(file_lock_dir(dir, &fd, NULL), 0);
    assert_int_equal(lock_elsewhere(text), ERR_CONFLICT);
    (void)snprintf(expected, sizeof expected, "%s is in use by process %ld", dir, (long)getpid());
    assert_string_equal(text, expected);
    file_unlock(fd);
    assert_int_equal(lock_elsewhere(text), 0);
}

static void a_tree_is_removed_without_following_links(void **state)
{
    (void)state;
    assert_int_equal(file_make_dirs(at("tree/a/b"), NULL), 0);
    assert_int_equal(file_replace(at("outside"), SLICE("x"), 0600, NULL), 0);
    assert_int_equal(file_make_dirs(at("outdir"), NULL), 0);
    assert_int_equal(file_replace(at("outdir/f"), SLICE("x"), 0600, NULL), 0);
    assert_int_equal(file_replace(at("tree/a/f"), SLICE("x"), 0600, NULL), 0);
    assert_int_equal(symlink(at("outside"), at("tree/l")), 0);
    assert_int_equal(symlink(at("outdir"), at("tree/d")), 0);
    assert_int_equal(file_remove_tree(at("tree"), NULL), 0);
    assert_false(exists("tree"));
    assert_true(exists("outside"));
    assert_true(exists("outdir/f"));
    assert_int_equal(file_remove_tree(at("tree"), NULL), 0);
    assert_int_equal(symlink(at("outdir"), at("alias")), 0);
    assert_int_equal(file_remove_tree(at("alias"), NULL), ERR_CONFIG);
    assert_true(exists("outdir/f"));
}

static void a_scratch_file_has_no_name(void **state)
{
    (void)state;
    struct err e;
    FILE *f = NULL;
    assert_int_equal(file_scratch(dir, &f, &e), 0);
    assert_int_equal(fwrite("held", 1, 4, f), 4);
    assert_int_equal(fseek(f, 0, SEEK_SET), 0);
    char back[8];
    assert_int_equal(fread(back, 1, sizeof back, f), 4);
    assert_memory_equal(back, "held", 4);
    struct stat s;
    assert_int_equal(fstat(fileno(f), &s), 0);
    assert_int_equal(s.st_nlink, 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(file_scratch("/no/such/folder", &f, &e), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_are_made_with_parents),
        cmocka_unit_test(reading_keeps_to_its_limit),
        cmocka_unit_test(replacing_sets_content_and_mode),
        cmocka_unit_test(a_published_name_is_never_written_twice),
        cmocka_unit_test(a_name_appears_after_its_content),
        cmocka_unit_test(an_abandoned_file_leaves_nothing),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(a_draft_becomes_a_file),
        cmocka_unit_test(own_leftovers_are_swept_and_no_others),
        cmocka_unit_test(a_folder_is_locked_by_one_process),
        cmocka_unit_test(a_scratch_file_has_no_name),
        cmocka_unit_test(a_tree_is_removed_without_following_links),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
