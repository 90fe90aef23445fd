/* SPDX-License-Identifier: Apache-2.0 */
/* A post, the whole way: out of the request, through the store, to everybody in the room. */
#include "chat-server/post.h"

#include "base/fault.h"
#include "base/own.h"
#include "chat-server/confirm.h"
#include "chat-server/publish_inside.h"
#include "chat-server/room.h"

#include <stdlib.h>
#include <string.h>

static void add_part(struct sha256 *h, struct slice part)
{
    sha256_add_part(h, part.p, part.n);
}

/* What makes the same request the same. Envelope numbers alone would not do: two clients that
 * start in one second count alike, and a client's counters begin again. */
static bool once_key(const struct request *q, uint8_t out[SHA256_SIZE])
{
    struct sha256 *h = sha256_new();
    uint8_t body[SHA256_SIZE];

    if (!h)
        return false;
    sha256(sip_body(q->sip).p, sip_body(q->sip).n, body);
    add_part(h, slice_of(q->conn->user));
    add_part(h, slice_of(q->conn->endpoint));
    add_part(h, sip_call_id(q->sip));
    add_part(h, q->x.envid);
    add_part(h, q->x.seqid);
    add_part(h, (struct slice){(const char *)body, sizeof body});
    sha256_end(h, out);
    sha256_free(h);

    return true;
}

static void tell_room(struct room *r, const struct published *p, struct slice author,
                      struct slice author_name, struct slice text)
{
    room_tell_message(r, &(struct xccos_message){.room = slice_of(r->uri),
                                                 .author = author,
                                                 .author_name = author_name,
                                                 .text = text,
                                                 .time_us = p->time_us,
                                                 .chat_id = p->chat_id,
                                                 .sequence = p->sequence});
}

/* ---- a post that the queue confirmed too late ---- */

struct late_post {
    struct chat_server *server;
    char *room, *author, *author_name, *text;
};

static void late_post_free(struct late_post *l)
{
    if (!l)
        return;
    free(l->room);
    free(l->author);
    free(l->author_name);
    free(l->text);
    free(l);
}

OWN_DEFINE(late_post, struct late_post, late_post_free)

static void late_post_decided(void *arg, const struct published *p)
{
    OWN(own_late_post) struct late_post *l = arg;
    struct room *r = room_find(l->server, slice_of(l->room));

    if (p->class == 0 && r)
        tell_room(r, p, slice_of(l->author), slice_of(l->author_name), slice_of(l->text));
}

/* Its author was told no, yet it is on record: the room is to see what history will show. */
static void show_when_confirmed(const struct request *q, struct published_later *later)
{
    OWN(own_late_post) struct late_post *l = calloc(1, sizeof *l);

    if (!l || !later)
        return;
    l->server = q->server;
    l->room = slice_dup(slice_of(q->x.rooms[0]));
    l->author = slice_dup(slice_of(q->conn->user));
    l->author_name = slice_dup(slice_of(q->conn->name));
    l->text = slice_dup(q->x.text);
    if (!l->room || !l->author || !l->author_name || !l->text)
        return;
    *later = (struct published_later){late_post_decided, l};
    l = NULL;
}

/* ---- event, record, store, answer, fan-out ---- */

static void post_decided(void *arg, const struct published *p)
{
    struct request *q = arg;
    struct member *m = room_member(q->conn, slice_of(q->x.rooms[0]));

    if (p->class == ERR_DOUBT || p->class == ERR_STOPPED) {
        /* It may be on record: neither yes nor no would be true. */
        conn_cut(q->conn, "disconnect");
        request_end(q);
        return;
    }
    if (p->class == ERR_AGAIN)
        show_when_confirmed(q, p->later);
    if (p->class != 0) {
        request_finish(q, 503);
        return;
    }
    FAULT("chat.answer.before");
    request_answer(q, 200, "");
    FAULT("chat.answer.after");
    atomic_fetch_add(&q->server->shown_posts, 1);
    if (m)
        tell_room(m->room, p, slice_of(q->conn->user), slice_of(q->conn->name), q->x.text);
    request_end(q);
}

static int submit_post(struct request *q, struct err *e)
{
    OWN(own_event) struct event *ev = event_new(q->conn, RECORD_POST, slice_of(q->x.rooms[0]));
    const struct member *m = room_member(q->conn, slice_of(q->x.rooms[0]));

    if (!ev || !once_key(q, ev->job.event.once))
        return err_memory(e, "post");
    ev->by_queue = m && m->room->by_queue && q->server->queue;
    ev->job.event.numbered = true;
    json_put_string(&ev->members, "text", q->x.text.p ? q->x.text : SLICE(""));
    struct event *ready = ev;
    ev = NULL;

    return event_submit(ready, post_decided, q, e);
}

static size_t characters(struct slice text)
{
    size_t n = 0;

    for (size_t i = 0; i < text.n; i++)
        n += ((unsigned char)text.p[i] & 0xc0) != 0x80;

    return n;
}

void publish_post(struct request *q)
{
    const struct member *m = room_member(q->conn, slice_of(q->x.rooms[0]));
    struct err e = {0};

    if (characters(q->x.text) > XCCOS_MAX_TEXT)
        request_finish(q, 413);
    else if (chat_refuses(q->server, CHAT_POST) ||
             (m && confirm_refuses(q->server, m->room->by_queue)) || submit_post(q, &e) < 0)
        request_finish(q, 503);
}
