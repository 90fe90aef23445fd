/* SPDX-License-Identifier: Apache-2.0 */
/* capture/source.h, the same cases on the embedded queue and on a real Kafka. */
#include "base/clock.h"
#include "base/own.h"
#include "tests/contract/queues.h"
#include "tests/expect.h"

#include <string.h>
#include <unistd.h>

static const char *scratch;

enum { ITEMS = 2000, PATIENCE_MS = 30000 };

struct fixture {
    bool kafka;
    struct queue q;
    struct source *s;
    struct staging_position at; /* as a database would keep it */
    int asked, taken;
    bool database_away;
    struct source_batch got, few; /* room for ITEMS, for 7 */
    struct err e;
};

static int assigned(void *arg, struct staging_position *positions, size_t n, struct err *e)
{
    struct fixture *f = arg;
    f->asked++;
    if (f->database_away)
        return err_set(e, ERR_RETRY, "the database is away");
    assert_int_equal(n, 1);
    assert_int_equal(positions[0].part, 0);
    positions[0] = f->at;
    return 0;
}

static void revoked(void *arg, const int32_t *parts, size_t n)
{
    struct fixture *f = arg;
    (void)parts;
    (void)n;
    f->taken++;
}

static void close_source(struct fixture *f)
{
    source_batch_clear(&f->got);
    source_batch_clear(&f->few);
    source_close(f->s);
    f->s = NULL;
}

static void reopen(struct fixture *f)
{
    static const struct source_events events = {assigned, revoked};
    close_source(f);
    ok(queue_open(&f->s, &f->q, &events, f, &f->e), &f->e);
}

static int set_up(void **state)
{
    struct fixture *f = *state;
    bool kafka = f->kafka;
    *f = (struct fixture){.kafka = kafka};
    ok(source_batch_init(&f->got, ITEMS, 1 << 20, &f->e), &f->e);
    ok(source_batch_init(&f->few, 7, 1 << 20, &f->e), &f->e);
    queue_make(&f->q, kafka, scratch, 1);
    reopen(f);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    source_batch_done(&f->got);
    source_batch_done(&f->few);
    source_close(f->s);
    queue_done(&f->q);
    return 0;
}

static int poll_into(struct fixture *f, struct source_batch *b)
{
    return source_poll(f->s, &b, 1, 100, &f->e);
}

static int poll_anew(struct fixture *f)
{
    source_batch_clear(&f->got);
    return poll_into(f, &f->got);
}

static void captured(struct fixture *f, const struct capture_item *last)
{
    f->at.pos = last->pos + 1;
    f->at.has_hash = true;
    sha256(last->raw.p, last->raw.n, f->at.hash);
}

/* Polls until n items came, as one who captures each batch; returns how many did. */
static int64_t take(struct fixture *f, int64_t n)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    int64_t got = 0;
    while (got < n && clock_mono_ms() < until) {
        int rc = poll_anew(f);
        size_t came = f->got.n;
        if (rc == ERR_RETRY)
            continue;
        ok(rc, &f->e);
        for (size_t i = 0; i < came; i++)
            assert_true(f->got.items[i].pos >= f->at.pos + (int64_t)i);
        if (came)
            captured(f, &f->got.items[came - 1]);
        got += (int64_t)came;
    }
    return got;
}

/* Polls until the source says that its log is another one. */
static void expect_fault(struct fixture *f)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    int rc = 0;
    while (rc != ERR_FAULT) {
        assert_true(clock_mono_ms() < until);
        rc = poll_anew(f);
        assert_int_equal(f->got.n, 0);
    }
}

static void expect_silence(struct fixture *f)
{
    for (int i = 0; i < 5; i++) {
        int rc = poll_anew(f);
        assert_true(rc == 0 || rc == ERR_RETRY);
        assert_int_equal(f->got.n, 0);
    }
}

static void records_come_in_order_and_once(void **state)
{
    struct fixture *f = *state;
    expect_silence(f); /* empty, or not even made */
    queue_posts(&f->q, 300, 3);
    assert_int_equal(take(f, 300), 300);
    expect_silence(f);
    queue_posts(&f->q, 5, 3);
    assert_int_equal(take(f, 5), 5);
    assert_string_equal(source_driver(f->s), f->kafka ? "kafka" : "embedded");
    assert_true(strlen(source_identity(f->s)) > 0);
}

static void a_restart_goes_on_where_the_database_stands(void **state)
{
    struct fixture *f = *state;
    queue_posts(&f->q, 20, 1);
    assert_int_equal(take(f, 20), 20);
    queue_posts(&f->q, 10, 1);
    reopen(f);
    assert_int_equal(take(f, 10), 10);
    assert_int_equal(f->at.pos, f->kafka ? 30 : 31);
}

static void batches_keep_their_limits(void **state)
{
    struct fixture *f = *state;
    queue_posts(&f->q, 50, 1);
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (f->few.n == 0 && clock_mono_ms() < until)
        (void)poll_into(f, &f->few);
    assert_in_range(f->few.n, 1, 7);
    /* The other batch leaves the first one alone. */
    int64_t first = f->few.items[0].pos;
    struct slice raw = f->few.items[0].raw;
    uint8_t before[SHA256_SIZE];
    uint8_t after[SHA256_SIZE];
    sha256(raw.p, raw.n, before);
    f->got.max_bytes = 1;
    while (f->got.n == 0 && clock_mono_ms() < until)
        (void)poll_into(f, &f->got);
    assert_int_equal(f->got.n, 1); /* the byte limit ends a batch behind the item that reaches it */
    assert_true(source_batch_full(&f->got));
    assert_int_equal(f->got.items[0].pos, first + (int64_t)f->few.n);
    sha256(raw.p, raw.n, after);
    assert_memory_equal(before, after, SHA256_SIZE);
}

/* What waits is added behind what is there; a full batch is left as it is. */
static void a_batch_is_added_to(void **state)
{
    struct fixture *f = *state;
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    for (int64_t n = 3; n <= 9; n += 3) {
        queue_posts(&f->q, 3, 1);
        while (f->few.n < (size_t)(n < 7 ? n : 7) && clock_mono_ms() < until)
            ok(poll_into(f, &f->few), &f->e);
    }
    assert_int_equal(f->few.n, 7);
    for (size_t i = 1; i < 7; i++)
        assert_int_equal(f->few.items[i].pos, f->few.items[0].pos + (int64_t)i);
    ok(poll_into(f, &f->few), &f->e);
    assert_int_equal(f->few.n, 7);
    assert_int_equal(take(f, 2), 2);
}

static void a_seek_repeats(void **state)
{
    struct fixture *f = *state;
    queue_posts(&f->q, 20, 1);
    assert_int_equal(take(f, 20), 20);
    f->at = (struct staging_position){.part = 0, .pos = f->kafka ? 8 : 9};
    ok(source_seek(f->s, &f->at, &f->e), &f->e);
    assert_int_equal(take(f, 12), 12);
    expect_silence(f);
}

static void a_paused_source_is_silent(void **state)
{
    struct fixture *f = *state;
    queue_posts(&f->q, 5, 1);
    assert_int_equal(take(f, 5), 5);
    ok(source_pause(f->s, true, &f->e), &f->e);
    queue_posts(&f->q, 5, 1);
    expect_silence(f);
    ok(source_pause(f->s, false, &f->e), &f->e);
    assert_int_equal(take(f, 5), 5);
}

static void another_log_is_recognised_at_start(void **state)
{
    struct fixture *f = *state;
    queue_posts(&f->q, 20, 1);
    assert_int_equal(take(f, 20), 20);
    int64_t last = f->at.pos - 1;
    close_source(f);
    queue_recreate(&f->q, 40);
    reopen(f);
    expect_fault(f);
    assert_int_equal(source_fault(f->s)->part, 0);
    assert_int_equal(source_fault(f->s)->first, last);
    expect_silence(f);
}

static void a_shorter_log_is_recognised_at_start(void **state)
{
    struct fixture *f = *state;
    queue_posts(&f->q, 20, 1);
    assert_int_equal(take(f, 20), 20);
    close_source(f);
    queue_recreate(&f->q, 4);
    reopen(f);
    expect_fault(f);
    expect_silence(f);
}

static void a_database_that_is_away_is_asked_again(void **state)
{
    struct fixture *f = *state;
    f->database_away = true;
    queue_posts(&f->q, 5, 1);
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (f->asked < 2) {
        assert_true(clock_mono_ms() < until);
        (void)poll_anew(f);
        assert_int_equal(f->got.n, 0);
    }
    f->database_away = false;
    assert_int_equal(take(f, 5), 5);
}

static void a_missing_position_is_passed_over(void **state)
{
    struct fixture *f = *state;
    queue_posts(&f->q, 10, 1);
    queue_take_away(&f->q, 4);
    assert_int_equal(take(f, 9), 9);
    assert_int_equal(f->at.pos, 11);
}

static void what_was_tidied_up_to_the_position_is_no_change(void **state)
{
    struct fixture *f = *state;
    int64_t low = 0;
    queue_posts(&f->q, 20, 1);
    assert_int_equal(take(f, 20), 20);
    queue_posts(&f->q, 3, 1);
    ok(kafka_delete_below(&f->q.target, 0, 20, 10000, &low, &f->e), &f->e);
    assert_int_equal(low, 20);
    reopen(f);
    assert_int_equal(take(f, 3), 3);
}

static void what_is_deleted_before_it_was_captured_is_named(void **state)
{
    struct fixture *f = *state;
    int64_t low = 0;
    queue_posts(&f->q, 20, 1);
    assert_int_equal(take(f, 20), 20);
    queue_posts(&f->q, 10, 1);
    ok(kafka_delete_below(&f->q.target, 0, 25, 10000, &low, &f->e), &f->e);
    reopen(f);
    expect_fault(f);
    assert_int_equal(source_fault(f->s)->first, 20);
    assert_int_equal(source_fault(f->s)->last, 24);
}

/* Partition 0 was another log; partition 1 begins. */
static int assigned_two(void *arg, struct staging_position *positions, size_t n, struct err *e)
{
    (void)arg;
    (void)e;
    for (size_t i = 0; i < n; i++) {
        if (positions[i].part == 0)
            positions[i] = (struct staging_position){.pos = 5, .has_hash = true};
    }
    return 0;
}

static void a_busy_partition_does_not_hide_one_that_stands(void **state)
{
    static const struct source_events events = {assigned_two, revoked};
    struct fixture *f = *state;
    struct source_batch *few = &f->few;
    size_t taken = 0;
    int rc = 0;
    close_source(f);
    queue_done(&f->q);
    queue_make(&f->q, true, scratch, 2);
    queue_posts(&f->q, 600, 40);
    ok(queue_open(&f->s, &f->q, &events, f, &f->e), &f->e);
    while (rc == 0 && taken < 100) {
        source_batch_clear(&f->few);
        rc = source_poll(f->s, &few, 1, PATIENCE_MS, &f->e);
        taken += f->few.n;
    }
    assert_int_equal(rc, ERR_FAULT);
    assert_int_equal(source_fault(f->s)->part, 0);
    assert_false(source_reads(f->s, 0));
    assert_true(source_reads(f->s, 1));
    source_batch_clear(&f->few);
    ok(source_poll(f->s, &few, 1, PATIENCE_MS, &f->e), &f->e);
    assert_int_equal(f->few.n, 7);
    assert_int_equal(f->few.items[0].part, 1);
    assert_int_equal(f->few.items[0].pos, (int64_t)taken);
}

static void ends_while_its_topic_is_away(void **state)
{
    struct fixture *f = *state;
    int rc = 0;
    queue_posts(&f->q, 5, 1);
    assert_int_equal(take(f, 5), 5);
    queue_broker("drop", f->q.topic, NULL);
    while (rc != ERR_CONFIG)
        rc = poll_anew(f);
    (void)alarm(60); /* it may wait for ever */
    close_source(f);
    (void)alarm(0);
    queue_broker("topic", f->q.topic, "1");
    queue_posts(&f->q, 3, 1);
    f->at = (struct staging_position){.pos = 0};
    reopen(f);
    assert_int_equal(take(f, 3), 3);
}

#define CASE(fn, fixture)                                                                          \
    {                                                                                              \
#fn, fn, set_up, tear_down, fixture                                                        \
    }
#define CASES(fixture)                                                                             \
    CASE(records_come_in_order_and_once, fixture),                                                 \
        CASE(a_restart_goes_on_where_the_database_stands, fixture),                                \
        CASE(a_batch_is_added_to, fixture), CASE(batches_keep_their_limits, fixture),              \
        CASE(a_seek_repeats, fixture), CASE(a_paused_source_is_silent, fixture),                   \
        CASE(another_log_is_recognised_at_start, fixture),                                         \
        CASE(a_shorter_log_is_recognised_at_start, fixture),                                       \
        CASE(a_database_that_is_away_is_asked_again, fixture)

int main(void)
{
    static struct fixture embedded;
    static struct fixture kafka = {.kafka = true};
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    if (!scratch || !getenv("HOLDFAST_TEST_KAFKA")) {
        (void)fprintf(stderr, "run me through tests/parts/with kafka -- source_test\n");
        return 2;
    }
    const struct CMUnitTest on_embedded[] = {CASES(&embedded),
                                             CASE(a_missing_position_is_passed_over, &embedded)};
    const struct CMUnitTest on_kafka[] = {
        CASES(&kafka), CASE(what_was_tidied_up_to_the_position_is_no_change, &kafka),
        CASE(what_is_deleted_before_it_was_captured_is_named, &kafka),
        CASE(a_busy_partition_does_not_hide_one_that_stands, &kafka),
        CASE(ends_while_its_topic_is_away, &kafka)};
    int failed = cmocka_run_group_tests_name("embedded", on_embedded, NULL, NULL);
    failed += cmocka_run_group_tests_name("Kafka", on_kafka, NULL, NULL);
    return failed ? 1 : 0;
}
