/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/capture_rig.h"

#include "base/clock.h"
#include "base/own.h"
#include "tests/contract/feed.h"

#include <inttypes.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

enum { PARTITIONS = 3 };

const char all_records[] = "SELECT count(*) FROM record";
const char open_incidents[] = "SELECT count(*) FROM incident WHERE closed_us IS NULL";

bool capture_parts(const char *program)
{
    if (getenv("HOLDFAST_TEST_SCRATCH") && getenv("HOLDFAST_TEST_KAFKA") &&
        getenv("HOLDFAST_TEST_POSTGRES"))
        return true;
    print_error("run me through tests/parts/with postgres kafka -- %s\n", program);
    return false;
}

static int set_up_with(struct fixture *f, int partitions)
{
    const char *scratch = getenv("HOLDFAST_TEST_SCRATCH");
    const char *server = f->services ? getenv("HOLDFAST_TEST_POSTGRES") : NULL;
    (void)snprintf(f->url, sizeof f->url, "%s", feed_database(server, scratch));
    f->c = NULL;
    assert_true(wake_init(&f->captured));
    ok(staging_open(&f->st, f->url, &f->e), &f->e);
    queue_make(&f->q, f->services, scratch, partitions);
    return 0;
}

int capture_set_up(void **state)
{
    return set_up_with(*state, PARTITIONS);
}

int capture_set_up_one(void **state)
{
    return set_up_with(*state, 1);
}

int capture_tear_down(void **state)
{
    struct fixture *f = *state;
    stop_capture(f);
    staging_close(f->st);
    queue_done(&f->q);
    wake_done(&f->captured);
    return 0;
}

int start_capture_on(struct fixture *f, const struct kafka_target *kafka)
{
    const struct capture_options o = {.staging = f->st,
                                      .writers = f->services ? 2 : 1,
                                      .batch_records = 100,
                                      .captured = &f->captured,
                                      .embedded = f->services ? NULL : &f->q.embedded,
                                      .kafka = f->services ? kafka : NULL};
    return capture_start(&f->c, &o, &f->e);
}

void start_capture(struct fixture *f)
{
    ok(start_capture_on(f, &f->q.target), &f->e);
}

void stop_capture(struct fixture *f)
{
    capture_stop(f->c);
    f->c = NULL;
}

void wait_for_problem(struct fixture *f, const char *words)
{
    struct capture_state s;
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    for (capture_state(f->c, &s); !s.problem[0] || !strstr(s.problem, words);
         capture_state(f->c, &s)) {
        if (clock_mono_ms() > until)
            fail_msg("\"%s\" is not: %s", s.problem, words);
        (void)poll(NULL, 0, 20);
    }
}

int64_t number(struct fixture *f, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    int64_t v = -1;
    ok(staging_reader(f->st, &db, &f->e), &f->e);
    ok(db_int(db, sql, DB_NO_ARGS, -1, &v, &f->e), &f->e);
    return v;
}

void wait_for_least(struct fixture *f, const char *sql, int64_t n)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    int64_t v = -1;
    while ((v = number(f, sql)) < n) {
        if (clock_mono_ms() > until)
            fail_msg("%s: %" PRId64 ", not %" PRId64 " within two minutes", sql, v, n);
        (void)poll(NULL, 0, 20);
    }
}

void wait_for(struct fixture *f, const char *sql, int64_t n)
{
    wait_for_least(f, sql, n);
    assert_int_equal(number(f, sql), n);
}

void do_sql(const char *url, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    struct err e = {0};
    ok(db_open(&db, url, 0, &e), &e);
    ok(db_script(db, sql, &e), &e);
}

void postgres(const char *verb)
{
    char script[512];
    pid_t pid;
    int status = -1;
    (void)snprintf(script, sizeof script, "%s/postgres", getenv("HOLDFAST_TEST_PARTS"));
    const char *words[] = {script, verb, getenv("HOLDFAST_TEST_POSTGRES_DIR"), NULL};
    assert_int_equal(posix_spawn(&pid, script, NULL, NULL, (char **)(uintptr_t)words, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}
