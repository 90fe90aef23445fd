/* SPDX-License-Identifier: Apache-2.0 */
/* What the line-mode client does: sign in and out, rooms, history, posts. One at a time. */
#include "base/clock.h"
#include "chat-server/client.h"
#include "chat-server/client_view.h"

#include <string.h>

enum { CLIENT_WAIT_MS = 30000 };

static int wait_for(struct client *c, bool (*done)(const struct client *c), struct err *e)
{
    int64_t until = clock_mono_ms() + CLIENT_WAIT_MS;

    while (!done(c)) {
        int64_t left = until - clock_mono_ms();

        if (left <= 0)
            return err_set(e, ERR_AGAIN, "the chat server does not answer");
        int r = link_poll(&c->link, left, -1, NULL, e);
        if (r < 0)
            return r;
        if (c->link.ended)
            return err_set(e, ERR_RETRY, "the chat server ended the session");
    }

    return 0;
}

static bool was_replied(const struct client *c)
{
    return c->replied;
}

/* One command and its reply: the reply's code, or < 0. */
static int64_t command(struct client *c, enum xccos_command what, struct slice room, int64_t count,
                       struct err *e)
{
    c->awaited = what;
    c->replied = false;
    int64_t sent = link_command(&c->link, what, room, count, e);
    int status = link_await(&c->link, sent, e);
    if (status < 0)
        return status;
    if (status != 200)
        return err_set(e, ERR_REJECTED, "the chat server answers %d", status);
    int r = wait_for(c, was_replied, e);

    return r < 0 ? r : c->code;
}

static int refused(struct err *e, const char *what, int64_t code)
{
    if (code < 0)
        return (int)code;
    if (code == XCCOS_OK)
        return 0;
    if (code == XCCOS_UNAVAILABLE)
        return err_set(e, ERR_REJECTED, "%s: it can't be put on record now (503). Try again later",
                       what);
    if (code == XCCOS_NO_NODE)
        return err_set(e, ERR_REJECTED, "%s: no such room", what);

    return err_set(e, ERR_REJECTED, "%s: refused (%lld %s)", what, (long long)code,
                   xccos_code_text((int)code));
}

int client_leave(struct client *c, struct err *e)
{
    if (!c->room[0])
        return 0;
    int r = refused(e, "leave", command(c, XCCOS_PART, slice_of(c->room), 0, e));
    if (r < 0)
        return r;
    (void)fputs("* left ", c->io->out);
    view_text(c->io->out, slice_of(c->room_name), false);
    client_say(c, "\n");
    c->room[0] = '\0';
    client_forget_people(c);

    return 0;
}

int client_list(struct client *c, const char *wanted, bool show, struct err *e)
{
    c->wanted = wanted;
    c->listing = show;
    c->found = 0;

    return refused(e, "rooms", command(c, XCCOS_CHANSRCH, (struct slice){0}, 0, e));
}

int client_history(struct client *c, int64_t count, struct err *e)
{
    return refused(e, "history", command(c, XCCOS_BCCONTEXT, slice_of(c->room), count, e));
}

int client_enter(struct client *c, struct err *e)
{
    char uri[XCCOS_MAX_URI];

    (void)slice_copy(slice_of(c->found_uri), uri, sizeof uri);
    int r = client_leave(c, e);
    if (r == 0)
        r = refused(e, "join", command(c, XCCOS_JOIN, slice_of(uri), 0, e));
    if (r == 0)
        r = client_history(c, CLIENT_HISTORY, e);

    return r;
}

int client_join(struct client *c, const char *name, struct err *e)
{
    int r = client_list(c, name, false, e);

    if (r < 0)
        return r;
    if (c->found == 0)
        return err_set(e, ERR_REJECTED, "no room '%.200s'. /rooms lists them", name);

    return client_enter(c, e);
}

static bool was_echoed(const struct client *c)
{
    return c->own_echoes > 0;
}

int client_post(struct client *c, struct slice text, struct err *e)
{
    if (!c->room[0])
        return err_set(e, ERR_REJECTED, "in no room. /join NAME first; /rooms lists them");
    if (!utf8_valid(text) || !xml_representable(text))
        return err_set(e, ERR_REJECTED,
                       "not sent: the line is not UTF-8 or holds a control"
                       " character");
    c->own_echoes = 0;
    int status = link_await(&c->link, link_post(&c->link, slice_of(c->room), text, e), e);
    if (status < 0)
        return status;
    if (status == 503)
        return err_set(e, ERR_REJECTED,
                       "not delivered: it can't be put on record now (503). Try again later");
    if (status != 200)
        return err_set(e, ERR_REJECTED, "not delivered: the chat server answers %d", status);

    return wait_for(c, was_echoed, e);
}

/* ---- signing in and out ---- */

static int expect(struct client *c, const char *what, int64_t sent, struct err *e)
{
    int status = link_await(&c->link, sent, e);

    if (status < 0)
        return status;
    if (status == 404 && strcmp(what, "sign in") == 0)
        return err_set(e, ERR_CONFIG, "no user %s. Add one with: holdfast user add NAME",
                       c->link.user);
    if (status != 200)
        return err_set(e, ERR_RETRY, "%s: the chat server answers %d", what, status);

    return 0;
}

static int take_pool(struct client *c, struct err *e)
{
    static const struct xml_limits limits = {.bytes = 64 * 1024, .depth = 8, .nodes = 1000};
    const struct xml_node *root;
    int r = xml_parse(c->link.xml, sip_body(c->link.response), &limits, &root, e);

    if (r < 0)
        return err_wrap(e, "provisioning document");
    const struct xml_node *group = xml_child(root, "provisionGroup");
    const struct xml_node *list = group ? xml_child(group, "propertyEntryList") : NULL;
    const struct xml_node *p = list ? xml_child(list, "property") : NULL;
    for (; p; p = xml_next(p, "property"))
        if (slice_is(xml_get(p, "name"), "DefaultPersistentChatPoolUri") &&
            slice_copy(slice_trim(p->text), c->link.pool, sizeof c->link.pool))
            return 0;

    return err_set(e, ERR_RETRY, "the chat server names no chat pool");
}

static void set_timers(struct client *c)
{
    int64_t now = clock_mono_ms();

    c->update_at_ms = now + c->link.session_seconds * 500;
    c->register_at_ms = now + 3600 * 1000;
}

static int open_dialog(struct client *c, struct err *e)
{
    int64_t sent = link_invite(&c->link, e);
    int r = expect(c, "open the chat", sent, e);
    struct slice timer;

    if (r < 0)
        return r;
    timer = sip_header(c->link.response, "session-expires");
    if (!text_i64(slice_trim(slice_cut(&timer, ';')), &c->link.session_seconds) ||
        c->link.session_seconds < 2 || c->link.session_seconds > 86400)
        c->link.session_seconds = 1800;
    (void)slice_copy(sip_to(c->link.response), c->link.remote, sizeof c->link.remote);
    sent = link_ack(&c->link, sent, e);
    set_timers(c);

    return sent < 0 ? (int)sent : 0;
}

int client_sign_in(struct client *c, struct err *e)
{
    int r = expect(c, "sign in", link_register(&c->link, false, e), e);

    if (r == 0)
        r = expect(c, "ask for the chat pool", link_subscribe(&c->link, e), e);
    if (r == 0)
        r = take_pool(c, e);
    if (r == 0)
        r = open_dialog(c, e);
    if (r == 0)
        r = refused(e, "look-up", command(c, XCCOS_REQURI, (struct slice){0}, 0, e));

    return r;
}

/* Waits for both answers: then the leave and the sign-out are on record. */
void client_sign_out(struct client *c)
{
    struct err e = {0};

    if (c->link.ended)
        return;
    int r = expect(c, "leave", link_bye(&c->link, &e), &e);
    if (r == 0)
        r = expect(c, "sign out", link_register(&c->link, true, &e), &e);
    if (r < 0)
        client_complain(c, "%s", e.text);
}

int client_keep_alive(struct client *c, struct err *e)
{
    int64_t now = clock_mono_ms();
    int r = 0;

    if (now >= c->register_at_ms)
        r = expect(c, "stay signed in", link_register(&c->link, false, e), e);
    if (r == 0 && now >= c->update_at_ms)
        r = expect(c, "keep the session", link_update(&c->link, e), e);
    if (r == 0 && (now >= c->register_at_ms || now >= c->update_at_ms))
        set_timers(c);

    return r;
}
