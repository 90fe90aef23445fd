/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives the real SIPE client without a screen: commands are lines on standard input, what happens
 * are JSON lines on standard output (event.h, purple_ui.c). README.md beside this file lists both.
 *
 *   sipe_client FOLDER USER@DOMAIN SERVER:PORT [OPTION=VALUE...]
 *   sipe_client --self-test FOLDER
 *
 * FOLDER is this client's own; the password comes from the environment variable SIPE_PASSWORD.
 */
#include <dlfcn.h>
#include <glib.h>
#include <purple.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/parts/sipe/event.h"
#include "tests/parts/sipe/purple_ui.h"

enum { QUIT_LIMIT_S = 5, MAX_LINE = 1024 * 1024 };

static GMainLoop *loop;
static PurpleAccount *account;
static PurpleRoomlist *roomlist;
static char *chosen_room;

static void refuse(const char *command, const char *why)
{
    GString *event = event_new("refused");

    event_text(event, "command", command);
    event_text(event, "why", why);
    event_emit(event);
}

/* The room that `use` named, else the one joined last. */
static PurpleConversation *current_chat(void)
{
    GList *chats = purple_get_chats();

    if (!chosen_room)
        return chats ? chats->data : NULL;
    for (; chats; chats = chats->next) {
        if (!strcmp(purple_conversation_get_name(chats->data), chosen_room))
            return chats->data;
    }
    return NULL;
}

static void post(const char *command, char *html)
{
    PurpleConversation *conv = current_chat();

    if (conv)
        purple_conv_chat_send(PURPLE_CONV_CHAT(conv), html);
    else
        refuse(command, "no room is open");
    g_free(html);
}

static void cmd_say(const char *text)
{
    post("say", g_markup_escape_text(text, -1));
}

/* As `say`, with \n, \t, \\ and octal escapes in the text: a line feed goes out as a line break. */
static void cmd_say_escaped(const char *text)
{
    char *plain = g_strcompress(text);
    char *html = g_markup_escape_text(plain, -1);
    char **lines = g_strsplit(html, "\n", -1);

    post("say-escaped", g_strjoinv("<br>", lines));
    g_strfreev(lines);
    g_free(html);
    g_free(plain);
}

static void cmd_html(const char *text)
{
    post("html", g_strdup(text));
}

static void cmd_join(const char *uri)
{
    PurpleConnection *gc = purple_account_get_connection(account);

    if (!gc) {
        refuse("join", "not connected");
        return;
    }
    GHashTable *parts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_hash_table_insert(parts, g_strdup("uri"), g_strdup(uri));
    serv_join_chat(gc, parts);
    g_hash_table_destroy(parts);
}

static void cmd_part(const char *argument)
{
    PurpleConversation *conv = current_chat();

    (void)argument;
    if (conv)
        purple_conversation_destroy(conv);
    else
        refuse("part", "no room is open");
}

static void cmd_use(const char *name)
{
    g_free(chosen_room);
    chosen_room = *name ? g_strdup(name) : NULL;
}

static void cmd_rooms(const char *argument)
{
    PurpleConnection *gc = purple_account_get_connection(account);

    (void)argument;
    if (roomlist)
        purple_roomlist_unref(roomlist);
    roomlist = gc ? purple_roomlist_get_list(gc) : NULL;
    if (!roomlist)
        refuse("rooms", "the channel to the chat server is not up yet");
}

static void cmd_chats(const char *argument)
{
    (void)argument;
    for (GList *l = purple_get_chats(); l; l = l->next) {
        PurpleConvChat *chat = PURPLE_CONV_CHAT((PurpleConversation *)l->data);
        GString *event = event_new("chat");

        event_text(event, "room", purple_conversation_get_name(l->data));
        event_text(event, "topic", purple_conv_chat_get_topic(chat));
        event_bool(event, "left", purple_conv_chat_has_left(chat));
        event_number(event, "users", g_list_length(purple_conv_chat_get_users(chat)));
        event_emit(event);
    }
    event_emit(event_new("chats-done"));
}

static void cmd_connect(const char *argument)
{
    (void)argument;
    purple_account_connect(account);
}

static gboolean stop_loop(gpointer data)
{
    (void)data;
    g_main_loop_quit(loop);
    return FALSE;
}

static void cmd_quit(const char *argument)
{
    (void)argument;
    purple_account_set_enabled(account, UI_ID, FALSE);
    g_idle_add_full(G_PRIORITY_LOW, stop_loop, NULL, NULL);
    g_timeout_add_seconds(QUIT_LIMIT_S, stop_loop, NULL);
}

static const struct {
    const char *name;
    void (*run)(const char *argument);
} commands[] = {{"join", cmd_join},   {"say", cmd_say},     {"say-escaped", cmd_say_escaped},
                {"html", cmd_html},   {"part", cmd_part},   {"use", cmd_use},
                {"rooms", cmd_rooms}, {"chats", cmd_chats}, {"connect", cmd_connect},
                {"quit", cmd_quit}};

static void run_command(char *line)
{
    char *argument = strchr(line, ' ');

    if (argument)
        *argument++ = '\0';
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (!strcmp(commands[i].name, line)) {
            commands[i].run(argument ? argument : "");
            return;
        }
    }
    refuse(line, "no such command");
}

static gboolean on_stdin(GIOChannel *channel, GIOCondition cond, gpointer data)
{
    char *line = NULL;
    gsize end = 0;

    (void)cond;
    (void)data;
    GIOStatus status = g_io_channel_read_line(channel, &line, NULL, &end, NULL);
    if (status == G_IO_STATUS_AGAIN)
        return TRUE;
    if (status != G_IO_STATUS_NORMAL || !line || end > MAX_LINE) {
        g_free(line);
        cmd_quit("");
        return FALSE;
    }
    line[end] = '\0';
    run_command(line);
    g_free(line);
    return TRUE;
}

static void set_option(char *option)
{
    char *value = strchr(option, '=');

    if (!value)
        return;
    *value++ = '\0';
    if (!strcmp(value, "true") || !strcmp(value, "false"))
        purple_account_set_bool(account, option, !strcmp(value, "true"));
    else
        purple_account_set_string(account, option, value);
}

static void sign_in(const char *user, const char *server, char **options)
{
    const char *password = g_getenv("SIPE_PASSWORD");

    account = purple_account_new(user, "prpl-sipe");
    purple_account_set_password(account, password && *password ? password : "none");
    purple_account_set_string(account, "server", server);
    purple_account_set_string(account, "transport", "tcp");
    purple_account_set_bool(account, "dont-publish", TRUE);
    for (; *options; options++)
        set_option(*options);
    purple_accounts_add(account);
    purple_account_set_enabled(account, UI_ID, TRUE);
    purple_savedstatus_activate(purple_savedstatus_new(NULL, PURPLE_STATUS_AVAILABLE));
}

/* Standard output is for events alone; the plugin's log goes beside it. */
static void print_to_stderr(const char *text)
{
    fputs(text, stderr);
}

static int listen_to_commands(void)
{
    GIOChannel *channel = g_io_channel_unix_new(0);

    /* Bytes as they come: a text that is not UTF-8 must not end the session. */
    g_io_channel_set_encoding(channel, NULL, NULL);
    g_io_channel_set_flags(channel, G_IO_FLAG_NONBLOCK, NULL);
    guint watch = g_io_add_watch(channel, (GIOCondition)(G_IO_IN | G_IO_HUP), on_stdin, NULL);
    g_io_channel_unref(channel);
    return watch ? 0 : -1;
}

/* The plugin must load, and get a document out of libxml2 (see sax_fix.c). */
static int self_test(const char *folder)
{
    typedef void *(*xml_parse_fn)(const char *, gsize);
    xml_parse_fn parse = NULL;
    int rc = 1;

    if (!ui_start(folder)) {
        PurplePlugin *plugin = purple_find_prpl("prpl-sipe");
        void *library = plugin ? dlopen(plugin->path, RTLD_NOW) : NULL;

        if (library)
            *(void **)&parse = dlsym(library, "sipe_xml_parse");
        rc = parse && parse("<a/>", 4) ? 0 : 1;
        purple_core_quit();
    }
    puts(rc == 0 ? "the SIPE plugin loads and parses XML" : "the SIPE plugin is not usable");
    return rc;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && !strcmp(argv[1], "--self-test"))
        return self_test(argv[2]);
    if (argc < 4) {
        fprintf(stderr, "usage: sipe_client FOLDER USER@DOMAIN SERVER:PORT [OPTION=VALUE...]\n");
        return 2;
    }
    loop = g_main_loop_new(NULL, FALSE);
    g_set_print_handler(print_to_stderr);
    purple_debug_set_enabled(g_getenv("SIPE_DEBUG") != NULL);
    purple_debug_set_unsafe(TRUE);
    if (ui_start(argv[1]) || !purple_find_prpl("prpl-sipe")) {
        fprintf(stderr, "sipe_client: libpurple or its SIPE plugin did not start\n");
        return 1;
    }
    sign_in(argv[2], argv[3], argv + 4);
    if (listen_to_commands())
        return 1;
    g_main_loop_run(loop);
    purple_core_quit();
    return 0;
}
