/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the queue never had, and what a store or an mgccomp restored from an older copy lacks,
 * arrives all the same, and the incidents close by themselves; asked for at once by whoever begins.
 */
#include "base/clock.h"
#include "base/own.h"
#include "chat-server/store/epoch.h"
#include "tests/contract/healed.h"
#include "tests/contract/queues.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SOON_MS = 20000 };

static void a_gap_is_asked_for(void **state)
{
    struct healed *p = *state;
    OWN(own_db) struct db *db = NULL;
    start_writer(p);
    for (int i = 0; i < 5; i++)
        add(p);
    OK(db_open(&db, p->store, 0, &e));
    /* One room's first five count as confirmed though the queue never had them, the third as
     * refused; one record of another room is in no store any more. */
    OK(db_script(db,
                 "UPDATE chat.stream SET relayed = 5 WHERE subject = 'r:1';"
                 "INSERT INTO chat.parked SELECT id, 3, 1, 'refused' FROM chat.stream"
                 " WHERE subject = 'r:1';"
                 "DELETE FROM chat.record WHERE sequence = 7 AND stream ="
                 " (SELECT id FROM chat.stream WHERE subject = 'r:2')",
                 &e));
    start_relay(p);
    start_capture(p);
    wait_for(p, "SELECT count(*) FROM record WHERE stream IN (SELECT id FROM stream)", 119);
    wait_for(p, open_incidents, 1);
    wait_for(p,
             "SELECT count(*) FROM incident WHERE closed_us IS NULL AND kind = 'gap' AND first = 7"
             " AND last = 7 AND subject = 'r:2' AND answer = 'the store does not hold it'",
             1);
    int64_t parked = 0;
    OK(db_int(db,
              "SELECT count(*) FROM chat.parked WHERE stream ="
              " (SELECT id FROM chat.stream WHERE subject = 'r:1')",
              DB_NO_ARGS, -1, &parked, &e));
    assert_int_equal(parked, 0); /* the queue took it */
}

/* The queue lacks what these rooms count as confirmed, and capture has asked for it: nobody heard.
 */
static void lack_and_ask(struct healed *p, const char *sql, int gaps)
{
    char asked[160];
    OWN(own_db) struct db *db = NULL;
    for (int i = 0; i < 5; i++)
        add(p);
    OK(db_open(&db, p->store, 0, &e));
    OK(db_script(db, sql, &e));
    start_relay(p);
    OK(relay_wait(p->r, 30000, &e));
    relay_stop(p->r);
    p->r = NULL;
    if (!p->c)
        start_capture(p);
    (void)snprintf(asked, sizeof asked,
                   "SELECT CASE WHEN count(*) = %d THEN 1 ELSE 0 END FROM incident WHERE"
                   " kind = 'gap' AND closed_us IS NULL AND asked_us > 0",
                   gaps);
    wait_for(p, asked, 1);
}

static void closes_soon(struct healed *p, int64_t began_ms)
{
    wait_for(p, open_incidents, 0);
    assert_true(clock_mono_ms() - began_ms < SOON_MS); /* a question is repeated after 30 s */
}

/* How many messages the control topic has. */
static int64_t said(struct healed *p)
{
    char topic[64];
    int64_t low = 0;
    int64_t high = 0;
    struct kafka_target control = p->target;
    (void)snprintf(topic, sizeof topic, "%s-control", p->topic);
    control.topic = topic;
    OK(kafka_ends(&control, 0, 10000, &low, &high, &e));
    return high;
}

static void wait_until_said(struct healed *p, int64_t before)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (said(p) <= before) {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 50);
    }
}

static void whoever_begins_anew_need_not_wait(void **state)
{
    struct healed *p = *state;
    start_writer(p);
    lack_and_ask(p, "UPDATE chat.stream SET relayed = 5 WHERE subject IN ('r:1', 'r:2')", 2);
    int64_t began_ms = clock_mono_ms();
    start_relay(p);
    closes_soon(p, began_ms);
    relay_stop(p->r);
    p->r = NULL;
    lack_and_ask(p, "UPDATE chat.stream SET relayed = 15 WHERE subject = 'r:1'", 1);
    stop_capture(p);
    int64_t before = said(p);
    start_relay(p);
    wait_until_said(p, before); /* that it listens: nobody hears it */
    began_ms = clock_mono_ms();
    start_capture(p);
    closes_soon(p, began_ms);
    all_is_well(p);
}

/* Capture's place in it is gone, and what the relay says on coming is lost: capture must notice,
 * and ask for what it would not ask for otherwise, since it did in vain for hours. */
static void a_control_topic_made_again_is_listened_to(void **state)
{
    struct healed *p = *state;
    OWN(own_db) struct db *db = NULL;
    char control[64];
    (void)snprintf(control, sizeof control, "%s-control", p->topic);
    start_writer(p);
    lack_and_ask(p, "UPDATE chat.stream SET relayed = 5 WHERE subject IN ('r:1', 'r:2')", 2);
    OK(db_open(&db, p->staging, 0, &e));
    OK(db_script(db, "UPDATE incident SET opened_us = opened_us - 36000000000", &e));
    queue_broker("drop", control, NULL);
    queue_broker("topic", control, "1");
    start_relay(p);
    wait_until_said(p, 0);
    wait_for(p, open_incidents, 0);
    all_is_well(p);
}

static void copy(const char *from, const char *to)
{
    OWN(own_fd) int in = open(from, O_RDONLY | O_CLOEXEC);
    OWN(own_fd) int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    char room[8192];
    ssize_t n;
    assert_true(in >= 0 && out >= 0);
    while ((n = read(in, room, sizeof room)) > 0)
        assert_int_equal(write(out, room, (size_t)n), n);
    assert_int_equal(n, 0);
}

/* mgccomp comes back from an older copy: capture reads on from there. */
static void an_older_mgccomp_reads_again(void **state)
{
    struct healed *p = *state;
    char kept[600];
    const char *file = p->staging + strlen("sqlite:");
    (void)snprintf(kept, sizeof kept, "%s.kept", file);
    start_relay(p);
    start_writer(p);
    start_capture(p);
    add(p);
    all_is_well(p);
    stop_capture(p);
    staging_close(p->st);
    copy(file, kept);
    OK(staging_open(&p->st, p->staging, &e));
    start_capture(p);
    for (int i = 0; i < 10; i++)
        add(p);
    all_is_well(p);
    stop_capture(p);
    staging_close(p->st);
    copy(kept, file);
    OK(staging_open(&p->st, p->staging, &e));
    assert_int_equal(number(p, "SELECT count(*) FROM record"), GROUP);
    start_capture(p);
    add(p);
    all_is_well(p);
    assert_int_equal(number(p, "SELECT count(*) FROM incident"), 0);
}

/* The store as it was when every room had two records. */
static void restore_older_copy(struct healed *p)
{
    OWN(own_db) struct db *db = NULL;
    OK(db_open(&db, p->store, 0, &e));
    OK(db_script(
        db, "DELETE FROM chat.record WHERE sequence > 2; UPDATE chat.stream SET relayed = 2", &e));
}

/* Numbers given out again are found, and both records kept; in a new epoch there are none. */
static void an_older_store_makes_forks_until_its_new_epoch(void **state)
{
    struct healed *p = *state;
    OWN(own_store) struct store *s = NULL;
    const struct store_restore restore = {SOURCE, SLICE("a disk died"), 1};
    int64_t epoch = 0;
    start_relay(p);
    start_writer(p);
    start_capture(p);
    add(p);
    add(p);
    all_is_well(p);
    stop_source(p);
    restore_older_copy(p);
    start_relay(p);
    start_writer(p);
    add(p);
    wait_for(p, "SELECT count(*) FROM incident WHERE kind = 'fork'", GROUP);
    wait_for(p, "SELECT count(*) FROM record", 3 * GROUP);
    stop_source(p);
    restore_older_copy(p);
    OK(store_open(&s, p->store, &e));
    OK(store_restored(s, &restore, &epoch, &e));
    assert_int_equal(epoch, 2);
    store_close(s);
    s = NULL;
    start_relay(p);
    start_writer(p);
    add(p);
    wait_for(p, "SELECT CAST(sum(sequence) AS bigint) FROM stream WHERE epoch = 2", GROUP + 1);
    assert_int_equal(number(p, "SELECT count(*) FROM stream WHERE epoch = 2"), ROOMS + 1);
    assert_int_equal(number(p, open_incidents), GROUP);
}

int main(int argc, char **argv)
{
    (void)argc;
    const struct CMUnitTest tests[] = {
        HEALED(a_gap_is_asked_for),
        HEALED(whoever_begins_anew_need_not_wait),
        HEALED(a_control_topic_made_again_is_listened_to),
        HEALED(an_older_mgccomp_reads_again),
        HEALED(an_older_store_makes_forks_until_its_new_epoch),
    };
    if (!healed_parts(argv[0]))
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
