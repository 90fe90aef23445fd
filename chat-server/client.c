/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line-mode chat client: lines of its input are posts or commands, each done before the next
 * is read, so that it can be typed at and scripted alike.
 */
#include "base/clock.h"
#include "base/own.h"
#include "chat-server/client_link.h"
#include "chat-server/client_view.h"
#include "chat-server/commands.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

enum {
    CLIENT_HISTORY = 20,
    CLIENT_WAIT_MS = 30000,
    CLIENT_MAX_LINE = 64 * 1024,
    CLIENT_MAX_PEOPLE = 10000,
};

struct person {
    char *uri, *name;
};

struct client {
    struct app_io *io;
    struct link link;
    bool tty; /* a person at both ends */
    bool failed;
    bool quit;
    struct buf line;
    bool input_ended;

    char room[XCCOS_MAX_URI]; /* "" = in none */
    char room_name[1200];
    struct person *people;
    size_t count, space;

    /* The reply that is waited for. */
    enum xccos_command awaited;
    bool replied;
    int64_t code;
    bool listing;       /* show the rooms of the list */
    const char *wanted; /* name or URI of the room looked for; NULL: the only one */
    size_t found;       /* rooms in the list (that match) */
    char found_uri[XCCOS_MAX_URI];
    uint64_t own_echoes;
    int64_t update_at_ms, register_at_ms;
};

static void say(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct client *c, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vfprintf(c->io->out, format, args);
    va_end(args);
    (void)fflush(c->io->out);
}

static void complain(struct client *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void complain(struct client *c, const char *format, ...)
{
    va_list args;

    (void)fflush(c->io->out);
    (void)fputs("holdfast: ", c->io->err);
    va_start(args, format);
    (void)vfprintf(c->io->err, format, args);
    va_end(args);
    (void)fputc('\n', c->io->err);
    c->failed = true;
}

/* ---- who is here ---- */

static struct person *find_person(const struct client *c, struct slice uri)
{
    for (size_t i = 0; i < c->count; i++)
        if (slice_eq_nocase(uri, slice_of(c->people[i].uri)))
            return &c->people[i];

    return NULL;
}

static void forget_people(struct client *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->people[i].uri);
        free(c->people[i].name);
    }
    c->count = 0;
}

static void add_person(struct client *c, const struct xccos_user *u)
{
    OWN(own_mem) char *uri = slice_dup(u->uri.p ? u->uri : SLICE(""));
    OWN(own_mem) char *name = slice_dup(u->name.n > 0 ? u->name : slice_of(uri));

    if (find_person(c, u->uri) || c->count == CLIENT_MAX_PEOPLE || !uri || !name)
        return;
    if (c->count == c->space) {
        size_t space = c->space ? 2 * c->space : 16;
        struct person *more = realloc(c->people, space * sizeof *more);

        if (!more)
            return;
        c->people = more;
        c->space = space;
    }
    c->people[c->count++] = (struct person){uri, name};
    uri = NULL;
    name = NULL;
}

static void show_people(struct client *c)
{
    for (size_t i = 0; i < c->count; i++) {
        (void)fputs(i ? ", " : "", c->io->out);
        view_text(c->io->out, slice_of(c->people[i].name), false);
    }
    say(c, "\n");
}

/* ---- what the server says ---- */

static void heard_joined(struct client *c, const struct xccos_answer *a)
{
    const struct xml_node *at = NULL;
    struct xccos_room room;
    struct xccos_user u;

    if (a->code != XCCOS_OK || !xccos_next_room(a, &at, &room))
        return;
    (void)slice_copy(room.uri, c->room, sizeof c->room);
    (void)slice_copy(room.name, c->room_name, sizeof c->room_name);
    forget_people(c);
    for (at = NULL; xccos_next_user(a, &at, &u);)
        add_person(c, &u);
    (void)fputs("* joined ", c->io->out);
    view_text(c->io->out, room.name, false);
    (void)fputs(". Here: ", c->io->out);
    show_people(c);
}

static void heard_rooms(struct client *c, const struct xccos_answer *a)
{
    const struct xml_node *at = NULL;
    struct xccos_room r;

    while (xccos_next_room(a, &at, &r)) {
        bool match = !c->wanted || slice_is(r.name, c->wanted) || slice_is(r.uri, c->wanted);

        if (match && c->found++ == 0)
            (void)slice_copy(r.uri, c->found_uri, sizeof c->found_uri);
        if (!c->listing)
            continue;
        (void)fputs("* ", c->io->out);
        view_text(c->io->out, r.name, false);
        (void)fprintf(c->io->out, " (%lld here)%s", (long long)r.users,
                      r.description.n ? ": " : "");
        view_text(c->io->out, r.description, false);
        (void)fputc('\n', c->io->out);
    }
    (void)fflush(c->io->out);
}

static void heard_history(struct client *c, const struct xccos_answer *a)
{
    const struct xml_node *at = NULL;
    struct xccos_message m;

    while (xccos_next_message(a, &at, &m))
        view_message(c->io->out, &m);
    (void)fflush(c->io->out);
}

static void heard_message(struct client *c, const struct xccos_answer *a)
{
    const struct xml_node *at = NULL;
    struct xccos_message m;

    if (!xccos_next_message(a, &at, &m) || !slice_is(m.room, c->room))
        return;
    if (slice_eq_nocase(m.author, slice_of(c->link.user))) {
        c->own_echoes++;
        /* The numbered line takes the place of the typed one. */
        if (c->tty)
            (void)fputs("\033[1A\033[2K\r", c->io->out);
    }
    view_message(c->io->out, &m);
    (void)fflush(c->io->out);
}

static void heard_notice(struct client *c, const struct xccos_answer *a)
{
    const struct xml_node *at = NULL;
    char room[XCCOS_MAX_URI];
    struct xccos_user u;
    bool joined = a->said == XCCOS_SAID_JOIN;

    if (!xccos_notice_room(a, room) || strcmp(room, c->room) != 0 || !xccos_next_user(a, &at, &u))
        return;
    if (joined)
        add_person(c, &u);
    struct person *p = find_person(c, u.uri);
    (void)fputs("* ", c->io->out);
    view_text(c->io->out, p ? slice_of(p->name) : u.uri, false);
    say(c, joined ? " joined\n" : " left\n");
    if (p && !joined) {
        free(p->uri);
        free(p->name);
        *p = c->people[--c->count];
    }
}

static void heard(void *arg, const struct xccos_answer *a)
{
    struct client *c = arg;

    switch (a->said) {
    case XCCOS_SAID_MESSAGE:
        heard_message(c, a);
        return;
    case XCCOS_SAID_JOIN:
    case XCCOS_SAID_PART:
        heard_notice(c, a);
        return;
    case XCCOS_SAID_OTHER:
        return;
    case XCCOS_SAID_REPLY:
        break;
    }
    if (a->command == XCCOS_JOIN)
        heard_joined(c, a);
    else if (a->command == XCCOS_CHANSRCH && a->code == XCCOS_OK)
        heard_rooms(c, a);
    else if (a->command == XCCOS_BCCONTEXT && a->code == XCCOS_OK)
        heard_history(c, a);
    if (a->command == c->awaited) {
        c->code = a->code;
        c->replied = true;
    }
}

/* ---- doing ---- */

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

static int leave(struct client *c, struct err *e)
{
    if (!c->room[0])
        return 0;
    int r = refused(e, "leave", command(c, XCCOS_PART, slice_of(c->room), 0, e));
    if (r < 0)
        return r;
    (void)fputs("* left ", c->io->out);
    view_text(c->io->out, slice_of(c->room_name), false);
    say(c, "\n");
    c->room[0] = '\0';
    forget_people(c);

    return 0;
}

static int list_rooms(struct client *c, const char *wanted, bool show, struct err *e)
{
    c->wanted = wanted;
    c->listing = show;
    c->found = 0;

    return refused(e, "rooms", command(c, XCCOS_CHANSRCH, (struct slice){0}, 0, e));
}

static int history(struct client *c, int64_t count, struct err *e)
{
    return refused(e, "history", command(c, XCCOS_BCCONTEXT, slice_of(c->room), count, e));
}

static int enter(struct client *c, struct err *e)
{
    char uri[XCCOS_MAX_URI];

    (void)slice_copy(slice_of(c->found_uri), uri, sizeof uri);
    int r = leave(c, e);
    if (r == 0)
        r = refused(e, "join", command(c, XCCOS_JOIN, slice_of(uri), 0, e));
    if (r == 0)
        r = history(c, CLIENT_HISTORY, e);

    return r;
}

static int join(struct client *c, const char *name, struct err *e)
{
    int r = list_rooms(c, name, false, e);

    if (r < 0)
        return r;
    if (c->found == 0)
        return err_set(e, ERR_REJECTED, "no room '%.200s'. /rooms lists them", name);

    return enter(c, e);
}

static bool was_echoed(const struct client *c)
{
    return c->own_echoes > 0;
}

static int post(struct client *c, struct slice text, struct err *e)
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

/* ---- lines ---- */

static int help(struct client *c)
{
    say(c, "* /who  /history [N]  /rooms  /join NAME  /leave  /quit   //TEXT posts \"/TEXT\"\n");

    return 0;
}

static int do_history(struct client *c, struct slice arg, struct err *e)
{
    int64_t count = CLIENT_HISTORY;

    if (!c->room[0])
        return err_set(e, ERR_REJECTED, "in no room. /join NAME first");
    if (arg.n > 0 && (!text_i64(arg, &count) || count < 1))
        return err_set(e, ERR_REJECTED, "/history takes a number of messages");

    return history(c, count, e);
}

static int do_line(struct client *c, struct slice line, struct err *e)
{
    struct slice arg = line;

    if (line.n == 0)
        return 0;
    if (line.p[0] != '/')
        return post(c, line, e);
    if (slice_starts(line, "//"))
        return post(c, (struct slice){line.p + 1, line.n - 1}, e);
    struct slice word = slice_cut(&arg, ' ');
    arg = slice_trim(arg);
    if (slice_is(word, "/quit")) {
        c->quit = true;
        return 0;
    }
    if (slice_is(word, "/who")) {
        (void)fputs("* here: ", c->io->out);
        show_people(c);
        return 0;
    }
    if (slice_is(word, "/rooms"))
        return list_rooms(c, NULL, true, e);
    if (slice_is(word, "/history"))
        return do_history(c, arg, e);
    if (slice_is(word, "/leave"))
        return leave(c, e);
    if (slice_is(word, "/join") && arg.n > 0) {
        OWN(own_mem) char *name = slice_dup(arg);

        return name ? join(c, name, e) : err_memory(e, "room name");
    }

    return help(c);
}

/* A refusal is said and the next line is read; a lost server ends it all. */
static int run_line(struct client *c, struct slice line)
{
    struct err e = {0};
    int r = do_line(c, line, &e);

    if (r == ERR_REJECTED) {
        complain(c, "%s", e.text);
        return 0;
    }
    if (r < 0)
        complain(c, "%s", e.text);

    return r;
}

static int run_lines(struct client *c)
{
    while (!c->quit && c->line.n > 0) {
        const char *end = memchr(c->line.p, '\n', c->line.n);
        size_t n = end ? (size_t)(end - c->line.p) : c->line.n;
        size_t text = n > 0 && c->line.p[n - 1] == '\r' ? n - 1 : n;

        if (!end && !c->input_ended)
            return 0;
        int r = run_line(c, (struct slice){c->line.p, text});
        if (r < 0)
            return r;
        buf_drop_front(&c->line, end ? n + 1 : n);
    }

    return 0;
}

static void read_input(struct client *c)
{
    char *space = buf_reserve(&c->line, 4096);

    if (!space) {
        complain(c, "a line of over %d bytes: not sent", CLIENT_MAX_LINE);
        c->quit = true;
        return;
    }
    ssize_t n = read(fileno(c->io->in), space, 4096);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0)
        c->input_ended = true;
    else
        buf_commit(&c->line, (size_t)n);
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

static int sign_in(struct client *c, struct err *e)
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
static void sign_out(struct client *c)
{
    struct err e = {0};

    if (c->link.ended)
        return;
    int r = expect(c, "leave", link_bye(&c->link, &e), &e);
    if (r == 0)
        r = expect(c, "sign out", link_register(&c->link, true, &e), &e);
    if (r < 0)
        complain(c, "%s", e.text);
}

static int keep_alive(struct client *c, struct err *e)
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

static int chat(struct client *c, struct err *e)
{
    while (!c->quit && !(c->input_ended && c->line.n == 0)) {
        bool ready;
        int r = link_poll(&c->link, 1000, fileno(c->io->in), &ready, e);

        if (r == 0 && c->link.ended)
            r = err_set(e, ERR_RETRY, "the chat server ended the session");
        if (r == 0)
            r = keep_alive(c, e);
        if (r < 0)
            return r;
        if (ready)
            read_input(c);
        if (run_lines(c) < 0)
            return 0;
    }

    return 0;
}

static int choose_room(struct client *c, const char *room, struct err *e)
{
    int r = room ? join(c, room, e) : list_rooms(c, NULL, false, e);

    if (r < 0 || room)
        return r;
    if (c->found == 1)
        return enter(c, e);
    if (c->found == 0) {
        say(c, "* there are no rooms yet. Make one with: holdfast room add NAME\n");
        return 0;
    }
    say(c, "* which room? /join NAME\n");

    return list_rooms(c, NULL, true, e);
}

static int run(struct client *c, const char *server, const char *domain, const char *user,
               const char *room)
{
    struct err e = {0};
    int r = link_open(&c->link, server, domain, user, &e);

    if (r < 0 && r != ERR_CONFIG)
        (void)err_set(&e, r, "no chat server at %s. Is `holdfast up` running?", server);
    if (r == 0)
        r = sign_in(c, &e);
    if (r == 0) {
        r = choose_room(c, room, &e);
        if (r == 0)
            r = chat(c, &e);
        sign_out(c);
    }
    if (r < 0)
        return app_fail(c->io, &e);

    return c->failed ? APP_FAILED : APP_OK;
}

int chat_client_command(struct app_io *io, const char *server, const char *domain, int argc,
                        char **argv)
{
    const struct app_option options[] = {{0}};
    struct client c = {.io = io};
    struct err e = {0};
    int operands;

    int r = app_options(options, argc, argv, &operands, &e);
    if (r == 0 && (operands < 1 || operands > 2))
        r = err_set(&e, ERR_CONFIG, "usage: holdfast chat NAME [ROOM]");
    if (r < 0)
        return app_fail(io, &e);
    c.tty = isatty(fileno(io->in)) && isatty(fileno(io->out));
    c.link.answered = heard;
    c.link.arg = &c;
    buf_init(&c.line, CLIENT_MAX_LINE);
    int code = run(&c, server, domain, argv[0], operands == 2 ? argv[1] : NULL);
    link_close(&c.link);
    forget_people(&c);
    free(c.people);
    buf_done(&c.line);

    return code;
}
