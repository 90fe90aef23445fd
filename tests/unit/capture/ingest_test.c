/* SPDX-License-Identifier: Apache-2.0 */
/* Ingest over a real writer and a store in a scratch folder. */
#include "base/file.h"
#include "base/own.h"
#include "base/stop.h"
#include "capture/ingest.h"
#include "mgccomp/record_totals.h"
#include "tests/expect.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { TAKEN = 256 }; /* what the writer takes of a group at once */

struct fixture {
    char dir[64], url[128];
    int stored; /* so far, in the writer's thread */
    bool break_in_between;
    struct writer *w;
    struct app_io io;
    const struct sign_key *key;
    char *out, *err;
    size_t out_n, err_n;
    struct err e;
};

static void do_sql(const struct fixture *f, const char *sql)
{
    OWN(own_db) struct db *db = NULL;
    struct err e = {0};
    ok(db_open(&db, f->url, 0, &e), &e);
    ok(db_script(db, sql, &e), &e);
}

static void on_stored(void *arg, struct slice subject, const struct store_result *r)
{
    struct fixture *f = arg;
    (void)subject;
    (void)r;
    if (++f->stored == TAKEN && f->break_in_between)
        do_sql(f, "ALTER TABLE record RENAME TO aside");
}

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.dir = "/tmp/hf-ingest.XXXXXX"};
    assert_non_null(mkdtemp(f.dir));
    (void)snprintf(f.url, sizeof f.url, "sqlite:%s/chat.db", f.dir);
    const struct writer_options o = {.url = f.url, .stored = on_stored, .stored_arg = &f};
    ok(writer_start(&f.w, &o, &f.e), &f.e);
    f.io.out = open_memstream(&f.out, &f.out_n);
    f.io.err = open_memstream(&f.err, &f.err_n);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    writer_stop(f->w);
    (void)fclose(f->io.out);
    (void)fclose(f->io.err);
    free(f->out);
    free(f->err);
    ok(file_remove_tree(f->dir, &f->e), &f->e);
    return 0;
}

static struct ingest_into into(const struct fixture *f)
{
    static const struct store_limit none = {.folder = "/"};
    return (struct ingest_into){.writer = f->w, .limit = &none, .key = f->key, .store_url = f->url};
}

/* Runs the command over that text and returns its exit code. */
static int ingest(struct fixture *f, struct slice text)
{
    char name[] = "x.ndjson";
    char option[] = "--source=urn:other";
    char *argv[] = {name, option, NULL};
    OWN(own_file) FILE *in = tmpfile();
    assert_non_null(in);
    assert_int_equal(fwrite(text.p, 1, text.n, in), text.n);
    rewind(in);
    rewind(f->io.out);
    rewind(f->io.err);
    f->io.in = in;
    const struct ingest_into to = into(f);
    int code = ingest_command(&f->io, &to, 2, argv);
    (void)fflush(f->io.out);
    (void)fflush(f->io.err);
    return code;
}

static void put(struct buf *b, int id, const char *more)
{
    buf_format(b,
               "{\"specversion\":\"1.0\",\"id\":\"m%d\",\"type\":\"com.example.message\","
               "\"time\":\"2026-01-01T00:00:00Z\",\"subject\":\"room %d\"%s,\"data\":{\"text\":"
               "\"hello %d\"}}",
               id, id % 3, more, id);
}

static void assert_said(const char *text, const char *what)
{
    if (!strstr(text, what))
        fail_msg("\"%s\" is not in: %s", what, text);
}

static void lines_are_stored_once(void **state)
{
    struct fixture *f = *state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 4 << 20);
    for (int i = 0; i < 1500; i++) { /* several groups */
        put(&b, i, "");
        buf_char(&b, '\n');
    }
    put(&b, 1500, ""); /* without a line feed */
    assert_int_equal(ingest(f, buf_view(&b)), APP_OK);
    assert_said(f->out, "x.ndjson: 1501 lines: 1501 stored, 0 known already, 0 bad");
    assert_int_equal(ingest(f, buf_view(&b)), APP_OK);
    assert_said(f->out, "x.ndjson: 1501 lines: 0 stored, 1501 known already, 0 bad");
}

/* What was stored before it broke counts, and is known the next time. */
static void a_store_that_breaks_within_a_group(void **state)
{
    struct fixture *f = *state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 4 << 20);
    for (int i = 0; i < 400; i++) {
        put(&b, i, "");
        buf_char(&b, '\n');
    }
    f->break_in_between = true;
    assert_int_not_equal(ingest(f, buf_view(&b)), APP_OK);
    assert_said(f->out, "400 lines: 256 stored, 0 known already, 0 bad");
    do_sql(f, "ALTER TABLE aside RENAME TO record");
    assert_int_equal(ingest(f, buf_view(&b)), APP_OK);
    assert_said(f->out, "400 lines: 144 stored, 256 known already, 0 bad");
}

static int gather(void *arg, const struct store_row *row, struct err *e)
{
    struct buf *b = arg;
    (void)e;
    buf_slice(b, row->raw);
    buf_char(b, '\n');
    return 0;
}

static void the_producers_bytes_stay(void **state)
{
    struct fixture *f = *state;
    OWN(own_buf) struct buf b;
    OWN(own_buf) struct buf stored;
    OWN(own_store) struct store *s = NULL;
    buf_init(&b, 4096);
    buf_init(&stored, 65536);
    put(&b, 1, ", \"odd\" : [ 1,2 ]");
    assert_int_equal(ingest(f, buf_view(&b)), APP_OK);
    ok(store_open_reader(&s, f->url, &f->e), &f->e);
    ok(store_read_from(s, 0, 10, 0, gather, &stored, &f->e), &f->e);
    assert_true(stored.n > b.n);
    assert_memory_equal(stored.p, b.p, b.n - 1);
    assert_said(stored.p, "\"source\":\"urn:other\"");
    assert_said(stored.p, "\"sequence\":\"00000000000000000001\"");
}

static void bad_lines_are_named_and_the_rest_goes_on(void **state)
{
    struct fixture *f = *state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 2 << 20);
    put(&b, 1, "");
    buf_text(&b, "\nno json\n\n   \r\n");
    put(&b, 2, ",\"source\":\"urn:somebody-else\"");
    buf_char(&b, '\n');
    put(&b, 3, ",\"source\":\"urn:other\"");
    buf_text(&b, "\r\n{\"specversion\":\"1.0\"}\n");
    for (int i = 0; i < RECORD_MAX_BYTES + 200000; i++)
        buf_char(&b, 'x');
    buf_char(&b, '\n');
    put(&b, 4, "");
    assert_int_equal(ingest(f, buf_view(&b)), APP_FAILED);
    assert_said(f->out, "9 lines: 3 stored, 0 known already, 4 bad");
    assert_said(f->err, "x.ndjson:2: ");
    assert_said(f->err, "x.ndjson:5: source is \"urn:somebody-else\", not \"urn:other\"");
    assert_said(f->err, "x.ndjson:7: no member \"id\"");
    assert_said(f->err, "x.ndjson:8: line is over 524288 bytes");
}

static void one_id_with_two_contents_is_bad(void **state)
{
    struct fixture *f = *state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 4096);
    put(&b, 1, "");
    buf_char(&b, '\n');
    put(&b, 1, ",\"odd\":1");
    assert_int_equal(ingest(f, buf_view(&b)), APP_FAILED);
    assert_said(f->out, "1 stored, 0 known already, 1 bad");
}

static void many_bad_lines_are_counted_not_printed(void **state)
{
    struct fixture *f = *state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 65536);
    for (int i = 0; i < 250; i++)
        buf_text(&b, "[]\n");
    assert_int_equal(ingest(f, buf_view(&b)), APP_FAILED);
    assert_said(f->out, "250 lines: 0 stored, 0 known already, 250 bad");
    assert_said(f->err, "x.ndjson:100: ");
    assert_null(strstr(f->err, "x.ndjson:101: "));
    assert_said(f->err, "more bad lines");
}

static void nothing_is_nothing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ingest(f, SLICE("")), APP_OK);
    assert_said(f->out, "0 lines: 0 stored");
}

/* The newest record of totals, and how many there are. */
struct newest {
    struct buf raw;
    int n;
};

static int take_totals(void *arg, const struct store_row *row, struct err *e)
{
    struct newest *t = arg;
    (void)e;
    if (row->kind != RECORD_TOTALS)
        return 0;
    t->n++;
    buf_clear(&t->raw);
    buf_slice(&t->raw, row->raw);
    return 0;
}

/* Judges the newest totals; returns how many records of the rooms they name. */
static int64_t totalled(struct fixture *f, const struct newest *t)
{
    OWN(own_json_doc) struct json_doc *doc = json_doc_new();
    struct totals_head head;
    struct totals_line line;
    struct record r;
    struct slice rest;
    int64_t records = 0;
    ok(record_decode(doc, buf_view(&t->raw), &r, &f->e), &f->e);
    assert_true(slice_is(r.source, "urn:other"));
    assert_true(totals_signed_by(r.data, f->key->public_key));
    ok(totals_read_head(json_string(r.data, "statement"), &head, &rest, &f->e), &f->e);
    assert_int_equal(head.next_us, 0);
    assert_true(head.last);
    while (totals_next_line(&rest, &line, &f->e) == 1)
        records += slice_starts(line.subject, "room ") ? line.sequence : 0;
    return records;
}

static void each_input_ends_in_signed_totals(void **state)
{
    struct fixture *f = *state;
    const uint8_t secret[SIGN_KEY_SIZE] = {7};
    struct sign_key key;
    OWN(own_store) struct store *s = NULL;
    OWN(own_buf) struct buf b;
    struct newest t = {.n = 0};
    buf_init(&b, 65536);
    buf_init(&t.raw, 1 << 20);
    ok(sign_key_from(&key, secret, &f->e), &f->e);
    f->key = &key;
    for (int i = 0; i < 7; i++) {
        put(&b, i, "");
        buf_char(&b, '\n');
        assert_int_equal(ingest(f, buf_view(&b)), APP_OK);
    }
    ok(store_open_reader(&s, f->url, &f->e), &f->e);
    ok(store_read_from(s, 0, 100, 0, take_totals, &t, &f->e), &f->e);
    assert_int_equal(t.n, 7);
    assert_int_equal(totalled(f, &t), 7);
    buf_done(&t.raw);
}

static void a_source_must_be_named(void **state)
{
    struct fixture *f = *state;
    char name[] = "x.ndjson";
    char *argv[] = {name, NULL};
    f->io.in = stdin;
    const struct ingest_into to = into(f);
    assert_int_equal(ingest_command(&f->io, &to, 1, argv), APP_USAGE);
    (void)fflush(f->io.err);
    assert_said(f->err, "--source");
}

static int ingest_as(struct fixture *f, const char *option, const char *second)
{
    char words[3][40] = {"x.ndjson"};
    char *argv[] = {words[0], words[1], words[2], NULL};
    const struct ingest_into to = into(f);
    (void)snprintf(words[1], sizeof words[1], "%s", option);
    (void)snprintf(words[2], sizeof words[2], "%s", second);
    f->io.in = stdin;
    rewind(f->io.err);
    int code = ingest_command(&f->io, &to, 3, argv);
    (void)fflush(f->io.err);
    return code;
}

static void one_input_of_a_free_source(void **state)
{
    struct fixture *f = *state;
    OWN(own_store) struct store *other = NULL;
    assert_int_equal(ingest_as(f, "--source=urn:other", "y.ndjson"), APP_USAGE);
    assert_said(f->err, "one input at a time, not 2");
    assert_int_equal(ingest_as(f, "--source=urn:other", "--sorted"), APP_USAGE);
    ok(store_open(&other, f->url, &f->e), &f->e);
    ok(store_claim(other, SLICE("urn:taken"), &f->e), &f->e);
    assert_int_equal(ingest_as(f, "--source=urn:taken", "--json"), APP_FAILED);
    assert_said(f->err, "another writer has this store");
}

static void *free_the_disk(void *arg)
{
    const char *dir = arg;
    char there[100];
    char next[100];
    (void)snprintf(there, sizeof there, "%s/disk", dir);
    (void)snprintf(next, sizeof next, "%s/next", dir);
    (void)poll(NULL, 0, 300); /* meanwhile nothing is stored */
    if (symlink(dir, next) != 0 || rename(next, there) != 0)
        abort();
    return NULL;
}

/* A disk without a free byte, until it is exchanged. */
static void a_full_disk_is_waited_for(void **state)
{
    struct fixture *f = *state;
    char path[100];
    char option[] = "--source=urn:other";
    char *argv[] = {option, NULL};
    pthread_t thread;
    OWN(own_file) FILE *in = tmpfile();
    OWN(own_buf) struct buf b;
    buf_init(&b, 4096);
    put(&b, 1, "");
    assert_non_null(in);
    assert_int_equal(fwrite(b.p, 1, b.n, in), b.n);
    rewind(in);
    (void)snprintf(path, sizeof path, "%s/disk", f->dir);
    assert_int_equal(symlink("/proc", path), 0);
    const struct store_limit limit = {.folder = path, .reserve = 1};
    struct ingest_into to = into(f);
    to.limit = &limit;
    f->io.in = in;
    assert_int_equal(pthread_create(&thread, NULL, free_the_disk, f->dir), 0);
    int code = ingest_command(&f->io, &to, 1, argv);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)fflush(f->io.out);
    assert_int_equal(code, APP_OK);
    assert_said(f->out, "-: 1 lines: 1 stored");
}

static void an_input_that_can_not_be_read(void **state)
{
    struct fixture *f = *state;
    char option[] = "--source=urn:other";
    char *argv[] = {option, NULL};
    OWN(own_file) FILE *folder = fopen("/", "r");
    const struct ingest_into to = into(f);
    assert_non_null(folder);
    f->io.in = folder;
    assert_int_equal(ingest_command(&f->io, &to, 1, argv), APP_FAILED);
    (void)fflush(f->io.err);
    assert_said(f->err, "read -");
}

/* The last one: a program that is to stop stays so. */
static void a_stop_ends_it_between_two_lines(void **state)
{
    struct fixture *f = *state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 4 << 20);
    for (int i = 0; i < 1500; i++) { /* more than is read at once */
        put(&b, i, "");
        buf_char(&b, '\n');
    }
    stop_request();
    assert_int_equal(ingest(f, buf_view(&b)), APP_FAILED);
    assert_said(f->err, "x.ndjson: stopped behind line ");
    assert_null(strstr(f->out, " 1500 lines"));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(lines_are_stored_once),
        CASE(a_store_that_breaks_within_a_group),
        CASE(the_producers_bytes_stay),
        CASE(bad_lines_are_named_and_the_rest_goes_on),
        CASE(one_id_with_two_contents_is_bad),
        CASE(many_bad_lines_are_counted_not_printed),
        CASE(nothing_is_nothing),
        CASE(each_input_ends_in_signed_totals),
        CASE(a_source_must_be_named),
        CASE(one_input_of_a_free_source),
        CASE(a_full_disk_is_waited_for),
        CASE(an_input_that_can_not_be_read),
        CASE(a_stop_ends_it_between_two_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
