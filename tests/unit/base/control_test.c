/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/control.h"
#include "base/file.h"
#include "base/frame.h"
#include "base/net.h"
#include "base/own.h"
#include "base/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { PATIENCE_MS = 20000 };

static char dir[] = "/tmp/hf-control.XXXXXX";
static char path[64];
static _Atomic int ended;     /* commands that came to their end */
static _Atomic int last_read; /* errno of the read that ended `slurp` */

static int echo(struct app_io *io, int argc, char **argv)
{
    (void)fprintf(io->out, "json=%d open=%s", io->json, (const char *)io->open);
    for (int i = 0; i < argc; i++)
        (void)fprintf(io->out, " [%s]", argv[i]);
    (void)fprintf(io->err, "tty=%d", io->tty);
    char line[100];
    while (fgets(line, sizeof line, io->in))
        (void)fputs(line, io->out);
    return 7;
}

/* Reads until it can't, then says why it ended. */
static int slurp(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    errno = 0;
    while (fgetc(io->in) != EOF)
        errno = 0;
    atomic_store(&last_read, ferror(io->in) ? errno : 0);
    atomic_fetch_add(&ended, 1);
    return 0;
}

/* Writes for ever, until it can't. */
static int flood(struct app_io *io, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    while (!ferror(io->out))
        (void)fputs("flood of many words\n", io->out);
    atomic_fetch_add(&ended, 1);
    return 0;
}

static int local(struct app_io *io, int argc, char **argv)
{
    (void)io;
    (void)argc;
    (void)argv;
    return 0;
}

static const struct app_command table[] = {
    {"echo", "x", "", "", APP_REMOTE, echo, NULL},
    {"slurp", "x", "", "", APP_REMOTE, slurp, NULL},
    {"flood", "x", "", "", APP_REMOTE, flood, NULL},
    {"local", "x", "", "", APP_LOCAL, local, NULL},
    {0},
};

static int make_dir(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(dir))
        return -1;
    (void)snprintf(path, sizeof path, "%s/control", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL);
}

static struct control *start(void)
{
    static char open[] = "handles";
    struct control *c = NULL;
    struct err e;
    if (control_start(&c, path, table, open, &e))
        fail_msg("%s", e.text);
    return c;
}

/* A call whose input is `in` and whose output comes back in text. */
static int call(int argc, char **argv, const char *in, char text[1000], int *code, struct err *e)
{
    int from[2];
    int to[2];
    assert_int_equal(pipe(from), 0);
    assert_int_equal(pipe(to), 0);
    assert_int_equal(write(from[1], in, strlen(in)), strlen(in));
    (void)close(from[1]);
    int rc = control_call(path, argc, argv, from[0], to[1], to[1], code, e);
    (void)close(from[0]);
    (void)close(to[1]);
    size_t n = 0;
    ssize_t got = 0;
    while ((got = read(to[0], text + n, 999 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    (void)close(to[0]);
    return rc;
}

static void a_command_runs_in_the_service(void **state)
{
    (void)state;
    struct control *c = start();
    char text[1000];
    char *argv[] = {(char[]){"echo"}, (char[]){"a b"}, (char[]){"--json"},
                    (char[]){"\xC3\xA4\"\\\n"}};
    for (int i = 0; i < 40; i++) { /* more than there are slots */
        int code = -1;
        struct err e = {0};
        assert_int_equal(call(4, argv, "one\ntwo\n", text, &code, &e), 0);
        assert_int_equal(code, 7);
        assert_non_null(strstr(text, "json=1 open=handles [a b] [\xC3\xA4\"\\\n]one\ntwo\n"));
        assert_non_null(strstr(text, "tty=0"));
    }
    control_stop(c);
    struct stat s;
    assert_int_equal(lstat(path, &s), -1);
}

static void what_is_not_remote_is_refused(void **state)
{
    (void)state;
    struct control *c = start();
    char text[1000];
    int code = -1;
    struct err e = {0};
    assert_int_equal(call(1, (char *[]){(char[]){"local"}}, "", text, &code, &e), ERR_CONFIG);
    assert_string_equal(e.text, "the service has no command 'local'");
    assert_int_equal(call(1, (char *[]){(char[]){"none"}}, "", text, &code, &e), ERR_CONFIG);
    assert_int_equal(call(1, (char *[]){(char[]){"\xFF"}}, "", text, &code, &e), ERR_REJECTED);
    assert_int_equal(code, -1);
    control_stop(c);
}

static void nobody_listens(void **state)
{
    (void)state;
    char text[1000];
    int code = -1;
    struct err e = {0};
    assert_int_equal(call(1, (char *[]){(char[]){"echo"}}, "", text, &code, &e), ERR_NOT_FOUND);
}

static void garbage_is_refused_and_others_go_on(void **state)
{
    (void)state;
    struct control *c = start();
    static const struct slice garbage[] = {
        {"", 0}, {"x", 1}, {"GET / HTTP/1.0\r\n\r\n", 18}, {"\xFF\xFF\xFF\xFF\xFF", 5}};
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        OWN(own_fd) int fd = -1;
        assert_int_equal(net_unix_connect(path, &fd, NULL), 0);
        assert_int_equal(write(fd, garbage[i].p, garbage[i].n), garbage[i].n);
        (void)shutdown(fd, SHUT_WR);
        OWN(own_buf) struct buf b;
        buf_init(&b, 1000);
        assert_int_equal(frame_recv(fd, 1000, PATIENCE_MS, &b, NULL), 0);
        assert_true(slice_starts(buf_view(&b), "error: "));
    }
    static const char *const words[] = {
        "{}", "[]", "[1]", "[\"echo\",null]", "[\"a\\u0000b\"]", "[[\"echo\"]]", "[\"echo\""};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        OWN(own_fd) int fd = -1;
        assert_int_equal(net_unix_connect(path, &fd, NULL), 0);
        assert_int_equal(net_send_fds(fd, "c", 1, (int[]){0, 1, 2}, 3, NULL), 0);
        assert_int_equal(frame_send(fd, slice_of(words[i]), NULL), 0);
        OWN(own_buf) struct buf b;
        buf_init(&b, 1000);
        assert_int_equal(frame_recv(fd, 1000, PATIENCE_MS, &b, NULL), 0);
        assert_true(slice_starts(buf_view(&b), "error: "));
    }
    char text[1000];
    int code = -1;
    assert_int_equal(call(1, (char *[]){(char[]){"echo"}}, "", text, &code, NULL), 0);
    control_stop(c);
}

static void await_end(int number)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (atomic_load(&ended) < number && clock_mono_ms() < until)
        (void)stop_wait(5);
    assert_int_equal(atomic_load(&ended), number);
}

/* A process that calls `word` with a pipe nobody serves as its input or output. */
static pid_t hanging_client(const char *word, int in_fd, int out_fd)
{
    pid_t pid = fork();
    if (pid == 0) {
        char name[16];
        int code = 0;
        (void)snprintf(name, sizeof name, "%s", word);
        (void)control_call(path, 1, (char *[]){name}, in_fd, out_fd, out_fd, &code, NULL);
        _exit(0);
    }
    return pid;
}

/* Until a command has taken the byte: only then does it surely run. */
static void await_taken(int fd)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    int unread = 1;
    while (unread && clock_mono_ms() < until) {
        (void)stop_wait(5);
        assert_int_equal(ioctl(fd, FIONREAD, &unread), 0);
    }
    assert_int_equal(unread, 0);
}

static void a_client_that_dies_harms_nobody(void **state)
{
    (void)state;
    struct control *c = start();
    int p[2];
    int q[2];
    assert_int_equal(pipe(p), 0);
    assert_int_equal(pipe(q), 0);
    atomic_store(&ended, 0);
    pid_t reader = hanging_client("slurp", p[0], q[1]);
    pid_t writer = hanging_client("flood", p[0], q[1]);
    char byte = 0;
    assert_int_equal(read(q[0], &byte, 1), 1); /* the flood has begun */
    assert_int_equal(write(p[1], "x", 1), 1);
    await_taken(p[0]);
    (void)kill(reader, SIGKILL);
    (void)kill(writer, SIGKILL);
    assert_int_equal(waitpid(reader, NULL, 0), reader);
    assert_int_equal(waitpid(writer, NULL, 0), writer);
    await_end(2);
    assert_int_equal(atomic_load(&last_read), ECANCELED);
    control_stop(c);
    for (int i = 0; i < 2; i++) {
        (void)close(p[i]);
        (void)close(q[i]);
    }
}

/* In a process of its own: root drops to a user who may reach the socket but not use it. */
static int call_as_another_user(void)
{
    int code = 0;
    struct err e = {0};
    if (setresuid(65534, 65534, 65534))
        return 1;
    int rc = control_call(path, 1, (char *[]){(char[]){"echo"}}, 0, 1, 2, &code, &e);
    return rc == ERR_CONFIG && strstr(e.text, "user id 65534 may not") ? 0 : 2;
}

static void another_user_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct control *c = start();
    assert_int_equal(chmod(dir, 0755), 0);
    assert_int_equal(chmod(path, 0666), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(call_as_another_user());
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 0);
    control_stop(c);
}

static void *stop_it(void *c)
{
    control_stop(c);
    return NULL;
}

/* Last: a request to stop can't be taken back in this process. */
static void stopping_ends_a_hanging_read(void **state)
{
    (void)state;
    struct control *c = start();
    int p[2];
    assert_int_equal(pipe(p), 0);
    int out = open("/dev/null", O_WRONLY);
    atomic_store(&ended, 0);
    pid_t reader = hanging_client("slurp", p[0], out);
    assert_int_equal(write(p[1], "x", 1), 1);
    await_taken(p[0]);
    stop_request();
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, stop_it, c), 0);
    await_end(1);
    assert_int_equal(pthread_join(t, NULL), 0);
    int status = 0;
    assert_int_equal(waitpid(reader, &status, 0), reader);
    (void)close(out);
    (void)close(p[0]);
    (void)close(p[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_runs_in_the_service),
        cmocka_unit_test(what_is_not_remote_is_refused),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(garbage_is_refused_and_others_go_on),
        cmocka_unit_test(a_client_that_dies_harms_nobody),
        cmocka_unit_test(another_user_is_refused),
        cmocka_unit_test(stopping_ends_a_hanging_read),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
