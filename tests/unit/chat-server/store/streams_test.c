/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of streams: what a commit keeps, what an undo forgets, and that the cache stays bounded. */
#include "chat-server/store/streams.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void commit_and_undo(void **state)
{
    (void)state;
    struct streams *h = streams_new(100, 100000);
    bool fresh = false;
    struct stream_head *a = streams_take(h, SLICE("s"), 1, SLICE("a"), &fresh);
    assert_true(fresh);
    a->now = (struct stream_state){.stream = 7, .sequence = 3};
    streams_commit(h);
    a = streams_take(h, SLICE("s"), 1, SLICE("a"), &fresh);
    assert_false(fresh);
    assert_int_equal(a->durable.sequence, 3);
    a->now.sequence = 9;
    struct stream_head *b = streams_take(h, SLICE("s"), 1, SLICE("b"), &fresh);
    b->now.stream = 8;
    streams_undo(h);
    assert_int_equal(streams_count(h), 1);
    a = streams_take(h, SLICE("s"), 1, SLICE("a"), &fresh);
    assert_false(fresh);
    assert_int_equal(a->now.sequence, 3);
    streams_clear(h);
    assert_int_equal(streams_count(h), 0);
    streams_free(h);
}

static void keys_differ(void **state)
{
    (void)state;
    struct streams *h = streams_new(100, 100000);
    bool fresh;
    (void)streams_take(h, SLICE("s"), 1, SLICE("ab"), &fresh);
    (void)streams_take(h, SLICE("sa"), 1, SLICE("b"), &fresh);
    assert_true(fresh);
    (void)streams_take(h, SLICE("s"), 2, SLICE("ab"), &fresh);
    assert_true(fresh);
    (void)streams_take(h, SLICE("s"), 2, SLICE("ab"), &fresh);
    assert_false(fresh);
    assert_int_equal(streams_count(h), 3);
    streams_free(h);
}

static struct stream_head *take_number(struct streams *h, int i, bool *fresh)
{
    char name[32];
    (void)snprintf(name, sizeof name, "room-%d", i);
    return streams_take(h, SLICE("s"), 1, slice_of(name), fresh);
}

static void stays_bounded(void **state)
{
    (void)state;
    struct streams *h = streams_new(50, 1000000);
    bool fresh;
    for (int i = 0; i < 500; i++) {
        take_number(h, i, &fresh)->now.stream = i + 1;
        assert_true(fresh);
        (void)take_number(h, 0, &fresh);
        streams_commit(h);
    }
    assert_true(streams_count(h) <= 50);
    /* What is used stays; what was not is gone. */
    assert_int_equal(take_number(h, 0, &fresh)->durable.stream, 1);
    assert_false(fresh);
    (void)take_number(h, 1, &fresh);
    assert_true(fresh);
    streams_free(h);

    h = streams_new(1000, 8192);
    for (int i = 0; i < 500; i++) {
        take_number(h, i, &fresh)->now.stream = i + 1;
        streams_commit(h);
    }
    assert_true(streams_count(h) < 50);
    streams_free(h);
}

static void open_transaction_is_kept(void **state)
{
    (void)state;
    struct streams *h = streams_new(10, 1000000);
    bool fresh;
    for (int i = 0; i < 40; i++)
        take_number(h, i, &fresh)->now.stream = i + 1;
    for (int i = 0; i < 40; i++) {
        assert_int_equal(take_number(h, i, &fresh)->now.stream, i + 1);
        assert_false(fresh);
    }
    streams_commit(h);
    streams_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commit_and_undo),
        cmocka_unit_test(keys_differ),
        cmocka_unit_test(stays_bounded),
        cmocka_unit_test(open_transaction_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
