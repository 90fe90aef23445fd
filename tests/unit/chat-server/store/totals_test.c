/* SPDX-License-Identifier: Apache-2.0 */
/* The totals a source writes: all heads at first, then those that moved, the last ones at the end.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/own.h"
#include "chat-server/store/totals.h"
#include "mgccomp/record_totals.h"
#include "tests/expect.h"

#include <poll.h>
#include <string.h>

enum { ROOMS = 40, WAIT_MS = 20000 };

struct fixture {
    char dir[64], url[128];
    struct writer *w;
    struct totals *t;
    struct totals_options o;
    struct err e;
};

static int set_up(void **state)
{
    static struct fixture f;
    const uint8_t secret[SIGN_KEY_SIZE] = {5};
    f = (struct fixture){.dir = "/tmp/hf-totals.XXXXXX"};
    assert_non_null(mkdtemp(f.dir));
    (void)snprintf(f.url, sizeof f.url, "sqlite:%s/chat.db", f.dir);
    const struct writer_options o = {.url = f.url};
    ok(writer_start(&f.w, &o, &f.e), &f.e);
    ok(writer_begin_session(f.w, SLICE("sip:pool"), SLICE("urn:uuid:1"), SLICE(""), &f.e), &f.e);
    f.o = (struct totals_options){.store_url = f.url,
                                  .writer = f.w,
                                  .source = SLICE("sip:pool"),
                                  .subject = SLICE("urn:uuid:1"),
                                  .cadence_ms = 3600000};
    ok(sign_key_from(&f.o.key, secret, &f.e), &f.e);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    writer_stop(f->w);
    ok(file_remove_tree(f->dir, &f->e), &f->e);
    return 0;
}

static void post(struct fixture *f, int room)
{
    char subject[64];
    struct store_result r = {0};
    (void)snprintf(subject, sizeof subject, "ma-chan://a/%d", room);
    const struct store_event event = {
        .source = SLICE("sip:pool"),
        .subject = slice_of(subject),
        .kind = RECORD_POST,
        .time_us = clock_wall_us(),
        .members = SLICE("\"participant\":\"sip:a\",\"text\":\"x\""),
        .numbered = true,
    };
    ok(writer_submit_wait(f->w, &event, 1, &r, &f->e), &f->e);
    ok(r.class, &f->e);
}

/* What the session's stream holds. */
struct seen {
    struct fixture *f;
    struct json_doc *doc;
    int parts, lines, finals, totals;
    int64_t rooms, last_part;
};

static int read_row(void *arg, const struct store_row *row, struct err *e)
{
    struct seen *s = arg;
    struct record r;
    struct totals_head head;
    struct totals_line line;
    struct slice rest;
    if (row->kind != RECORD_TOTALS)
        return 0;
    ok(record_decode(s->doc, row->raw, &r, e), e);
    assert_true(totals_signed_by(r.data, s->f->o.key.public_key));
    ok(totals_read_head(json_string(r.data, "statement"), &head, &rest, e), e);
    assert_true(slice_is(head.source, "sip:pool"));
    assert_int_equal(head.part, s->last_part + 1);
    s->last_part = head.last ? 0 : head.part;
    s->parts++;
    s->totals += head.last;
    s->finals += head.last && head.next_us == 0;
    int rc = totals_next_line(&rest, &line, e);
    for (; rc == 1; rc = totals_next_line(&rest, &line, e)) {
        s->lines++;
        s->rooms += slice_starts(line.subject, "ma-chan:") ? line.count : 0;
    }
    return rc;
}

static int visit_stream(void *arg, const struct store_stream *st, struct err *e)
{
    struct seen *s = arg;
    OWN(own_store) struct store *reader = NULL;
    if (!slice_is(st->subject, "urn:uuid:1"))
        return 0;
    ok(store_open_reader(&reader, s->f->url, e), e);
    return store_read_stream(reader, st->id, 1, st->sequence, 10000, read_row, s, e);
}

static struct seen look(struct fixture *f)
{
    OWN(own_store) struct store *reader = NULL;
    OWN(own_json_doc) struct json_doc *doc = json_doc_new();
    struct seen s = {.f = f, .doc = doc};
    ok(store_open_reader(&reader, f->url, &f->e), &f->e);
    ok(store_streams(reader, visit_stream, &s, &f->e), &f->e);
    return s;
}

static void await_totals(struct fixture *f, int n)
{
    int64_t until = clock_mono_ms() + WAIT_MS;
    while (look(f).totals < n) {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 10);
    }
}

static void first_all_then_what_moved(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < ROOMS; i++)
        post(f, i);
    ok(totals_start(&f->t, &f->o, &f->e), &f->e);
    await_totals(f, 1);
    struct seen first = look(f);
    assert_int_equal(first.rooms, ROOMS);
    assert_int_equal(first.lines, ROOMS + 1); /* and the session itself */
    assert_int_equal(first.finals, 0);
    post(f, 3);
    post(f, 3);
    totals_stop(f->t);
    struct seen all = look(f);
    assert_int_equal(all.finals, 1);
    assert_int_equal(all.lines, first.lines + 2); /* room 3 and the session */
    assert_int_equal(all.rooms, ROOMS + 2);
}

static void a_long_list_is_split(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < ROOMS; i++)
        post(f, i);
    f->o.part_bytes = 2000;
    ok(totals_start(&f->t, &f->o, &f->e), &f->e);
    totals_stop(f->t);
    struct seen all = look(f);
    assert_true(all.parts > 4);
    assert_int_equal(all.rooms, ROOMS);
    assert_int_equal(all.finals, 1);
}

static void they_come_at_every_beat(void **state)
{
    struct fixture *f = *state;
    f->o.cadence_ms = 20;
    ok(totals_start(&f->t, &f->o, &f->e), &f->e);
    await_totals(f, 3);
    totals_stop(f->t);
    assert_int_equal(look(f).finals, 1);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(first_all_then_what_moved),
        CASE(a_long_list_is_split),
        CASE(they_come_at_every_beat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
