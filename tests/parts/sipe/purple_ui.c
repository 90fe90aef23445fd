/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libpurple's callbacks as event lines. Commands and the account are in sipe_client.c.
 */
#include <glib.h>
#include <purple.h>
#include <time.h>

#include "tests/parts/sipe/event.h"
#include "tests/parts/sipe/purple_ui.h"

struct watch {
    PurpleInputFunction func;
    gpointer data;
};

static gboolean on_io(GIOChannel *channel, GIOCondition cond, gpointer data)
{
    const struct watch *w = data;
    int ready = 0;

    if (cond & (G_IO_IN | G_IO_HUP | G_IO_ERR))
        ready |= PURPLE_INPUT_READ;
    if (cond & (G_IO_OUT | G_IO_HUP | G_IO_ERR | G_IO_NVAL))
        ready |= PURPLE_INPUT_WRITE;
    w->func(w->data, g_io_channel_unix_get_fd(channel), (PurpleInputCondition)ready);
    return TRUE;
}

static guint input_add(int fd, PurpleInputCondition wanted, PurpleInputFunction func, gpointer data)
{
    struct watch *w = g_new0(struct watch, 1);
    int cond = G_IO_HUP | G_IO_ERR;

    w->func = func;
    w->data = data;
    if (wanted & PURPLE_INPUT_READ)
        cond |= G_IO_IN;
    if (wanted & PURPLE_INPUT_WRITE)
        cond |= G_IO_OUT | G_IO_NVAL;
    GIOChannel *channel = g_io_channel_unix_new(fd);
    guint id =
        g_io_add_watch_full(channel, G_PRIORITY_DEFAULT, (GIOCondition)cond, on_io, w, g_free);
    g_io_channel_unref(channel);
    return id;
}

static void *on_notify(PurpleNotifyMsgType type, const char *title, const char *primary,
                       const char *secondary)
{
    GString *event = event_new("notice");

    (void)type;
    event_text(event, "title", title);
    event_text(event, "text", primary);
    event_text(event, "detail", secondary);
    event_emit(event);
    return NULL;
}

static void *on_request(const char *title, const char *primary, const char *secondary,
                        int default_action, PurpleAccount *account, const char *who,
                        PurpleConversation *conv, void *user_data, size_t count, va_list actions)
{
    GString *event = event_new("question");

    (void)default_action;
    (void)account;
    (void)who;
    (void)conv;
    event_text(event, "title", title);
    event_text(event, "text", primary);
    event_text(event, "detail", secondary);
    if (count > 0) {
        const char *answer = va_arg(actions, const char *);
        GCallback callback = va_arg(actions, GCallback);

        event_text(event, "answered", answer);
        if (callback)
            ((PurpleRequestActionCb)callback)(user_data, 0);
    }
    event_emit(event);
    return NULL;
}

static void on_connected(PurpleConnection *gc)
{
    GString *event = event_new("connected");

    event_text(event, "user", purple_account_get_username(purple_connection_get_account(gc)));
    event_emit(event);
}

static void on_disconnected(PurpleConnection *gc)
{
    (void)gc;
    event_emit(event_new("disconnected"));
}

static void on_connection_error(PurpleConnection *gc, PurpleConnectionError reason,
                                const char *text)
{
    GString *event = event_new("connection-error");

    (void)gc;
    event_number(event, "code", (long long)reason);
    event_text(event, "text", text);
    event_emit(event);
}

static GString *room_event(const char *name, PurpleConversation *conv)
{
    GString *event = event_new(name);

    event_text(event, "room", purple_conversation_get_name(conv));
    return event;
}

static const char *kind_of(PurpleMessageFlags flags)
{
    if (flags & PURPLE_MESSAGE_ERROR)
        return "error";
    if (flags & PURPLE_MESSAGE_SYSTEM)
        return "system";
    if (flags & PURPLE_MESSAGE_SEND)
        return "own";
    return "other";
}

static void on_message(PurpleConversation *conv, const char *name, const char *alias,
                       const char *message, PurpleMessageFlags flags, time_t when)
{
    GString *event = room_event("message", conv);
    char stamp[32];
    struct tm tm;
    char *text = html_to_text(message);

    (void)alias;
    gmtime_r(&when, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &tm);
    event_text(event, "from", name);
    event_text(event, "kind", kind_of(flags));
    event_number(event, "flags", (long long)flags);
    event_text(event, "time", stamp);
    event_text(event, "html", message);
    event_text(event, "text", text);
    event_emit(event);
    g_free(text);
}

static void on_users_added(PurpleConversation *conv, GList *users, gboolean new_arrivals)
{
    for (; users; users = users->next) {
        PurpleConvChatBuddy *user = users->data;
        GString *event = room_event("user-joined", conv);

        event_text(event, "user", purple_conv_chat_cb_get_name(user));
        event_bool(event, "operator", (user->flags & PURPLE_CBFLAGS_OP) != 0);
        event_bool(event, "new", new_arrivals);
        event_emit(event);
    }
}

static void on_users_removed(PurpleConversation *conv, GList *users)
{
    for (; users; users = users->next) {
        GString *event = room_event("user-left", conv);

        event_text(event, "user", users->data);
        event_emit(event);
    }
}

static void on_user_changed(PurpleConversation *conv, const char *user)
{
    GString *event = room_event("user-changed", conv);
    PurpleConvChatBuddyFlags flags = purple_conv_chat_user_get_flags(PURPLE_CONV_CHAT(conv), user);

    event_text(event, "user", user);
    event_bool(event, "operator", (flags & PURPLE_CBFLAGS_OP) != 0);
    event_emit(event);
}

static void on_topic(PurpleConversation *conv, const char *who, const char *topic)
{
    GString *event = room_event("topic", conv);

    (void)who;
    event_text(event, "topic", topic);
    event_emit(event);
}

static void on_joined(PurpleConversation *conv)
{
    GString *event = room_event("joined", conv);

    event_number(event, "id", purple_conv_chat_get_id(PURPLE_CONV_CHAT(conv)));
    event_emit(event);
}

static void on_left(PurpleConversation *conv)
{
    event_emit(room_event("left", conv));
}

static void on_room_listed(PurpleRoomlist *list, PurpleRoomlistRoom *room)
{
    GString *event = event_new("room");
    GList *field = purple_roomlist_get_fields(list);
    GList *value = purple_roomlist_room_get_fields(room);

    event_text(event, "name", purple_roomlist_room_get_name(room));
    for (; field && value; field = field->next, value = value->next) {
        PurpleRoomlistField *f = field->data;

        if (purple_roomlist_field_get_type(f) == PURPLE_ROOMLIST_FIELD_STRING)
            event_text(event, f->name, value->data);
        else
            event_number(event, f->name, GPOINTER_TO_INT(value->data));
    }
    event_emit(event);
}

static void on_list_progress(PurpleRoomlist *list, gboolean in_progress)
{
    (void)list;
    if (!in_progress)
        event_emit(event_new("rooms-done"));
}

static PurpleEventLoopUiOps loop_ops = {.timeout_add = g_timeout_add,
                                        .timeout_remove = g_source_remove,
                                        .input_add = input_add,
                                        .input_remove = g_source_remove,
                                        .timeout_add_seconds = g_timeout_add_seconds};
static PurpleNotifyUiOps notify_ops = {.notify_message = on_notify};
static PurpleRequestUiOps request_ops = {.request_action = on_request};
static PurpleConnectionUiOps connection_ops = {.connected = on_connected,
                                               .disconnected = on_disconnected,
                                               .report_disconnect_reason = on_connection_error};
static PurpleConversationUiOps conversation_ops = {.write_conv = on_message,
                                                   .chat_add_users = on_users_added,
                                                   .chat_remove_users = on_users_removed,
                                                   .chat_update_user = on_user_changed};
static PurpleRoomlistUiOps roomlist_ops = {.add_room = on_room_listed,
                                           .in_progress = on_list_progress};

static void ui_init(void)
{
    purple_conversations_set_ui_ops(&conversation_ops);
    purple_connections_set_ui_ops(&connection_ops);
    purple_notify_set_ui_ops(&notify_ops);
    purple_request_set_ui_ops(&request_ops);
    purple_roomlist_set_ui_ops(&roomlist_ops);
}

static PurpleCoreUiOps core_ops = {.ui_init = ui_init};

int ui_start(const char *user_dir)
{
    static int handle;

    purple_util_set_user_dir(user_dir);
    purple_core_set_ui_ops(&core_ops);
    purple_eventloop_set_ui_ops(&loop_ops);
    if (!purple_core_init(UI_ID))
        return -1;
    purple_set_blist(purple_blist_new());
    purple_prefs_load();
    purple_prefs_set_bool("/purple/logging/log_chats", FALSE);
    purple_prefs_set_bool("/purple/logging/log_system", FALSE);

    void *conversations = purple_conversations_get_handle();
    purple_signal_connect(conversations, "chat-topic-changed", &handle, PURPLE_CALLBACK(on_topic),
                          NULL);
    purple_signal_connect(conversations, "chat-joined", &handle, PURPLE_CALLBACK(on_joined), NULL);
    purple_signal_connect(conversations, "chat-left", &handle, PURPLE_CALLBACK(on_left), NULL);
    return 0;
}
