/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch on its way to a worker: written with every statement and allocation failing once, read
 * with every allocation failing once, cut off at every byte and with every byte changed.
 */
#include "adapters/host/batch.h"
#include "adapters/host/spool.h"
#include "mgccomp/lease.h"
#include "tests/contract/faults/faults.h"
#include "tests/contract/feed.h"
#include "tests/contract/spool_made.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LEASE_FOR_MS = 3600 * 1000, RECORDS = 7 };

static const char *scratch;

struct bench {
    struct staging *st;
    struct db *reader;
    struct ledger_batch batch;
    struct buf spool, task;
    struct err e;
};
static struct bench bench;

static void ok(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s: %s", err_class_name(rc), e->text);
}

static struct slice made(struct feed *f, struct feed_stream *s, enum record_kind kind,
                         const char *members)
{
    return feed_make(f, s, kind, members);
}

/* Two rooms with people in them, a read, something unreadable; half of it was settled before. */
static void freeze_a_batch(struct bench *b)
{
    struct feed f = {0};
    struct feed_stream one = {.source = "sip:pool", .subject = "ma-chan://x/one"};
    struct feed_stream two = {.source = "sip:pool", .subject = "ma-chan://x/two"};
    struct capture_writer *w = NULL;
    struct capture_outcome out;
    struct staging_position at = {.part = 0};
    const struct ledger_due due = {.records = 3, .bytes = 1 << 20, .now = true};
    struct ledger_instance i = {.id = 1, .name = "a", .required = true};
    struct slice none = {0};
    int64_t generation = 0;
    ok(staging_open(&b->st, feed_database(NULL, scratch), &b->e), &b->e);
    ok(staging_queue(b->st, SLICE("embedded"), SLICE("test"), &generation, &b->e), &b->e);
    ok(lease_take(b->st, LEASE_FOR_MS, &b->e), &b->e);
    ok(ledger_add(b->st, SLICE("a"), SLICE("plain"), true, 2, &b->e), &b->e);
    ok(capture_writer_new(&w, b->st, generation, &b->e), &b->e);
#define WHO(name) "\"participant\":\"sip:" name "@x\",\"endpoint\":\"e\",\"name\":\"" name "\""
    feed_put(&f, made(&f, &one, RECORD_JOIN, WHO("ann")));
    feed_put(&f, made(&f, &one, RECORD_JOIN, WHO("bob")));
    feed_put(&f, made(&f, &two, RECORD_JOIN, WHO("ann")));
    feed_post(&f, &one);
    feed_post(&f, &two);
    feed_put(&f, made(&f, &one, RECORD_READ, WHO("ann") ",\"ranges\":[[3,5],[1,2]]"));
    feed_put(&f, SLICE("no record"));
    feed_put(&f, made(&f, &one, RECORD_LEAVE, WHO("bob") ",\"reason\":\"bye\""));
    feed_put(&f, made(&f, &two, RECORD_LEAVE, WHO("ann")));
    feed_post(&f, &one);
    ok(feed_write(w, f.items, f.n, &at, 1, &out, &b->e), &b->e);
    ok(ledger_cut(b->st, &i, &due, NULL, &b->batch, &b->e), &b->e);
    ok(ledger_attempt(b->st, &b->batch, &b->e), &b->e);
    ok(ledger_settle(b->st, &b->batch, 0, 2, "done", SLICE("[]"), none, &b->e), &b->e);
    ok(ledger_batch_state(b->st, &b->batch, "settled", none, &b->e), &b->e);
    ok(ledger_batch_state(b->st, &b->batch, "verified", none, &b->e), &b->e);
    const struct ledger_due rest = {.records = 100, .bytes = 1 << 20, .now = true};
    ok(ledger_cut(b->st, &i, &rest, NULL, &b->batch, &b->e), &b->e);
    assert_int_equal(b->batch.records, RECORDS);
    ok(ledger_attempt(b->st, &b->batch, &b->e), &b->e);
    ok(ledger_settle(b->st, &b->batch, 0, 1, "done", SLICE("[[\"path\",\"/x\"],[\"bytes\",\"9\"]]"),
                     none, &b->e),
       &b->e);
    ok(ledger_settle(b->st, &b->batch, 2, 2, "rejected", SLICE("[]"), SLICE("552"), &b->e), &b->e);
    ok(staging_reader(b->st, &b->reader, &b->e), &b->e);
    capture_writer_free(w);
    feed_done(&f);
}

static int write_spool(void *arg)
{
    struct bench *b = arg;
    OWN(own_fd) int fd = -1;
    struct batch_spool spool;
    char part[65536];
    batch_spool_init(&spool, scratch, "a");
    int rc = batch_spool_open(&spool, b->reader, &b->batch, &fd, &b->e);
    batch_spool_done(&spool);
    if (rc < 0)
        return rc;
    buf_done(&b->spool);
    buf_init(&b->spool, 1 << 20);
    ssize_t n = pread(fd, part, sizeof part, 0);
    assert_true(n > 0 && n < (ssize_t)sizeof part);
    buf_add(&b->spool, part, (size_t)n);
    return buf_ok(&b->spool, "a spool", &b->e);
}

/* Reads all of it, twice; *n gets the number of records. */
static int read_through(const char *bytes, size_t size, uint64_t *n, struct err *e)
{
    OWN(own_spool) struct spool *s = NULL;
    const struct mgc_record *r = NULL;
    struct spool_totals t;
    uint32_t facts = 0;
    int rc =
        spool_open(&s, spool_made_file((struct slice){bytes, size}), bench.batch.digest, false, e);
    if (rc < 0)
        return rc;
    spool_totals(s, &t);
    assert_true(spool_facts(s, &facts) || facts == 0);
    for (int pass = 0; rc == 0 && pass < 2; pass++) {
        *n = 0;
        for (rc = spool_next(s, &r, e); rc == 1; rc = spool_next(s, &r, e)) {
            assert_true(r->raw.p && (!r->room || r->room->uri.p));
            ++*n;
        }
        if (rc == 0)
            rc = spool_next(s, &r, e); /* the end once more */
        if (rc == 0)
            rc = spool_rewind(s, e);
    }
    if (rc == 0)
        assert_int_equal(*n, t.records);
    return rc;
}

static int read_spool(void *arg)
{
    struct bench *b = arg;
    uint64_t n = 0;
    int rc = read_through(b->spool.p, b->spool.n, &n, &b->e);
    if (rc == 0)
        assert_int_equal(n, RECORDS);
    return rc;
}

static int write_task(void *arg)
{
    static struct adapter_options options;
    struct bench *b = arg;
    options.module.options[0] = (struct conf_option){.name = "password"};
    options.module.option_count = 1;
    options.values[0] = (struct conf_value){.text = SLICE("secret"), .set = true};
    buf_done(&b->task);
    buf_init(&b->task, 1 << 16);
    return batch_task(&b->batch, WIRE_DELIVER, "a", &options, "/tmp", &b->task, &b->e);
}

static int read_task(void *arg)
{
    static struct wire_task task;
    struct bench *b = arg;
    OWN(own_json_doc) struct json_doc *doc = json_doc_new();
    struct arena arena;
    arena_init(&arena, 0);
    int rc = doc ? wire_task_read(doc, buf_view(&b->task), &arena, &task, &b->e)
                 : err_memory(&b->e, "a test");
    if (rc == 0)
        assert_true(task.records == RECORDS && slice_is(task.options[0].text, "secret"));
    arena_done(&arena);
    return rc;
}

static int read_answer(void *arg)
{
    struct bench *b = arg;
    OWN(own_json_doc) struct json_doc *doc = json_doc_new();
    int32_t said = 0;
    struct slice text;
    return doc ? wire_answer_read(doc, SLICE("{\"rc\":-1,\"text\":\"x\"}"), &said, &text, &b->e)
               : err_memory(&b->e, "a test");
}

/* Texts so large that each takes memory of its own. */
enum { LARGE = (1 << 20) + 1 };

static struct {
    struct buf spool, record, task;
    uint8_t digest[SHA256_SIZE], record_digest[SHA256_SIZE];
} large;

static void make_large(void)
{
    OWN(own_buf) struct buf text;
    OWN(own_buf) struct buf json;
    OWN(own_buf) struct buf facts;
    struct wire_task task = {.what = WIRE_CHECK, .option_count = 1};
    char *letters = malloc(LARGE);
    assert_non_null(letters);
    memset(letters, 'x', LARGE);
    buf_init(&text, 2 * LARGE);
    buf_init(&json, 16 * LARGE);
    buf_init(&facts, 4 * LARGE);
    buf_add(&text, letters, LARGE);
    buf_char(&text, '\0');
    buf_format(&json,
               "{\"rooms\":[{\"epoch\":1,\"records\":0,\"source\":\"s\",\"subject\":\"r\","
               "\"name\":\"%s\"}],\"rosters\":[[0,\"sip:a\",\"%s\",1]]}",
               text.p, text.p);
    buf_format(&facts, "[[0,0,[[\"path\",\"%s\"]]]]", text.p);
    spool_made(&large.spool, large.digest, &SLICE("one"), 1, json.p, facts.p);
    spool_made(&large.record, large.record_digest, &(struct slice){letters, LARGE}, 1,
               "{\"rooms\":[],\"rosters\":[]}", "[]");
    task.options[0] =
        (struct wire_option){.name = SLICE("password"), .text = {letters, LARGE}, .set = true};
    buf_init(&large.task, 4 * LARGE);
    wire_task_write(&large.task, &task);
    assert_false(json.failed || facts.failed || large.task.failed);
    free(letters);
}

static int read_one(const struct buf *bytes, const uint8_t *digest, struct slice *fact,
                    struct err *e)
{
    OWN(own_spool) struct spool *s = NULL;
    const struct mgc_record *r = NULL;
    uint32_t facts = 0;
    int rc = spool_open(&s, spool_made_file(buf_view(bytes)), digest, false, e);
    if (rc == 0)
        rc = spool_next(s, &r, e);
    if (rc < 0)
        return rc;
    const struct mgc_fact *first = spool_facts(s, &facts);
    fact->n = facts ? first->value.n : 0;
    return spool_next(s, &r, e);
}

static int read_large(void *arg)
{
    struct bench *b = arg;
    struct slice fact;
    int rc = read_one(&large.spool, large.digest, &fact, &b->e);
    if (rc == 0)
        assert_int_equal(fact.n, LARGE);
    return rc;
}

static int read_large_record(void *arg)
{
    struct bench *b = arg;
    struct slice fact;
    return read_one(&large.record, large.record_digest, &fact, &b->e);
}

static int read_large_task(void *arg)
{
    static struct wire_task task;
    struct bench *b = arg;
    OWN(own_json_doc) struct json_doc *doc = json_doc_new();
    struct arena arena;
    arena_init(&arena, 0);
    int rc = doc ? wire_task_read(doc, buf_view(&large.task), &arena, &task, &b->e)
                 : err_memory(&b->e, "a test");
    if (rc == 0)
        assert_int_equal(task.options[0].text.n, LARGE);
    arena_done(&arena);
    return rc;
}

#define OPTION(more)                                                                               \
    "{\"type\":1,\"min\":0,\"max\":9,\"required\":false,\"name\":\"n\",\"fallback\":\"f\"" more "}"
#define DESCRIBED(more)                                                                            \
    "{\"kind\":2,\"rc\":0,\"name\":\"m\",\"version\":\"1\",\"summary\":\"s\",\"readback\":2,"      \
    "\"verifies\":true,\"options\":[" more "]}"

static int describe(const char *text, struct err *e)
{
    static struct wire_module module;
    OWN(own_json_doc) struct json_doc *doc = json_doc_new();
    static const struct json_limits limits = {1 << 16, 8, 1000};
    const struct json *root = NULL;
    struct arena arena;
    arena_init(&arena, 0);
    int rc = doc ? json_parse(doc, slice_of(text), &limits, &root, e) : err_memory(e, "a test");
    if (rc == 0)
        rc = wire_module_read(root, &arena, &module, e);
    arena_done(&arena);
    return rc;
}

static int read_module(void *arg)
{
    struct bench *b = arg;
    return describe(DESCRIBED(OPTION(",\"help\":\"h\"") "," OPTION("")), &b->e);
}

static void what_fails_is_told(void **state)
{
    const struct faults_step steps[] = {{.name = "write_spool", .run = write_spool},
                                        {.name = "read_spool", .run = read_spool},
                                        {.name = "write_task", .run = write_task},
                                        {.name = "read_task", .run = read_task},
                                        {.name = "read_answer", .run = read_answer},
                                        {.name = "read_module", .run = read_module},
                                        {.name = "read_large", .run = read_large},
                                        {.name = "read_large_record", .run = read_large_record},
                                        {.name = "read_large_task", .run = read_large_task}};
    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (i == 0)
            faults_sweep(FAULT_STATEMENT, &steps[i], &bench);
        faults_sweep(FAULT_MEMORY, &steps[i], &bench);
    }
}

static void cut_off_anywhere_it_is_malformed(void **state)
{
    (void)state;
    for (size_t n = 0; n < bench.spool.n; n++) {
        uint64_t records = 0;
        int rc = read_through(bench.spool.p, n, &records, &bench.e);
        if (rc != ERR_FAULT && rc != ERR_REJECTED)
            fail_msg("cut at %zu: class %d, %s", n, rc, bench.e.text);
    }
}

static void any_byte_may_be_another(void **state)
{
    static const unsigned char with[] = {0xff, 0x01};
    (void)state;
    for (size_t at = 0; at < bench.spool.n; at++) {
        for (size_t i = 0; i < sizeof with; i++) {
            uint64_t records = 0;
            bench.spool.p[at] ^= (char)with[i];
            int rc = read_through(bench.spool.p, bench.spool.n, &records, &bench.e);
            bench.spool.p[at] ^= (char)with[i];
            if (rc != 0 && rc != ERR_FAULT && rc != ERR_REJECTED)
                fail_msg("byte %zu: class %d, %s", at, rc, bench.e.text);
        }
    }
}

static void heads_are_read_strictly(void **state)
{
    static const char *const heads[][2] = {
        {"[]", "[]"},
        {"{\"rooms\":[]}", "[]"},
        {"{\"rooms\":[{}],\"rosters\":[]}", "[]"},
        {"{\"rooms\":[{\"epoch\":1,\"records\":-1}],\"rosters\":[]}", "[]"},
        {"{\"rooms\":[],\"rosters\":[[0,\"a\",\"b\",1]]}", "[]"},
        {"{\"rooms\":[{\"epoch\":1,\"records\":1}],\"rosters\":[[0,\"a\",\"b\"]]}", "[]"},
        {"{\"rooms\":[{\"epoch\":1,\"records\":1}],\"rosters\":[[0,\"a\",\"b\",\"x\"]]}", "[]"},
        {"{\"rooms\":[{\"epoch\":1,\"records\":1},{\"epoch\":1,\"records\":1}],"
         "\"rosters\":[[0,\"a\",\"b\",1],[1,\"a\",\"b\",1],[0,\"c\",\"b\",1]]}",
         "[]"},
        {"{\"rooms\":[],\"rosters\":[]}", "{}"},
        {"{\"rooms\":[],\"rosters\":[]}", "[[0,1]]"},
        {"{\"rooms\":[],\"rosters\":[]}", "[[2,1,[]]]"},
        {"{\"rooms\":[],\"rosters\":[]}", "[[0,1,[[\"a\"]]]]"},
        {"{\"rooms\":[],\"rosters\":[]}", "[[0,1,[1]]]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        OWN(own_buf) struct buf b;
        uint64_t n = 0;
        const char *const parts[] = {"{\"records\":0,\"bytes\":0,\"first_us\":0,\"last_us\":0}",
                                     heads[i][0], heads[i][1]};
        buf_init(&b, 10000);
        for (int part = 0; part < 3; part++) {
            buf_u32be(&b, (uint32_t)strlen(parts[part]));
            buf_text(&b, parts[part]);
        }
        buf_u64be(&b, 0);
        int rc = read_through(b.p, b.n, &n, &bench.e);
        if (rc != ERR_FAULT)
            fail_msg("%s %s: class %d", heads[i][0], heads[i][1], rc);
    }
}

static void descriptions_are_read_strictly(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"options\":[],\"verifies\":true,\"readback\":9}",
        "{\"options\":{},\"verifies\":true,\"readback\":1}",
        DESCRIBED("{}"),
        DESCRIBED("{\"type\":99}"),
        DESCRIBED("{\"type\":1,\"min\":0,\"max\":1,\"required\":true}"),
        DESCRIBED("{\"type\":1,\"min\":0,\"max\":1,\"required\":true,\"name\":\"\"}"),
        DESCRIBED("{\"type\":1,\"min\":0,\"max\":1,\"required\":true,\"name\":\"a\\u0000b\"}"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(describe(bad[i], &bench.e), ERR_CONFIG);
}

static void tasks_are_read_strictly(void **state)
{
    static struct wire_task task;
    static const char *const bad[] = {
        "{}",
        "{\"options\":[]}",
        "{\"options\":[],\"do\":9}",
        "{\"options\":[{}],\"do\":0,\"number\":1,\"attempt\":1,\"records\":1,\"bytes\":1,"
        "\"cut_us\":1,\"deadline_ms\":1,\"readback\":0,\"sha256\":"
        "\"0000000000000000000000000000000000000000000000"
        "000000000000000000\"}",
    };
    struct arena arena;
    OWN(own_json_doc) struct json_doc *doc = json_doc_new();
    (void)state;
    arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(wire_task_read(doc, slice_of(bad[i]), &arena, &task, &bench.e), ERR_FAULT);
    assert_int_equal(wire_task_read(doc, SLICE("{"), &arena, &task, &bench.e), ERR_REJECTED);
    arena_done(&arena);
}

/* What is staged was changed since it was frozen. */
static void another_batch_than_was_frozen_is_refused(void **state)
{
    struct batch_spool spool;
    struct ledger_batch other = bench.batch;
    int fd = -1;
    (void)state;
    other.digest[0] ^= 1;
    batch_spool_init(&spool, scratch, "a");
    assert_int_equal(batch_spool_open(&spool, bench.reader, &other, &fd, &bench.e), ERR_FAULT);
    batch_spool_init(&spool, "/proc/nowhere", "a");
    assert_true(batch_spool_open(&spool, bench.reader, &bench.batch, &fd, &bench.e) < 0);
    assert_int_equal(fd, -1);
}

/* Behind what was cut in the meantime nothing is read. */
static void a_file_that_gets_shorter_is_malformed(void **state)
{
    static const char bytes[40000];
    const struct slice raws[] = {{bytes, sizeof bytes}, {bytes, sizeof bytes}};
    OWN(own_buf) struct buf b;
    OWN(own_spool) struct spool *s = NULL;
    uint8_t digest[SHA256_SIZE];
    const struct mgc_record *r = NULL;
    (void)state;
    spool_made(&b, digest, raws, 2, "{\"rooms\":[],\"rosters\":[]}", "[]");
    int fd = spool_made_file(buf_view(&b));
    OWN(own_fd) int other = dup(fd);
    ok(spool_open(&s, fd, digest, false, &bench.e), &bench.e);
    assert_int_equal(ftruncate(other, SPOOL_RECORD + (off_t)sizeof bytes + 10), 0);
    assert_int_equal(spool_next(s, &r, &bench.e), 1);
    assert_int_equal(spool_next(s, &r, &bench.e), ERR_FAULT);
    assert_non_null(strstr(bench.e.text, "ends too early"));
}

/* The device that is always full, in the place of the spool's file. */
static void a_full_disk_is_told(void **state)
{
    struct batch_spool spool;
    static const uint8_t hash[SHA256_SIZE];
    struct ledger_record record = {.raw = SLICE("x"), .hash = hash};
    struct ledger_batch batch = {.id = "b", .records = 1, .bytes = 1};
    OWN(own_fd) int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    int fd = -1;
    (void)state;
    assert_true(full >= 0);
    batch_spool_init(&spool, scratch, "a");
    ok(batch_spool_record(&spool, &record, &bench.e), &bench.e);
    assert_int_equal(dup2(full, spool.fd), spool.fd);
    assert_int_equal(batch_spool_whole(&spool, &batch, &bench.e), ERR_RETRY);
    assert_string_equal(spool.id, "");
    batch_spool_done(&spool);
    ok(batch_spool_record(&spool, &record, &bench.e), &bench.e);
    ok(batch_spool_whole(&spool, &batch, &bench.e), &bench.e);
    assert_int_equal(dup2(full, spool.fd), spool.fd);
    assert_int_equal(batch_spool_open(&spool, bench.reader, &batch, &fd, &bench.e), ERR_RETRY);
    assert_int_equal(fd, -1);
}

static void more_or_larger_records_than_there_can_be(void **state)
{
    struct batch_spool spool;
    static const uint8_t hash[SHA256_SIZE];
    struct ledger_record record = {.raw = {"", SPOOL_MAX_RAW + 1}, .hash = hash};
    struct ledger_batch two = {.id = "b", .records = 2, .bytes = 2};
    (void)state;
    batch_spool_init(&spool, scratch, "a");
    assert_int_equal(batch_spool_record(&spool, &record, &bench.e), ERR_FAULT);
    record.raw = SLICE("x");
    ok(batch_spool_record(&spool, &record, &bench.e), &bench.e);
    assert_int_equal(batch_spool_whole(&spool, &two, &bench.e), ERR_FAULT);
    batch_spool_done(&spool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fails_is_told),
        cmocka_unit_test(cut_off_anywhere_it_is_malformed),
        cmocka_unit_test(any_byte_may_be_another),
        cmocka_unit_test(heads_are_read_strictly),
        cmocka_unit_test(descriptions_are_read_strictly),
        cmocka_unit_test(tasks_are_read_strictly),
        cmocka_unit_test(another_batch_than_was_frozen_is_refused),
        cmocka_unit_test(a_file_that_gets_shorter_is_malformed),
        cmocka_unit_test(a_full_disk_is_told),
        cmocka_unit_test(more_or_larger_records_than_there_can_be),
    };
    scratch = getenv("HOLDFAST_TEST_SCRATCH");
    if (!scratch) {
        (void)fprintf(stderr, "run me through tests/parts/with postgres -- spool_faults_test\n");
        return 2;
    }
    freeze_a_batch(&bench);
    make_large();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    db_close(bench.reader);
    staging_close(bench.st);
    buf_done(&bench.spool);
    buf_done(&bench.task);
    buf_done(&large.spool);
    buf_done(&large.record);
    buf_done(&large.task);
    return failed;
}
