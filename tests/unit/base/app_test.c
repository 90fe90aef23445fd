/* SPDX-License-Identifier: Apache-2.0 */
#include "base/app.h"
#include "base/own.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int nothing(struct app_io *io, int argc, char **argv)
{
    (void)io;
    (void)argc;
    (void)argv;
    return 0;
}

static const struct app_command table[] = {
    {"status", "look", "[--json]", "say how things are", 0, nothing, "More."},
    {"room", "chat", "", "rooms", 0, nothing, NULL},
    {"room add", "chat", "NAME", "add a room", 0, nothing, NULL},
    {"check", "look", "", "check all", 0, nothing, NULL},
    {"secret", "look", "", "not shown", APP_HIDDEN, nothing, NULL},
    {0},
};

static const char *found(int argc, char **argv, int *used)
{
    const struct app_command *c = app_find(table, argc, argv, used);
    return c ? c->name : NULL;
}

static void the_longest_name_wins(void **state)
{
    (void)state;
    char room[] = "room";
    char add[] = "add";
    char list[] = "list";
    int used = 0;
    assert_string_equal(found(3, (char *[]){room, add, list}, &used), "room add");
    assert_int_equal(used, 2);
    assert_string_equal(found(2, (char *[]){room, list}, &used), "room");
    assert_int_equal(used, 1);
    assert_string_equal(found(1, (char *[]){room}, &used), "room");
    assert_null(found(1, (char *[]){add}, &used));
    assert_null(found(0, NULL, &used));
}

/* What fn prints. */
static const char *printed(void (*fn)(FILE *out))
{
    static char text[4000];
    text[0] = '\0';
    FILE *f = fmemopen(text, sizeof text, "w");
    assert_non_null(f);
    fn(f);
    (void)fclose(f);
    return text;
}

static void all_help(FILE *out)
{
    app_help(table, "holdfast", out);
}

static void one_help(FILE *out)
{
    app_help_command(&table[0], "holdfast", out);
}

static void unknown(FILE *out)
{
    app_unknown(table, "stauts", out);
    app_unknown(table, "romo", out);
    app_unknown(table, "secrte", out);
    app_unknown(table, "xyzzyxyzzy", out);
    app_unknown(table, "room", out); /* begins a command of two words */
}

static void help_comes_from_the_table(void **state)
{
    (void)state;
    assert_string_equal(printed(all_help), "usage: holdfast COMMAND [ARGUMENT...]\n"
                                           "\nlook\n"
                                           "  status    say how things are\n"
                                           "  check     check all\n"
                                           "\nchat\n"
                                           "  room      rooms\n"
                                           "  room add  add a room\n"
                                           "\n'holdfast help COMMAND' says more about one of "
                                           "them.\n");
    assert_string_equal(printed(one_help), "usage: holdfast status [--json]\n"
                                           "\nsay how things are\n"
                                           "\nMore.\n");
    assert_string_equal(printed(unknown), "no command 'stauts'. Did you mean 'status'?\n"
                                          "no command 'romo'. Did you mean 'room'?\n"
                                          "no command 'secrte'.\n"
                                          "no command 'xyzzyxyzzy'.\n"
                                          "which command: 'room add'?\n");
}

static void manual(FILE *out)
{
    app_manual(table, out);
}

static void the_manual_comes_from_the_table(void **state)
{
    (void)state;
    assert_string_equal(printed(manual), ".SS \"look\"\n"
                                         ".TP\n\\fBstatus\\fR [\\-\\-json]\nsay how things are.\n"
                                         ".TP\n\\fBcheck\\fR \ncheck all.\n"
                                         ".SS \"chat\"\n"
                                         ".TP\n\\fBroom\\fR \nrooms.\n"
                                         ".TP\n\\fBroom add\\fR NAME\nadd a room.\n");
}

static const char *source;
static bool force;
static const struct app_option options[] = {
    {"source", &source, NULL}, {"force", NULL, &force}, {0}};

/* Parses the words of a line; the operands joined by '|', or the error's text. */
static const char *parse(const char *line)
{
    static char text[600];
    static char words[200];
    char *argv[20];
    int argc = 0;
    int n = 0;
    source = NULL;
    force = false;
    (void)snprintf(words, sizeof words, "%s", line);
    char *save = NULL;
    for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    struct err e;
    if (app_options(options, argc, argv, &n, &e)) {
        assert_int_equal(e.class, ERR_CONFIG);
        return memcpy(text, e.text, sizeof e.text);
    }
    text[0] = '\0';
    for (int i = 0; i < n; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? "|" : "",
                       argv[i]);
    return text;
}

static void options_and_operands_in_any_order(void **state)
{
    (void)state;
    assert_string_equal(parse("a --source x b --force -"), "a|b|-");
    assert_string_equal(source, "x");
    assert_true(force);
    assert_string_equal(parse("--source=x=y -- --force"), "--force");
    assert_string_equal(source, "x=y");
    assert_false(force);
    assert_string_equal(parse(""), "");
    assert_string_equal(parse("--source --force"), "");
    assert_string_equal(source, "--force");
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    assert_string_equal(parse("--sorce x"), "no option '--sorce'. Did you mean '--source'?");
    assert_string_equal(parse("--zzzzzz"), "no option '--zzzzzz'");
    assert_string_equal(parse("--source"), "option '--source' needs a value");
    assert_string_equal(parse("--force=1"), "option '--force' takes no value");
    assert_string_equal(parse("-f"), "no option '-f'. Options begin with two dashes");
}

static void a_common_flag_is_taken_out(void **state)
{
    (void)state;
    char a[] = "a";
    char json[] = "--json";
    char end[] = "--";
    char *argv[] = {json, a, json, end, json, NULL};
    int argc = 5;
    assert_true(app_take_flag("--json", &argc, argv));
    assert_int_equal(argc, 3);
    assert_string_equal(argv[0], "a");
    assert_string_equal(argv[1], "--");
    assert_string_equal(argv[2], "--json");
    assert_false(app_take_flag("--json", &argc, argv));
}

static void fail_config(FILE *out)
{
    struct app_io io = {.err = out};
    struct err e;
    (void)err_set(&e, ERR_CONFIG, "no room");
    assert_int_equal(app_fail(&io, &e), APP_USAGE);
    (void)err_set(&e, ERR_RETRY, "disk full");
    assert_int_equal(app_fail(&io, &e), APP_FAILED);
}

static void failures_print_and_give_the_code(void **state)
{
    (void)state;
    assert_string_equal(printed(fail_config), "holdfast: no room\nholdfast: disk full\n");
}

static void quiet_progress(FILE *out)
{
    struct app_io io = {.err = out, .tty = false};
    struct app_progress p;
    app_progress_start(&p, &io, "records");
    app_progress_step(&p, 5, 10);
    app_progress_end(&p, 10);
}

static void loud_progress(FILE *out)
{
    struct app_io io = {.err = out, .tty = true};
    struct app_progress p;
    app_progress_start(&p, &io, "records");
    app_progress_step(&p, 1, 10); /* too soon */
    p.last_ms -= 200;
    app_progress_step(&p, 5, 10);
    app_progress_end(&p, 10);
}

static void progress_is_for_terminals(void **state)
{
    (void)state;
    assert_string_equal(printed(quiet_progress), "");
    const char *text = printed(loud_progress);
    assert_memory_equal(text, "\rrecords: 5 of 10 (50 %)", 24);
    assert_non_null(strstr(text, "\rrecords: 10 in 0 s"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_name_wins),
        cmocka_unit_test(help_comes_from_the_table),
        cmocka_unit_test(the_manual_comes_from_the_table),
        cmocka_unit_test(options_and_operands_in_any_order),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(a_common_flag_is_taken_out),
        cmocka_unit_test(failures_print_and_give_the_code),
        cmocka_unit_test(progress_is_for_terminals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
