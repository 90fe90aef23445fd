/* SPDX-License-Identifier: Apache-2.0 */
/* Sign-in, refresh, sign-out; each sign-in has its sign-out on record, whatever ends it. */
#include "chat-server/registrar.h"

#include "base/clock.h"
#include "chat-server/dialog.h"
#include "chat-server/leave.h"
#include "chat-server/lookup.h"
#include "chat-server/provision.h"
#include "chat-server/publish.h"

#include <ctype.h>
#include <string.h>

static void lower(struct slice from, char out[CHAT_MAX_USER])
{
    out[0] = '\0';
    if (!slice_copy(from, out, CHAT_MAX_USER))
        return;
    for (char *p = out; *p; p++)
        *p = (char)tolower((unsigned char)*p);
}

bool registrar_is(const struct conn *c, struct slice uri)
{
    return c->signed_in && slice_eq_nocase(uri, slice_of(c->user));
}

/* ---- sign-in ---- */

static void answer_registered(struct request *q)
{
    q->conn->registered_until_ms = clock_mono_ms() + (int64_t)CHAT_REGISTER_SECONDS * 1000;
    /* Each a line of its own and without blanks: one client reads them literally. */
    request_answer(q, 200,
                   "Expires: 7200\r\nSupported: msrtc-event-categories\r\n"
                   "Allow-Events: " PROVISION_EVENT "\r\n");
    request_end(q);
}

static void signed_in(void *arg, const struct published *p)
{
    struct request *q = arg;
    struct conn *c = q->conn;
    bool doubt = p->class == ERR_DOUBT || p->class == ERR_STOPPED;

    c->signing_in = false;
    if (p->class != 0 && !doubt) {
        request_finish(q, 503);
        return;
    }
    /* A sign-in that may be on record has its sign-out there. */
    c->signed_in = true;
    random_bytes(c->sign_out_once, SHA256_SIZE);
    atomic_fetch_add(&q->server->shown_users, 1);
    if (!doubt) {
        answer_registered(q);
        return;
    }
    conn_cut(c, "disconnect");
    request_end(q);
}

static void user_found(struct request *q)
{
    struct conn *c = q->conn;

    if (q->lookup->class < 0) {
        c->signing_in = false;
        request_finish(q, q->lookup->class == ERR_NOT_FOUND ? 404 : 503);
        return;
    }
    (void)slice_copy(slice_of(q->lookup->user_name[0] ? q->lookup->user_name : c->user), c->name,
                     sizeof c->name);
    if (publish_sign(c, RECORD_SIGN_IN, NULL, signed_in, q, NULL) < 0) {
        c->signing_in = false;
        request_finish(q, 503);
    }
}

static bool set_endpoint(struct conn *c, const struct sip *m)
{
    struct slice endpoint = sip_epid(m);

    if (endpoint.n == 0)
        endpoint = sip_from_tag(m);
    if (endpoint.n == 0)
        endpoint = SLICE("-");

    return slice_copy(endpoint, c->endpoint, sizeof c->endpoint) &&
           utf8_valid(slice_of(c->endpoint));
}

/* Also one whose sign-in is not decided yet: two at once would be one participant twice. */
static struct conn *older_conn(const struct request *q, const char *user)
{
    for (struct conn *c = q->server->conns; c; c = c->next)
        if (c != q->conn && !c->gone && (c->signed_in || c->signing_in) &&
            strcmp(c->user, user) == 0 && strcmp(c->endpoint, q->conn->endpoint) == 0)
            return c;

    return NULL;
}

static size_t endpoints_of(const struct chat_server *s, const char *user)
{
    size_t n = 0;

    for (const struct conn *c = s->conns; c; c = c->next)
        n += !c->gone && (c->signed_in || c->signing_in) && strcmp(c->user, user) == 0;

    return n;
}

static void sign_in(struct request *q, const char *user)
{
    struct conn *c = q->conn;
    struct conn *older = older_conn(q, user);

    if (older) {
        /* Its leaves go on record before the joins of the new one. */
        c->parked = true;
        if (!older->end_reason)
            conn_cut(older, "disconnect");
        return;
    }
    if (endpoints_of(q->server, user) >= CHAT_MAX_ENDPOINTS) {
        conn_log(c, "chat.endpoints", "the user is signed in too often");
        request_finish(q, 403);
        return;
    }
    if (lookup_user(q, slice_of(user), user_found, NULL) < 0) {
        request_finish(q, 503);
        return;
    }
    (void)slice_copy(slice_of(user), c->user, sizeof c->user);
    c->signing_in = true;
}

/* ---- sign-out ---- */

static void signed_out_by_request(void *arg)
{
    struct request *q = arg;

    request_answer(q, 200, "Expires: 0\r\n");
    /* They were this user's; the next one here opens his own. */
    dialog_free_all(q->conn);
    request_end(q);
}

void registrar_register(struct request *q)
{
    struct conn *c = q->conn;
    char user[CHAT_MAX_USER];

    lower(sip_from_uri(q->sip), user);
    if (!utf8_valid(slice_of(user))) {
        request_finish(q, 400);
    } else if (!slice_starts(slice_of(user), "sip:") ||
               !slice_eq_nocase(sip_to_uri(q->sip), sip_from_uri(q->sip))) {
        request_finish(q, 403);
    } else if (c->signed_in && !registrar_is(c, slice_of(user))) {
        request_finish(q, 403);
    } else if (sip_expires(q->sip) == 0) {
        registrar_end(c, "sign-out", signed_out_by_request, q);
    } else if (c->signed_in) {
        answer_registered(q);
    } else if (!set_endpoint(c, q->sip)) {
        request_finish(q, 400);
    } else {
        sign_in(q, user);
    }
}

static void sign_out_step(struct conn *c);

static void sign_out_done(struct conn *c)
{
    c->signing.active = false;
    if (c->signed_in)
        atomic_fetch_sub(&c->server->shown_users, 1);
    c->signed_in = false;
    c->signing.done(c->signing.arg);
}

static void sign_out_decided(void *arg, const struct published *p)
{
    struct conn *c = arg;

    c->signing.in_flight = false;
    /* What the store refuses for what it says it refuses again. */
    if (p->class == 0 || p->class == ERR_REJECTED)
        sign_out_done(c);
    else
        c->signing.retry_at_ms = clock_mono_ms() + CHAT_RETRY_MS;
}

static void sign_out_step(struct conn *c)
{
    bool late = c->server->lost || (c->server->stopping && clock_mono_ms() > c->server->stop_by_ms);

    if (!c->signed_in || late) {
        sign_out_done(c);
        return;
    }
    if (publish_sign(c, RECORD_SIGN_OUT, c->signing.reason, sign_out_decided, c, NULL) == 0)
        c->signing.in_flight = true;
    else
        c->signing.retry_at_ms = clock_mono_ms() + CHAT_RETRY_MS;
}

static void all_left(void *arg)
{
    sign_out_step(arg);
}

void registrar_end(struct conn *c, const char *reason, void (*done)(void *arg), void *arg)
{
    c->signing = (struct leaving){.active = true, .reason = reason, .done = done, .arg = arg};
    leave_rooms(c, NULL, reason, all_left, c);
}

void registrar_tick(struct conn *c, int64_t now_ms)
{
    if (c->signing.active && !c->leaving.active && !c->signing.in_flight &&
        now_ms >= c->signing.retry_at_ms)
        sign_out_step(c);
}
