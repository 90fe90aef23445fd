/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/smtp_peer.h"

#include "base/buf.h"

#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
    struct peer_script script;
    int listening, stop[2];
    char address[32];
    pthread_t thread;
    pthread_mutex_t lock;
    struct buf mails[PEER_MAILS_MAX];
    int count;
};

struct session {
    struct peer *peer;
    int fd;
    char held[8192];
    size_t n;
};

/* False: closed, or stopped. */
static bool fill(struct session *s)
{
    struct pollfd wait[2] = {{.fd = s->fd, .events = POLLIN},
                             {.fd = s->peer->stop[0], .events = POLLIN}};
    if (s->n == sizeof s->held || poll(wait, 2, -1) < 0 || wait[1].revents)
        return false;
    ssize_t n = read(s->fd, s->held + s->n, sizeof s->held - s->n);
    if (n <= 0)
        return false;
    s->n += (size_t)n;
    return true;
}

/* A line with its CRLF; false: the connection is over. */
static bool read_line(struct session *s, char *line, size_t size)
{
    for (;;) {
        char *end = memchr(s->held, '\n', s->n);
        if (end) {
            size_t n = (size_t)(end - s->held) + 1;
            assert(n < size);
            memcpy(line, s->held, n);
            line[n] = '\0';
            s->n -= n;
            memmove(s->held, end + 1, s->n);
            return true;
        }
        if (!fill(s))
            return false;
    }
}

/* False: drop the connection. */
static bool answer(struct session *s, const char *scripted, const char *usual)
{
    const char *text = scripted ? scripted : usual;
    if (strcmp(text, "drop") == 0)
        return false;
    if (!*text)
        return !s->peer->script.bell || write(s->peer->script.bell, "x", 1) == 1;
    return write(s->fd, text, strlen(text)) == (ssize_t)strlen(text) &&
           write(s->fd, "\r\n", 2) == 2;
}

static bool take_mail(struct session *s)
{
    struct peer *p = s->peer;
    struct buf mail;
    buf_init(&mail, 64 * 1024 * 1024);
    char line[4096];
    for (;;) {
        if (!read_line(s, line, sizeof line)) {
            buf_done(&mail);
            return false;
        }
        if (strcmp(line, ".\r\n") == 0)
            break;
        buf_text(&mail, line[0] == '.' ? line + 1 : line);
    }
    (void)pthread_mutex_lock(&p->lock);
    assert(p->count < PEER_MAILS_MAX);
    int i = p->count++;
    p->mails[i] = mail;
    (void)pthread_mutex_unlock(&p->lock);
    return answer(s, p->script.end[i], "250 2.0.0 taken");
}

static bool one_command(struct session *s)
{
    const struct peer_script *script = &s->peer->script;
    char line[4096];
    if (!read_line(s, line, sizeof line))
        return false;
    if (strncasecmp(line, "EHLO", 4) == 0 || strncasecmp(line, "HELO", 4) == 0)
        return answer(s, script->hello, "250-peer\r\n250 SIZE 30000000");
    if (strncasecmp(line, "MAIL", 4) == 0)
        return answer(s, script->mail, "250 2.1.0 ok");
    if (strncasecmp(line, "RCPT", 4) == 0)
        return answer(s, script->rcpt, "250 2.1.5 ok");
    if (strncasecmp(line, "DATA", 4) == 0) {
        if (!answer(s, script->data, "354 go on"))
            return false;
        return script->data ? true : take_mail(s);
    }
    if (strncasecmp(line, "QUIT", 4) == 0) {
        (void)answer(s, NULL, "221 bye");
        return false;
    }
    return answer(s, NULL, "250 ok");
}

static void *serve(void *arg)
{
    struct peer *p = arg;
    for (;;) {
        struct pollfd wait[2] = {{.fd = p->listening, .events = POLLIN},
                                 {.fd = p->stop[0], .events = POLLIN}};
        if (poll(wait, 2, -1) < 0 || wait[1].revents)
            return NULL;
        struct session s = {.peer = p, .fd = accept(p->listening, NULL, NULL)};
        if (s.fd < 0)
            continue;
        if (answer(&s, p->script.greeting, "220 peer"))
            while (one_command(&s))
                ;
        (void)close(s.fd);
    }
}

struct peer *peer_start(const struct peer_script *script)
{
    struct peer *p = calloc(1, sizeof *p);
    assert(p);
    p->script = *script;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    p->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->listening < 0 || bind(p->listening, (const struct sockaddr *)&a, sizeof a) < 0 ||
        listen(p->listening, 8) < 0 || getsockname(p->listening, (struct sockaddr *)&a, &n) < 0 ||
        pipe(p->stop) < 0 || pthread_mutex_init(&p->lock, NULL) ||
        pthread_create(&p->thread, NULL, serve, p))
        abort();
    (void)snprintf(p->address, sizeof p->address, "127.0.0.1:%u", ntohs(a.sin_port));
    return p;
}

void peer_stop(struct peer *p)
{
    if (p->stop[1] < 0)
        return;
    (void)close(p->stop[1]);
    p->stop[1] = -1;
    (void)pthread_join(p->thread, NULL);
    (void)close(p->listening);
}

const char *peer_address(const struct peer *p)
{
    return p->address;
}

int peer_mails(struct peer *p)
{
    (void)pthread_mutex_lock(&p->lock);
    int n = p->count;
    (void)pthread_mutex_unlock(&p->lock);
    return n;
}

const char *peer_mail(const struct peer *p, int i, size_t *n)
{
    *n = p->mails[i].n;
    return p->mails[i].p;
}

void peer_free(struct peer *p)
{
    peer_stop(p);
    (void)close(p->stop[0]);
    for (int i = 0; i < p->count; i++)
        buf_done(&p->mails[i]);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}
