/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/feed.h"

#include "base/clock.h"
#include "base/own.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

void feed_done(struct feed *f)
{
    for (size_t i = 0; i < f->owned_n; i++)
        free(f->owned[i]);
    free(f->owned);
    free(f->items);
    *f = (struct feed){0};
}

void feed_clear(struct feed *f)
{
    f->n = 0;
}

static void *more(void *p, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return p;
    *room = *room ? 2 * *room : 64;
    p = realloc(p, *room * size);
    assert_non_null(p);
    return p;
}

struct slice feed_keep(struct feed *f, struct slice bytes)
{
    char *copy = malloc(bytes.n + 1);
    assert_non_null(copy);
    if (bytes.n)
        memcpy(copy, bytes.p, bytes.n);
    copy[bytes.n] = '\0';
    f->owned = more(f->owned, f->owned_n, &f->owned_room, sizeof *f->owned);
    f->owned[f->owned_n++] = copy;
    return (struct slice){copy, bytes.n};
}

struct slice feed_make(struct feed *f, struct feed_stream *s, enum record_kind kind,
                       const char *members)
{
    OWN(own_buf) struct buf b;
    struct err e = {0};
    char id[37];
    buf_init(&b, RECORD_MAX_BYTES);
    uuid_v7(clock_wall_us(), id);
    const struct record_head h = {.id = id,
                                  .source = slice_of(s->source),
                                  .type = slice_of(record_type(kind)),
                                  .subject = slice_of(s->subject),
                                  .time_us = INT64_C(1700000000000000) + s->sequence,
                                  .epoch = s->epoch ? s->epoch : 1,
                                  .sequence = s->sequence + 1,
                                  .previous = s->previous};
    record_build(&b, &h, slice_of(members));
    if (buf_ok(&b, "record", &e) < 0)
        fail_msg("%s", e.text);
    sha256(b.p, b.n, s->previous);
    s->sequence++;
    return feed_keep(f, buf_view(&b));
}

void feed_put(struct feed *f, struct slice raw)
{
    f->items = more(f->items, f->n, &f->room, sizeof *f->items);
    f->items[f->n++] = (struct capture_item){
        .part = f->part, .pos = f->pos++, .queued_us = INT64_C(1700000001000000), .raw = raw};
}

void feed_post(struct feed *f, struct feed_stream *s)
{
    char members[160];
    (void)snprintf(members, sizeof members,
                   "\"chatId\":%lld,\"participant\":\"sip:alice@example.test\",\"text\":\"line "
                   "%lld\"",
                   (long long)s->sequence + 1, (long long)s->sequence + 1);
    feed_put(f, feed_make(f, s, RECORD_POST, members));
}

int feed_write(struct capture_writer *w, const struct capture_item *items, size_t n,
               struct staging_position *positions, size_t position_count,
               struct capture_outcome *out, struct err *e)
{
    OWN(own_capture_batch) struct capture_batch *b = NULL;
    int rc = capture_batch_new(&b, e);
    if (rc == 0)
        rc = capture_decode(b, items, n, e);
    return rc < 0 ? rc : capture_write(w, b, positions, position_count, out, e);
}

static void fresh_schema(const char *postgres, int number)
{
    OWN(own_db) struct db *db = NULL;
    struct err e = {0};
    char sql[96];
    (void)snprintf(sql, sizeof sql, "DROP SCHEMA IF EXISTS f%d CASCADE; CREATE SCHEMA f%d", number,
                   number);
    int rc = db_open(&db, postgres, 0, &e);
    if (rc == 0)
        rc = db_script(db, sql, &e);
    if (rc < 0)
        fail_msg("%s", e.text);
}

const char *feed_database(const char *postgres, const char *scratch)
{
    static char url[600];
    static int number;
    number++;
    if (!postgres) {
        (void)snprintf(url, sizeof url, "sqlite:%s/feed%d.db", scratch, number);
        return url;
    }
    fresh_schema(postgres, number);
    (void)snprintf(url, sizeof url, "%s%soptions=-csearch_path%%3Df%d", postgres,
                   strchr(postgres, '?') ? "&" : "?", number);
    return url;
}
