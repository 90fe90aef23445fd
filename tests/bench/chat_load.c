/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load on a running chat server: clients in one room, posts spread over all of them, and how long
 * each takes from its first byte written until each client has read it. One line of JSON.
 *
 *   chat_load PORT ROOM CLIENTS RATE SECONDS [WINDOW]
 *
 * ROOM is the room's URI; the users "sip:load<N>@<domain>" (N from 0) must be in the directory.
 * Each run has Call-IDs of its own: a post that comes again is the same post, told to nobody twice.
 * RATE 0: as many posts as WINDOW outstanding ones allow, else RATE a second whatever comes back.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CLIENTS = 900, IN_BYTES = 1 << 20, MAX_POSTS = 1 << 20, BODY = 180 };

struct client {
    int fd, number, cseq;
    size_t n; /* bytes in `in` */
    char *in;
    bool joined;
};

struct load {
    const char *room, *id;
    char domain[128];
    struct client *clients;
    int count, epoll, window;
    double rate, seconds;
    int64_t *sent_ns; /* by post */
    uint32_t *us;     /* of each delivery */
    size_t us_n, us_max;
    uint64_t posted, answered, delivered, refused;
};

static int64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);

    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what)
{
    (void)fprintf(stderr, "chat_load: %s\n", what);
    exit(1);
}

static void put(struct client *c, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(c->fd, bytes, n, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            die("the server closed a connection");
        bytes += sent;
        n -= (size_t)sent;
    }
}

static void request(const struct load *l, struct client *c, const char *method, const char *body)
{
    bool registering = strcmp(method, "REGISTER") == 0;
    char text[2048];
    char to[200] = "sip:chat";

    if (registering)
        (void)snprintf(to, sizeof to, "sip:load%d", c->number);
    int n = snprintf(text, sizeof text,
                     "%s %s@%s SIP/2.0\r\nVia: SIP/2.0/tcp 127.0.0.1:1\r\n"
                     "From: <sip:load%d@%s>;tag=t;epid=e%d\r\nTo: <%s@%s>\r\n"
                     "Call-ID: load%d-%d\r\nCSeq: %d %s\r\n%sContent-Length: %zu\r\n\r\n%s",
                     method, to, l->domain, c->number, l->domain, c->number, to, l->domain,
                     c->number, (int)getpid(), ++c->cseq, method,
                     body[0] ? "Content-Type: text/plain\r\n" : "", strlen(body), body);
    if (n < 0 || (size_t)n >= sizeof text)
        die("request too long");
    put(c, text, (size_t)n);
}

static void xccos(const struct load *l, struct client *c, const char *inside)
{
    char body[1024];

    (void)snprintf(body, sizeof body,
                   "<xccos ver=\"1\" envid=\"%d\" xmlns=\"urn:parlano:xml:ns:xccos\">%s</xccos>",
                   c->cseq, inside);
    request(l, c, "INFO", body);
}

/* ---- what comes ---- */

static void delivered(struct load *l, const char *body)
{
    const char *mark = strstr(body, "<chat>post ");
    long post = mark ? strtol(mark + 11, NULL, 10) : -1;

    if (post < 0 || (uint64_t)post >= l->posted)
        return;
    l->delivered++;
    if (l->us_n < l->us_max)
        l->us[l->us_n++] = (uint32_t)((now_ns() - l->sent_ns[post]) / 1000);
}

/* The server's requests need no answer of a client that is alive. */
static void heard(struct load *l, struct client *c, const char *head, const char *body)
{
    if (strncmp(head, "INFO ", 5) == 0) {
        c->joined = c->joined || strstr(body, "rpl:join") != NULL;
        delivered(l, body);
    } else if (strncmp(head, "SIP/2.0 200", 11) == 0) {
        l->answered++;
    } else if (strncmp(head, "SIP/2.0 ", 8) == 0) {
        l->refused++;
    }
}

/* Takes the whole messages in c->in. */
static void take(struct load *l, struct client *c)
{
    size_t at = 0;

    for (;;) {
        char *head = c->in + at;
        char *end = memmem(head, c->n - at, "\r\n\r\n", 4);

        if (!end)
            break;
        const char *length = memmem(head, (size_t)(end - head), "Content-Length: ", 16);
        size_t all = (size_t)(end - head) + 4 + (length ? strtoul(length + 16, NULL, 10) : 0);
        if (c->n - at < all)
            break;
        char after = head[all];
        head[all] = '\0';
        heard(l, c, head, end + 4);
        head[all] = after;
        at += all;
    }
    memmove(c->in, c->in + at, c->n - at);
    c->n -= at;
}

static void receive(struct load *l, int timeout_ms)
{
    struct epoll_event events[128];
    int n = epoll_wait(l->epoll, events, 128, timeout_ms);

    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;
        ssize_t got = recv(c->fd, c->in + c->n, IN_BYTES - c->n, MSG_DONTWAIT);

        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            die("the server closed a connection");
        if (got > 0) {
            c->n += (size_t)got;
            take(l, c);
        }
    }
}

static void await(struct load *l, const uint64_t *value, uint64_t wanted, const char *what)
{
    int64_t until = now_ns() + 20 * (int64_t)1000000000;

    while (*value < wanted) {
        receive(l, 100);
        if (now_ns() > until || l->refused > 0)
            die(what);
    }
}

/* ---- the run ---- */

static void connect_client(struct load *l, struct client *c, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int one = 1;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->in = malloc(IN_BYTES + 1);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!c->in || c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0)
        die("can't connect");
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        die("epoll");
}

static void enter(struct load *l, struct client *c)
{
    char join[256];

    l->answered = 0;
    request(l, c, "REGISTER", "");
    await(l, &l->answered, 1, "no sign-in");
    request(l, c, "INVITE", "");
    await(l, &l->answered, 2, "no dialog");
    (void)snprintf(join, sizeof join,
                   "<cmd id=\"cmd:join\" seqid=\"1\"><data><chanid key=\"0\" domain=\"%s\""
                   " value=\"%s\"/></data></cmd>",
                   l->domain, l->id);
    xccos(l, c, join);
    await(l, &l->answered, 3, "no answer to a join");
    for (int i = 0; i < 200 && !c->joined; i++)
        receive(l, 100);
    if (!c->joined)
        die("no join");
}

static void post(struct load *l)
{
    char filler[BODY];
    char inside[800];

    if (l->posted >= MAX_POSTS)
        return;
    memset(filler, 'x', sizeof filler - 1);
    filler[sizeof filler - 1] = '\0';
    (void)snprintf(inside, sizeof inside,
                   "<grpchat id=\"grpchat\" seqid=\"1\" chanUri=\"%s\" author=\"\">"
                   "<chat>post %llu %s</chat></grpchat>",
                   l->room, (unsigned long long)l->posted, filler);
    l->sent_ns[l->posted] = now_ns();
    struct client *c = &l->clients[l->posted++ % (uint64_t)l->count];
    xccos(l, c, inside);
}

static void run(struct load *l)
{
    int64_t start = now_ns();
    int64_t end = start + (int64_t)(l->seconds * 1e9);

    for (int64_t now = start; now < end; now = now_ns()) {
        double due = (double)(now - start) / 1e9 * l->rate;

        if (l->rate > 0)
            while ((double)l->posted < due)
                post(l);
        else
            while (l->posted - l->answered < (uint64_t)l->window)
                post(l);
        receive(l, l->rate > 0 ? 1 : 10);
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static double percentile_ms(const struct load *l, double part)
{
    return l->us_n ? l->us[(size_t)((double)(l->us_n - 1) * part)] / 1000.0 : 0;
}

static void report(struct load *l, double seconds)
{
    qsort(l->us, l->us_n, sizeof *l->us, by_size);
    (void)printf("{\"clients\":%d,\"rate\":%.0f,\"window\":%d,\"posts\":%llu,"
                 "\"delivered\":%llu,\"delivered_per_s\":%.0f,"
                 "\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f}\n",
                 l->count, l->rate, l->window, (unsigned long long)l->posted,
                 (unsigned long long)l->delivered, (double)l->delivered / seconds,
                 percentile_ms(l, 0.5), percentile_ms(l, 0.99), percentile_ms(l, 1));
}

static void set_up(struct load *l, char **argv)
{
    const char *slash = strrchr(argv[2], '/');

    if (strncmp(argv[2], "ma-chan://", 10) != 0 || !slash || slash < argv[2] + 11 ||
        (size_t)(slash - argv[2] - 10) >= sizeof l->domain)
        die("ROOM is no ma-chan URI");
    memcpy(l->domain, argv[2] + 10, (size_t)(slash - argv[2] - 10));
    l->room = argv[2];
    l->id = slash + 1;
    l->count = (int)strtol(argv[3], NULL, 10);
    l->rate = strtod(argv[4], NULL);
    l->seconds = strtod(argv[5], NULL);
    l->us_max = 8 << 20;
    if (l->count < 1 || l->count > MAX_CLIENTS || l->seconds <= 0 || l->rate < 0)
        die("CLIENTS, RATE or SECONDS is out of range");
    l->clients = calloc((size_t)l->count, sizeof *l->clients);
    l->sent_ns = calloc(MAX_POSTS, sizeof *l->sent_ns);
    l->us = calloc(l->us_max, sizeof *l->us);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!l->clients || !l->sent_ns || !l->us || l->epoll < 0)
        die("out of memory");
}

int main(int argc, char **argv)
{
    struct load l = {.window = 20};

    if (argc < 6 || argc > 7)
        die("usage: chat_load PORT ROOM CLIENTS RATE SECONDS [WINDOW]");
    set_up(&l, argv);
    if (argc == 7)
        l.window = (int)strtol(argv[6], NULL, 10);
    for (int i = 0; i < l.count; i++) {
        l.clients[i].number = i;
        connect_client(&l, &l.clients[i], (int)strtol(argv[1], NULL, 10));
        enter(&l, &l.clients[i]);
    }
    l.answered = 0;
    int64_t start = now_ns();
    run(&l);
    await(&l, &l.answered, l.posted, "posts were not answered");
    await(&l, &l.delivered, l.posted * (uint64_t)l.count, "deliveries are missing");
    report(&l, (double)(now_ns() - start) / 1e9);

    return 0;
}
