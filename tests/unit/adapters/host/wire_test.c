/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between archiver and worker: what is written is read, and what a hostile worker may send
 * is refused. */
#include "adapters/host/wire.h"

#include "base/own.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct both {
    struct json_doc *doc;
    struct arena arena;
    struct buf b;
    struct err e;
};

static int set_up(void **state)
{
    static struct both both;
    both = (struct both){.doc = json_doc_new()};
    arena_init(&both.arena, 0);
    buf_init(&both.b, 1 << 20);
    *state = &both;
    return 0;
}

static int tear_down(void **state)
{
    struct both *t = *state;
    json_doc_free(t->doc);
    arena_done(&t->arena);
    buf_done(&t->b);
    return 0;
}

static void a_task_arrives_whole(void **state)
{
    struct both *t = *state;
    static struct wire_task out;
    static struct wire_task task;
    task = (struct wire_task){.what = WIRE_DELIVER,
                              .instance = SLICE("mail"),
                              .scratch = SLICE("/tmp/x"),
                              .id = SLICE("0198"),
                              .stem = SLICE("stem"),
                              .option_count = 2,
                              .number = 7,
                              .attempt = 3,
                              .records = 10,
                              .bytes = 1000,
                              .cut_us = 99,
                              .deadline_ms = 5,
                              .readback = 2};
    task.options[0] =
        (struct wire_option){.name = SLICE("password"), .text = SLICE("a\0b\xff"), .set = true};
    task.options[1] = (struct wire_option){.name = SLICE("port"), .number = -25};
    memset(task.digest, 0xab, sizeof task.digest);
    wire_task_write(&t->b, &task);
    assert_int_equal(wire_task_read(t->doc, buf_view(&t->b), &t->arena, &out, &t->e), 0);
    assert_int_equal(out.what, WIRE_DELIVER);
    assert_true(slice_is(out.instance, "mail") && slice_is(out.stem, "stem"));
    assert_int_equal(out.attempt, 3);
    assert_int_equal(out.readback, 2);
    assert_int_equal(out.option_count, 2);
    assert_int_equal(out.options[0].text.n, 4);
    assert_memory_equal(out.options[0].text.p, "a\0b\xff", 4);
    assert_true(out.options[0].set && !out.options[1].set);
    assert_int_equal(out.options[1].number, -25);
    assert_memory_equal(out.digest, task.digest, sizeof task.digest);
}

static void settlements_and_ends_arrive(void **state)
{
    struct both *t = *state;
    struct wire_message m;
    OWN(own_buf) struct buf facts;
    const struct mgc_fact given[] = {{{"path", 4}, {"/a\"b", 4}}, {{"reply", 5}, {"\xff", 1}}};
    buf_init(&facts, 1000);
    wire_settle_write(&t->b, 3, 9, MGC_REJECTED, given, 2, "no\nway");
    assert_int_equal(wire_message_read(t->doc, buf_view(&t->b), &m, &t->e), 0);
    assert_int_equal(m.kind, WIRE_SETTLE);
    assert_int_equal(m.first, 3);
    assert_int_equal(m.last, 9);
    assert_int_equal(m.rc, MGC_REJECTED);
    assert_true(slice_is(m.text, "no\nway"));
    wire_facts_write(&facts, m.facts);
    assert_string_equal(facts.p, "[[\"path\",\"/a\\\"b\"],[\"reply\",\"\xef\xbf\xbd\"]]");
    buf_clear(&t->b);
    wire_end_write(&t->b, MGC_RETRY, NULL);
    assert_int_equal(wire_message_read(t->doc, buf_view(&t->b), &m, &t->e), 0);
    assert_int_equal(m.kind, WIRE_END);
    assert_int_equal(m.rc, MGC_RETRY);
}

static void answers_arrive(void **state)
{
    struct both *t = *state;
    int32_t rc = 1;
    struct slice text;
    wire_answer_write(&t->b, MGC_FAULT, SLICE("no"));
    assert_int_equal(wire_answer_read(t->doc, buf_view(&t->b), &rc, &text, &t->e), 0);
    assert_int_equal(rc, MGC_FAULT);
    assert_true(slice_is(text, "no"));
    assert_int_equal(wire_answer_read(t->doc, SLICE("{\"rc\":1}"), &rc, &text, &t->e), ERR_FAULT);
}

static void hostile_messages_are_refused(void **state)
{
    struct both *t = *state;
    static const char *const bad[] = {
        "",
        "x",
        "{}",
        "[]",
        "{\"kind\":0}",
        "{\"kind\":9,\"rc\":0}",
        "{\"kind\":-1,\"rc\":0}",
        "{\"kind\":0,\"rc\":0,\"first\":0,\"last\":0}",
        "{\"kind\":0,\"rc\":0,\"first\":0,\"last\":\"0\",\"facts\":[]}",
        "{\"kind\":0,\"rc\":0,\"first\":0,\"last\":0,\"facts\":{}}",
        "{\"kind\":0,\"rc\":0,\"first\":0,\"last\":0,\"facts\":[[\"a\"]]}",
        "{\"kind\":0,\"rc\":0,\"first\":0,\"last\":0,\"facts\":[[\"a\",1]]}",
        "{\"kind\":0,\"rc\":0,\"first\":0,\"last\":0,\"facts\":[[\"\",\"b\"]]}",
        "{\"kind\":0,\"rc\":99,\"first\":0,\"last\":0,\"facts\":[]}",
        "{\"kind\":2,\"rc\":0}",
        "{\"kind\":3,\"rc\":99999999999}",
        "{\"kind\":3,\"rc\":0} ",
        "{\"kind\":3,\"rc\":0}}",
        "{\"kind\":3,\"kind\":3,\"rc\":0}",
        "{\"kind\":3,\"rc\":0,\"x\":[[[[[[[[[1]]]]]]]]]}",
    };
    struct wire_message m;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int rc = wire_message_read(t->doc, slice_of(bad[i]), &m, &t->e);
        /* A blank at the end is JSON's own affair. */
        if (rc == 0 && bad[i][strlen(bad[i]) - 1] == ' ')
            continue;
        if (rc != ERR_REJECTED)
            fail_msg("%s: %d", bad[i], rc);
    }
}

static void too_much_is_refused(void **state)
{
    struct both *t = *state;
    struct wire_message m;
    struct mgc_fact facts[WIRE_MAX_FACTS + 1];
    for (int i = 0; i <= WIRE_MAX_FACTS; i++)
        facts[i] = (struct mgc_fact){{"a", 1}, {"b", 1}};
    wire_settle_write(&t->b, 0, 0, 0, facts, WIRE_MAX_FACTS, NULL);
    assert_int_equal(wire_message_read(t->doc, buf_view(&t->b), &m, &t->e), 0);
    buf_clear(&t->b);
    wire_settle_write(&t->b, 0, 0, 0, facts, WIRE_MAX_FACTS + 1, NULL);
    assert_int_equal(wire_message_read(t->doc, buf_view(&t->b), &m, &t->e), ERR_REJECTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_task_arrives_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(settlements_and_ends_arrive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_arrive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hostile_messages_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_much_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
