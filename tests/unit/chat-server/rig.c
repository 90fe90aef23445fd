/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/net.h"
#include "chat-server/store/directory.h"
#include "mgccomp/record.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define MUST(call)                                                                                 \
    do {                                                                                           \
        struct err e_ = {0};                                                                       \
        struct err *e = &e_;                                                                       \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", #call, e_.text);                                                    \
    } while (0)

/* ---- the server ---- */

static bool refuses(void *arg)
{
    struct rig *r = arg;

    return atomic_load(&r->refuse);
}

static void lost(void *arg)
{
    struct rig *r = arg;

    atomic_store(&r->lost, true);
}

static void queue_await(void *arg, struct record_await *a)
{
    struct rig *r = arg;

    if (atomic_load(&r->confirms)) {
        a->done(a->arg, 0);
        return;
    }
    (void)pthread_mutex_lock(&r->queue_lock);
    struct record_await **at = &r->awaits;
    while (*at)
        at = &(*at)->next;
    a->next = NULL;
    *at = a;
    (void)pthread_mutex_unlock(&r->queue_lock);
}

static bool queue_forget(void *arg, struct record_await *a)
{
    struct rig *r = arg;

    (void)pthread_mutex_lock(&r->queue_lock);
    struct record_await **at = &r->awaits;
    while (*at && *at != a)
        at = &(*at)->next;
    bool found = *at != NULL;
    if (found)
        *at = a->next;
    (void)pthread_mutex_unlock(&r->queue_lock);
    return found;
}

int rig_confirm(struct rig *r, int class)
{
    int n = 0;

    (void)pthread_mutex_lock(&r->queue_lock);
    struct record_await *a = r->awaits;
    r->awaits = NULL;
    (void)pthread_mutex_unlock(&r->queue_lock);
    for (struct record_await *next; a; a = next, n++) {
        next = a->next;
        a->done(a->arg, class);
    }
    return n;
}

static void start_server(struct rig *r, int64_t session_seconds, int64_t sign_in_ms)
{
    struct writer_options w = {.url = r->url};

    MUST(writer_start(&r->writer, &w, e));
    MUST(
        writer_begin_session(r->writer, SLICE(RIG_POOL), SLICE(RIG_SESSION), (struct slice){0}, e));
    struct chat_options o = {.host = "127.0.0.1",
                             .domain = "example.test",
                             .pool = RIG_POOL,
                             .session = RIG_SESSION,
                             .store_url = r->url,
                             .writer = r->writer,
                             .must_refuse = refuses,
                             .must_refuse_arg = r,
                             .queue = r->has_queue ? &r->queue : NULL,
                             .queue_wait_ms = r->queue_wait_ms,
                             .lost = lost,
                             .lost_arg = r,
                             .session_seconds = session_seconds,
                             .sign_in_ms = sign_in_ms};
    MUST(chat_server_start(&r->server, &o, e));
}

static void prepare(struct rig *r)
{
    static const char *const users[] = {"alice", "bob", "carol"};

    memset(r, 0, sizeof *r);
    (void)pthread_mutex_init(&r->queue_lock, NULL);
    r->queue = (struct record_queue){queue_await, queue_forget, r};
    (void)snprintf(r->dir, sizeof r->dir, "/tmp/chat-rig.XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    (void)snprintf(r->url, sizeof r->url, "sqlite:%s/chat.db", r->dir);
    buf_init(&r->lines, 4 * 1024 * 1024);
    MUST(store_open(&r->store, r->url, e));
    for (size_t i = 0; i < 3; i++) {
        char uri[64];
        char name[16];

        (void)snprintf(uri, sizeof uri, "sip:%s@example.test", users[i]);
        (void)snprintf(name, sizeof name, "%c%s", users[i][0] - 32, users[i] + 1);
        MUST(directory_add_user(r->store, slice_of(uri), slice_of(name), e));
    }
}

void rig_start_with(struct rig *r, int64_t session_seconds, int64_t sign_in_ms)
{
    prepare(r);
    start_server(r, session_seconds, sign_in_ms);
}

void rig_start_queue(struct rig *r, int64_t queue_wait_ms)
{
    prepare(r);
    r->has_queue = r->by_queue = true;
    r->queue_wait_ms = queue_wait_ms;
    atomic_store(&r->confirms, true);
    start_server(r, 0, 0);
}

void rig_start(struct rig *r)
{
    rig_start_with(r, 0, 0);
}

void rig_stop_server(struct rig *r)
{
    if (r->server)
        chat_server_stop(r->server);
    r->server = NULL;
    if (r->writer)
        writer_stop(r->writer);
    r->writer = NULL;
}

void rig_stop(struct rig *r)
{
    rig_stop_server(r);
    store_close(r->store);
    buf_done(&r->lines);
    (void)pthread_mutex_destroy(&r->queue_lock);
    MUST(file_remove_tree(r->dir, e));
}

void rig_room(struct rig *r, const char *name, const char *members, char uri[256])
{
    struct buf list;
    struct slice rest = slice_of(members);

    buf_init(&list, 4096);
    while (rest.n > 0) {
        struct slice one = slice_cut(&rest, ',');

        buf_format(&list, "%ssip:%.*s@example.test", list.n ? " " : "", SLICE_ARG(one));
    }
    MUST(directory_add_room(r->store, SLICE("example.test"), slice_of(name), SLICE("a room"),
                            buf_view(&list), r->by_queue, uri, e));
    buf_done(&list);
}

/* ---- records ---- */

static void put_member(struct buf *b, struct slice uri)
{
    struct slice rest = uri;

    (void)slice_cut(&rest, ':');
    buf_slice(b, slice_cut(&rest, '@'));
}

struct look {
    struct rig *r;
    const char *subject;
    struct json_doc *json;
};

static int tell_record(void *arg, const struct store_row *row, struct err *e)
{
    struct look *look = arg;
    struct buf *b = &look->r->lines;
    struct record rec;

    if (record_decode(look->json, row->raw, &rec, e) < 0)
        return e->class;
    if (!slice_is(rec.subject, look->subject))
        return 0;
    (void)slice_cut(&rec.type, '.');
    buf_slice(b, rec.type);
    if (rec.participant.n) {
        buf_char(b, ' ');
        put_member(b, rec.participant);
    }
    if (rec.kind == RECORD_POST) {
        buf_format(b, " %lld ", (long long)rec.chat_id);
        buf_slice(b, rec.text);
    }
    if (rec.kind == RECORD_READ) {
        const char *ranges = memmem(rec.raw.p, rec.raw.n, "\"ranges\":", 9);
        const char *end =
            ranges ? memmem(ranges, rec.raw.n - (size_t)(ranges - rec.raw.p), ",\"count\"", 8)
                   : NULL;
        int64_t count = -1;

        (void)json_i64(rec.data, "count", &count);
        if (end)
            buf_format(b, " %.*s %lld", (int)(end - ranges - 9), ranges + 9, (long long)count);
    }
    if (rec.reason.n) {
        buf_char(b, ' ');
        buf_slice(b, rec.reason);
    }
    buf_char(b, '\n');

    return 0;
}

const char *rig_records(struct rig *r, const char *subject)
{
    struct look look = {.r = r, .subject = subject, .json = json_doc_new()};

    buf_clear(&r->lines);
    MUST(store_read_from(r->store, 1, 100000, 1 << 26, tell_record, &look, e));
    json_doc_free(look.json);

    return r->lines.p ? r->lines.p : "";
}

void rig_await_records(struct rig *r, const char *subject, const char *lines)
{
    int64_t until = clock_mono_ms() + 10000;

    while (strcmp(rig_records(r, subject), lines) != 0) {
        if (clock_mono_ms() > until)
            fail_msg("records are\n%s, not\n%s", rig_records(r, subject), lines);
        (void)poll(NULL, 0, 20);
    }
}

/* ---- peers ---- */

void peer_open(struct peer *p, struct rig *r, const char *user, const char *epid)
{
    static int number;

    memset(p, 0, sizeof *p);
    (void)snprintf(p->user, sizeof p->user, "%s", user);
    (void)snprintf(p->epid, sizeof p->epid, "%s", epid);
    (void)snprintf(p->call_id, sizeof p->call_id, "call%d-%s", ++number, user);
    buf_init(&p->in, 8 * 1024 * 1024);
    p->xml = xml_doc_new();
    MUST(net_connect("127.0.0.1", chat_server_port(r->server), 5000, &p->fd, e));
}

void peer_close(struct peer *p)
{
    if (p->xml && p->fd >= 0)
        (void)close(p->fd);
    p->fd = -1;
    sip_free(p->last);
    p->last = NULL;
    xml_doc_free(p->xml);
    p->xml = NULL;
    buf_done(&p->in);
}

void peer_send(struct peer *p, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(p->fd, bytes, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return;
        bytes += sent;
        n -= (size_t)sent;
    }
}

static void answer(struct peer *p, const struct sip *m)
{
    struct buf b;

    buf_init(&b, 64 * 1024);
    sip_write_response(&b, m, 200, "OK", SLICE("peer"));
    sip_write_end(&b, NULL, (struct slice){0});
    peer_send(p, b.p, b.n);
    buf_done(&b);
}

static void tell_user(struct buf *b, struct slice uri)
{
    buf_char(b, ' ');
    put_member(b, uri);
}

static void tell_envelope(struct peer *p, struct buf *b, struct slice body)
{
    static const struct xml_limits limits = {.bytes = 1 << 20, .depth = 20, .nodes = 200000};
    const struct xml_node *root;

    MUST(xml_parse(p->xml, body, &limits, &root, e));
    const struct xml_node *block = root->child;
    buf_slice(b, xml_get(block, "id"));
    const struct xml_node *resp = xml_child(block, "resp");
    const struct xml_node *data = xml_child(block, "data");
    if (resp) {
        buf_char(b, ' ');
        buf_slice(b, xml_get(resp, "code"));
    } else if (slice_is(block->name, "grpchat")) {
        tell_user(b, xml_get(block, "author"));
        buf_char(b, ' ');
        buf_slice(b, xml_get(block, "chatId"));
        buf_char(b, ' ');
        buf_slice(b, xml_child(block, "chat")->text);
    } else if (data && xml_child(data, "uib")) {
        tell_user(b, xml_get(xml_child(data, "uib"), "uri"));
    } else if (data && xml_child(data, "chanib")) {
        tell_user(b, xml_get(xml_child(xml_child(data, "chanib"), "uib"), "uri"));
    }
}

static bool take(struct peer *p)
{
    struct sip_frame f;
    struct buf b;

    if (sip_frame(buf_view(&p->in), SIP_MAX_REPLY, &f, NULL) != 0)
        return false;
    const char *at = p->in.p + f.skip;
    sip_free(p->last);
    p->last = NULL;
    if (sip_parse(&p->last, (struct slice){at, f.head}, (struct slice){at + f.head, f.body}, NULL) <
        0) {
        (void)snprintf(p->line, sizeof p->line, "%.*s", 11, at + 8);
        buf_drop_front(&p->in, f.skip + f.head + f.body);
        return true;
    }
    buf_drop_front(&p->in, f.skip + f.head + f.body);
    buf_init(&b, 1 << 20);
    if (sip_status(p->last) != 0) {
        buf_format(&b, "%d %.*s", sip_status(p->last), SLICE_ARG(sip_method(p->last)));
    } else {
        answer(p, p->last);
        if (slice_is(sip_method(p->last), "INFO"))
            tell_envelope(p, &b, sip_body(p->last));
        else
            buf_slice(&b, sip_method(p->last));
    }
    (void)snprintf(p->line, sizeof p->line, "%s", b.p);
    buf_done(&b);

    return true;
}

const char *peer_next(struct peer *p, int ms)
{
    int64_t until = clock_mono_ms() + ms;

    while (!take(p)) {
        struct pollfd f = {.fd = p->fd, .events = POLLIN};
        int64_t left = until - clock_mono_ms();

        if (left < 0 || poll(&f, 1, (int)left) <= 0)
            return "nothing";
        char *space = buf_reserve(&p->in, 65536);
        assert_non_null(space);
        ssize_t n = recv(p->fd, space, 65536, 0);
        if (n <= 0)
            return "closed";
        buf_commit(&p->in, (size_t)n);
    }

    return p->line;
}

void peer_expect(struct peer *p, const char *line)
{
    assert_string_equal(peer_next(p, 5000), line);
}

void peer_request(struct peer *p, const char *method, const char *body)
{
    struct buf b;
    bool registering = strcmp(method, "REGISTER") == 0 || strcmp(method, "SUBSCRIBE") == 0;

    buf_init(&b, 4 * 1024 * 1024);
    buf_format(&b,
               "%s %s SIP/2.0\r\nVia: SIP/2.0/tcp 127.0.0.1:1\r\n"
               "From: <sip:%s@example.test>;tag=t%s;epid=%s\r\nTo: %s%s%s\r\n"
               "Call-ID: %s\r\nCSeq: %lld %s\r\nMax-Forwards: 70\r\n",
               method, registering ? "sip:example.test" : RIG_POOL, p->user, p->epid, p->epid,
               registering      ? "<sip:"
               : p->local_to[0] ? p->local_to
                                : "<" RIG_POOL ">",
               registering ? p->user : "", registering ? "@example.test>" : "", p->call_id,
               (long long)++p->cseq, method);
    if (!registering)
        buf_format(&b, "Contact: <sip:%s@example.test:1;transport=tcp>\r\n", p->user);
    if (strcmp(method, "SUBSCRIBE") == 0)
        buf_text(&b, "Event: vnd-microsoft-provisioning-v2\r\n");
    if (body[0] == '\0')
        buf_text(&b, "Content-Length: 0\r\n\r\n");
    else if (body[0] == ':') /* more header lines instead of a body */
        buf_format(&b, "%s\r\nContent-Length: 0\r\n\r\n", body + 1);
    else
        buf_format(&b, "Content-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
                   body);
    peer_send(p, b.p, b.n);
    buf_done(&b);
}

void peer_register(struct peer *p, const char *extra)
{
    peer_request(p, "REGISTER", extra);
}

void peer_invite(struct peer *p)
{
    peer_request(p, "INVITE", "");
    peer_expect(p, "200 INVITE");
    (void)slice_copy(sip_to(p->last), p->local_to, sizeof p->local_to);
    p->cseq--;
    peer_request(p, "ACK", "");
}

void peer_ready(struct peer *p, struct rig *r, const char *user, const char *epid)
{
    peer_open(p, r, user, epid);
    peer_register(p, "");
    peer_expect(p, "200 REGISTER");
    peer_invite(p);
}

void peer_xccos(struct peer *p, const char *inside)
{
    struct buf b;

    buf_init(&b, 4 * 1024 * 1024);
    buf_format(&b, "<xccos ver=\"1\" envid=\"%lld\" xmlns=\"urn:parlano:xml:ns:xccos\">%s</xccos>",
               (long long)++p->envid, inside);
    peer_request(p, "INFO", b.p);
    buf_done(&b);
}

void peer_join(struct peer *p, const char *room)
{
    char inside[512];

    (void)snprintf(inside, sizeof inside,
                   "<cmd id=\"cmd:join\" seqid=\"1\"><data><chanid key=\"0\" domain=\"%.*s\""
                   " value=\"%s\"/></data></cmd>",
                   (int)strcspn(room + 10, "/"), room + 10, strrchr(room, '/') + 1);
    peer_xccos(p, inside);
}

void peer_post(struct peer *p, const char *room, const char *text)
{
    struct buf b;

    buf_init(&b, 4 * 1024 * 1024);
    buf_format(&b,
               "<grpchat id=\"grpchat\" seqid=\"1\" chanUri=\"%s\" author=\"sip:liar@x\""
               " ts=\"2013-05-01T10:00:00Z\"><chat>%s</chat></grpchat>",
               room, text);
    peer_xccos(p, b.p);
    buf_done(&b);
}

void peer_part(struct peer *p, const char *room)
{
    char inside[512];

    (void)snprintf(inside, sizeof inside,
                   "<cmd id=\"cmd:part\" seqid=\"1\"><data><chanib uri=\"%s\"/></data></cmd>",
                   room);
    peer_xccos(p, inside);
}

void peer_history(struct peer *p, const char *room, int count)
{
    char inside[512];

    (void)snprintf(inside, sizeof inside,
                   "<cmd id=\"cmd:bccontext\" seqid=\"1\"><data><chanib uri=\"%s\"/>"
                   "<bcq><last cnt=\"%d\"/></bcq></data></cmd>",
                   room, count);
    peer_xccos(p, inside);
}
