/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side of SIP and XCCOS over one TCP connection. */
#include "chat-server/client_link.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/net.h"
#include "base/own.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { LINK_CONNECT_MS = 5000, LINK_ANSWER_MS = 30000 };

static void random_text(char *out, size_t digits)
{
    uint8_t bytes[32];

    random_bytes(bytes, sizeof bytes);
    hex_encode(bytes, digits / 2, out);
}

static int name_user(struct link *l, const char *domain, const char *user, struct err *e)
{
    struct slice name = slice_of(user);
    bool whole = slice_starts(name, "sip:");

    if (name.n == 0 || name.n + strlen(domain) + 6 > sizeof l->user || strpbrk(user, " <>\"\r\n;"))
        return err_set(e, ERR_CONFIG, "user '%.80s' is no name", user);
    (void)snprintf(l->user, sizeof l->user, whole ? "%s" : "sip:%s@%s", user, domain);
    if (!slice_copy(slice_of(domain), l->domain, sizeof l->domain))
        return err_set(e, ERR_CONFIG, "domain too long");

    return 0;
}

static void name_ends(struct link *l)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    uint16_t port = 0;

    if (getsockname(l->fd, (struct sockaddr *)&a, &n) == 0)
        port = ntohs(a.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&a)->sin6_port
                                             : ((const struct sockaddr_in *)&a)->sin_port);
    (void)snprintf(l->via, sizeof l->via, "%s:%u", a.ss_family == AF_INET6 ? "[::1]" : "127.0.0.1",
                   (unsigned)port);
    random_text(l->epid, sizeof l->epid - 1);
    random_text(l->tag, sizeof l->tag - 1);
    random_text(l->call_id, 32);
    random_text(l->dialog_id, 32);
}

int link_open(struct link *l, const char *address, const char *domain, const char *user,
              struct err *e)
{
    char host[64];
    uint16_t port;

    l->fd = -1;
    buf_init(&l->in, SIP_MAX_REPLY + 64 * 1024);
    int r = name_user(l, domain, user, e);
    if (r == 0)
        r = net_split(slice_of(address), host, &port, e);
    if (r < 0)
        return r;
    l->xml = xml_doc_new();
    if (!l->xml)
        return err_memory(e, "client");
    r = net_connect(host, port, LINK_CONNECT_MS, &l->fd, e);
    if (r < 0) {
        l->fd = -1;
        return r;
    }
    name_ends(l);
    l->envid = (uint64_t)clock_wall_us();

    return 0;
}

void link_close(struct link *l)
{
    /* Zeroed memory looks like an open descriptor 0. */
    if (l->xml && l->fd >= 0)
        (void)close(l->fd);
    l->fd = -1;
    sip_free(l->response);
    l->response = NULL;
    xml_doc_free(l->xml);
    l->xml = NULL;
    buf_done(&l->in);
}

/* ---- sending ---- */

static int lost_server(struct link *l, struct err *e)
{
    l->ended = true;

    return err_set(e, ERR_RETRY, "the chat server closed the connection");
}

static int send_all(struct link *l, const struct buf *b, struct err *e)
{
    int r = buf_ok(b, "request", e);

    for (size_t sent = 0; r == 0 && sent < b->n;) {
        ssize_t n = send(l->fd, b->p + sent, b->n - sent, MSG_NOSIGNAL);

        if (n > 0)
            sent += (size_t)n;
        else if (errno != EINTR)
            r = lost_server(l, e);
    }

    return r;
}

static void put_from(struct buf *b, const struct link *l)
{
    buf_format(b, "<%s>;tag=%s;epid=%s", l->user, l->tag, l->epid);
}

static int64_t send_request(struct link *l, const char *method, bool in_dialog, int64_t cseq,
                            const char *extra, const char *type, struct slice body, struct err *e)
{
    OWN(own_buf) struct buf b = {0};
    OWN(own_buf) struct buf from = {0};
    OWN(own_buf) struct buf to = {0};

    buf_init(&b, SIP_MAX_MESSAGE);
    buf_init(&from, 1024);
    buf_init(&to, 1024);
    put_from(&from, l);
    if (in_dialog)
        buf_text(&to, l->remote);
    else
        buf_format(&to, "<%s>", l->user);
    bool registering = strcmp(method, "REGISTER") == 0;
    char home[256];
    (void)snprintf(home, sizeof home, "sip:%s", l->domain);
    sip_write_request(&b,
                      &(struct sip_line){.method = slice_of(method),
                                         .uri = slice_of(in_dialog     ? l->target
                                                         : registering ? home
                                                                       : l->user),
                                         .via = slice_of(l->via),
                                         .from = buf_view(&from),
                                         .to = buf_view(&to),
                                         .call_id = slice_of(in_dialog ? l->dialog_id : l->call_id),
                                         .cseq = cseq});
    buf_format(&b, "Contact: <%s;transport=tcp>\r\n", l->user);
    buf_text(&b, extra);
    sip_write_end(&b, type, body);
    int r = send_all(l, &b, e);

    return r < 0 ? r : cseq;
}

int64_t link_register(struct link *l, bool sign_out, struct err *e)
{
    return send_request(l, "REGISTER", false, ++l->cseq, sign_out ? "Expires: 0\r\n" : "", NULL,
                        (struct slice){0}, e);
}

int64_t link_subscribe(struct link *l, struct err *e)
{
    return send_request(
        l, "SUBSCRIBE", false, ++l->cseq,
        "Event: vnd-microsoft-provisioning-v2\r\nExpires: 0\r\n"
        "Accept: application/vnd-microsoft-roaming-provisioning-v2+xml\r\n",
        "application/vnd-microsoft-roaming-provisioning-v2+xml",
        SLICE("<provisioningGroupList"
              " xmlns=\"http://schemas.microsoft.com/2006/09/sip/provisioninggrouplist\">"
              "<provisioningGroup name=\"persistentChatConfiguration\"/></provisioningGroupList>"),
        e);
}

int64_t link_invite(struct link *l, struct err *e)
{
    (void)slice_copy(slice_of(l->pool), l->target, sizeof l->target);
    (void)snprintf(l->remote, sizeof l->remote, "<%s>", l->pool);

    return send_request(l, "INVITE", true, ++l->cseq, "", NULL, (struct slice){0}, e);
}

int64_t link_ack(struct link *l, int64_t cseq, struct err *e)
{
    return send_request(l, "ACK", true, cseq, "", NULL, (struct slice){0}, e);
}

int64_t link_update(struct link *l, struct err *e)
{
    return send_request(l, "UPDATE", true, ++l->cseq, "", NULL, (struct slice){0}, e);
}

int64_t link_bye(struct link *l, struct err *e)
{
    return send_request(l, "BYE", true, ++l->cseq, "", NULL, (struct slice){0}, e);
}

static int64_t send_envelope(struct link *l, const struct buf *b, struct err *e)
{
    int r = buf_ok(b, "message", e);

    if (r < 0)
        return r;

    return send_request(l, "INFO", true, ++l->cseq, "", "text/plain; charset=UTF-8", buf_view(b),
                        e);
}

int64_t link_command(struct link *l, enum xccos_command command, struct slice room, int64_t count,
                     struct err *e)
{
    OWN(own_buf) struct buf b = {0};

    buf_init(&b, 8 * 1024);
    xccos_write_command(&b, ++l->envid, command, room, count);

    return send_envelope(l, &b, e);
}

int64_t link_post(struct link *l, struct slice room, struct slice text, struct err *e)
{
    OWN(own_buf) struct buf b = {0};

    buf_init(&b, SIP_MAX_MESSAGE - SIP_MAX_HEAD);
    xccos_write_post(&b, ++l->envid, room, slice_of(l->user), text);

    return send_envelope(l, &b, e);
}

/* ---- receiving ---- */

static void answer_request(struct link *l, const struct sip *m, int status, const char *reason)
{
    OWN(own_buf) struct buf b = {0};

    buf_init(&b, SIP_MAX_HEAD);
    sip_write_response(&b, m, status, reason, slice_of(l->tag));
    sip_write_end(&b, NULL, (struct slice){0});
    (void)send_all(l, &b, NULL);
}

static void take_request(struct link *l, const struct sip *m)
{
    struct xccos_answer a;
    struct slice method = sip_method(m);

    if (slice_is(method, "BYE"))
        l->ended = true;
    if (!slice_is(method, "INFO") && !slice_is(method, "BYE") && !slice_is(method, "OPTIONS")) {
        answer_request(l, m, 501, "Not Implemented");
        return;
    }
    answer_request(l, m, 200, "OK");
    if (slice_is(method, "INFO") && xccos_read_answer(l->xml, sip_body(m), &a, NULL) == 0)
        l->answered(l->arg, &a);
}

static int take_messages(struct link *l, struct err *e)
{
    for (;;) {
        struct sip_frame f;
        OWN(own_sip) struct sip *m = NULL;

        int r = sip_frame(buf_view(&l->in), SIP_MAX_REPLY, &f, e);
        if (r == ERR_AGAIN)
            return 0;
        if (r == 0) {
            const char *at = l->in.p + f.skip;
            r = sip_parse(&m, (struct slice){at, f.head}, (struct slice){at + f.head, f.body}, e);
        }
        if (r < 0)
            return err_wrap(e, "from the chat server");
        buf_drop_front(&l->in, f.skip + f.head + f.body);
        if (sip_status(m) == 0) {
            take_request(l, m);
        } else if (sip_status(m) >= 200) {
            l->response_cseq = sip_cseq(m);
            l->status = sip_status(m);
            sip_free(l->response);
            l->response = m;
            m = NULL;
        }
    }
}

static int receive(struct link *l, struct err *e)
{
    char *space = buf_reserve(&l->in, 64 * 1024);

    if (!space)
        return buf_ok(&l->in, "from the chat server", e);
    ssize_t n = recv(l->fd, space, 64 * 1024, 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0)
        return lost_server(l, e);
    buf_commit(&l->in, (size_t)n);

    return take_messages(l, e);
}

int link_poll(struct link *l, int64_t ms, int other, bool *other_ready, struct err *e)
{
    struct pollfd fds[2] = {{.fd = l->fd, .events = POLLIN}, {.fd = other, .events = POLLIN}};

    if (other_ready)
        *other_ready = false;
    int n = poll(fds, 2, (int)ms);
    if (n < 0 && errno != EINTR)
        return err_errno(e, ERR_RETRY, "poll");
    if (n <= 0)
        return 0;
    if (other_ready)
        *other_ready = fds[1].revents != 0;

    return fds[0].revents ? receive(l, e) : 0;
}

int link_await(struct link *l, int64_t cseq, struct err *e)
{
    int64_t until = clock_mono_ms() + LINK_ANSWER_MS;

    if (cseq < 0)
        return (int)cseq;
    while (l->response_cseq != cseq) {
        int64_t left = until - clock_mono_ms();

        if (left <= 0)
            return err_set(e, ERR_AGAIN, "the chat server does not answer");
        int r = link_poll(l, left, -1, NULL, e);
        if (r < 0)
            return r;
    }

    return l->status;
}
