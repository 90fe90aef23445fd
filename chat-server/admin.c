/* SPDX-License-Identifier: Apache-2.0 */
/* The operator's commands on rooms and users: `room add|list`, `user add|list`. */
#include "base/buf.h"
#include "base/json.h"
#include "base/own.h"
#include "chat-server/client_view.h"
#include "chat-server/commands.h"
#include "chat-server/store/directory.h"

#include <ctype.h>
#include <string.h>

enum { ADMIN_MAX_LIST = 64 * 1024 };

/* "alice" or "sip:alice@example.test", in lower case. */
static void put_user(struct buf *b, struct slice name, const char *domain)
{
    size_t from = b->n;

    if (!slice_starts(name, "sip:") && !slice_starts(name, "SIP:"))
        buf_text(b, "sip:");
    buf_slice(b, name);
    if (!memchr(name.p, '@', name.n)) {
        buf_char(b, '@');
        buf_text(b, domain);
    }
    for (size_t i = from; i < b->n; i++)
        b->p[i] = (char)tolower((unsigned char)b->p[i]);
}

static int put_members(struct buf *b, const char *list, const char *domain, struct err *e)
{
    struct slice rest = slice_of(list);

    while (rest.n > 0) {
        struct slice name = slice_trim(slice_cut(&rest, ','));

        if (name.n == 0)
            return err_set(e, ERR_CONFIG, "--members: an empty name in '%.200s'", list);
        if (b->n > 0)
            buf_char(b, ' ');
        put_user(b, name, domain);
    }

    return buf_ok(b, "--members", e);
}

static int one_operand(const struct app_option *options, int argc, char **argv, const char *usage,
                       struct err *e)
{
    int operands = 0;
    int r = app_options(options, argc, argv, &operands, e);

    if (r == 0 && operands != 1)
        return err_set(e, ERR_CONFIG, "usage: holdfast %s", usage);

    return r;
}

/* A member who is no user is a slip of the finger, told before the room exists. */
static int seen_user(void *arg, const struct directory_user *u, struct err *e)
{
    (void)arg;
    (void)u;
    (void)e;

    return 0;
}

static int check_members(struct store *s, struct slice members, struct err *e)
{
    while (members.n > 0) {
        struct slice uri = slice_cut(&members, ' ');
        int r = directory_find_user(s, uri, seen_user, NULL, e);

        if (r == ERR_NOT_FOUND)
            return err_set(e, ERR_CONFIG, "no user %.*s. Add one with: holdfast user add NAME",
                           SLICE_ARG(uri));
        if (r < 0)
            return r;
    }

    return 0;
}

int room_add_command(struct app_io *io, struct store *s, const char *domain, int argc, char **argv)
{
    const char *description = "";
    const char *members = "";
    const char *recorded = "store";
    const struct app_option options[] = {{"description", &description, NULL},
                                         {"members", &members, NULL},
                                         {"recorded", &recorded, NULL},
                                         {0}};
    OWN(own_buf) struct buf list = {0};
    struct err e = {0};
    char uri[256];

    buf_init(&list, ADMIN_MAX_LIST);
    int r = one_operand(options, argc, argv,
                        "room add NAME [--description TEXT] [--members USER,...]"
                        " [--recorded store|queue]",
                        &e);
    bool by_queue = strcmp(recorded, "queue") == 0;
    if (r == 0 && !by_queue && strcmp(recorded, "store") != 0)
        r = err_set(&e, ERR_CONFIG, "--recorded is store or queue, not '%.100s'", recorded);
    if (r == 0)
        r = put_members(&list, members, domain, &e);
    if (r == 0)
        r = check_members(s, buf_view(&list), &e);
    if (r == 0)
        r = directory_add_room(s, slice_of(domain), slice_of(argv[0]), slice_of(description),
                               buf_view(&list), by_queue, uri, &e);
    if (r < 0)
        return app_fail(io, &e);
    (void)fprintf(io->out, "%s\n", uri);

    return APP_OK;
}

int user_add_command(struct app_io *io, struct store *s, const char *domain, int argc, char **argv)
{
    const char *display = NULL;
    const struct app_option options[] = {{"name", &display, NULL}, {0}};
    OWN(own_buf) struct buf uri = {0};
    struct err e = {0};

    buf_init(&uri, 1024);
    int r = one_operand(options, argc, argv, "user add NAME [--name DISPLAY]", &e);
    if (r == 0) {
        put_user(&uri, slice_of(argv[0]), domain);
        r = buf_ok(&uri, "user name", &e);
    }
    if (r == 0)
        r = directory_add_user(s, buf_view(&uri), slice_of(display ? display : argv[0]), &e);
    if (r < 0)
        return app_fail(io, &e);
    (void)fprintf(io->out, "%s\n", uri.p);

    return APP_OK;
}

/* ---- lists ---- */

static void put_json(struct app_io *io, struct buf *b)
{
    buf_text(b, "}\n");
    if (!b->failed)
        (void)fwrite(b->p, 1, b->n, io->out);
}

static int show_room(void *arg, const struct directory_room *r, struct err *e)
{
    struct app_io *io = arg;
    OWN(own_buf) struct buf b = {0};

    (void)e;
    if (io->json) {
        buf_init(&b, 2 * ADMIN_MAX_LIST);
        buf_char(&b, '{');
        json_put_string(&b, "uri", r->uri);
        json_put_string(&b, "name", r->name);
        json_put_string(&b, "description", r->description.p ? r->description : SLICE(""));
        json_put_string(&b, "members", r->members.p ? r->members : SLICE(""));
        json_put_bool(&b, "open", r->members.n == 0);
        json_put_string(&b, "recorded", slice_of(r->by_queue ? "queue" : "store"));
        put_json(io, &b);
        return 0;
    }
    buf_init(&b, 1);
    (void)fprintf(io->out, "%.*s  ", SLICE_ARG(r->uri));
    view_text(io->out, r->name, false);
    if (r->description.n > 0)
        (void)fputs(": ", io->out);
    view_text(io->out, r->description, false);
    if (r->members.n > 0)
        (void)fprintf(io->out, "  (only %.*s)", SLICE_ARG(r->members));
    (void)fputs(r->by_queue ? "  recorded = queue\n" : "\n", io->out);

    return 0;
}

static int show_user(void *arg, const struct directory_user *u, struct err *e)
{
    struct app_io *io = arg;
    OWN(own_buf) struct buf b = {0};

    (void)e;
    buf_init(&b, ADMIN_MAX_LIST);
    if (io->json) {
        buf_char(&b, '{');
        json_put_string(&b, "uri", u->uri);
        json_put_string(&b, "name", u->name);
        put_json(io, &b);
        return 0;
    }
    (void)fprintf(io->out, "%.*s  ", SLICE_ARG(u->uri));
    view_text(io->out, u->name, false);
    (void)fputc('\n', io->out);

    return 0;
}

static int no_operands(struct app_io *io, int argc, char **argv, const char *usage, struct err *e)
{
    const struct app_option options[] = {{"json", NULL, &io->json}, {0}};
    int operands;
    int r = app_options(options, argc, argv, &operands, e);

    if (r == 0 && operands != 0)
        return err_set(e, ERR_CONFIG, "usage: holdfast %s", usage);

    return r;
}

int room_list_command(struct app_io *io, struct store *s, int argc, char **argv)
{
    struct err e = {0};
    int r = no_operands(io, argc, argv, "room list [--json]", &e);

    if (r == 0)
        r = directory_rooms(s, show_room, io, &e);

    return r < 0 ? app_fail(io, &e) : APP_OK;
}

int user_list_command(struct app_io *io, struct store *s, int argc, char **argv)
{
    struct err e = {0};
    int r = no_operands(io, argc, argv, "user list [--json]", &e);

    if (r == 0)
        r = directory_users(s, show_user, io, &e);

    return r < 0 ? app_fail(io, &e) : APP_OK;
}
