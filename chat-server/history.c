/* SPDX-License-Identifier: Apache-2.0 */
/* A page of history: read, record the reading, show. In this order. */
#include "chat-server/history.h"

#include "base/log.h"
#include "base/own.h"
#include "chat-server/command.h"
#include "chat-server/confirm.h"
#include "chat-server/publish.h"
#include "chat-server/reader.h"
#include "chat-server/room.h"
#include "mgccomp/record.h"

#include <stdlib.h>
#include <string.h>

struct page {
    struct chat_server *server;
    struct request *q;
    int class;
    size_t wanted;
    struct json_doc *json;
    struct buf xml;                  /* the messages, oldest first */
    size_t starts[CHAT_MAX_HISTORY]; /* where each begins in xml */
    int64_t ids[CHAT_MAX_HISTORY];
    size_t count;
    size_t counted; /* bytes in server->page_bytes */
};

static void page_free(struct page *p)
{
    if (!p)
        return;
    p->server->page_bytes -= p->counted;
    json_doc_free(p->json);
    buf_done(&p->xml);
    free(p);
}

OWN_DEFINE(page, struct page, page_free)

/* ---- beside the loop ---- */

static void drop_oldest(struct page *p)
{
    size_t n = p->starts[1];

    buf_drop_front(&p->xml, n);
    p->count--;
    for (size_t i = 0; i < p->count; i++) {
        p->starts[i] = p->starts[i + 1] - n;
        p->ids[i] = p->ids[i + 1];
    }
}

static int add_row(void *arg, const struct store_row *row, struct err *e)
{
    struct page *p = arg;
    struct record r;

    if (p->wanted == 0 || p->count == CHAT_MAX_HISTORY)
        return 0;
    int class = record_decode(p->json, row->raw, &r, e);
    if (class < 0)
        return class;
    p->starts[p->count] = p->xml.n;
    p->ids[p->count] = row->chat_id;
    xccos_put_message(&p->xml,
                      &(struct xccos_message){.room = slice_of(p->q->x.rooms[0]),
                                              .author = r.participant,
                                              .author_name = r.name,
                                              .text = r.text,
                                              .time_us = r.time_us,
                                              .chat_id = row->chat_id,
                                              .sequence = row->sequence},
                      p->count + 1);
    p->count++;
    /* The newest that fit are shown. */
    while (p->count > 1 && p->xml.n > CHAT_MAX_PAGE)
        drop_oldest(p);

    return 0;
}

static void read_page(void *arg)
{
    struct page *p = arg;
    struct chat_server *s = p->q->server;
    struct store *store;
    struct err e = {0};

    p->class = reader_take(s->reader, &store, &e);
    if (p->class == 0) {
        p->class = store_read_posts(store, slice_of(s->pool), slice_of(p->q->x.rooms[0]), 0,
                                    p->wanted, add_row, p, &e);
        reader_give(s->reader, store);
    }
    if (p->class == ERR_NOT_FOUND)
        p->class = 0;
    if (p->class == 0)
        p->class = buf_ok(&p->xml, "history", &e);
    if (p->class < 0)
        log_error("chat.history", &e, "peer=%s", p->q->conn->peer);
}

/* ---- in the loop ---- */

static void read_decided(void *arg, const struct published *published)
{
    OWN(own_page) struct page *p = arg;
    struct request *q = p->q;
    OWN(own_buf) struct buf b = {0};

    if (published->class != 0) {
        command_finish(q, XCCOS_UNAVAILABLE);
        return;
    }
    (void)command_open(q, &b, XCCOS_OK);
    xccos_open_history(&b, slice_of(q->x.rooms[0]));
    buf_slice(&b, buf_view(&p->xml));
    xccos_close_history(&b);
    command_reply(q, &b);
    request_end(q);
}

static size_t ranges_of(const struct page *p, struct publish_range ranges[CHAT_MAX_HISTORY])
{
    size_t n = 0;

    for (size_t i = 0; i < p->count; i++) {
        if (n > 0 && ranges[n - 1].last + 1 == p->ids[i])
            ranges[n - 1].last = p->ids[i];
        else
            ranges[n++] = (struct publish_range){p->ids[i], p->ids[i]};
    }

    return n;
}

static void page_read(void *arg)
{
    OWN(own_page) struct page *p = arg;
    struct request *q = p->q;
    struct publish_range ranges[CHAT_MAX_HISTORY];

    /* They stay in memory until the store has recorded that they are read. */
    p->counted = p->xml.n;
    q->server->page_bytes += p->counted;
    if (p->class < 0 || q->server->page_bytes > CHAT_MAX_PAGES) {
        command_finish(q, XCCOS_UNAVAILABLE);
        return;
    }
    size_t n = ranges_of(p, ranges);
    if (publish_read(q->conn, slice_of(q->x.rooms[0]), ranges, n, (int64_t)p->count, read_decided,
                     p, NULL) < 0) {
        command_finish(q, XCCOS_UNAVAILABLE);
        return;
    }
    p = NULL;
}

static struct page *page_new(struct request *q)
{
    OWN(own_page) struct page *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->server = q->server;
    p->q = q;
    p->wanted = 25;
    if (q->x.count >= 0)
        p->wanted = q->x.count < CHAT_MAX_HISTORY ? (size_t)q->x.count : CHAT_MAX_HISTORY;
    /* A page and a message, which can be 8000 characters of 4 bytes, or as many escaped ones. */
    buf_init(&p->xml, CHAT_MAX_PAGE + 64 * 1024);
    p->json = json_doc_new();
    if (!p->json)
        return NULL;

    struct page *made = p;
    p = NULL;
    return made;
}

void history_command(struct request *q)
{
    const struct member *m = room_member(q->conn, slice_of(q->x.rooms[0]));
    bool refuse =
        chat_refuses(q->server, CHAT_READ) || confirm_refuses(q->server, m && m->room->by_queue);
    OWN(own_page) struct page *p = refuse ? NULL : page_new(q);

    /* What is said meanwhile comes after the page. */
    conn_hold(q->conn);
    if (!p || loop_work(q->server->loop, read_page, page_read, p, NULL) < 0) {
        command_finish(q, XCCOS_UNAVAILABLE);
        return;
    }
    p = NULL;
}
