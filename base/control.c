/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket. A connection carries one byte with the three descriptors, then one frame with
 * the words as a JSON array; back comes one frame: the exit code in digits, or "error: TEXT".
 * The streams of the running command are in control_stream.c.
 */
#include "base/control.h"

#include "base/control_stream.h"
#include "base/frame.h"
#include "base/json.h"
#include "base/net.h"
#include "base/own.h"
#include "base/wake.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

enum { SLOTS = 16, STREAMS = 3, REQUEST_MAX = 1024 * 1024, WORDS_MAX = 65536, REQUEST_MS = 5000 };

#define REFUSAL "error: "

enum slot_state { SLOT_FREE, SLOT_BUSY, SLOT_DONE };

struct slot {
    struct control *control;
    pthread_t thread;
    _Atomic int state;
    int fd;
};

struct control {
    char *path;
    const struct app_command *table;
    void *open;
    int listen_fd;
    struct wake bell; /* a command ended, or control_stop */
    _Atomic int stopping;
    pthread_t thread;
    struct slot slots[SLOTS];
};

struct request {
    struct json_doc *doc;
    struct buf text;
    int fds[STREAMS]; /* -1 once handed to a stream */
    char **argv;
    int argc;
};

static void request_done(struct request *r)
{
    for (int i = 0; i < r->argc; i++)
        free(r->argv[i]);
    free(r->argv);
    for (int i = 0; i < STREAMS; i++)
        own_fd(&r->fds[i]);
    buf_done(&r->text);
    json_doc_free(r->doc);
}

static int read_words(struct request *r, struct err *e)
{
    static const struct json_limits limits = {.bytes = REQUEST_MAX, .depth = 1, .nodes = WORDS_MAX};
    const struct json *root = NULL;
    int rc = json_parse(r->doc, buf_view(&r->text), &limits, &root, e);
    if (rc)
        return rc;
    r->argv = root->type == JSON_ARRAY ? calloc(root->count + 1, sizeof *r->argv) : NULL;
    if (root->type != JSON_ARRAY || !root->count)
        return err_set(e, ERR_REJECTED, "command: no words");
    if (!r->argv)
        return err_memory(e, "command");
    for (const struct json *word = root->child; word; word = word->next) {
        if (word->type != JSON_STRING || (word->text.n && memchr(word->text.p, 0, word->text.n)))
            return err_set(e, ERR_REJECTED, "command: a word is no text");
        r->argv[r->argc] = slice_dup(word->text);
        if (!r->argv[r->argc])
            return err_memory(e, "command");
        r->argc++;
    }
    return 0;
}

static int read_request(int fd, struct request *r, struct err *e)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char mark = 0;
    size_t got = 0;
    size_t count = 0;
    if (poll(&p, 1, REQUEST_MS) <= 0)
        return err_set(e, ERR_AGAIN, "command: nothing came");
    int rc = net_recv_fds(fd, &mark, 1, &got, r->fds, STREAMS, &count, e);
    if (rc)
        return rc;
    if (got != 1 || count != STREAMS)
        return err_set(e, ERR_REJECTED, "command: came without its streams");
    rc = frame_recv(fd, REQUEST_MAX, REQUEST_MS, &r->text, e);
    return rc ? rc : read_words(r, e);
}

static int allow_peer(int fd, struct err *e)
{
    uid_t uid = 0;
    int rc = net_peer_uid(fd, &uid, e);
    if (rc)
        return rc;
    if (uid != geteuid() && uid != 0)
        return err_set(e, ERR_CONFIG, "user id %u may not command this service", (unsigned)uid);
    return 0;
}

static int run_command(struct control *c, int fd, struct request *r, int *exit_code, struct err *e)
{
    bool tty = isatty(r->fds[2]) == 1;
    OWN(own_file) FILE *in = control_stream_open(&r->fds[0], fd, "r");
    OWN(own_file) FILE *out = control_stream_open(&r->fds[1], fd, "w");
    OWN(own_file) FILE *err = control_stream_open(&r->fds[2], fd, "w");
    if (!in || !out || !err)
        return err_memory(e, "command");
    (void)setvbuf(err, NULL, _IOLBF, 0);
    struct app_io io = {.in = in, .out = out, .err = err, .tty = tty, .open = c->open};
    int argc = r->argc;
    /* The words move within a copy: request_done frees every one of them. */
    OWN(own_mem) char **argv = calloc((size_t)argc + 1, sizeof *argv);
    if (!argv)
        return err_memory(e, "command");
    memcpy(argv, r->argv, (size_t)argc * sizeof *argv);
    int rc = net_peer_uid(fd, &io.uid, e);
    if (rc)
        return rc;
    io.json = app_take_flag("--json", &argc, argv);
    argv[argc] = NULL;
    int used = 0;
    const struct app_command *command = app_find(c->table, argc, argv, &used);
    if (!command || !(command->flags & APP_REMOTE))
        return err_set(e, ERR_CONFIG, "the service has no command '%.80s'", argc ? argv[0] : "");
    *exit_code = command->run(&io, argc - used, argv + used);
    return 0;
}

static void send_answer(int fd, int exit_code, const struct err *e)
{
    char text[sizeof e->text + 16];
    if (e)
        (void)snprintf(text, sizeof text, REFUSAL "%s", e->text);
    else
        (void)snprintf(text, sizeof text, "%d", exit_code);
    /* A client that has gone needs no answer. */
    (void)frame_send(fd, slice_of(text), NULL);
}

static void serve(struct control *c, int fd)
{
    struct err e = {0};
    OWN(request_done) struct request r = {.fds = {-1, -1, -1}};
    buf_init(&r.text, REQUEST_MAX);
    int exit_code = APP_FAILED;
    int rc = allow_peer(fd, &e);
    if (!rc) {
        r.doc = json_doc_new();
        rc = r.doc ? read_request(fd, &r, &e) : err_memory(&e, "command");
    }
    if (!rc)
        rc = run_command(c, fd, &r, &exit_code, &e);
    send_answer(fd, exit_code, rc ? &e : NULL);
}

static void *slot_main(void *arg)
{
    struct slot *s = arg;
    serve(s->control, s->fd);
    (void)close(s->fd);
    atomic_store(&s->state, SLOT_DONE);
    wake_ring(&s->control->bell);
    return NULL;
}

static struct slot *free_slot(struct control *c)
{
    struct slot *found = NULL;
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &c->slots[i];
        if (atomic_load(&s->state) == SLOT_DONE) {
            (void)pthread_join(s->thread, NULL);
            atomic_store(&s->state, SLOT_FREE);
        }
        if (atomic_load(&s->state) == SLOT_FREE)
            found = s;
    }
    return found;
}

static void accept_one(struct control *c, struct slot *s)
{
    int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return; /* the client has gone again, or no descriptor is left: it may come again */
    s->control = c;
    s->fd = fd;
    atomic_store(&s->state, SLOT_BUSY);
    if (pthread_create(&s->thread, NULL, slot_main, s)) {
        atomic_store(&s->state, SLOT_FREE);
        (void)close(fd);
    }
}

static void *accept_main(void *arg)
{
    struct control *c = arg;
    while (!atomic_load(&c->stopping)) {
        struct slot *s = free_slot(c);
        struct pollfd p[] = {{.fd = c->bell.fd, .events = POLLIN},
                             {.fd = s ? c->listen_fd : -1, .events = POLLIN}};
        if (poll(p, 2, -1) < 0)
            continue;
        uint64_t rings = 0;
        if (p[0].revents && read(c->bell.fd, &rings, sizeof rings) < 0)
            continue;
        if (s && p[1].revents)
            accept_one(c, s);
    }
    return NULL;
}

static void control_free(struct control *c)
{
    if (!c)
        return;
    if (c->listen_fd >= 0)
        (void)close(c->listen_fd);
    wake_done(&c->bell);
    free(c->path);
    free(c);
}

OWN_DEFINE(control, struct control, control_free)

int control_start(struct control **out, const char *path, const struct app_command *table,
                  void *open, struct err *e)
{
    OWN(own_control) struct control *c = calloc(1, sizeof *c);
    if (!c)
        return err_memory(e, "control socket");
    c->listen_fd = -1;
    c->bell.fd = -1;
    c->table = table;
    c->open = open;
    c->path = slice_dup(slice_of(path));
    if (!c->path || !wake_init(&c->bell))
        return err_memory(e, "control socket");
    int rc = net_unix_listen(path, &c->listen_fd, e);
    if (rc)
        return rc;
    int failed = pthread_create(&c->thread, NULL, accept_main, c);
    if (failed) {
        errno = failed;
        return err_errno(e, ERR_RETRY, "start the control thread");
    }
    *out = c;
    c = NULL;
    return 0;
}

void control_stop(struct control *c)
{
    if (!c)
        return;
    atomic_store(&c->stopping, 1);
    wake_ring(&c->bell);
    (void)pthread_join(c->thread, NULL);
    (void)unlink(c->path);
    for (int i = 0; i < SLOTS; i++)
        if (atomic_load(&c->slots[i].state) != SLOT_FREE)
            (void)pthread_join(c->slots[i].thread, NULL);
    control_free(c);
}

static int send_request(int fd, int argc, char **argv, const int fds[STREAMS], struct err *e)
{
    OWN(own_buf) struct buf words;
    buf_init(&words, REQUEST_MAX);
    buf_char(&words, '[');
    for (int i = 0; i < argc; i++) {
        if (!utf8_valid(slice_of(argv[i])))
            return err_set(e, ERR_REJECTED, "argument %d is not UTF-8", i + 1);
        json_comma(&words);
        json_write_string(&words, slice_of(argv[i]));
    }
    buf_char(&words, ']');
    int rc = buf_ok(&words, "command", e);
    if (rc)
        return rc;
    rc = net_send_fds(fd, "c", 1, fds, STREAMS, e);
    return rc ? rc : frame_send(fd, buf_view(&words), e);
}

int control_call(const char *path, int argc, char **argv, int in_fd, int out_fd, int err_fd,
                 int *exit_code, struct err *e)
{
    OWN(own_fd) int fd = -1;
    int rc = net_unix_connect(path, &fd, e);
    if (rc)
        return rc;
    struct err sending = {0};
    int sent = send_request(fd, argc, argv, (int[STREAMS]){in_fd, out_fd, err_fd}, &sending);
    if (sent == ERR_REJECTED)
        return err_set(e, sent, "%s", sending.text);
    /* A service that refuses closes before it has read all: its answer says more than our EPIPE. */
    OWN(own_buf) struct buf text;
    buf_init(&text, REQUEST_MAX);
    rc = frame_recv(fd, REQUEST_MAX, -1, &text, e);
    if (rc)
        return err_set(e, ERR_RETRY, "the service ended before it answered");
    struct slice answer = buf_view(&text);
    int64_t code = 0;
    if (slice_starts(answer, REFUSAL))
        return err_set(e, ERR_CONFIG, "%s", answer.p + sizeof REFUSAL - 1);
    if (!text_i64(answer, &code) || code < 0 || code > 255)
        return err_set(e, ERR_FAULT, "the service gave no exit code");
    *exit_code = (int)code;
    return 0;
}
