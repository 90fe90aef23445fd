/* SPDX-License-Identifier: Apache-2.0 */
#include "store_place.h"

#include "base/clock.h"

#include <inttypes.h>

static const char *scratch;
static int cases;

/* A database of its own for each case, dropped with the server or the scratch folder. */
static void fresh_url(struct place *p)
{
    cases++;
    if (p->kind == DB_SQLITE) {
        (void)snprintf(p->url, sizeof p->url, "sqlite:%s/store%d.db", scratch, cases);
        return;
    }
    const char *server = getenv("HOLDFAST_TEST_POSTGRES");
    OWN(own_db) struct db *db = NULL;
    struct err e = {0};
    char sql[64];
    assert_non_null(server);
    (void)snprintf(sql, sizeof sql, "CREATE DATABASE store%d", cases);
    if (db_open(&db, server, 0, &e) < 0 || db_script(db, sql, &e) < 0)
        fail_msg("%s", e.text);
    const char *at = strstr(server, "/postgres?");
    assert_non_null(at);
    (void)snprintf(p->url, sizeof p->url, "%.*s/store%d%s", (int)(at - server), server, cases,
                   at + strlen("/postgres"));
}

static int set_up(void **state, enum db_kind kind)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->kind = kind;
    fresh_url(p);
    OK(store_open(&p->s, p->url, &e));
    *state = p;
    return 0;
}

int set_up_sqlite(void **state)
{
    return set_up(state, DB_SQLITE);
}

int set_up_postgres(void **state)
{
    return set_up(state, DB_POSTGRES);
}

int tear_down(void **state)
{
    struct place *p = *state;
    store_close(p->s);
    free(p);
    return 0;
}

void reopen(struct place *p)
{
    store_close(p->s);
    p->s = NULL;
    OK(store_open(&p->s, p->url, &e));
}

struct store_event post_in(struct slice room, const char *members)
{
    return (struct store_event){
        .source = SOURCE,
        .subject = room,
        .kind = RECORD_POST,
        .time_us = clock_wall_us(),
        .members = slice_of(members),
        .numbered = true,
    };
}

struct store_event post(const char *members)
{
    return post_in(ROOM, members);
}

/* ---- reading a stream back and judging it ---- */

int check_row(void *arg, const struct store_row *row, struct err *e)
{
    struct check *c = arg;
    struct record r;
    int rc = record_decode(c->d, row->raw, &r, e);
    if (rc < 0)
        return rc;
    if (!r.sequenced || r.sequence != row->sequence || r.kind != row->kind ||
        (r.kind == RECORD_POST && r.chat_id != row->chat_id))
        return err_set(e, ERR_FAULT, "the row and its record differ at %" PRId64, row->sequence);
    if (chain_judge(&c->head, r.sequence, r.previous) != CHAIN_NEXT)
        return err_set(e, ERR_FAULT, "the chain breaks at %" PRId64, row->sequence);
    if (r.chat_id && r.chat_id != ++c->chat_id)
        return err_set(e, ERR_FAULT, "chat id %" PRId64 " breaks the count", r.chat_id);
    c->head.sequence = r.sequence;
    memcpy(c->head.hash, r.hash, SHA256_SIZE);
    c->kinds[r.kind]++;
    c->count++;
    return 0;
}

struct check check_stream(struct store *s, int64_t stream)
{
    struct check c = {.d = json_doc_new()};
    assert_non_null(c.d);
    for (;;) {
        int64_t before = c.count;
        OK(store_read_stream(s, stream, before + 1, INT64_MAX, 100, check_row, &c, &e));
        if (c.count == before)
            break;
    }
    json_doc_free(c.d);
    c.d = NULL;
    return c;
}

static int find_visit(void *arg, const struct store_stream *st, struct err *e)
{
    struct find_stream *f = arg;
    (void)e;
    f->all++;
    if (slice_eq(st->subject, f->subject) && slice_eq(st->source, f->source)) {
        f->id = st->id;
        f->head.sequence = st->sequence;
        memcpy(f->head.hash, st->hash, SHA256_SIZE);
    }
    return 0;
}

struct find_stream find(struct store *s, struct slice source, struct slice subject)
{
    struct find_stream f = {.source = source, .subject = subject};
    OK(store_streams(s, find_visit, &f, &e));
    return f;
}

struct check check_room(struct store *s, struct slice room)
{
    struct find_stream f = find(s, SOURCE, room);
    assert_true(f.id > 0);
    struct check c = check_stream(s, f.id);
    assert_int_equal(c.head.sequence, f.head.sequence);
    assert_memory_equal(c.head.hash, f.head.hash, SHA256_SIZE);
    return c;
}

bool has_scratch(const char *program)
{
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    if (!scratch)
        print_error("run beside a private PostgreSQL: tests/parts/with postgres -- %s\n", program);
    return scratch != NULL;
}
