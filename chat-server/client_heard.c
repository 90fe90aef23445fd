/* SPDX-License-Identifier: Apache-2.0 */
/* What the server says to the line-mode client: shown, and remembered where it is waited for. */
#include "base/own.h"
#include "chat-server/client.h"
#include "chat-server/client_view.h"

#include <stdarg.h>
#include <string.h>

void client_say(struct client *c, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vfprintf(c->io->out, format, args);
    va_end(args);
    (void)fflush(c->io->out);
}

void client_complain(struct client *c, const char *format, ...)
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

void client_forget_people(struct client *c)
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

void client_show_people(struct client *c)
{
    for (size_t i = 0; i < c->count; i++) {
        (void)fputs(i ? ", " : "", c->io->out);
        view_text(c->io->out, slice_of(c->people[i].name), false);
    }
    client_say(c, "\n");
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
    client_forget_people(c);
    for (at = NULL; xccos_next_user(a, &at, &u);)
        add_person(c, &u);
    (void)fputs("* joined ", c->io->out);
    view_text(c->io->out, room.name, false);
    (void)fputs(". Here: ", c->io->out);
    client_show_people(c);
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
        /* The numbered line takes the place of the typed one, never of somebody else's. */
        if (c->typed_last)
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
    client_say(c, joined ? " joined\n" : " left\n");
    if (p && !joined) {
        free(p->uri);
        free(p->name);
        *p = c->people[--c->count];
    }
}

void client_heard(void *arg, const struct xccos_answer *a)
{
    struct client *c = arg;

    switch (a->said) {
    case XCCOS_SAID_MESSAGE:
        heard_message(c, a);
        c->typed_last = false;
        return;
    case XCCOS_SAID_JOIN:
    case XCCOS_SAID_PART:
        heard_notice(c, a);
        c->typed_last = false;
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
