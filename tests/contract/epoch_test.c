/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store that was restored from an older copy, on SQLite and on PostgreSQL: it is recognised by
 * what was captured, and goes on in a new epoch, with chat ids, history and known events.
 */
#include "audit/store_copy.h"
#include "base/clock.h"
#include "base/own.h"
#include "chat-server/store/epoch.h"
#include "feed.h"
#include "tests/expect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCE SLICE("sip:pool.example.com")
#define ROOM   SLICE("ma-chan://example.com/one")

static const char *scratch;

struct place {
    char url[512];
    struct store *s;
    struct staging *staging;
};

/* feed_database makes room for mgccomp's tables only. */
static void fresh_url(struct place *p, const char *postgres)
{
    static int cases;
    OWN(own_db) struct db *db = NULL;
    char sql[64];
    cases++;
    (void)snprintf(p->url, sizeof p->url, "sqlite:%s/epoch%d.db", scratch, cases);
    if (!postgres)
        return;
    (void)snprintf(sql, sizeof sql, "CREATE DATABASE epoch%d", cases);
    OK(db_open(&db, postgres, 0, &e));
    OK(db_script(db, sql, &e));
    const char *at = strstr(postgres, "/postgres?");
    assert_non_null(at);
    (void)snprintf(p->url, sizeof p->url, "%.*s/epoch%d%s", (int)(at - postgres), postgres, cases,
                   at + strlen("/postgres"));
}

static int set_up(void **state, const char *postgres)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    fresh_url(p, postgres);
    OK(store_open(&p->s, p->url, &e));
    OK(store_claim(p->s, SOURCE, &e));
    OK(staging_open(&p->staging, feed_database(NULL, scratch), &e));
    *state = p;
    return 0;
}

static int set_up_sqlite(void **state)
{
    return set_up(state, NULL);
}

static int set_up_postgres(void **state)
{
    return set_up(state, getenv("HOLDFAST_TEST_POSTGRES"));
}

static int tear_down(void **state)
{
    struct place *p = *state;
    store_close(p->s);
    staging_close(p->staging);
    free(p);
    return 0;
}

/* A post whose key tells its number; the repeated one is known by it. */
static struct store_result post(struct place *p, struct slice room, int number)
{
    struct store_event event = {.source = SOURCE,
                                .subject = room,
                                .kind = RECORD_POST,
                                .time_us = clock_wall_us(),
                                .members =
                                    SLICE("\"participant\":\"sip:ann@example.com\",\"text\":\"x\""),
                                .numbered = true,
                                .has_once = true};
    struct store_result r;
    memcpy(event.once, &number, sizeof number);
    OK(store_append(p->s, &event, 1, &r, &e));
    assert_int_equal(r.class, 0);
    return r;
}

static int64_t restored(struct place *p, int64_t captured_epoch)
{
    const struct store_restore r = {SOURCE, SLICE("a disk died"), captured_epoch};
    int64_t epoch = 0;
    OK(store_restored(p->s, &r, &epoch, &e));
    return epoch;
}

static void reopen(struct place *p)
{
    store_close(p->s);
    p->s = NULL;
    OK(store_open(&p->s, p->url, &e));
    OK(store_claim(p->s, SOURCE, &e));
}

/* ---- history ---- */
struct page {
    int64_t ids[64];
    size_t n;
};

static int take_id(void *arg, const struct store_row *row, struct err *e)
{
    struct page *page = arg;
    (void)e;
    assert_true(page->n < 64);
    page->ids[page->n++] = row->chat_id;
    return 0;
}

static void assert_page(struct place *p, int64_t before, size_t count, int64_t first, int64_t last)
{
    struct page page = {.n = 0};
    OK(store_read_posts(p->s, SOURCE, ROOM, before, count, take_id, &page, &e));
    assert_int_equal(page.n, last - first + 1);
    for (size_t i = 0; i < page.n; i++)
        assert_int_equal(page.ids[i], first + (int64_t)i);
}

static void chat_goes_on_in_a_new_epoch(void **state)
{
    struct place *p = *state;
    static const uint8_t zero[SHA256_SIZE];
    for (int i = 1; i <= 70; i++)
        assert_int_equal(post(p, ROOM, i).chat_id, i);
    assert_int_equal(restored(p, 0), 2);
    struct store_result first = post(p, ROOM, 71);
    assert_int_equal(first.sequence, 1);
    assert_int_equal(first.chat_id, 71);
    OWN(own_json_doc) struct json_doc *d = json_doc_new();
    struct record r;
    OK(record_decode(d, first.record, &r, &e));
    assert_int_equal(r.epoch, 2);
    assert_memory_equal(r.previous, zero, SHA256_SIZE);
    for (int i = 72; i <= 75; i++)
        assert_int_equal(post(p, ROOM, i).chat_id, i);
    reopen(p);
    struct store_result known = post(p, ROOM, 70);
    assert_true(known.duplicate);
    assert_int_equal(known.chat_id, 70);
    assert_int_equal(known.sequence, 70);
    assert_page(p, 0, 10, 66, 75);
    assert_page(p, 72, 3, 69, 71);
    assert_page(p, 71, 2, 69, 70);
    assert_page(p, 10, 3, 7, 9);
    assert_page(p, 75, 1, 74, 74);
    assert_page(p, 3, 10, 1, 2);
    /* Another one, above what is known elsewhere; the room is quiet for one epoch. */
    assert_int_equal(restored(p, 5), 6);
    assert_int_equal(restored(p, 0), 7);
    struct store_result after = post(p, ROOM, 76);
    assert_int_equal(after.sequence, 1);
    assert_int_equal(after.chat_id, 76);
    assert_page(p, 0, 8, 69, 76);
    assert_true(post(p, ROOM, 74).duplicate);
    assert_page(p, 72, 3, 69, 71);
}

/* ---- the records that begin it ---- */
struct starts {
    struct json_doc *d;
    int n;
    size_t heads;
    char first[64];
    uint8_t room_hash[SHA256_SIZE];
    bool has_room;
};

static void take_head(struct starts *st, const struct json *head)
{
    uint8_t hash[SHA256_SIZE];
    int64_t epoch = 0;
    st->heads++;
    if (!slice_eq(json_string(head, "subject"), ROOM))
        return;
    st->has_room = true;
    assert_true(json_i64(head, "epoch", &epoch));
    assert_int_equal(epoch, 1);
    assert_true(slice_is(json_string(head, "sequence"), "00000000000000000003"));
    assert_true(hex_decode(json_string(head, "hash"), hash, sizeof hash));
    assert_memory_equal(hash, st->room_hash, sizeof hash);
}

static int take_start(void *arg, const struct store_row *row, struct err *e)
{
    struct starts *st = arg;
    const char *section = NULL;
    struct record r;
    if (row->kind != RECORD_EPOCH_START)
        return 0;
    int rc = record_check(st->d, row->raw, &r, &section, e);
    if (rc < 0)
        return rc;
    assert_int_equal(r.epoch, 2);
    assert_int_equal(row->sequence, ++st->n);
    assert_true(slice_is(json_string(r.data, "reason"), "restored"));
    assert_true(slice_is(json_string(r.data, "note"), "a disk died"));
    if (st->n == 1)
        assert_true(slice_copy(r.id, st->first, sizeof st->first));
    else
        assert_true(slice_is(json_string(r.data, "list"), st->first));
    const struct json *heads = json_get(r.data, "heads");
    assert_non_null(heads);
    for (const struct json *h = heads->child; h; h = h->next)
        take_head(st, h);
    return 0;
}

static int find_starts(void *arg, const struct store_stream *s, struct err *e)
{
    int64_t *stream = arg;
    (void)e;
    if (s->epoch == 2 && slice_starts(s->subject, "urn:uuid:"))
        *stream = s->id;
    return 0;
}

static void its_first_records_name_every_head(void **state)
{
    struct place *p = *state;
    struct starts st = {.d = json_doc_new()};
    char room[64];
    int64_t stream = 0;
    for (int i = 1; i <= 3; i++) {
        struct store_result r = post(p, ROOM, i);
        memcpy(st.room_hash, r.hash, sizeof st.room_hash);
    }
    for (int i = 0; i < 149; i++) {
        (void)snprintf(room, sizeof room, "ma-chan://example.com/%d", i);
        (void)post(p, slice_of(room), 1000 + i);
    }
    assert_int_equal(restored(p, 1), 2);
    OK(store_streams(p->s, find_starts, &stream, &e));
    OK(store_read_stream(p->s, stream, 1, 100, 100, take_start, &st, &e));
    assert_int_equal(st.n, 3); /* parts of 64 */
    assert_int_equal(st.heads, 150);
    assert_true(st.has_room);
    json_doc_free(st.d);
}

static void not_while_somebody_writes(void **state)
{
    struct place *p = *state;
    OWN(own_store) struct store *other = NULL;
    const struct store_restore r = {SOURCE, SLICE("x"), 0};
    int64_t epoch = 0;
    (void)post(p, ROOM, 1);
    OK(store_open(&other, p->url, &e));
    assert_int_equal(store_restored(other, &r, &epoch, NULL), ERR_CONFLICT);
    assert_int_equal(post(p, ROOM, 2).sequence, 2);
}

/* ---- looked at ---- */

static int note_epoch(void *arg, const struct store_epoch *p, struct err *e)
{
    struct buf *b = arg;
    (void)e;
    assert_true(p->since_us > 0);
    buf_format(b, "%.*s %d %.*s;", SLICE_ARG(p->source), (int)p->epoch, SLICE_ARG(p->note));
    return 0;
}

static int note_source(void *arg, struct slice source, struct err *e)
{
    struct buf *b = arg;
    (void)e;
    buf_format(b, "%.*s;", SLICE_ARG(source));
    return 0;
}

static int64_t head(struct place *p, int64_t epoch, struct slice room)
{
    int64_t sequence = -1;
    OK(store_head(p->s, SOURCE, epoch, room, &sequence, &e));
    return sequence;
}

static void epochs_and_heads_are_listed(void **state)
{
    struct place *p = *state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 1000);
    OK(store_epochs(p->s, note_epoch, &b, &e));
    assert_int_equal(b.n, 0);
    (void)post(p, ROOM, 1);
    (void)post(p, ROOM, 2);
    assert_int_equal(restored(p, 6), 7);
    (void)post(p, ROOM, 3);
    OK(store_epochs(p->s, note_epoch, &b, &e));
    buf_char(&b, '|');
    OK(store_sources(p->s, note_source, &b, &e));
    assert_true(
        slice_is(buf_view(&b), "sip:pool.example.com 7 a disk died;|sip:pool.example.com;"));
    assert_int_equal(head(p, 1, ROOM), 2);
    assert_int_equal(head(p, 7, ROOM), 1);
    assert_int_equal(head(p, 2, ROOM), 0);
    assert_int_equal(head(p, 1, SLICE("elsewhere")), 0);
}

/* Nothing of it stays, and the source goes on where it was. */
static void an_epoch_that_can_not_begin(void **state)
{
    struct place *p = *state;
    const struct store_restore far = {SOURCE, SLICE("x"), INT32_MAX};
    const struct store_restore near = {SOURCE, SLICE("x"), 1};
    struct err err = {0};
    int64_t epoch = 0;
    (void)post(p, ROOM, 1);
    assert_int_equal(store_restored(p->s, &far, &epoch, &err), ERR_REJECTED);
    assert_non_null(strstr(err.text, "no epoch left"));
    OK(db_script(store_db(p->s), "ALTER TABLE epoch RENAME COLUMN reason TO why", &e));
    assert_true(store_restored(p->s, &near, &epoch, &err) < 0);
    OK(db_script(store_db(p->s), "ALTER TABLE epoch RENAME COLUMN why TO reason", &e));
    assert_int_equal(post(p, ROOM, 2).sequence, 2);
    assert_int_equal(restored(p, 1), 2);
    assert_int_equal(post(p, ROOM, 3).sequence, 1);
}

/* ---- recognised ---- */

static void capture(struct place *p, int64_t epoch, struct slice subject, int64_t sequence,
                    const uint8_t *hash)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    OK(staging_begin(p->staging, &t, &e));
    OK(db_run(t.db,
              "INSERT INTO stream (source, epoch, subject, sequence, hash, captured,"
              " last_us) VALUES ($1, $2, $3, $4, $5, $4, 1) ON CONFLICT (source, epoch, subject)"
              " DO UPDATE SET sequence = excluded.sequence, hash = excluded.hash",
              DB_ARGS(DB_T(SOURCE), DB_I(epoch), DB_T(subject), DB_I(sequence),
                      DB_B(((struct slice){(const char *)hash, SHA256_SIZE}))),
              NULL, &e));
    OK(staging_commit(&t, &e));
}

static int check(struct place *p, bool all, struct err *e)
{
    OWN(own_db) struct db *db = NULL;
    int rc = staging_reader(p->staging, &db, e);
    return rc < 0 ? rc : store_copy_check(p->s, db, SOURCE, all, e);
}

static void assert_older(struct place *p, bool all)
{
    struct err e = {0};
    assert_int_equal(check(p, all, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.text, "holdfast store restored --reason TEXT"));
}

static void an_older_copy_is_recognised(void **state)
{
    struct place *p = *state;
    struct store_result first = post(p, ROOM, 1);
    struct store_result second = post(p, ROOM, 2);
    OK(check(p, true, &e)); /* nothing was captured yet */
    capture(p, 1, ROOM, 1, first.hash);
    OK(check(p, true, &e)); /* capture lags */
    capture(p, 1, ROOM, 2, second.hash);
    OK(check(p, true, &e));
    capture(p, 1, ROOM, 2, first.hash);
    assert_older(p, true);
    capture(p, 1, ROOM, 5, second.hash);
    assert_older(p, true);
    assert_older(p, false);
    assert_int_equal(restored(p, 1), 2);
    OK(check(p, true, &e));
    (void)post(p, ROOM, 3);
    OK(check(p, true, &e));
    /* A room that only mgccomp knows; whoever shares the source with others can't tell. */
    capture(p, 2, SLICE("ma-chan://example.com/new"), 1, first.hash);
    OK(check(p, false, &e));
    assert_older(p, true);
    assert_int_equal(restored(p, 2), 3);
    OK(check(p, true, &e));
    /* Restored once more, from before this epoch began. */
    capture(p, 4, ROOM, 1, first.hash);
    assert_older(p, true);
    assert_int_equal(restored(p, 4), 5);
    OK(check(p, true, &e));
}

#define BOTH(f)                                                                                    \
    cmocka_unit_test_setup_teardown(f, set_up_sqlite, tear_down),                                  \
        cmocka_unit_test_setup_teardown(f, set_up_postgres, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(chat_goes_on_in_a_new_epoch), BOTH(its_first_records_name_every_head),
        BOTH(not_while_somebody_writes),   BOTH(epochs_and_heads_are_listed),
        BOTH(an_epoch_that_can_not_begin), BOTH(an_older_copy_is_recognised),
    };
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    if (!scratch || !getenv("HOLDFAST_TEST_POSTGRES")) {
        print_error("run beside a private part: tests/parts/with postgres -- epoch_test\n");
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
