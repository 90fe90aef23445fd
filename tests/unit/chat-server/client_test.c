/* SPDX-License-Identifier: Apache-2.0 */
/* The line-mode client against the real server: what a script types and what it gets to see. */
#include "rig.h"

#include "chat-server/client_view.h"
#include "chat-server/commands.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct scene {
    struct rig rig;
    char lobby[256];
    char server[64];
};

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);

    rig_start(&s->rig);
    rig_room(&s->rig, "Lobby", "", s->lobby);
    (void)snprintf(s->server, sizeof s->server, "127.0.0.1:%u",
                   (unsigned)chat_server_port(s->rig.server));
    *state = s;

    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;

    rig_stop(&s->rig);
    free(s);

    return 0;
}

/* One run of the client; keys is its end of the input. */
struct run {
    const char *server;
    char name[16], room[16];
    int keys, keys_read;
    char *out, *err;
    size_t out_size, err_size;
    int code;
    pthread_t thread;
};

static void *run_client(void *arg)
{
    struct run *r = arg;
    char *argv[] = {r->name, r->room, NULL};
    struct app_io io = {.in = fdopen(r->keys_read, "r"),
                        .out = open_memstream(&r->out, &r->out_size),
                        .err = open_memstream(&r->err, &r->err_size)};

    r->code = chat_client_command(&io, r->server, "example.test", r->room[0] ? 2 : 1, argv);
    (void)fclose(io.in);
    (void)fclose(io.out);
    (void)fclose(io.err);

    return NULL;
}

static void start(struct run *r, const struct scene *s, const char *name, const char *room)
{
    int ends[2];

    memset(r, 0, sizeof *r);
    r->server = s->server;
    (void)snprintf(r->name, sizeof r->name, "%s", name);
    (void)snprintf(r->room, sizeof r->room, "%s", room);
    assert_int_equal(pipe(ends), 0);
    r->keys_read = ends[0];
    r->keys = ends[1];
    assert_int_equal(pthread_create(&r->thread, NULL, run_client, r), 0);
}

static void type(struct run *r, const char *text)
{
    assert_int_equal(write(r->keys, text, strlen(text)), (ssize_t)strlen(text));
}

static void finish(struct run *r)
{
    (void)close(r->keys);
    (void)pthread_join(r->thread, NULL);
}

static void done(struct run *r)
{
    free(r->out);
    free(r->err);
}

/* The time of day in "#3 12:34 Alice: hi" is cut out. */
static void assert_screen(const struct run *r, const char *expected)
{
    char *copy = strdup(r->out);
    char *to = copy;

    for (const char *p = r->out; *p;) {
        const char *blank = *p == '#' ? strchr(p, ' ') : NULL;

        if (blank && blank[3] == ':') {
            memcpy(to, p, (size_t)(blank - p));
            to += blank - p;
            p = blank + 6;
        } else {
            *to++ = *p++;
        }
    }
    *to = '\0';
    assert_string_equal(copy, expected);
    free(copy);
}

static void a_script_is_deterministic(void **state)
{
    struct scene *s = *state;
    struct run r;

    start(&r, s, "alice", "");
    type(&r, "hello\n//who\n\n  spaced <&>  \n/who\n/history 2\n/quit\nnot read\n");
    finish(&r);
    assert_string_equal(r.err, "");
    assert_int_equal(r.code, 0);
    assert_screen(&r, "* joined Lobby. Here: Alice\n#3 Alice: hello\n#4 Alice: /who\n"
                      "#5 Alice:   spaced <&>  \n* here: Alice\n#4 Alice: /who\n"
                      "#5 Alice:   spaced <&>  \n");
    done(&r);
    /* The client ended after its sign-out was on record. */
    assert_string_equal(rig_records(&s->rig, s->lobby),
                        "join alice\nread alice [] 0\npost alice 1 hello\npost alice 2 /who\n"
                        "post alice 3   spaced <&>  \nread alice [[2,3]] 2\n"
                        "leave alice sign-out\n");
    assert_string_equal(rig_records(&s->rig, RIG_SESSION),
                        "session-start\nsign-in alice\nsign-out alice sign-out\n");
}

static void others_are_seen(void **state)
{
    struct scene *s = *state;
    struct peer bob;
    struct run r;

    start(&r, s, "alice", "Lobby");
    rig_await_records(&s->rig, s->lobby, "join alice\nread alice [] 0\n");
    peer_ready(&bob, &s->rig, "bob", "eb");
    peer_join(&bob, s->lobby);
    PEER_EXPECT(&bob, "200 INFO", "rpl:join 200");
    peer_post(&bob, s->lobby, "from &#13;\nbob &#x202e;evil");
    PEER_EXPECT(&bob, "200 INFO");
    (void)peer_next(&bob, 5000);
    peer_part(&bob, s->lobby);
    PEER_EXPECT(&bob, "200 INFO", "rpl:part 200");
    type(&r, "mine\n");
    finish(&r);
    assert_int_equal(r.code, 0);
    assert_screen(&r, "* joined Lobby. Here: Alice\n* Bob joined\n"
                      "#4 Bob: from \n    | bob \\u202eevil\n* Bob left\n#6 Alice: mine\n");
    done(&r);
    peer_close(&bob);
}

static void refusals_are_said(void **state)
{
    struct scene *s = *state;
    struct run r;

    start(&r, s, "alice", "Lobby");
    rig_await_records(&s->rig, s->lobby, "join alice\nread alice [] 0\n");
    atomic_store(&s->rig.refuse, true);
    type(&r, "unheard\n/history\ncontrol \x01\n/leave\nnowhere\n/join Nix\n");
    finish(&r);
    assert_int_equal(r.code, 1);
    assert_screen(&r, "* joined Lobby. Here: Alice\n* left Lobby\n");
    assert_non_null(strstr(r.err, "not delivered: it can't be put on record now (503)"));
    assert_non_null(strstr(r.err, "history: it can't be put on record now (503)"));
    assert_non_null(strstr(r.err, "not sent"));
    assert_non_null(strstr(r.err, "in no room"));
    assert_non_null(strstr(r.err, "no room 'Nix'"));
    done(&r);
    assert_string_equal(rig_records(&s->rig, s->lobby),
                        "join alice\nread alice [] 0\nleave alice part\n");
}

static void a_lost_server_ends_it(void **state)
{
    struct scene *s = *state;
    struct run r;

    start(&r, s, "alice", "Lobby");
    rig_await_records(&s->rig, s->lobby, "join alice\nread alice [] 0\n");
    rig_stop_server(&s->rig);
    (void)pthread_join(r.thread, NULL);
    assert_int_equal(r.code, 1);
    assert_non_null(strstr(r.err, "the chat server closed the connection"));
    (void)close(r.keys);
    done(&r);
    start(&r, s, "alice", "Lobby");
    finish(&r);
    assert_int_equal(r.code, 1);
    assert_non_null(strstr(r.err, "no chat server at 127.0.0.1:"));
    done(&r);
}

static void unknown_people_and_rooms_are_named(void **state)
{
    struct scene *s = *state;
    struct run r;

    start(&r, s, "mallory", "");
    finish(&r);
    assert_int_equal(r.code, 2);
    assert_string_equal(r.err, "holdfast: no user sip:mallory@example.test."
                               " Add one with: holdfast user add NAME\n");
    done(&r);
    start(&r, s, "alice", "Nix");
    finish(&r);
    assert_int_equal(r.code, 1);
    assert_non_null(strstr(r.err, "no room 'Nix'"));
    done(&r);
}

static void assert_shown(struct slice text, const char *expected)
{
    char *out = NULL;
    size_t n;
    FILE *f = open_memstream(&out, &n);

    view_text(f, text, true);
    (void)fclose(f);
    assert_string_equal(out, expected);
    free(out);
}

static void nothing_hides_in_a_text(void **state)
{
    (void)state;
    assert_shown(SLICE("\x1b[2J\x07\x7f"), "\\x1b[2J\\x07\\x7f");
    assert_shown(SLICE("a\0b"), "a\\x00b");
    assert_shown(SLICE("\xc2\x9b"
                       "31m"),
                 "\\x9b31m");
    assert_shown(SLICE("\xff\xfe"), "\\xff\\xfe");
    assert_shown(SLICE("\xe2\x80\xae"
                       "x\xe2\x81\xa6\xef\xbb\xbf"),
                 "\\u202ex\\u2066\\ufeff");
    assert_shown(SLICE("a\n#9 12:00 Bob: b"), "a\n    | #9 12:00 Bob: b");
    assert_shown(SLICE("\xf0\x9f\x9a\x80 \xc3\xa9"), "\xf0\x9f\x9a\x80 \xc3\xa9");
}

/* ---- the operator's commands ---- */

static int command(struct rig *r,
                   int (*run)(struct app_io *, struct store *, const char *, int, char **),
                   int argc, const char *const *words, char out[4096])
{
    char copies[8][128];
    char *argv[8];
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    struct app_io io = {.in = stdin, .out = f, .err = f};

    for (int i = 0; i < argc; i++) {
        (void)snprintf(copies[i], sizeof copies[i], "%s", words[i]);
        argv[i] = copies[i];
    }
    int code = run(&io, r->store, "example.test", argc, argv);
    (void)fclose(f);
    (void)snprintf(out, 4096, "%s", text);
    free(text);

    return code;
}

static void rooms_and_users_are_made(void **state)
{
    struct scene *s = *state;
    char out[4096];
    const char *const user[] = {"Dora", "--name", "Dora D."};
    const char *const room[] = {"Desk", "--members", "alice, dora", "--description", "d"};
    const char *const stranger[] = {"Desk2", "--members", "nobody"};
    const char *const nothing[] = {"--members", "alice"};

    assert_int_equal(command(&s->rig, user_add_command, 3, user, out), 0);
    assert_string_equal(out, "sip:dora@example.test\n");
    assert_int_equal(command(&s->rig, room_add_command, 5, room, out), 0);
    assert_int_equal(strncmp(out, "ma-chan://example.test/", 23), 0);
    assert_int_not_equal(command(&s->rig, room_add_command, 5, room, out), 0);
    assert_int_equal(command(&s->rig, room_add_command, 3, stranger, out), 2);
    assert_non_null(strstr(out, "no user sip:nobody@example.test"));
    assert_int_equal(command(&s->rig, room_add_command, 2, nothing, out), 2);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_script_is_deterministic),
        CASE(others_are_seen),
        CASE(refusals_are_said),
        CASE(a_lost_server_ends_it),
        CASE(unknown_people_and_rooms_are_named),
        cmocka_unit_test(nothing_hides_in_a_text),
        CASE(rooms_and_users_are_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
