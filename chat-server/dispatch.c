/* SPDX-License-Identifier: Apache-2.0 */
/* The table of SIP methods, a request's answer and its end. */
#include "chat-server/dispatch.h"

#include "base/own.h"
#include "chat-server/command.h"
#include "chat-server/dialog.h"
#include "chat-server/leave.h"
#include "chat-server/lookup.h"
#include "chat-server/provision.h"
#include "chat-server/registrar.h"

#include <stdlib.h>

/* ---- answering ---- */

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {413, "Request Entity Too Large"},
        {481, "Call/Transaction Does Not Exist"},
        {486, "Busy Here"},
        {489, "Bad Event"},
        {500, "Server Internal Error"},
        {503, "Service Unavailable"},
    };

    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;

    return "Unknown";
}

void request_answer_body(struct request *q, int status, const char *extra, const char *type,
                         struct slice body)
{
    OWN(own_buf) struct buf b = {0};

    if (q->answered)
        return;
    q->answered = true;
    buf_init(&b, SIP_MAX_REPLY);
    sip_write_response(&b, q->sip, status, reason_of(status),
                       q->dialog ? slice_of(q->dialog->tag) : SLICE("holdfast"));
    buf_text(&b, "Server: Holdfast\r\n");
    buf_text(&b, extra);
    if (status == 503)
        buf_format(&b, "Retry-After: %lld\r\n", (long long)chat_retry_after(q->server));
    sip_write_end(&b, type, body);
    if (b.failed)
        conn_cut(q->conn, "disconnect");
    else
        conn_send(q->conn, buf_view(&b));
}

void request_answer(struct request *q, int status, const char *extra)
{
    request_answer_body(q, status, extra, NULL, (struct slice){0});
}

/* Parsers are lent to requests, so that idle connections hold none. */
static struct xml_doc *take_doc(struct chat_server *s)
{
    return s->doc_count > 0 ? s->docs[--s->doc_count] : xml_doc_new();
}

static void give_doc(struct chat_server *s, struct xml_doc *doc)
{
    if (doc && s->doc_count < CHAT_KEPT_DOCS)
        s->docs[s->doc_count++] = doc;
    else
        xml_doc_free(doc);
}

static void request_free(struct request *q)
{
    if (!q)
        return;
    give_doc(q->server, q->doc);
    lookup_free(q->lookup);
    sip_free(q->sip);
    free(q);
}

void request_end(struct request *q)
{
    struct conn *c = q->conn;

    c->request = NULL;
    c->parked = false;
    conn_release(c);
    request_free(q);
    conn_next(c);
}

void request_finish(struct request *q, int status)
{
    request_answer(q, status, "");
    request_end(q);
}

/* ---- methods ---- */

enum { NEEDS_SIGN_IN = 1, NEEDS_DIALOG = 2 };

static void do_invite(struct request *q)
{
    OWN(own_buf) struct buf extra = {0};
    struct chat_server *s = q->server;

    if (!dialog_may_open(q->sip)) {
        request_finish(q, 400);
        return;
    }
    if (q->conn->dialog_count >= CHAT_MAX_DIALOGS && !dialog_find(q->conn, sip_call_id(q->sip))) {
        request_finish(q, 486);
        return;
    }
    q->dialog = dialog_open(q->conn, q->sip);
    if (!q->dialog) {
        request_finish(q, 503);
        return;
    }
    buf_init(&extra, 1024);
    buf_format(&extra,
               "Contact: <sip:%s;transport=tcp>\r\nSupported: timer\r\n"
               "Session-Expires: %lld;refresher=uac\r\n",
               s->via, (long long)s->session_seconds);
    request_answer_body(
        q, 200, extra.p, "application/sdp",
        SLICE("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=session\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
              "m=message 5060 sip null\r\na=accept-types:text/plain\r\n"));
    request_end(q);
}

static void do_update(struct request *q)
{
    OWN(own_buf) struct buf extra = {0};

    buf_init(&extra, 128);
    buf_format(&extra, "Supported: timer\r\nSession-Expires: %lld;refresher=uac\r\n",
               (long long)q->server->session_seconds);
    request_answer(q, 200, extra.p);
    request_end(q);
}

static void dialog_left(void *arg)
{
    struct request *q = arg;

    if (sip_status(q->sip) == 0)
        request_answer(q, 200, "");
    dialog_close(q->conn, q->dialog);
    q->dialog = NULL;
    request_end(q);
}

static void do_bye(struct request *q)
{
    leave_rooms(q->conn, q->dialog, "sign-out", dialog_left, q);
}

static void do_info(struct request *q)
{
    struct err e = {0};

    q->doc = take_doc(q->server);
    if (!q->doc) {
        request_finish(q, 503);
        return;
    }
    if (xccos_read_request(q->doc, sip_body(q->sip), &q->x, &e) < 0) {
        conn_log(q->conn, "chat.envelope", e.text);
        request_finish(q, e.class == ERR_RETRY ? 503 : 400);
        return;
    }
    command_run(q);
}

static void do_nothing(struct request *q)
{
    request_finish(q, 200);
}

static const struct method {
    const char *name;
    void (*run)(struct request *q);
    int needs;
} methods[] = {
    {"REGISTER", registrar_register, 0},
    {"SUBSCRIBE", provision_subscribe, NEEDS_SIGN_IN},
    {"INVITE", do_invite, NEEDS_SIGN_IN},
    {"INFO", do_info, NEEDS_SIGN_IN | NEEDS_DIALOG},
    {"UPDATE", do_update, NEEDS_SIGN_IN | NEEDS_DIALOG},
    {"BYE", do_bye, NEEDS_SIGN_IN | NEEDS_DIALOG},
    {"OPTIONS", do_nothing, NEEDS_SIGN_IN},
    {"SERVICE", do_nothing, NEEDS_SIGN_IN},
};

static const struct method *method_of(struct slice name)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (slice_is(name, methods[i].name))
            return &methods[i];

    return NULL;
}

static void run_request(struct request *q)
{
    const struct method *m = method_of(sip_method(q->sip));

    if (!m) {
        request_answer(q, 405,
                       "Allow: REGISTER, SUBSCRIBE, INVITE, ACK, INFO, UPDATE, BYE, OPTIONS\r\n");
        request_end(q);
        return;
    }
    if ((m->needs & NEEDS_SIGN_IN) && !registrar_is(q->conn, sip_from_uri(q->sip))) {
        request_finish(q, 403);
        return;
    }
    if (m->needs & NEEDS_DIALOG) {
        q->dialog = dialog_find(q->conn, sip_call_id(q->sip));
        if (!q->dialog) {
            request_finish(q, 481);
            return;
        }
        dialog_renew(q->conn, q->dialog);
    }
    m->run(q);
}

/* ---- messages ---- */

/* The client no longer knows a dialog of ours: what was joined in it is over. */
static void run_response(struct request *q)
{
    int status = sip_status(q->sip);

    q->dialog = dialog_find(q->conn, sip_call_id(q->sip));
    if (!q->dialog || (status != 481 && status != 487)) {
        request_end(q);
        return;
    }
    leave_rooms(q->conn, q->dialog, "disconnect", dialog_left, q);
}

void dispatch_message(struct conn *c, struct sip *m)
{
    OWN(own_sip) struct sip *message = m;

    if (sip_status(m) == 0 && slice_is(sip_method(m), "ACK"))
        return;
    struct request *q = calloc(1, sizeof *q);
    if (!q) {
        conn_cut(c, "disconnect");
        return;
    }
    q->server = c->server;
    q->conn = c;
    q->sip = message;
    message = NULL;
    c->request = q;
    if (sip_status(m) == 0)
        run_request(q);
    else
        run_response(q);
}

void dispatch_retry(struct conn *c)
{
    c->parked = false;
    run_request(c->request);
}

void dispatch_drop(struct conn *c)
{
    struct request *q = c->request;

    c->request = NULL;
    request_free(q);
}
