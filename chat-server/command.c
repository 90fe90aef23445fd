/* SPDX-License-Identifier: Apache-2.0 */
/* The table of XCCOS commands, and those that need nothing but an answer. */
#include "chat-server/command.h"

#include "base/clock.h"
#include "base/own.h"
#include "chat-server/dialog.h"
#include "chat-server/history.h"
#include "chat-server/join.h"
#include "chat-server/lookup.h"
#include "chat-server/post.h"
#include "chat-server/room.h"

/* ---- replies ---- */

uint64_t command_open(struct request *q, struct buf *b, int code)
{
    uint64_t envid = ++q->server->last_envid;

    buf_init(b, SIP_MAX_REPLY - SIP_MAX_HEAD);
    xccos_open_reply(
        b, envid,
        &(struct xccos_ref){
            .command = q->x.command, .id = q->x.id, .envid = q->x.envid, .seqid = q->x.seqid},
        code);

    return envid;
}

void command_reply(struct request *q, struct buf *b)
{
    xccos_close_reply(b);
    if (b->failed) {
        request_answer(q, 500, "");
        return;
    }
    request_answer(q, 200, "");
    dialog_send(q->conn, q->dialog, buf_view(b), false);
}

void command_refuse(struct request *q, int code)
{
    OWN(own_buf) struct buf b = {0};

    (void)command_open(q, &b, code);
    command_reply(q, &b);
}

void command_finish(struct request *q, int code)
{
    command_refuse(q, code);
    request_end(q);
}

/* ---- commands that record nothing ---- */

static void do_requri(struct request *q)
{
    OWN(own_buf) struct buf b = {0};

    (void)command_open(q, &b, XCCOS_OK);
    xccos_put_server(&b, slice_of(q->server->pool));
    command_reply(q, &b);
    request_end(q);
}

static void do_server_info(struct request *q)
{
    OWN(own_buf) struct buf b = {0};

    (void)command_open(q, &b, XCCOS_OK);
    xccos_put_info(&b, slice_of(q->server->domain), q->x.info_type, clock_wall_us());
    command_reply(q, &b);
    request_end(q);
}

/* There are no invitations: an empty list is the truth. */
static void do_invitations(struct request *q)
{
    command_finish(q, XCCOS_OK);
}

static bool room_matches(const struct request *q, const struct lookup_room *r)
{
    struct slice name = slice_of(r->name);
    struct slice want = q->x.criteria;

    if (q->x.command == XCCOS_GETASSOCIATIONS && r->open)
        return false;
    for (size_t i = 0; i + want.n <= name.n; i++)
        if (slice_eq_nocase((struct slice){name.p + i, want.n}, want))
            return true;

    return false;
}

static void list_found(struct request *q)
{
    OWN(own_buf) struct buf b = {0};

    if (q->lookup->class < 0) {
        command_finish(q, XCCOS_UNAVAILABLE);
        return;
    }
    (void)command_open(q, &b, XCCOS_OK);
    /* As many as fit into a message. */
    for (size_t i = 0; i < q->lookup->count && b.n < CHAT_MAX_PAGE; i++) {
        const struct lookup_room *r = &q->lookup->rooms[i];
        struct slice uri = slice_of(r->uri);

        if (!r->name || !room_matches(q, r))
            continue;
        xccos_put_listed_room(&b,
                              &(struct xccos_room){.uri = uri,
                                                   .name = slice_of(r->name),
                                                   .description = slice_of(r->description),
                                                   .users = (int64_t)room_people(q->server, uri)},
                              r->open);
    }
    command_reply(q, &b);
    request_end(q);
}

static void do_list(struct request *q)
{
    /* Nobody manages rooms here: that list is empty. */
    if (q->x.command == XCCOS_GETASSOCIATIONS && !q->x.member_list)
        command_finish(q, XCCOS_OK);
    else if (lookup_list(q, list_found, NULL) < 0)
        command_finish(q, XCCOS_UNAVAILABLE);
}

/* ---- the table ---- */

enum role { SIGNED_IN, JOINED /* in the room that is named */ };

static const struct command {
    enum xccos_command command;
    enum role role;
    void (*run)(struct request *q);
} commands[] = {
    {XCCOS_REQURI, SIGNED_IN, do_requri},        {XCCOS_GETSERVERINFO, SIGNED_IN, do_server_info},
    {XCCOS_GETASSOCIATIONS, SIGNED_IN, do_list}, {XCCOS_CHANSRCH, SIGNED_IN, do_list},
    {XCCOS_GETINV, SIGNED_IN, do_invitations},   {XCCOS_JOIN, SIGNED_IN, join_command},
    {XCCOS_BJOIN, SIGNED_IN, join_command},      {XCCOS_PART, JOINED, join_part_command},
    {XCCOS_BCCONTEXT, JOINED, history_command},  {XCCOS_GRPCHAT, JOINED, publish_post},
};

static const struct command *command_of(enum xccos_command command)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (commands[i].command == command)
            return &commands[i];

    return NULL;
}

/* A refused post must be a SIP error: clients don't show a reply that says so. */
static void refuse_stranger(struct request *q, int code)
{
    if (q->x.command != XCCOS_GRPCHAT)
        command_finish(q, code);
    else
        request_finish(q, code == XCCOS_NOT_JOINED ? 403 : code);
}

static void stranger_found(struct request *q)
{
    if (q->lookup->class < 0)
        refuse_stranger(q, XCCOS_UNAVAILABLE);
    else
        refuse_stranger(q, q->lookup->rooms[0].name ? XCCOS_NOT_JOINED : XCCOS_NO_NODE);
}

void command_run(struct request *q)
{
    const struct command *c = command_of(q->x.command);

    if (!c) {
        command_finish(q, XCCOS_NOT_SUPPORTED);
        return;
    }
    if (q->x.command == XCCOS_GRPCHAT && !q->x.text.p) {
        refuse_stranger(q, XCCOS_INVALID);
        return;
    }
    if (c->role == JOINED && q->x.room_count != 1) {
        refuse_stranger(q, XCCOS_INVALID);
        return;
    }
    if (c->role == JOINED && !room_member(q->conn, slice_of(q->x.rooms[0]))) {
        if (lookup_rooms(q, stranger_found, NULL) < 0)
            refuse_stranger(q, XCCOS_UNAVAILABLE);
        return;
    }
    c->run(q);
}
