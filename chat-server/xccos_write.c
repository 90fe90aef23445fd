/* SPDX-License-Identifier: Apache-2.0 */
/* Writing XCCOS. */
#include "base/clock.h"
#include "chat-server/xccos.h"
#include "chat-server/xccos_names.h"
#include "chat-server/xccos_table.h"

/* Room URIs came from the directory or from room_uri, so they split. */
static void put_room_parts(struct buf *b, struct slice room)
{
    struct slice domain = {0};
    struct slice id = {0};

    (void)xccos_split_room(room, &domain, &id);
    (void)xml_write_attr(b, XN_DOMAIN, domain);
    (void)xml_write_attr(b, XN_VALUE, id);
}

static void put_number(struct buf *b, const char *name, uint64_t n)
{
    buf_format(b, " %s=\"%llu\"", name, (unsigned long long)n);
}

static void open_envelope(struct buf *b, uint64_t envid)
{
    buf_text(b, "<" XN_ROOT " xmlns=\"" XN_NAMESPACE "\" ver=\"1\"");
    put_number(b, XN_ENVID, envid);
    buf_char(b, '>');
}

void xccos_open_reply(struct buf *b, uint64_t envid, const struct xccos_ref *ref, int code)
{
    open_envelope(b, envid);
    buf_text(b, "<" XN_RPL);
    if (ref->command != XCCOS_UNKNOWN) {
        (void)xml_write_attr(b, XN_ID, slice_of(xccos_table[ref->command].reply));
    } else {
        struct slice name = ref->id;

        /* "cmd:what" is answered by "rpl:what". */
        (void)slice_cut(&name, ':');
        buf_text(b, " " XN_ID "=\"rpl:");
        (void)xml_write_text(b, name);
        buf_char(b, '"');
    }
    buf_text(b, " " XN_SEQID "=\"1\"><" XN_COMMANDID);
    (void)xml_write_attr(b, XN_SEQID, ref->seqid);
    (void)xml_write_attr(b, XN_ENVID, ref->envid);
    buf_format(b, "/><" XN_RESP " " XN_CODE "=\"%d\">%s</" XN_RESP "><" XN_DATA ">", code,
               xccos_code_text(code));
}

void xccos_close_reply(struct buf *b)
{
    buf_text(b, "</" XN_DATA "></" XN_RPL "></" XN_ROOT ">");
}

void xccos_put_server(struct buf *b, struct slice uri)
{
    buf_text(b, "<" XN_UIB);
    (void)xml_write_attr(b, XN_URI, uri);
    buf_text(b, " " XN_ID "=\"0\" " XN_TYPE "=\"" XN_SERVER_TYPE "\"/>");
}

void xccos_put_info(struct buf *b, struct slice domain, struct slice info_type, int64_t now_us)
{
    char now[CLOCK_TEXT_SIZE];

    clock_format(now_us, now);
    buf_text(b, "<" XN_SIB);
    (void)xml_write_attr(b, XN_INFOTYPE, info_type);
    (void)xml_write_attr(b, XN_SERVERTIME, slice_of(now));
    put_number(b, XN_SEARCHLIMIT, 999);
    put_number(b, XN_SIZELIMIT, XCCOS_MAX_TEXT);
    put_number(b, XN_STORYLIMIT, XCCOS_MAX_TEXT);
    buf_text(b, " " XN_ROOTURI "=\"ma-cat://");
    (void)xml_write_text(b, domain);
    buf_text(b, "/" XN_ROOT_ID "\" " XN_DBVERSION "=\"" XN_ROOT_ID "\"/>");
}

static void open_user(struct buf *b, const struct xccos_user *u, size_t id)
{
    struct slice name = u->uri;
    struct slice rest = u->uri;

    if (slice_is(slice_cut(&rest, ':'), "sip"))
        name = slice_cut(&rest, '@');
    buf_text(b, "<" XN_UIB);
    (void)xml_write_attr(b, XN_URI, u->uri);
    put_number(b, XN_ID, id);
    buf_text(b, " " XN_TYPE "=\"" XN_USER_TYPE "\"");
    (void)xml_write_attr(b, XN_UNAME, name);
    (void)xml_write_attr(b, XN_DISP, u->name);
}

void xccos_put_user(struct buf *b, const struct xccos_user *u, size_t id)
{
    open_user(b, u, id);
    buf_text(b, "/>");
}

static void put_flags(struct buf *b)
{
    buf_text(b, "<" XN_PROP " " XN_ID "=\"" XN_PROP_LOGGED "\">True</" XN_PROP "><" XN_PROP
                " " XN_ID "=\"" XN_PROP_INVITE "\">False</" XN_PROP "><" XN_PROP " " XN_ID
                "=\"" XN_PROP_FILEPOST "\">False</" XN_PROP ">");
}

static void open_room(struct buf *b, const struct xccos_room *r)
{
    buf_text(b, "<" XN_CHANIB);
    (void)xml_write_attr(b, XN_NAME, r->name);
    (void)xml_write_attr(b, XN_DESCRIPTION, r->description);
    (void)xml_write_attr(b, XN_URI, r->uri);
    buf_char(b, '>');
}

static void put_user_count(struct buf *b, int64_t users)
{
    buf_format(b, "<" XN_INFO " " XN_ID "=\"" XN_INFO_USERS "\">%lld</" XN_INFO ">",
               (long long)users);
}

void xccos_put_joined_room(struct buf *b, const struct xccos_room *r, const size_t *ids, size_t n)
{
    open_room(b, r);
    buf_text(b, "<" XN_AIB " " XN_KEY "=\"" XN_MEMBER_MASK "\" " XN_VALUE "=\"");
    for (size_t i = 0; i < n; i++)
        buf_format(b, i ? ",%zu" : "%zu", ids[i]);
    buf_text(b, "\"/>");
    put_user_count(b, r->users);
    put_flags(b);
    buf_text(b, "</" XN_CHANIB ">");
}

void xccos_put_listed_room(struct buf *b, const struct xccos_room *r, bool open)
{
    const char *privacy = open ? "open" : "private";

    open_room(b, r);
    put_user_count(b, r->users);
    buf_format(b, "<" XN_INFO " " XN_ID "=\"" XN_INFO_VISIBLITY "\">%s</" XN_INFO ">", privacy);
    buf_format(b, "<" XN_INFO " " XN_ID "=\"" XN_INFO_VISIBILITY "\">%s</" XN_INFO ">", privacy);
    put_flags(b);
    buf_text(b, "</" XN_CHANIB ">");
}

void xccos_put_room_uri(struct buf *b, struct slice uri)
{
    buf_text(b, "<" XN_CHANIB);
    (void)xml_write_attr(b, XN_URI, uri);
    buf_text(b, "/>");
}

void xccos_put_failed_room(struct buf *b, struct slice uri)
{
    buf_text(b, "<" XN_FIB " " XN_KEY "=\"" XN_FAILED "\"");
    put_room_parts(b, uri);
    buf_text(b, "/>");
}

void xccos_open_history(struct buf *b, struct slice room)
{
    buf_text(b, "<" XN_CHANIB);
    (void)xml_write_attr(b, XN_URI, room);
    buf_char(b, '>');
}

void xccos_close_history(struct buf *b)
{
    buf_text(b, "</" XN_CHANIB ">");
}

static void put_message_as(struct buf *b, const char *element, const struct xccos_message *m,
                           size_t number)
{
    char ts[CLOCK_TEXT_SIZE];

    clock_format(m->time_us, ts);
    buf_format(b, "<%s " XN_ID "=\"" XN_GRPCHAT "\" " XN_SEQID "=\"%zu\"", element, number);
    put_number(b, XN_CHATID, (uint64_t)m->chat_id);
    put_number(b, XN_RECORDSEQ, (uint64_t)m->sequence);
    (void)xml_write_attr(b, XN_CHANURI, m->room);
    (void)xml_write_attr(b, XN_AUTHOR, m->author);
    (void)xml_write_attr(b, XN_AUTHDISP, m->author_name);
    buf_text(b, " " XN_ALERT "=\"false\"");
    (void)xml_write_attr(b, XN_TS, slice_of(ts));
    buf_text(b, "><" XN_CHAT ">");
    (void)xml_write_text(b, m->text);
    buf_format(b, "</" XN_CHAT "></%s>", element);
}

void xccos_put_message(struct buf *b, const struct xccos_message *m, size_t number)
{
    put_message_as(b, XN_MSG, m, number);
}

void xccos_write_message(struct buf *b, uint64_t envid, const struct xccos_message *m)
{
    open_envelope(b, envid);
    put_message_as(b, XN_GRPCHAT, m, 1);
    buf_text(b, "</" XN_ROOT ">");
}

void xccos_write_joined(struct buf *b, uint64_t envid, const struct xccos_user *u,
                        struct slice room)
{
    open_envelope(b, envid);
    buf_text(b, "<" XN_NTC " " XN_ID "=\"" XN_NTC_JOIN "\" " XN_SEQID "=\"1\"><" XN_DATA ">");
    open_user(b, u, 0);
    buf_text(b, "><" XN_AIB " " XN_KEY "=\"" XN_MEMBER_MASK "\"");
    put_room_parts(b, room);
    buf_text(b, "/></" XN_UIB "></" XN_DATA "></" XN_NTC "></" XN_ROOT ">");
}

void xccos_write_parted(struct buf *b, uint64_t envid, struct slice user, struct slice room)
{
    open_envelope(b, envid);
    buf_text(b, "<" XN_NTC " " XN_ID "=\"" XN_NTC_PART "\" " XN_SEQID "=\"1\"><" XN_DATA
                "><" XN_CHANIB);
    (void)xml_write_attr(b, XN_URI, room);
    buf_text(b, "><" XN_UIB);
    (void)xml_write_attr(b, XN_URI, user);
    buf_text(b, "/></" XN_CHANIB "></" XN_DATA "></" XN_NTC "></" XN_ROOT ">");
}

static void put_command_data(struct buf *b, enum xccos_command command, struct slice room,
                             int64_t count)
{
    if (command == XCCOS_JOIN || command == XCCOS_BJOIN) {
        buf_text(b, "<" XN_CHANID " " XN_KEY "=\"0\"");
        put_room_parts(b, room);
        buf_text(b, "/>");
    } else if (room.n > 0) {
        xccos_put_room_uri(b, room);
    }
    if (command == XCCOS_BCCONTEXT)
        buf_format(b, "<" XN_BCQ "><" XN_LAST " " XN_CNT "=\"%lld\"/></" XN_BCQ ">",
                   (long long)count);
    if (command == XCCOS_CHANSRCH)
        buf_text(b, "<" XN_QIB " qtype=\"BYNAME\" " XN_CRITERIA "=\"\" extended=\"false\"/>");
}

void xccos_write_command(struct buf *b, uint64_t envid, enum xccos_command command,
                         struct slice room, int64_t count)
{
    open_envelope(b, envid);
    buf_text(b, "<" XN_CMD);
    (void)xml_write_attr(b, XN_ID, slice_of(xccos_table[command].command));
    buf_text(b, " " XN_SEQID "=\"1\"><" XN_DATA ">");
    put_command_data(b, command, room, count);
    buf_text(b, "</" XN_DATA "></" XN_CMD "></" XN_ROOT ">");
}

void xccos_write_post(struct buf *b, uint64_t envid, struct slice room, struct slice author,
                      struct slice text)
{
    open_envelope(b, envid);
    buf_text(b, "<" XN_GRPCHAT " " XN_ID "=\"" XN_GRPCHAT "\" " XN_SEQID "=\"1\"");
    (void)xml_write_attr(b, XN_CHANURI, room);
    (void)xml_write_attr(b, XN_AUTHOR, author);
    buf_text(b, "><" XN_CHAT ">");
    (void)xml_write_text(b, text);
    buf_text(b, "</" XN_CHAT "></" XN_GRPCHAT "></" XN_ROOT ">");
}
