/* SPDX-License-Identifier: Apache-2.0 */
/* Reading XCCOS: envelopes into plain structs, for the server and for the client. */
#include "chat-server/xccos.h"

#include "base/clock.h"
#include "chat-server/xccos_names.h"
#include "chat-server/xccos_table.h"

#include <ctype.h>
#include <string.h>

static const struct xml_limits envelope_limits = {
    .bytes = XCCOS_MAX_ENVELOPE, .depth = 12, .nodes = 4000};
/* What a server may send: pages of history and long lists. */
static const struct xml_limits answer_limits = {.bytes = 640 * 1024, .depth = 12, .nodes = 200000};

static enum xccos_command command_of(struct slice id, bool reply)
{
    for (int i = 1; i < XCCOS_COMMANDS; i++)
        if (slice_is(id, reply ? xccos_table[i].reply : xccos_table[i].command))
            return (enum xccos_command)i;

    return XCCOS_UNKNOWN;
}

static bool plain_uri_text(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (!isalnum(c) && c != '.' && c != '-' && c != '_')
            return false;
    }

    return s.n > 0;
}

/* Rooms are compared as text everywhere, so there is one spelling of each. */
static bool room_uri(struct slice domain, struct slice id, char out[XCCOS_MAX_URI])
{
    const size_t scheme = sizeof XN_ROOM_SCHEME - 1;

    out[0] = '\0';
    if (!plain_uri_text(domain) || !plain_uri_text(id) ||
        scheme + domain.n + 1 + id.n >= XCCOS_MAX_URI)
        return false;
    size_t n = scheme;
    memcpy(out, XN_ROOM_SCHEME, scheme);
    for (size_t i = 0; i < domain.n; i++)
        out[n++] = (char)tolower((unsigned char)domain.p[i]);
    out[n++] = '/';
    for (size_t i = 0; i < id.n; i++)
        out[n++] = (char)tolower((unsigned char)id.p[i]);
    out[n] = '\0';

    return true;
}

static void add_room(struct xccos_request *q, struct slice domain, struct slice id)
{
    if (q->room_count == XCCOS_MAX_ROOMS) {
        q->too_many_rooms = true;
        return;
    }
    (void)room_uri(domain, id, q->rooms[q->room_count]);
    q->room_count++;
}

static void add_room_uri(struct xccos_request *q, struct slice uri)
{
    struct slice domain = {0};
    struct slice id = {0};

    (void)xccos_split_room(uri, &domain, &id);
    add_room(q, domain, id);
}

static void read_blocks(const struct xml_node *data, struct xccos_request *q)
{
    for (const struct xml_node *n = data ? data->child : NULL; n; n = n->next) {
        if (slice_is(n->name, XN_CHANID)) {
            add_room(q, xml_get(n, XN_DOMAIN), xml_get(n, XN_VALUE));
        } else if (slice_is(n->name, XN_CHANIB)) {
            add_room_uri(q, xml_get(n, XN_URI));
        } else if (slice_is(n->name, XN_QIB)) {
            q->criteria = xml_get(n, XN_CRITERIA);
        } else if (slice_is(n->name, XN_SIB)) {
            q->domain = xml_get(n, XN_DOMAIN);
            q->info_type = xml_get(n, XN_INFOTYPE);
        } else if (slice_is(n->name, XN_BCQ)) {
            const struct xml_node *last = xml_child(n, XN_LAST);

            if (last)
                (void)text_i64(xml_get(last, XN_CNT), &q->count);
        } else if (slice_is(xml_get(n, XN_TYPE), "MEMBER")) {
            q->member_list = true;
        }
    }
}

static const struct xml_node *only_block(const struct xml_node *root)
{
    return root->child && !root->child->next ? root->child : NULL;
}

int xccos_read_request(struct xml_doc *d, struct slice body, struct xccos_request *out,
                       struct err *e)
{
    const struct xml_node *root;
    int r = xml_parse(d, body, &envelope_limits, &root, e);

    if (r < 0)
        return err_wrap(e, "XCCOS envelope");
    if (!slice_is(root->name, XN_ROOT) || !slice_is(root->ns, XN_NAMESPACE))
        return err_set(e, ERR_REJECTED, "XCCOS envelope: root element is not xccos");
    const struct xml_node *block = only_block(root);
    if (!block)
        return err_set(e, ERR_REJECTED, "XCCOS envelope: not exactly one block");

    memset(out, 0, sizeof *out);
    out->count = -1;
    out->envid = xml_get(root, XN_ENVID);
    out->seqid = xml_get(block, XN_SEQID);
    out->id = xml_get(block, XN_ID);
    if (slice_is(block->name, XN_GRPCHAT)) {
        const struct xml_node *chat = xml_child(block, XN_CHAT);

        out->command = XCCOS_GRPCHAT;
        out->text = chat ? chat->text : (struct slice){0};
        add_room_uri(out, xml_get(block, XN_CHANURI));
        return 0;
    }
    if (!slice_is(block->name, XN_CMD))
        return err_set(e, ERR_REJECTED, "XCCOS envelope: the block is no command and no message");
    out->command = command_of(out->id, false);
    read_blocks(xml_child(block, XN_DATA), out);

    return 0;
}

static void read_reply(const struct xml_node *block, struct xccos_answer *a)
{
    const struct xml_node *resp = xml_child(block, XN_RESP);

    a->said = XCCOS_SAID_REPLY;
    a->command = command_of(xml_get(block, XN_ID), true);
    a->code = XCCOS_FAULT;
    if (resp) {
        (void)text_i64(xml_get(resp, XN_CODE), &a->code);
        a->code_text = resp->text;
    }
}

int xccos_read_answer(struct xml_doc *d, struct slice body, struct xccos_answer *out, struct err *e)
{
    const struct xml_node *root;
    int r = xml_parse(d, body, &answer_limits, &root, e);

    if (r < 0)
        return err_wrap(e, "XCCOS envelope");
    const struct xml_node *block = root->child;
    if (!slice_is(root->name, XN_ROOT) || !block)
        return err_set(e, ERR_REJECTED, "XCCOS envelope: no xccos block");

    struct xccos_answer a = {.data = xml_child(block, XN_DATA)};
    struct slice id = xml_get(block, XN_ID);
    if (slice_is(block->name, XN_RPL)) {
        read_reply(block, &a);
    } else if (slice_is(block->name, XN_GRPCHAT)) {
        a.said = XCCOS_SAID_MESSAGE;
        a.data = root;
    } else if (slice_is(id, XN_NTC_JOIN) || slice_is(id, XN_NTC_BJOIN)) {
        a.said = XCCOS_SAID_JOIN;
    } else if (slice_is(id, XN_NTC_PART)) {
        a.said = XCCOS_SAID_PART;
    }
    *out = a;

    return 0;
}

/* The first sibling of a name from n on. */
static const struct xml_node *this_or_next(const struct xml_node *n, const char *name)
{
    while (n && !slice_is(n->name, name))
        n = n->next;

    return n;
}

bool xccos_next_user(const struct xccos_answer *a, const struct xml_node **at,
                     struct xccos_user *out)
{
    const struct xml_node *in = a->data;

    /* A part notice holds its user inside the room. */
    if (in && a->said == XCCOS_SAID_PART)
        in = xml_child(in, XN_CHANIB);
    const struct xml_node *n = *at ? xml_next(*at, XN_UIB) : in ? xml_child(in, XN_UIB) : NULL;
    if (!n)
        return false;
    *at = n;
    *out = (struct xccos_user){xml_get(n, XN_URI), xml_get(n, XN_DISP)};

    return true;
}

bool xccos_next_room(const struct xccos_answer *a, const struct xml_node **at,
                     struct xccos_room *out)
{
    const struct xml_node *n = *at       ? xml_next(*at, XN_CHANIB)
                               : a->data ? xml_child(a->data, XN_CHANIB)
                                         : NULL;

    if (!n)
        return false;
    *at = n;
    *out = (struct xccos_room){.uri = xml_get(n, XN_URI),
                               .name = xml_get(n, XN_NAME),
                               .description = xml_get(n, XN_DESCRIPTION)};
    for (const struct xml_node *i = xml_child(n, XN_INFO); i; i = xml_next(i, XN_INFO))
        if (slice_is(xml_get(i, XN_ID), XN_INFO_USERS))
            (void)text_i64(i->text, &out->users);

    return true;
}

static void read_message(const struct xml_node *n, struct xccos_message *m)
{
    const struct xml_node *chat = xml_child(n, XN_CHAT);

    *m = (struct xccos_message){.room = xml_get(n, XN_CHANURI),
                                .author = xml_get(n, XN_AUTHOR),
                                .author_name = xml_get(n, XN_AUTHDISP)};
    if (chat)
        m->text = chat->text;
    (void)clock_parse(xml_get(n, XN_TS), &m->time_us);
    (void)text_i64(xml_get(n, XN_CHATID), &m->chat_id);
    (void)text_i64(xml_get(n, XN_RECORDSEQ), &m->sequence);
}

bool xccos_next_message(const struct xccos_answer *a, const struct xml_node **at,
                        struct xccos_message *out)
{
    const char *name = a->said == XCCOS_SAID_MESSAGE ? XN_GRPCHAT : XN_MSG;
    const struct xml_node *in = a->data;

    if (in && a->said == XCCOS_SAID_REPLY)
        in = xml_child(in, XN_CHANIB);
    const struct xml_node *n = *at ? (*at)->next : in ? in->child : NULL;
    n = this_or_next(n, name);
    if (!n)
        return false;
    *at = n;
    read_message(n, out);

    return true;
}

bool xccos_notice_room(const struct xccos_answer *a, char out[XCCOS_MAX_URI])
{
    const struct xml_node *room = a->data ? xml_child(a->data, XN_CHANIB) : NULL;
    const struct xml_node *user = a->data ? xml_child(a->data, XN_UIB) : NULL;
    const struct xml_node *right = user ? xml_child(user, XN_AIB) : NULL;
    struct slice domain = {0};
    struct slice id = {0};

    if (room)
        (void)xccos_split_room(xml_get(room, XN_URI), &domain, &id);
    if (right) {
        domain = xml_get(right, XN_DOMAIN);
        id = xml_get(right, XN_VALUE);
    }

    return room_uri(domain, id, out);
}
