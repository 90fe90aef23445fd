/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A log that is made again, grows back, moves rooms to more partitions or is tidied, between a
 * writer with its relay (PostgreSQL), a real broker and capture (into SQLite): what is lost is sent
 * again, and the incidents close by themselves.
 */
#include "base/clock.h"
#include "base/own.h"
#include "capture/queue_check.h"
#include "capture/queue_tidy.h"
#include "chat-server/store/heal_store.h"
#include "tests/contract/healed.h"
#include "tests/contract/queues.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int count_changes(void *arg, const struct store_log_change *c, struct err *e)
{
    int64_t *counts = arg;
    (void)e;
    counts[c->closed_us != 0]++;
    return 0;
}

static void no_open_change(struct healed *p, int64_t counts[2])
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    do {
        OWN(own_store) struct store *s = NULL;
        counts[0] = counts[1] = 0;
        (void)poll(NULL, 0, 50);
        OK(store_open_reader(&s, p->store, &e));
        OK(store_log_changes(s, true, count_changes, counts, &e));
    } while (counts[0] > 0 && clock_mono_ms() < until);
    assert_int_equal(counts[0], 0);
}

static void recreate(struct healed *p)
{
    queue_broker("drop", p->topic, NULL);
    queue_broker("topic", p->topic, "4");
}

static void a_topic_made_again_under_load_heals(void **state)
{
    struct healed *p = *state;
    int64_t changes[2];
    start_relay(p);
    start_writer(p);
    start_capture(p);
    begin_load(p);
    wait_for_posts(p, 1500);
    /* Capture has the partitions that go. */
    wait_for(p, "SELECT CASE WHEN count(*) > 0 THEN 1 ELSE 0 END FROM record", 1);
    recreate(p);
    wait_for_posts(p, 1500);
    end_load(p);
    all_is_well(p);
    no_open_change(p, changes);
    assert_true(changes[1] > 0);
    assert_true(number(p, "SELECT count(*) FROM incident WHERE kind = 'log-changed'") > 0);
}

static int64_t relayed(const struct healed *p)
{
    OWN(own_db) struct db *db = NULL;
    int64_t n = 0;
    OK(db_open(&db, p->store, 0, &e));
    OK(db_int(db, "SELECT CAST(sum(relayed) AS bigint) FROM chat.stream", DB_NO_ARGS, 0, &n, &e));
    return n;
}

/* The new log grows to the very offsets that were noted of the old one before anything is noted. */
static void a_log_that_grew_back_is_noticed(void **state)
{
    struct healed *p = *state;
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    int64_t changes[2] = {0, 0};
    OWN(own_store) struct store *s = NULL;
    start_relay(p);
    start_writer(p);
    for (int i = 0; i < 2; i++) {
        if (i > 0)
            recreate(p);
        add(p);
        while (relayed(p) < atomic_load(&p->posts)) {
            assert_true(clock_mono_ms() < until);
            (void)poll(NULL, 0, 20);
        }
    }
    OK(store_open_reader(&s, p->store, &e));
    OK(store_log_changes(s, true, count_changes, changes, &e));
    assert_int_equal(changes[0], 4);
}

/* Capture is away meanwhile, so that most of the old log was never captured, and the new one is
 * longer than where capture stands. */
static void what_was_never_captured_comes_from_the_store(void **state)
{
    struct healed *p = *state;
    int64_t changes[2];
    start_relay(p);
    start_writer(p);
    start_capture(p);
    add(p);
    all_is_well(p);
    stop_capture(p);
    for (int i = 0; i < 20; i++)
        add(p);
    OK(relay_wait(p->r, 30000, &e));
    recreate(p);
    for (int i = 0; i < 20; i++)
        add(p);
    OK(relay_wait(p->r, 30000, &e));
    start_capture(p);
    all_is_well(p);
    no_open_change(p, changes);
    assert_true(changes[1] > 0);
}

static void more_partitions_move_rooms(void **state)
{
    struct healed *p = *state;
    start_relay(p);
    start_writer(p);
    start_capture(p);
    begin_load(p);
    wait_for_posts(p, 1000);
    queue_broker("grow", p->topic, "8");
    wait_for_posts(p, 1000);
    /* Until the relay and the group know them: the pace of their own refresh, ten seconds. */
    wait_for(p, "SELECT CASE WHEN count(*) > 4 THEN 1 ELSE 0 END FROM position", 1);
    wait_for_posts(p, 1000);
    end_load(p);
    all_is_well(p);
    assert_int_equal(number(p, "SELECT count(*) FROM incident WHERE kind = 'log-changed'"), 0);
}

static int check_queue(struct healed *p, const char *expected)
{
    char *text = NULL;
    size_t n = 0;
    struct app_io io = {.out = open_memstream(&text, &n), .err = stderr};
    const struct queue_check_input in = {.staging = p->st, .kafka = &p->target};
    char *none[] = {NULL};
    int code = queue_check_command(&io, &in, 0, none);
    (void)fclose(io.out);
    if (!strstr(text, expected))
        fail_msg("\"%s\" is not in: %s", expected, text);
    free(text);
    return code;
}

static void the_log_is_checked_and_tidied(void **state)
{
    struct healed *p = *state;
    int64_t first = 0;
    start_relay(p);
    start_writer(p);
    start_capture(p);
    for (int i = 0; i < 5; i++)
        add(p);
    all_is_well(p);
    stop_capture(p);
    assert_int_equal(check_queue(p, "the queue is well"), APP_OK);
    int64_t gone = 0;
    for (int32_t part = 0; part < 4; part++) {
        OK(queue_tidy_part(&p->target, p->st, part, INT64_MAX, &first, &e));
        gone += first;
        OK(queue_tidy_part(&p->target, p->st, part, 0, &first, &e));
        assert_int_equal(first, -1);
    }
    assert_int_equal(gone, 5 * GROUP - 4); /* all but the last of each partition */
    assert_int_equal(check_queue(p, "the record before it is the one captured"), APP_OK);
    start_capture(p);
    add(p);
    all_is_well(p);
    stop_capture(p);
    recreate(p);
    assert_int_equal(check_queue(p, "PROBLEM  partition 2: "), APP_FAILED);
    assert_int_equal(queue_tidy_part(&p->target, p->st, 0, INT64_MAX, &first, NULL), ERR_CONFLICT);
}

int main(int argc, char **argv)
{
    (void)argc;
    const struct CMUnitTest tests[] = {
        HEALED(a_topic_made_again_under_load_heals),
        HEALED(a_log_that_grew_back_is_noticed),
        HEALED(what_was_never_captured_comes_from_the_store),
        HEALED(more_partitions_move_rooms),
        HEALED(the_log_is_checked_and_tidied),
    };
    if (!healed_parts(argv[0]))
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
