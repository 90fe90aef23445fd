/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line-mode chat client: lines of its input are posts or commands, each done before the next
 * is read, so that it can be typed at and scripted alike.
 */
#include "chat-server/client.h"
#include "base/own.h"
#include "chat-server/commands.h"

#include <errno.h>
#include <string.h>

static int help(struct client *c)
{
    client_say(
        c, "* /who  /history [N]  /rooms  /join NAME  /leave  /quit   //TEXT posts \"/TEXT\"\n");

    return 0;
}

static int do_history(struct client *c, struct slice arg, struct err *e)
{
    int64_t count = CLIENT_HISTORY;

    if (!c->room[0])
        return err_set(e, ERR_REJECTED, "in no room. /join NAME first");
    if (arg.n > 0 && (!text_i64(arg, &count) || count < 1))
        return err_set(e, ERR_REJECTED, "/history takes a number of messages");

    return client_history(c, count, e);
}

static int do_line(struct client *c, struct slice line, struct err *e)
{
    struct slice arg = line;

    if (line.n == 0)
        return 0;
    if (line.p[0] != '/')
        return client_post(c, line, e);
    if (slice_starts(line, "//"))
        return client_post(c, (struct slice){line.p + 1, line.n - 1}, e);
    struct slice word = slice_cut(&arg, ' ');
    arg = slice_trim(arg);
    if (slice_is(word, "/quit")) {
        c->quit = true;
        return 0;
    }
    if (slice_is(word, "/who")) {
        (void)fputs("* here: ", c->io->out);
        client_show_people(c);
        return 0;
    }
    if (slice_is(word, "/rooms"))
        return client_list(c, NULL, true, e);
    if (slice_is(word, "/history"))
        return do_history(c, arg, e);
    if (slice_is(word, "/leave"))
        return client_leave(c, e);
    if (slice_is(word, "/join") && arg.n > 0) {
        OWN(own_mem) char *name = slice_dup(arg);

        return name ? client_join(c, name, e) : err_memory(e, "room name");
    }

    if (slice_is(word, "/help"))
        return help(c);

    return err_set(e, ERR_REJECTED, "there is no %.*s here. /help tells what there is",
                   (int)(word.n < 40 ? word.n : 40), word.p);
}

/* A refusal is said and the next line is read; a lost server ends it all. */
static int run_line(struct client *c, struct slice line)
{
    struct err e = {0};

    c->typed_last = c->tty && line.n < CLIENT_ONE_ROW;
    int r = do_line(c, line, &e);
    c->typed_last = false;

    if (r == ERR_REJECTED) {
        client_complain(c, "%s", e.text);
        return 0;
    }
    if (r < 0)
        client_complain(c, "%s", e.text);

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
        client_complain(c, "a line of over %d bytes: not sent", CLIENT_MAX_LINE);
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

static int chat(struct client *c, struct err *e)
{
    while (!c->quit && !(c->input_ended && c->line.n == 0)) {
        bool ready;
        int r = link_poll(&c->link, 1000, fileno(c->io->in), &ready, e);

        if (r == 0 && c->link.ended)
            r = err_set(e, ERR_RETRY, "the chat server ended the session");
        if (r == 0)
            r = client_keep_alive(c, e);
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
    int r = room ? client_join(c, room, e) : client_list(c, NULL, false, e);

    if (r < 0 || room)
        return r;
    if (c->found == 1)
        return client_enter(c, e);
    if (c->found == 0) {
        client_say(c, "* there are no rooms yet. Make one with: holdfast room add NAME\n");
        return 0;
    }
    client_say(c, "* which room? /join NAME\n");

    return client_list(c, NULL, true, e);
}

static int run(struct client *c, const char *server, const char *domain, const char *user,
               const char *room)
{
    struct err e = {0};
    int r = link_open(&c->link, server, domain, user, &e);

    if (r < 0 && r != ERR_CONFIG)
        (void)err_set(&e, r, "no chat server at %s. Is `holdfast up` running?", server);
    if (r == 0)
        r = client_sign_in(c, &e);
    if (r == 0) {
        r = choose_room(c, room, &e);
        if (r == 0 && c->tty)
            client_say(c, "* a line is a post; /help tells what else there is\n");
        if (r == 0)
            r = chat(c, &e);
        client_sign_out(c);
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
    c.link.answered = client_heard;
    c.link.arg = &c;
    buf_init(&c.line, CLIENT_MAX_LINE);
    int code = run(&c, server, domain, argv[0], operands == 2 ? argv[1] : NULL);
    link_close(&c.link);
    client_forget_people(&c);
    free(c.people);
    buf_done(&c.line);

    return code;
}
