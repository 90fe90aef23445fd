/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/adapters/host/rig.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/own.h"
#include "mgccomp/drain_request.h"

#include <dirent.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int rig_begin(int argc, char **argv, struct rig *postgres)
{
    const char *server = getenv("HOLDFAST_TEST_POSTGRES");
    if (argc > 1 && strcmp(argv[1], "worker") == 0)
        return worker_main(argc - 1, argv + 1);
    if (!getenv("HOLDFAST_TEST_SCRATCH") || (postgres && !server)) {
        print_error("run me through tests/parts/with %s -- %s\n", postgres ? "postgres" : "smtp",
                    argv[0]);
        return 2;
    }
    if (postgres)
        postgres->postgres = server;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return -1;
}

void rig_open(struct rig *r)
{
    int64_t generation = 0;
    ok(staging_open(&r->st, r->url, &r->e), &r->e);
    ok(staging_queue(r->st, SLICE("embedded"), SLICE("test"), &generation, &r->e), &r->e);
    ok(capture_writer_new(&r->w, r->st, generation, &r->e), &r->e);
}

void rig_close(struct rig *r)
{
    rig_stop(r);
    capture_writer_free(r->w);
    staging_close(r->st);
    r->w = NULL;
    r->st = NULL;
}

int rig_set_up(void **state)
{
    static int number;
    struct rig *r = *state;
    const char *scratch = getenv("HOLDFAST_TEST_SCRATCH");
    (void)snprintf(r->dir, sizeof r->dir, "%s/rig%d", scratch, ++number);
    assert_int_equal(mkdir(r->dir, 0700), 0);
    (void)snprintf(r->url, sizeof r->url, "%s", feed_database(r->postgres, scratch));
    rig_open(r);
    r->at = (struct staging_position){.part = 0};
    r->feed = (struct feed){0};
    r->room = (struct feed_stream){.source = "sip:pool.example.test", .subject = "ma-chan://x/one"};
    r->other =
        (struct feed_stream){.source = "sip:pool.example.test", .subject = "ma-chan://x/two"};
    assert_true(wake_init(&r->captured) && wake_init(&r->archived));
    caught_begin(&r->said);
    return 0;
}

int rig_tear_down(void **state)
{
    struct rig *r = *state;
    rig_close(r);
    feed_done(&r->feed);
    conf_free(r->conf);
    r->conf = NULL;
    caught_done(&r->said);
    wake_done(&r->captured);
    wake_done(&r->archived);
    return 0;
}

void rig_posts(struct rig *r, struct feed_stream *s, int n)
{
    struct capture_outcome out;
    for (int i = 0; i < n; i++)
        feed_post(&r->feed, s);
    ok(feed_write(r->w, r->feed.items, r->feed.n, &r->at, 1, &out, &r->e), &r->e);
    feed_clear(&r->feed);
    wake_ring(&r->captured);
}

void rig_conf(struct rig *r, const char *text)
{
    static const struct conf_section sections[] = {{"adapter *", "An adapter.", NULL}, {0}};
    OWN(own_buf) struct buf b;
    char path[500];
    buf_init(&b, 1 << 16);
    for (; *text; text++) {
        if (*text == '%')
            buf_text(&b, r->dir);
        else
            buf_char(&b, *text);
    }
    (void)snprintf(path, sizeof path, "%s/holdfast.conf", r->dir);
    ok(file_replace(path, buf_view(&b), 0600, &r->e), &r->e);
    conf_free(r->conf);
    r->conf = NULL;
    ok(conf_load(&r->conf, path, sections, &r->e), &r->e);
}

void rig_plain(struct buf *conf, const char *name)
{
    buf_format(conf,
               "[adapter %s]\nmodule = plain\ndirectory = %%/%s\nmode = %%/%s.mode\n"
               "deadline = 3s\ninterval = 1h\n",
               name, name, name);
}

void rig_conf_of(struct rig *r, const char *const *names)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, 1 << 16);
    for (; *names; names++)
        rig_plain(&b, *names);
    rig_conf(r, b.p);
}

void rig_mode(struct rig *r, const char *name, const char *mode)
{
    char path[500];
    (void)snprintf(path, sizeof path, "%s/%s.mode", r->dir, name);
    ok(file_replace(path, slice_of(mode), 0600, &r->e), &r->e);
}

static void make_output(void *arg, struct slice name)
{
    struct rig *r = arg;
    char path[500];
    (void)snprintf(path, sizeof path, "%s/%.*s", r->dir, SLICE_ARG(name));
    (void)mkdir(path, 0700);
}

struct archiver_options rig_options(struct rig *r)
{
    static char scratch[500];
    static char delivered[500];
    (void)snprintf(scratch, sizeof scratch, "%s/scratch", r->dir);
    (void)mkdir(scratch, 0700);
    (void)snprintf(delivered, sizeof delivered, "%s/delivered", r->dir);
    (void)mkdir(delivered, 0700);
    conf_each_named(r->conf, "adapter", make_output, r);
    return (struct archiver_options){.staging = r->st,
                                     .conf = r->conf,
                                     .modules_dir = HOLDFAST_ABI_MODULES,
                                     .scratch_dir = scratch,
                                     .delivered_dir = delivered,
                                     .program = "/proc/self/exe",
                                     .captured = &r->captured,
                                     .archived = &r->archived};
}

void rig_drain(struct rig *r)
{
    ok(drain_request(r->st, INT64_MAX, &r->e), &r->e);
}

void rig_start(struct rig *r)
{
    struct archiver_options o = rig_options(r);
    rig_drain(r);
    ok(archiver_start(&r->archiver, &o, &r->e), &r->e);
}

void rig_stop(struct rig *r)
{
    archiver_stop(r->archiver);
    r->archiver = NULL;
}

int64_t rig_number(struct rig *r, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    int64_t v = -1;
    ok(staging_reader(r->st, &db, &r->e), &r->e);
    ok(db_int(db, sql, DB_NO_ARGS, -1, &v, &r->e), &r->e);
    return v;
}

void rig_sql(struct rig *r, const char *sql)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(staging_begin(r->st, &t, &r->e), &r->e);
    ok(db_run(t.db, sql, DB_NO_ARGS, NULL, &r->e), &r->e);
    ok(staging_commit(&t, &r->e), &r->e);
}

void rig_await(struct rig *r, const char *sql, int64_t value)
{
    int64_t end = clock_mono_ms() + 60000;
    int64_t found = -1;
    while (clock_mono_ms() < end) {
        found = rig_number(r, sql);
        if (found == value)
            return;
        (void)poll(NULL, 0, 20);
    }
    fail_msg("%s: %lld, not %lld", sql, (long long)found, (long long)value);
}

int64_t rig_open_incidents(struct rig *r)
{
    return rig_number(r, "SELECT count(*) FROM incident WHERE closed_us IS NULL");
}

int rig_type(struct rig *r, rig_command *command, const char *const *words)
{
    char typed[4][80];
    char *argv[5] = {NULL};
    int n = 0;
    for (; words[n]; n++) {
        assert_true(n < 4 && slice_copy(slice_of(words[n]), typed[n], sizeof typed[n]));
        argv[n] = typed[n];
    }
    caught_anew(&r->said);
    int code = command(&r->said.io, r->st, n, argv);
    caught_read(&r->said);
    return code;
}

struct wanted {
    const char *name;
    struct ledger_instance found;
};

static int find_instance(void *arg, const struct ledger_instance *i, struct err *e)
{
    struct wanted *w = arg;
    (void)e;
    if (strcmp(i->name, w->name) == 0)
        w->found = *i;
    return 0;
}

struct ledger_instance rig_instance(struct rig *r, const char *name)
{
    OWN(own_db) struct db *db = NULL;
    struct wanted w = {.name = name};
    ok(staging_reader(r->st, &db, &r->e), &r->e);
    ok(ledger_instances(db, true, find_instance, &w, &r->e), &r->e);
    return w.found;
}

static int published(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 4 && strcmp(d->d_name + n - 4, ".txt") == 0;
}

const char *rig_output(struct rig *r, const char *name)
{
    static struct buf all;
    struct dirent **files = NULL;
    char path[1000];
    (void)snprintf(path, sizeof path, "%s/%s", r->dir, name);
    int n = scandir(path, &files, published, alphasort);
    buf_done(&all);
    buf_init(&all, 64 << 20);
    buf_text(&all, "");
    for (int i = 0; i < n; i++) {
        (void)snprintf(path, sizeof path, "%s/%s/%s", r->dir, name, files[i]->d_name);
        ok(file_read(path, 64 << 20, &all, &r->e), &r->e);
        free(files[i]);
    }
    free(files);
    buf_char(&all, '\n');
    return all.p;
}

static int in_order(const char *text, const char *subject)
{
    char mark[100];
    int n = 0;
    for (;;) {
        (void)snprintf(mark, sizeof mark, " %s#%d kind", subject, n + 1);
        const char *found = strstr(text, mark);
        if (!found)
            return n;
        if (strstr(found + 1, mark))
            fail_msg("%s twice", mark);
        text = found;
        n++;
    }
}

void rig_assert_output(struct rig *r, const char *name, int one, int two)
{
    const char *text = rig_output(r, name);
    int lines = 0;
    assert_int_equal(in_order(text, r->room.subject), one);
    assert_int_equal(in_order(text, r->other.subject), two);
    for (const char *p = strstr(text, " flags "); p; p = strstr(p + 1, " flags "))
        lines++;
    assert_int_equal(lines, one + two);
}
