/* SPDX-License-Identifier: Apache-2.0 */
/* Members of rooms in memory, and notices to them. */
#include "chat-server/room.h"

#include "base/own.h"
#include "chat-server/dialog.h"
#include "chat-server/lookup.h"

#include <stdlib.h>
#include <string.h>

/* ---- who is where ---- */

static struct room **bucket_of(struct chat_server *s, struct slice uri)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < uri.n; i++)
        hash = (hash ^ (unsigned char)uri.p[i]) * 16777619u;

    return &s->rooms[hash % CHAT_ROOM_BUCKETS];
}

struct room *room_find(const struct chat_server *s, struct slice uri)
{
    /* The table itself is not changed through this. */
    struct room *r = *bucket_of((struct chat_server *)(uintptr_t)s, uri);

    while (r && !slice_is(uri, r->uri))
        r = r->next;

    return r;
}

struct member *room_member(const struct conn *c, struct slice uri)
{
    struct member *m = c->joined;

    while (m && !slice_is(uri, m->room->uri))
        m = m->next_of_conn;

    return m;
}

static bool same_user(const struct member *a, const struct member *b)
{
    return strcmp(a->conn->user, b->conn->user) == 0;
}

size_t room_people(const struct chat_server *s, struct slice uri)
{
    const struct room *r = room_find(s, uri);

    return r ? r->people : 0;
}

/* Kept as members come and go: to find it out for each member of a large room at each join would
 * take the square of their number. */
static struct member *first_of_user(const struct member *m)
{
    struct member *o = m->room->members;

    while (o && (o == m || !same_user(o, m)))
        o = o->next_in_room;

    return o;
}

static void count_in(struct member *m)
{
    struct member *other = first_of_user(m);

    m->first_of_user = true;
    if (other)
        other->first_of_user = false;
    else
        m->room->people++;
}

static void count_out(const struct member *m)
{
    struct member *other = first_of_user(m);

    if (!other)
        m->room->people--;
    else if (m->first_of_user)
        other->first_of_user = true;
}

static void room_free(struct room *r)
{
    if (!r)
        return;
    free(r->uri);
    free(r->name);
    free(r->description);
    free(r);
}

OWN_DEFINE(room, struct room, room_free)

static struct room *open_room(struct chat_server *s, const struct lookup_room *room)
{
    struct room *known = room_find(s, slice_of(room->uri));

    if (known)
        return known;
    OWN(own_room) struct room *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->uri = slice_dup(slice_of(room->uri));
    r->name = slice_dup(slice_of(room->name));
    r->description = slice_dup(slice_of(room->description));
    r->by_queue = room->by_queue;
    if (!r->uri || !r->name || !r->description)
        return NULL;
    struct room **bucket = bucket_of(s, slice_of(room->uri));
    r->next = *bucket;
    *bucket = r;
    atomic_fetch_add(&s->shown_rooms, 1);

    struct room *opened = r;
    r = NULL;
    return opened;
}

static void close_if_empty(struct chat_server *s, struct room *r)
{
    struct room **at = bucket_of(s, slice_of(r->uri));

    if (r->members)
        return;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    atomic_fetch_sub(&s->shown_rooms, 1);
    room_free(r);
}

struct member *room_add(struct conn *c, struct dialog *d, const struct lookup_room *room)
{
    struct room *r = open_room(c->server, room);

    if (!r)
        return NULL;
    struct member *m = calloc(1, sizeof *m);
    if (!m) {
        close_if_empty(c->server, r);
        return NULL;
    }
    *m = (struct member){
        .room = r, .conn = c, .dialog = d, .next_in_room = r->members, .next_of_conn = c->joined};
    random_bytes(m->leave_once, sizeof m->leave_once);
    r->members = m;
    c->joined = m;
    c->joined_count++;
    count_in(m);

    return m;
}

void room_remove(struct member *m)
{
    struct room *r = m->room;
    struct conn *c = m->conn;
    struct member **at = &r->members;

    count_out(m);
    while (*at != m)
        at = &(*at)->next_in_room;
    *at = m->next_in_room;
    at = &c->joined;
    while (*at != m)
        at = &(*at)->next_of_conn;
    *at = m->next_of_conn;
    c->joined_count--;
    free(m);
    close_if_empty(c->server, r);
}

/* ---- telling ---- */

static void tell(const struct member *m, struct slice envelope)
{
    dialog_send(m->conn, m->dialog, envelope, true);
}

void room_tell_message(struct room *r, const struct xccos_message *message)
{
    OWN(own_buf) struct buf b = {0};

    /* A repeated request finds its first record; then everybody has it already. */
    if (message->chat_id <= r->last_chat_id || !r->members)
        return;
    r->last_chat_id = message->chat_id;
    buf_init(&b, SIP_MAX_REPLY);
    xccos_write_message(&b, ++r->members->conn->server->last_envid, message);
    for (const struct member *m = r->members; m && !b.failed; m = m->next_in_room)
        tell(m, buf_view(&b));
}

static bool elsewhere_too(const struct member *m)
{
    return first_of_user(m) != NULL;
}

static void tell_others(const struct member *m, struct slice envelope)
{
    for (const struct member *o = m->room->members; o; o = o->next_in_room)
        if (o != m)
            tell(o, envelope);
}

void room_tell_joined(const struct member *m)
{
    OWN(own_buf) struct buf b = {0};
    const struct xccos_user u = {slice_of(m->conn->user), slice_of(m->conn->name)};

    if (elsewhere_too(m))
        return;
    buf_init(&b, SIP_MAX_REPLY);
    xccos_write_joined(&b, ++m->conn->server->last_envid, &u, slice_of(m->room->uri));
    if (!b.failed)
        tell_others(m, buf_view(&b));
}

static void tell_parted(const struct member *m)
{
    OWN(own_buf) struct buf b = {0};

    if (elsewhere_too(m))
        return;
    buf_init(&b, SIP_MAX_REPLY);
    xccos_write_parted(&b, ++m->conn->server->last_envid, slice_of(m->conn->user),
                       slice_of(m->room->uri));
    if (!b.failed)
        tell_others(m, buf_view(&b));
}

void room_left(struct member *m)
{
    tell_parted(m);
    room_remove(m);
}
