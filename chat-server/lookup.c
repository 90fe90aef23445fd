/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the directory: asked in a thread of their own, answered in the loop. */
#include "chat-server/lookup.h"

#include "base/log.h"
#include "base/own.h"
#include "chat-server/reader.h"
#include "chat-server/store/directory.h"

#include <stdlib.h>

void lookup_free(struct lookup *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->count; i++) {
        free(l->rooms[i].name);
        free(l->rooms[i].description);
    }
    free(l->rooms);
    free(l);
}

OWN_DEFINE(lookup, struct lookup, lookup_free)

/* ---- beside the loop ---- */

static bool may_see(const struct lookup *l, const struct directory_room *r)
{
    struct slice domain;
    struct slice id;
    struct slice rest = r->members;

    if (!xccos_split_room(r->uri, &domain, &id) || !slice_is(domain, l->q->server->domain))
        return false;
    if (r->members.n == 0)
        return true;
    while (rest.n > 0)
        if (slice_is(slice_cut(&rest, ' '), l->user))
            return true;

    return false;
}

static int fill_room(struct lookup_room *out, const struct directory_room *r, struct err *e)
{
    OWN(own_mem) char *name = slice_dup(r->name);
    OWN(own_mem) char *description = slice_dup(r->description.p ? r->description : SLICE(""));

    if (!name || !description)
        return err_memory(e, "room");
    if (!slice_copy(r->uri, out->uri, sizeof out->uri))
        return 0;
    out->name = name;
    out->description = description;
    out->open = r->members.n == 0;
    out->by_queue = r->by_queue;
    name = NULL;
    description = NULL;

    return 0;
}

struct visit {
    struct lookup *l;
    struct lookup_room *room;
};

static int found_room(void *arg, const struct directory_room *r, struct err *e)
{
    struct visit *v = arg;

    return may_see(v->l, r) ? fill_room(v->room, r, e) : 0;
}

static int find_rooms(struct lookup *l, struct store *s, struct err *e)
{
    for (size_t i = 0; i < l->count; i++) {
        struct visit v = {l, &l->rooms[i]};

        if (!l->rooms[i].uri[0])
            continue;
        int r = directory_find_room(s, slice_of(l->rooms[i].uri), found_room, &v, e);
        if (r < 0 && r != ERR_NOT_FOUND)
            return r;
    }

    return 0;
}

static int listed_room(void *arg, const struct directory_room *r, struct err *e)
{
    struct lookup *l = arg;

    if (l->count == LOOKUP_MAX_ROOMS || !may_see(l, r))
        return 0;
    if (l->count == l->space) {
        size_t space = l->space ? 2 * l->space : 16;
        struct lookup_room *more = realloc(l->rooms, space * sizeof *more);

        if (!more)
            return err_memory(e, "room list");
        l->rooms = more;
        l->space = space;
    }
    l->rooms[l->count] = (struct lookup_room){0};
    l->count++;

    return fill_room(&l->rooms[l->count - 1], r, e);
}

static int found_user(void *arg, const struct directory_user *u, struct err *e)
{
    struct lookup *l = arg;

    (void)e;
    (void)slice_copy(u->name, l->user_name, sizeof l->user_name);

    return 0;
}

static int look(struct lookup *l, struct store *s, struct err *e)
{
    switch (l->what) {
    case LOOKUP_ROOMS:
        return find_rooms(l, s, e);
    case LOOKUP_LIST:
        return directory_rooms(s, listed_room, l, e);
    case LOOKUP_USER:
        return directory_find_user(s, slice_of(l->user), found_user, l, e);
    }

    return err_set(e, ERR_FAULT, "unknown look-up");
}

static void work(void *arg)
{
    struct lookup *l = arg;
    struct store *s;
    struct err e = {0};

    l->class = reader_take(l->q->server->reader, &s, &e);
    if (l->class == 0) {
        l->class = look(l, s, &e);
        reader_give(l->q->server->reader, s);
    }
    if (l->class < 0 && l->class != ERR_NOT_FOUND)
        log_error("chat.directory", &e, "peer=%s", l->q->conn->peer);
}

/* ---- in the loop ---- */

static void after(void *arg)
{
    struct lookup *l = arg;

    l->found(l->q);
}

static int start(struct request *q, struct lookup *lookup, void (*found)(struct request *q),
                 struct err *e)
{
    OWN(own_lookup) struct lookup *l = lookup;

    l->q = q;
    l->found = found;
    int r = loop_work(q->server->loop, work, after, l, e);
    if (r < 0)
        return r;
    lookup_free(q->lookup);
    q->lookup = l;
    l = NULL;

    return 0;
}

static struct lookup *lookup_new(const struct request *q)
{
    struct lookup *l = calloc(1, sizeof *l);

    if (l)
        (void)slice_copy(slice_of(q->conn->user), l->user, sizeof l->user);

    return l;
}

int lookup_rooms(struct request *q, void (*found)(struct request *q), struct err *e)
{
    OWN(own_lookup) struct lookup *l = lookup_new(q);

    if (!l)
        return err_memory(e, "look-up");
    l->rooms = calloc(XCCOS_MAX_ROOMS, sizeof *l->rooms);
    if (!l->rooms)
        return err_memory(e, "look-up");
    for (size_t i = 0; i < q->x.room_count; i++)
        (void)slice_copy(slice_of(q->x.rooms[i]), l->rooms[i].uri, sizeof l->rooms[i].uri);
    l->count = q->x.room_count;
    l->what = LOOKUP_ROOMS;
    struct lookup *ready = l;
    l = NULL;

    return start(q, ready, found, e);
}

int lookup_list(struct request *q, void (*found)(struct request *q), struct err *e)
{
    struct lookup *l = lookup_new(q);

    if (!l)
        return err_memory(e, "look-up");
    l->what = LOOKUP_LIST;

    return start(q, l, found, e);
}

int lookup_user(struct request *q, struct slice user, void (*found)(struct request *q),
                struct err *e)
{
    OWN(own_lookup) struct lookup *l = lookup_new(q);

    if (!l)
        return err_memory(e, "look-up");
    if (!slice_copy(user, l->user, sizeof l->user))
        return err_set(e, ERR_REJECTED, "user URI too long");
    l->what = LOOKUP_USER;
    struct lookup *ready = l;
    l = NULL;

    return start(q, ready, found, e);
}
