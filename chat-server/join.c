/* SPDX-License-Identifier: Apache-2.0 */
/* Joining: look the rooms up, record the joins, answer, tell the others. And the way out. */
#include "chat-server/join.h"

#include "base/own.h"
#include "chat-server/command.h"
#include "chat-server/confirm.h"
#include "chat-server/dialog.h"
#include "chat-server/lookup.h"
#include "chat-server/publish.h"
#include "chat-server/room.h"

#include <stdlib.h>

/* ---- the reply ---- */

static struct member *joined_room(const struct request *q, size_t i)
{
    return q->codes[i] == XCCOS_OK ? room_member(q->conn, slice_of(q->x.rooms[i])) : NULL;
}

static void put_users(struct buf *b, const struct member *joined, uint64_t envid, size_t *ids)
{
    for (const struct member *m = joined->room->members; m; m = m->next_in_room) {
        if (m->conn->listed_in == envid || !m->first_of_user)
            continue;
        m->conn->listed_in = envid;
        m->conn->listed_id = (*ids)++;
        xccos_put_user(b, &(struct xccos_user){slice_of(m->conn->user), slice_of(m->conn->name)},
                       m->conn->listed_id);
    }
}

static bool put_room(struct buf *b, const struct member *joined, bool people)
{
    const struct room *r = joined->room;
    size_t n = 0;
    OWN(own_mem) size_t *ids = calloc(r->people, sizeof *ids);

    if (!ids)
        return false;
    for (const struct member *m = people ? r->members : NULL; m; m = m->next_in_room)
        if (m->first_of_user)
            ids[n++] = m->conn->listed_id;
    xccos_put_joined_room(b,
                          &(struct xccos_room){.uri = slice_of(r->uri),
                                               .name = slice_of(r->name),
                                               .description = slice_of(r->description),
                                               .users = (int64_t)r->people},
                          ids, n);

    return true;
}

static void put_result(struct request *q, struct buf *b, uint64_t envid, bool people)
{
    size_t ids = 0;

    for (size_t i = 0; people && i < q->x.room_count; i++)
        if (joined_room(q, i))
            put_users(b, joined_room(q, i), envid, &ids);
    for (size_t i = 0; i < q->x.room_count; i++) {
        const struct member *m = joined_room(q, i);

        if (!m || !put_room(b, m, people))
            xccos_put_failed_room(b, slice_of(q->x.rooms[i]));
    }
}

static void reply_joined(struct request *q)
{
    OWN(own_buf) struct buf b = {0};
    bool single = q->x.command == XCCOS_JOIN;
    int code = single ? q->codes[0] : XCCOS_OK;

    if (code != XCCOS_OK) {
        command_refuse(q, code);
        return;
    }
    uint64_t envid = command_open(q, &b, code);
    put_result(q, &b, envid, true);
    if (b.n > CHAT_MAX_PAGE || b.failed) {
        /* They are in and must be told so, without the names if these are too many for a message.
         */
        buf_done(&b);
        envid = command_open(q, &b, code);
        put_result(q, &b, envid, false);
    }
    command_reply(q, &b);
}

static void all_decided(struct request *q)
{
    reply_joined(q);
    for (size_t i = 0; i < q->x.room_count; i++)
        if (q->fresh[i] && joined_room(q, i))
            room_tell_joined(joined_room(q, i));
    request_end(q);
}

/* ---- the records ---- */

struct one_join {
    struct request *q;
    size_t i;
};

static void one_done(struct request *q)
{
    if (--q->waiting == 0)
        all_decided(q);
}

/* On record and yet not joined: only a new sign-in makes it true again. */
static void cut_off(struct request *q, size_t i)
{
    /* By it the leave is recorded when the connection ends. */
    (void)room_add(q->conn, q->dialog, &q->lookup->rooms[i]);
    conn_cut(q->conn, "disconnect");
}

static void unjoin_decided(void *arg, const struct published *p)
{
    OWN(own_mem) struct one_join *j = arg;

    if (p->class != 0 && p->class != ERR_REJECTED)
        cut_off(j->q, j->i);
    one_done(j->q);
}

static void join_decided(void *arg, const struct published *p)
{
    OWN(own_mem) struct one_join *j = arg;
    struct request *q = j->q;
    size_t i = j->i;
    const struct lookup_room *info = &q->lookup->rooms[i];

    q->codes[i] = XCCOS_UNAVAILABLE;
    if (p->class == 0 && room_add(q->conn, q->dialog, info)) {
        q->codes[i] = XCCOS_OK;
        q->fresh[i] = true;
    } else if (p->class == ERR_AGAIN &&
               publish_unjoin(q->conn, slice_of(info->uri), unjoin_decided, j, NULL) == 0) {
        j = NULL;
        return;
    } else if (p->class == 0 || p->class == ERR_AGAIN || p->class == ERR_DOUBT ||
               p->class == ERR_STOPPED) {
        cut_off(q, i);
    }
    one_done(q);
}

static bool named_before(const struct request *q, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (slice_is(slice_of(q->x.rooms[k]), q->x.rooms[i]))
            return true;

    return false;
}

/* Code of a room that needs no record (or may not have one); 0: record a join. */
static int decide(const struct request *q, size_t i, size_t more)
{
    if (q->lookup->class < 0)
        return XCCOS_UNAVAILABLE;
    if (!q->lookup->rooms[i].name)
        return XCCOS_NO_NODE;
    if (room_member(q->conn, slice_of(q->x.rooms[i])) || named_before(q, i))
        return XCCOS_OK;
    if (chat_refuses(q->server, CHAT_JOIN) ||
        confirm_refuses(q->server, q->lookup->rooms[i].by_queue))
        return XCCOS_UNAVAILABLE;
    if (q->conn->joined_count + more >= CHAT_MAX_JOINED)
        return XCCOS_LIMIT;

    return 0;
}

static int submit_join(struct request *q, size_t i)
{
    OWN(own_mem) struct one_join *j = malloc(sizeof *j);

    if (!j)
        return err_memory(NULL, "join");
    *j = (struct one_join){q, i};
    const struct lookup_room *room = &q->lookup->rooms[i];
    int r = publish_join(q->conn, room, join_decided, j, NULL);
    if (r == 0)
        j = NULL;

    return r;
}

static void rooms_found(struct request *q)
{
    size_t more = 0;

    q->waiting = 1; /* this loop itself */
    for (size_t i = 0; i < q->x.room_count; i++) {
        q->codes[i] = decide(q, i, more);
        if (q->codes[i] != 0)
            continue;
        q->codes[i] = XCCOS_UNAVAILABLE;
        if (submit_join(q, i) == 0) {
            q->waiting++;
            more++;
        }
    }
    if (--q->waiting == 0)
        all_decided(q);
}

void join_command(struct request *q)
{
    bool single = q->x.command == XCCOS_JOIN;

    if (q->x.too_many_rooms || q->x.room_count == 0 || (single && q->x.room_count != 1)) {
        command_finish(q, q->x.too_many_rooms ? XCCOS_LIMIT : XCCOS_INVALID);
        return;
    }
    /* What is said in a room after the join's record waits until the joiner knows that he is in. */
    conn_hold(q->conn);
    if (lookup_rooms(q, rooms_found, NULL) < 0)
        command_finish(q, XCCOS_UNAVAILABLE);
}

/* ---- part ---- */

static void part_decided(void *arg, const struct published *p)
{
    struct request *q = arg;
    struct member *m = room_member(q->conn, slice_of(q->x.rooms[0]));
    OWN(own_buf) struct buf b = {0};

    if (p->class != 0 || !m) {
        if (p->class == ERR_DOUBT || p->class == ERR_STOPPED)
            conn_cut(q->conn, "disconnect");
        command_finish(q, XCCOS_UNAVAILABLE);
        return;
    }
    (void)command_open(q, &b, XCCOS_OK);
    xccos_put_room_uri(&b, slice_of(q->x.rooms[0]));
    command_reply(q, &b);
    room_left(m);
    request_end(q);
}

void join_part_command(struct request *q)
{
    const struct member *m = room_member(q->conn, slice_of(q->x.rooms[0]));

    if (publish_leave(m, "part", part_decided, q, NULL) < 0)
        command_finish(q, XCCOS_UNAVAILABLE);
}
