/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer with its relay (PostgreSQL), a real broker and capture (into SQLite) together: what the
 * queue loses, moves or forgets arrives all the same, and the incidents close by themselves.
 */
#include "base/clock.h"
#include "base/own.h"
#include "capture/capture.h"
#include "capture/queue_check.h"
#include "capture/queue_tidy.h"
#include "chat-server/store/epoch.h"
#include "chat-server/store/heal_store.h"
#include "chat-server/store/relay.h"
#include "chat-server/store/writer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

#define SOURCE SLICE("sip:pool.example.com")

enum { ROOMS = 12, GROUP = 24, PATIENCE_MS = 90000, SOON_MS = 20000 };

static const char *scratch;
static int cases;

#define OK(call)                                                                                   \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        int rc_ = (call);                                                                          \
        if (rc_ < 0)                                                                               \
            fail_msg("%s: %d %s", #call, rc_, e.text);                                             \
    } while (0)

struct place {
    char store[512], staging[512], topic[32];
    struct kafka_target target;
    struct writer *w;
    struct relay *r;
    struct staging *st;
    struct capture *c;
    pthread_t thread;
    bool loaded;
    atomic_bool stop;
    atomic_int posts;
};

static void broker(const char *verb, const char *a, const char *b)
{
    char script[512];
    pid_t pid;
    int status = -1;
    (void)snprintf(script, sizeof script, "%s/kafka", getenv("HOLDFAST_TEST_PARTS"));
    const char *words[] = {script, verb, getenv("HOLDFAST_TEST_KAFKA_DIR"), a, b, NULL};
    assert_int_equal(posix_spawn(&pid, script, NULL, NULL, (char **)(uintptr_t)words, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int set_up(void **state)
{
    const char *server = getenv("HOLDFAST_TEST_POSTGRES");
    struct place *p = calloc(1, sizeof *p);
    OWN(own_db) struct db *db = NULL;
    char sql[64];
    char control[64];
    assert_true(server && p);
    cases++;
    (void)snprintf(sql, sizeof sql, "CREATE DATABASE heal%d", cases);
    OK(db_open(&db, server, 0, &e));
    OK(db_script(db, sql, &e));
    const char *at = strstr(server, "/postgres?");
    assert_non_null(at);
    (void)snprintf(p->store, sizeof p->store, "%.*s/heal%d%s", (int)(at - server), server, cases,
                   at + strlen("/postgres"));
    (void)snprintf(p->staging, sizeof p->staging, "sqlite:%s/heal%d.db", scratch, cases);
    (void)snprintf(p->topic, sizeof p->topic, "heal%d", cases);
    (void)snprintf(control, sizeof control, "%s-control", p->topic);
    broker("topic", p->topic, "4");
    broker("topic", control, "1");
    p->target = (struct kafka_target){.brokers = getenv("HOLDFAST_TEST_KAFKA"),
                                      .topic = p->topic,
                                      .group = p->topic,
                                      .single_broker = true};
    OK(staging_open(&p->st, p->staging, &e));
    *state = p;
    return 0;
}

static void start_relay(struct place *p)
{
    struct relay_options o = {.store_url = p->store, .kafka = p->target, .source = SOURCE};
    OK(relay_start(&p->r, &o, &e));
}

static void start_writer(struct place *p)
{
    struct writer_options o = {.url = p->store};
    if (p->r) {
        o.stored = relay_stored;
        o.stored_arg = p->r;
    }
    OK(writer_start(&p->w, &o, &e));
    OK(writer_claim(p->w, SOURCE, &e));
}

static void start_capture(struct place *p)
{
    struct capture_options o = {.staging = p->st, .kafka = &p->target};
    OK(capture_start(&p->c, &o, &e));
}

static void stop_capture(struct place *p)
{
    capture_stop(p->c);
    p->c = NULL;
}

static void end_load(struct place *p)
{
    if (!p->loaded)
        return;
    atomic_store(&p->stop, true);
    assert_int_equal(pthread_join(p->thread, NULL), 0);
    p->loaded = false;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    end_load(p);
    writer_stop(p->w);
    relay_stop(p->r);
    capture_stop(p->c);
    staging_close(p->st);
    free(p);
    return 0;
}

static void add(struct place *p)
{
    struct store_event events[GROUP];
    struct store_result results[GROUP];
    char rooms[ROOMS][16];
    for (int i = 0; i < ROOMS; i++)
        (void)snprintf(rooms[i], sizeof rooms[i], "r:%d", i);
    for (int i = 0; i < GROUP; i++)
        events[i] = (struct store_event){
            .source = SOURCE,
            .subject = slice_of(rooms[i % ROOMS]),
            .kind = RECORD_POST,
            .time_us = clock_wall_us(),
            .members = SLICE("\"participant\":\"sip:ann@example.com\",\"text\":\"hello\""),
            .numbered = true,
        };
    OK(writer_submit_wait(p->w, events, GROUP, results, &e));
    atomic_fetch_add(&p->posts, GROUP);
}

static void *load(void *arg)
{
    struct place *p = arg;
    while (!atomic_load(&p->stop)) {
        add(p);
        (void)poll(NULL, 0, 5); /* the pace of the load */
    }
    return NULL;
}

static void begin_load(struct place *p)
{
    atomic_store(&p->stop, false);
    p->loaded = true;
    assert_int_equal(pthread_create(&p->thread, NULL, load, p), 0);
}

static void wait_for_posts(struct place *p, int more)
{
    int goal = atomic_load(&p->posts) + more;
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (atomic_load(&p->posts) < goal) {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 10);
    }
}

static int64_t number(struct place *p, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    int64_t v = -1;
    OK(staging_reader(p->st, &db, &e));
    OK(db_int(db, sql, DB_NO_ARGS, -1, &v, &e));
    return v;
}

static void wait_for(struct place *p, const char *sql, int64_t n)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (number(p, sql) != n) {
        if (clock_mono_ms() > until)
            fail_msg("%s: %" PRId64 ", not %" PRId64, sql, number(p, sql), n);
        (void)poll(NULL, 0, 50);
    }
}

static const char open_incidents[] = "SELECT count(*) FROM incident WHERE closed_us IS NULL";
static const char different[] = "SELECT count(*) FROM (SELECT DISTINCT stream, sequence FROM"
                                " record WHERE stream IS NOT NULL)";

/* Every record of the store is captured, each once; nothing is wrong any more. */
static void all_is_well(struct place *p)
{
    wait_for(p, different, atomic_load(&p->posts));
    wait_for(p, open_incidents, 0);
    assert_int_equal(number(p, "SELECT count(*) FROM record"), atomic_load(&p->posts));
    assert_int_equal(number(p, "SELECT CAST(sum(sequence) AS bigint) FROM stream"),
                     atomic_load(&p->posts));
    assert_int_equal(
        number(p, "SELECT count(*) FROM incident WHERE kind NOT IN ('gap', 'log-changed')"), 0);
}

static int count_changes(void *arg, const struct store_log_change *c, struct err *e)
{
    int64_t *counts = arg;
    (void)e;
    counts[c->closed_us != 0]++;
    return 0;
}

static void no_open_change(struct place *p, int64_t counts[2])
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

static void recreate(struct place *p)
{
    broker("drop", p->topic, NULL);
    broker("topic", p->topic, "4");
}

static void a_topic_made_again_under_load_heals(void **state)
{
    struct place *p = *state;
    int64_t changes[2];
    start_relay(p);
    start_writer(p);
    start_capture(p);
    begin_load(p);
    wait_for_posts(p, 1500);
    recreate(p);
    wait_for_posts(p, 1500);
    end_load(p);
    all_is_well(p);
    no_open_change(p, changes);
    assert_true(changes[1] > 0);
    assert_true(number(p, "SELECT count(*) FROM incident WHERE kind = 'log-changed'") > 0);
}

static int64_t relayed(const struct place *p)
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
    struct place *p = *state;
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
    struct place *p = *state;
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

static void stop_source(struct place *p)
{
    writer_stop(p->w);
    p->w = NULL;
    relay_stop(p->r);
    p->r = NULL;
}

/* The store as it was when every room had two records. */
static void restore_older_copy(struct place *p)
{
    OWN(own_db) struct db *db = NULL;
    OK(db_open(&db, p->store, 0, &e));
    OK(db_script(
        db, "DELETE FROM chat.record WHERE sequence > 2; UPDATE chat.stream SET relayed = 2", &e));
}

/* Numbers given out again are found, and both records kept; in a new epoch there are none. */
static void an_older_store_makes_forks_until_its_new_epoch(void **state)
{
    struct place *p = *state;
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

static void more_partitions_move_rooms(void **state)
{
    struct place *p = *state;
    start_relay(p);
    start_writer(p);
    start_capture(p);
    begin_load(p);
    wait_for_posts(p, 1000);
    broker("grow", p->topic, "8");
    wait_for_posts(p, 1000);
    /* Until the relay and the group know them: the pace of their own refresh, ten seconds. */
    wait_for(p, "SELECT CASE WHEN count(*) > 4 THEN 1 ELSE 0 END FROM position", 1);
    wait_for_posts(p, 1000);
    end_load(p);
    all_is_well(p);
    assert_int_equal(number(p, "SELECT count(*) FROM incident WHERE kind = 'log-changed'"), 0);
}

static void a_gap_is_asked_for(void **state)
{
    struct place *p = *state;
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
static void lack_and_ask(struct place *p, const char *sql, int gaps)
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

static void closes_soon(struct place *p, int64_t began_ms)
{
    wait_for(p, open_incidents, 0);
    assert_true(clock_mono_ms() - began_ms < SOON_MS); /* a question is repeated after 30 s */
}

/* How many messages the control topic has. */
static int64_t said(struct place *p)
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

static void wait_until_said(struct place *p, int64_t before)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (said(p) <= before) {
        assert_true(clock_mono_ms() < until);
        (void)poll(NULL, 0, 50);
    }
}

static void whoever_begins_anew_need_not_wait(void **state)
{
    struct place *p = *state;
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
    struct place *p = *state;
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

static int check_queue(struct place *p, const char *expected)
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
    struct place *p = *state;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_gap_is_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(whoever_begins_anew_need_not_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_topic_made_again_under_load_heals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_that_grew_back_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_never_captured_comes_from_the_store, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_older_mgccomp_reads_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_log_is_checked_and_tidied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_older_store_makes_forks_until_its_new_epoch, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(more_partitions_move_rooms, set_up, tear_down),
    };
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    if (!scratch || !getenv("HOLDFAST_TEST_KAFKA") || !getenv("HOLDFAST_TEST_POSTGRES")) {
        print_error("run me through tests/parts/with postgres kafka -- heal_test\n");
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
