/* SPDX-License-Identifier: Apache-2.0 */
/* The relay's memory: order, the bounded window and its holes, rewinding, and what is forgotten. */
#include "chat-server/store/outbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void store_some(struct outbox *o, struct outbox_stream *st, int64_t first, int64_t last)
{
    for (int64_t i = first; i <= last; i++)
        outbox_stored(o, st, i, SLICE("0123456789"), 1000 + i);
}

static struct outbox_stream *stream(struct outbox *o, int64_t id)
{
    struct outbox_stream *st = outbox_take(o, id, SLICE("room"));
    assert_non_null(st);
    outbox_found(o, st, 0, 0);
    return st;
}

/* Kept as things change, and added up, it is the same. */
static uint64_t unconfirmed(const struct outbox *o)
{
    struct outbox_sum sum;
    outbox_sum(o, &sum);
    assert_int_equal(outbox_unconfirmed(o), sum.unconfirmed);
    return sum.unconfirmed;
}

static void sends_in_order(void **state)
{
    (void)state;
    struct outbox *o = outbox_new(100000, 10);
    struct outbox_stream *st = stream(o, 1);
    struct outbox_sum sum;
    store_some(o, st, 1, 3);
    assert_ptr_equal(outbox_next(o), st);
    assert_null(outbox_next(o));
    for (int64_t i = 1; i <= 3; i++) {
        const struct outbox_record *r = outbox_peek(o, st, i);
        assert_non_null(r);
        assert_true(slice_is(r->bytes, "0123456789"));
        outbox_sent(o, st, i);
    }
    assert_null(outbox_peek(o, st, 4));
    outbox_sum(o, &sum);
    assert_int_equal(unconfirmed(o), 3);
    assert_int_equal(sum.oldest_us, 1001);
    outbox_confirmed(o, st, 2, 1002);
    assert_int_equal(st->confirmed, 0);
    outbox_confirmed(o, st, 1, 1001);
    outbox_confirmed(o, st, 2, 1002);
    outbox_sum(o, &sum);
    assert_int_equal(unconfirmed(o), 1);
    assert_int_equal(sum.oldest_us, 1002);
    outbox_confirmed(o, st, 3, 1003);
    outbox_sum(o, &sum);
    assert_int_equal(unconfirmed(o), 0);
    assert_int_equal(sum.oldest_us, 0);
    outbox_free(o);
}

static void window_is_bounded(void **state)
{
    (void)state;
    struct outbox *o = outbox_new(500, 10);
    struct outbox_stream *st = stream(o, 1);
    store_some(o, st, 1, 1000);
    assert_int_equal(st->head, 1000);
    int64_t held = 0;
    while (outbox_peek(o, st, held + 1))
        outbox_sent(o, st, ++held);
    assert_true(held > 0 && held < 10);
    /* There is room again, but what lies between is only in the store. */
    store_some(o, st, 1001, 1001);
    assert_null(outbox_peek(o, st, held + 1));
    assert_int_equal(st->first->sequence, 1001);
    outbox_sent(o, st, 1000);
    assert_non_null(outbox_peek(o, st, 1001));
    outbox_free(o);
}

static void rewinds(void **state)
{
    (void)state;
    struct outbox *o = outbox_new(100000, 10);
    struct outbox_stream *st = stream(o, 1);
    store_some(o, st, 1, 5);
    (void)outbox_next(o);
    outbox_sent(o, st, 5);
    outbox_confirmed(o, st, 1, 1001);
    outbox_confirmed(o, st, 2, 1002);
    assert_null(outbox_next(o));
    outbox_rewind(o);
    assert_int_equal(unconfirmed(o), 3);
    assert_ptr_equal(outbox_next(o), st);
    assert_int_equal(st->sent, 2);
    assert_null(outbox_peek(o, st, 3));
    outbox_free(o);
}

static void unknown_is_asked_for(void **state)
{
    (void)state;
    struct outbox *o = outbox_new(100000, 10);
    struct outbox_stream *st = outbox_take(o, 1, SLICE("room"));
    outbox_stored(o, st, 9, SLICE("x"), 1);
    assert_ptr_equal(outbox_next(o), st);
    assert_int_equal(st->confirmed, OUTBOX_UNKNOWN);
    assert_int_equal(unconfirmed(o), 1);
    outbox_found(o, st, 9, 4);
    assert_int_equal(unconfirmed(o), 5);
    assert_int_equal(st->sent, 4);
    assert_null(outbox_peek(o, st, 5));
    assert_int_equal(st->first->sequence, 9);
    outbox_free(o);
}

static void number_is_bounded(void **state)
{
    (void)state;
    struct outbox *o = outbox_new(100000, 10);
    for (int64_t id = 1; id <= 10; id++)
        store_some(o, stream(o, id), 1, 1);
    assert_null(outbox_take(o, 11, SLICE("room")));
    outbox_trim(o);
    assert_null(outbox_take(o, 11, SLICE("room")));
    while (outbox_next(o))
        ;
    for (int64_t id = 1; id <= 10; id++) {
        outbox_confirmed(o, outbox_find(o, id), 1, 1);
        outbox_find(o, id)->noted = id == 3 ? 0 : 1;
    }
    outbox_trim(o);
    assert_non_null(outbox_find(o, 3));
    assert_false(outbox_full(o));
    assert_non_null(outbox_take(o, 11, SLICE("room")));
    assert_int_equal(unconfirmed(o), 0);
    outbox_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_in_order),    cmocka_unit_test(window_is_bounded),
        cmocka_unit_test(rewinds),           cmocka_unit_test(unknown_is_asked_for),
        cmocka_unit_test(number_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
