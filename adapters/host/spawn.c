/* SPDX-License-Identifier: Apache-2.0 */
/* Starting, killing and reaping worker processes, and the non-blocking socket to them. */
#include "adapters/host/child.h"
#include "adapters/host/group.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HEADER = 4, FIRST_FREE = 10, CLOSE_FROM = CHILD_END + 1 };

void child_init(struct child *c)
{
    *c = (struct child){.fd = -1, .pid_fd = -1, .cancel_fd = -1, .end_fd = -1};
    buf_init(&c->in, CHILD_MAX_MESSAGE + HEADER);
    buf_init(&c->out, CHILD_MAX_TASK + 2 * HEADER);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

struct start {
    char *argv[4];
    char *env[5]; /* two of them are for tests: base/fault.h */
    const char *program;
    int socket_fd, spool_fd, cancel_fd, end_fd, null_fd;
    pid_t parent;
};

/* Between fork and exec of a process with threads: system calls only. */
static void become_worker(const struct start *s)
{
    sigset_t none;
    (void)setpgid(0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != s->parent)
        _exit(126);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    group_keep();
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(s->null_fd, 0) < 0 || dup2(s->null_fd, 1) < 0 ||
        dup2(s->socket_fd, CHILD_SOCKET) < 0 || dup2(s->spool_fd, CHILD_SPOOL) < 0 ||
        dup2(s->cancel_fd, CHILD_CANCEL) < 0 || dup2(s->end_fd, CHILD_END) < 0 ||
        close_range(CLOSE_FROM, ~0U, 0) < 0)
        _exit(126);
    (void)execve(s->program, s->argv, s->env);
    _exit(127);
}

/* A copy above the numbers that the worker's descriptors get. */
static int high_copy(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE);
}

static int fork_worker(struct child *c, struct start *s, struct err *e)
{
    OWN(own_fd) int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    OWN(own_fd) int high_null = high_copy(null_fd);
    OWN(own_fd) int high_socket = high_copy(s->socket_fd);
    OWN(own_fd) int high_cancel = high_copy(s->cancel_fd);
    OWN(own_fd) int high_end = high_copy(s->end_fd);
    OWN(own_fd) int high_spool = high_copy(s->spool_fd >= 0 ? s->spool_fd : null_fd);
    if (high_null < 0 || high_socket < 0 || high_cancel < 0 || high_end < 0 || high_spool < 0)
        return err_errno(e, ERR_RETRY, "a worker's descriptors");
    s->null_fd = high_null;
    s->socket_fd = high_socket;
    s->cancel_fd = high_cancel;
    s->end_fd = high_end;
    s->spool_fd = high_spool;
    s->parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(e, ERR_RETRY, "start a worker");
    if (pid == 0)
        become_worker(s);
    (void)setpgid(pid, pid);
    c->pid = pid;
    c->pid_fd = pidfd_open(pid, 0);
    return 0;
}

int child_start(struct child *c, const char *program, const char *module, int spool_fd,
                int64_t until_ms, struct err *e)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(e, ERR_RETRY, "a worker's socket");
    OWN(own_fd) int ours = pair[0];
    OWN(own_fd) int theirs = pair[1];
    /* Not a pipe: a worker that closed its end must not become a signal here. */
    OWN(own_fd) int cancel = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    OWN(own_fd) int end = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (cancel < 0 || end < 0)
        return err_errno(e, ERR_RETRY, "a worker's descriptors");
    /* No environment of ours: it may hold the database's password. */
    char name[] = "holdfast";
    char word[] = "worker";
    char path[] = "PATH=/usr/bin:/bin";
    char zone[] = "TZ=UTC";
    OWN(own_mem) char *module_arg = strdup(module);
    if (!module_arg)
        return err_memory(e, "starting a worker");
    struct start s = {.argv = {name, word, module_arg, NULL},
                      .env = {path, zone, NULL},
                      .program = program,
                      .socket_fd = theirs,
                      .spool_fd = spool_fd,
                      .cancel_fd = cancel,
                      .end_fd = end};
    fault_environment(s.env + 2);
    buf_clear(&c->in);
    buf_clear(&c->out);
    c->taken = 0;
    c->ended = false;
    c->killed = false;
    int rc = fork_worker(c, &s, e);
    if (rc < 0)
        return rc;
    c->fd = ours;
    c->cancel_fd = cancel;
    c->end_fd = end;
    ours = -1;
    cancel = -1;
    end = -1;
    c->until_ms = 0;
    child_extend(c, until_ms);
    return 0;
}

void child_extend(struct child *c, int64_t until_ms)
{
    if (c->end_fd < 0 || until_ms <= c->until_ms)
        return;
    const uint64_t more = (uint64_t)(until_ms - c->until_ms);
    if (write(c->end_fd, &more, sizeof more) == sizeof more)
        c->until_ms = until_ms;
}

int child_send(struct child *c, struct slice message, struct err *e)
{
    if (message.n > CHILD_MAX_TASK)
        return err_set(e, ERR_REJECTED, "a message to a worker is over %d bytes", CHILD_MAX_TASK);
    buf_u32be(&c->out, (uint32_t)message.n);
    buf_slice(&c->out, message);
    int rc = buf_ok(&c->out, "messages to a worker", e);
    if (rc == 0)
        child_flush(c);
    return rc;
}

static bool later(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

void child_flush(struct child *c)
{
    ssize_t n = 0;
    while (c->out.n && n >= 0) {
        n = send(c->fd, c->out.p, c->out.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0 || !later(errno))
            buf_drop_front(&c->out, n >= 0 ? (size_t)n : c->out.n);
    }
}

/* Length of the first whole message, or -1. */
static int64_t whole_message(const struct buf *in)
{
    if (in->n < HEADER)
        return -1;
    uint32_t n = 0;
    for (int i = 0; i < HEADER; i++)
        n = n << 8 | (uint8_t)in->p[i];
    return n > CHILD_MAX_MESSAGE || in->n >= HEADER + (size_t)n ? (int64_t)n : -1;
}

static int fill(struct child *c, struct err *e)
{
    size_t want = c->in.max - c->in.n < 16384 ? c->in.max - c->in.n : 16384;
    char *room = buf_reserve(&c->in, want);
    if (!room)
        return buf_ok(&c->in, "messages of a worker", e);
    ssize_t n = recv(c->fd, room, want, MSG_DONTWAIT);
    if (n > 0)
        buf_commit(&c->in, (size_t)n);
    else if (n == 0 || !later(errno))
        c->ended = true; /* closed, or reset by its death */
    return 0;
}

int child_receive(struct child *c, struct slice *message, struct err *e)
{
    if (c->taken)
        buf_drop_front(&c->in, c->taken);
    c->taken = 0;
    if (!c->ended && whole_message(&c->in) < 0) {
        int rc = fill(c, e);
        if (rc < 0)
            return rc;
    }
    int64_t n = whole_message(&c->in);
    if (n > CHILD_MAX_MESSAGE)
        return err_set(e, ERR_REJECTED, "the worker sent a message over %d bytes",
                       CHILD_MAX_MESSAGE);
    if (n < 0 && c->ended)
        return c->in.n ? err_set(e, ERR_REJECTED, "the worker's last message is cut off")
                       : err_set(e, ERR_NOT_FOUND, "the worker closed its socket");
    if (n < 0)
        return 0;
    *message = (struct slice){c->in.p + HEADER, (size_t)n};
    c->taken = HEADER + (size_t)n;
    return 1;
}

void child_cancel(struct child *c)
{
    const uint64_t one = 1;
    /* What it can't take is full, and so readable already. */
    ssize_t n = c->cancel_fd >= 0 ? write(c->cancel_fd, &one, sizeof one) : 0;
    (void)n;
}

void child_kill(struct child *c)
{
    if (c->pid <= 0)
        return;
    c->killed = true;
    (void)kill(-c->pid, SIGKILL);
    (void)kill(c->pid, SIGKILL);
}

static void explain(const struct child *c, int status, char why[80])
{
    why[0] = '\0';
    if (c->killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        (void)snprintf(why, 80, "the worker was stopped");
    else if (WIFSIGNALED(status))
        (void)snprintf(why, 80, "the worker died of signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        (void)snprintf(why, 80, "the worker's program could not be run");
    else if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        (void)snprintf(why, 80, "the worker ended with status %d", WEXITSTATUS(status));
}

bool child_reaped(struct child *c, char why[80])
{
    int status = 0;
    if (c->pid > 0) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == 0)
            return false;
        /* What it left behind in its group goes first: later the number may be somebody else's. */
        (void)kill(-c->pid, SIGKILL);
        while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    explain(c, status, why);
    close_fd(&c->fd);
    close_fd(&c->pid_fd);
    close_fd(&c->cancel_fd);
    close_fd(&c->end_fd);
    /* What was not sent yet may hold the adapter's secrets. */
    if (c->out.p)
        explicit_bzero(c->out.p, c->out.cap);
    buf_done(&c->in);
    buf_done(&c->out);
    child_init(c);
    return true;
}

bool child_wait(struct child *c, int64_t ms, char why[80])
{
    int64_t end = clock_mono_ms() + ms;
    while (!child_reaped(c, why)) {
        int64_t left = end - clock_mono_ms();
        if (left <= 0)
            return false;
        struct pollfd p = {.fd = c->pid_fd, .events = POLLIN};
        /* Without a pid descriptor (an old kernel) the process is looked at every 20 ms. */
        (void)poll(&p, c->pid_fd >= 0, c->pid_fd >= 0 && left < 1000 ? (int)left : 20);
    }
    return true;
}
