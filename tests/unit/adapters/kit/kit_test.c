/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/kit/kit.h"

#include "base/file.h"
#include "base/own.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { RECORDS = 3 };

/* A host that gives out three records and does as it is told. */
struct rig {
    struct mgc_record records[RECORDS];
    struct mgc_batch batch;
    struct mgc_host host;
    struct kit_source source;
    size_t place, gives; /* gives: how many there are */
    int32_t rc;          /* what next, rewind and settle return when not 0 */
    uint64_t first, last;
    int32_t verdict;
    int cancel[2];
};

static int32_t said(const struct rig *r, struct mgc_error *e)
{
    if (r->rc)
        (void)snprintf(e->text, sizeof e->text, "the host says so");
    return r->rc;
}

static int32_t on_next(void *context, const struct mgc_record **out, struct mgc_error *e)
{
    struct rig *r = context;
    if (r->rc)
        return said(r, e);
    if (r->place == r->gives)
        return MGC_END;
    *out = &r->records[r->place++];
    return MGC_OK;
}

static int32_t on_rewind(void *context, struct mgc_error *e)
{
    struct rig *r = context;
    r->place = 0;
    return said(r, e);
}

static int32_t on_settle(void *context, uint64_t first, uint64_t last, int32_t verdict,
                         const struct mgc_fact *facts, uint32_t count, const char *text,
                         struct mgc_error *e)
{
    struct rig *r = context;
    (void)facts;
    (void)count;
    (void)text;
    r->first = first;
    r->last = last;
    r->verdict = verdict;
    return said(r, e);
}

/* SHA-256 of 8 bytes of length and the text, for "one", "two" and "three". */
static void digest(uint8_t out[SHA256_SIZE])
{
    static const char all[] = "\0\0\0\0\0\0\0\3one\0\0\0\0\0\0\0\3two\0\0\0\0\0\0\0\5three";
    sha256(all, sizeof all - 1, out);
}

static int set_up(void **state)
{
    static const char *const texts[RECORDS] = {"one", "two", "three"};
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    for (uint64_t i = 0; i < RECORDS; i++)
        r->records[i] = (struct mgc_record){
            .size = sizeof r->records[i], .index = i, .raw = {texts[i], strlen(texts[i])}};
    assert_int_equal(pipe(r->cancel), 0);
    r->gives = RECORDS;
    r->batch = (struct mgc_batch){
        .size = sizeof r->batch, .id = {"b", 1}, .records = RECORDS, .cancel_fd = r->cancel[0]};
    digest(r->batch.sha256);
    r->host = (struct mgc_host){.size = sizeof r->host,
                                .context = r,
                                .next = on_next,
                                .rewind = on_rewind,
                                .settle = on_settle};
    assert_int_equal(kit_source_init(&r->source, &r->host, &r->batch, NULL), 0);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    kit_source_done(&r->source);
    (void)close(r->cancel[0]);
    (void)close(r->cancel[1]);
    free(r);
    return 0;
}

static int pass(struct rig *r, size_t *n, struct err *e)
{
    *n = 0;
    int rc = kit_source_rewind(&r->source, e);
    while (!rc) {
        const struct mgc_record *record = NULL;
        rc = kit_source_next(&r->source, &record, e);
        if (rc || !record)
            break;
        assert_int_equal(record->index, *n);
        ++*n;
    }
    return rc;
}

static void every_pass_is_checked(void **state)
{
    struct rig *r = *state;
    struct err e = {0};
    size_t n;
    assert_int_equal(pass(r, &n, &e), 0);
    assert_int_equal(n, RECORDS);
    assert_int_equal(pass(r, &n, &e), 0);

    r->gives = 2;
    assert_int_equal(pass(r, &n, &e), ERR_FAULT);
    assert_non_null(strstr(e.text, "2 records came, it has 3"));
    r->gives = RECORDS;
    r->records[1].raw.p = "twO";
    assert_int_equal(pass(r, &n, &e), ERR_FAULT);
    assert_non_null(strstr(e.text, "sha256"));
    r->records[1].raw.p = "two";
    assert_int_equal(pass(r, &n, &e), 0);
}

/* A pass that was left in its middle leaves nothing to the next. */
static void a_pass_may_be_left(void **state)
{
    struct rig *r = *state;
    const struct mgc_record *record = NULL;
    size_t n;
    assert_int_equal(kit_source_rewind(&r->source, NULL), 0);
    assert_int_equal(kit_source_next(&r->source, &record, NULL), 0);
    assert_int_equal(pass(r, &n, NULL), 0);
    assert_int_equal(n, RECORDS);
}

static void a_cancelled_call_stops(void **state)
{
    struct rig *r = *state;
    struct err e = {0};
    const struct mgc_record *record = NULL;
    assert_int_equal(write(r->cancel[1], "x", 1), 1);
    assert_int_equal(kit_source_next(&r->source, &record, &e), ERR_STOPPED);
    assert_null(record);
}

static void what_the_host_says_is_kept(void **state)
{
    static const struct {
        int32_t says;
        int class;
    } cases[] = {
        {MGC_RETRY, ERR_RETRY},
        {MGC_REJECTED, ERR_REJECTED},
        {MGC_CONFIG, ERR_CONFIG},
        {MGC_FAULT, ERR_FAULT},
        {MGC_NOT_FOUND, ERR_NOT_FOUND},
        {MGC_CANCELLED, ERR_STOPPED},
        {-99, ERR_FAULT},
        {7, ERR_FAULT},
    };
    struct rig *r = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        const struct mgc_record *record = NULL;
        r->rc = cases[i].says;
        assert_int_equal(kit_source_next(&r->source, &record, &e), cases[i].class);
        assert_string_equal(e.text, "the host says so");
        assert_int_equal(kit_source_rewind(&r->source, &e), cases[i].class);
        assert_int_equal(kit_source_settle(&r->source, 0, 2, 0, NULL, 0, NULL, &e), cases[i].class);
    }
}

static void a_range_is_settled(void **state)
{
    struct rig *r = *state;
    assert_int_equal(kit_source_settle(&r->source, 1, 2, ERR_REJECTED, NULL, 0, "no", NULL), 0);
    assert_int_equal(r->first, 1);
    assert_int_equal(r->last, 2);
    assert_int_equal(r->verdict, MGC_REJECTED);
}

static void results_are_the_contract_s(void **state)
{
    static const struct {
        int rc;
        int32_t result;
    } cases[] = {
        {ERR_RETRY, MGC_RETRY}, {ERR_REJECTED, MGC_REJECTED}, {ERR_CONFIG, MGC_CONFIG},
        {ERR_FAULT, MGC_FAULT}, {ERR_NOT_FOUND, MGC_RETRY},   {ERR_CONFLICT, MGC_RETRY},
        {ERR_DOUBT, MGC_RETRY}, {ERR_STOPPED, MGC_CANCELLED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mgc_error out = {.size = sizeof out};
        struct err e = {0};
        memset(e.text, 'x', sizeof e.text - 1); /* longer than the contract's text */
        assert_int_equal(kit_result(cases[i].rc, &e, &out), cases[i].result);
        assert_int_equal(strlen(out.text), sizeof out.text - 1);
    }
    struct mgc_error untouched = {.text = "before"};
    assert_int_equal(kit_result(0, NULL, &untouched), MGC_OK);
    assert_string_equal(untouched.text, "before");
}

static void a_folder_is_made(void **state)
{
    (void)state;
    char root[] = "/tmp/kit-test.XXXXXX";
    char path[PATH_MAX];
    char out[PATH_MAX];
    struct stat s;
    struct err e = {0};
    assert_non_null(mkdtemp(root));
    (void)snprintf(path, sizeof path, "%s/a/b", root);
    struct mgc_value value = {.text = {path, strlen(path)}, .set = 1};
    assert_int_equal(kit_folder("directory", &value, out, &e), 0);
    assert_string_equal(out, path);
    assert_true(stat(path, &s) == 0 && S_ISDIR(s.st_mode));

    OWN(own_mem) char *longer = calloc(1, PATH_MAX + 1);
    assert_non_null(longer);
    memset(longer, 'a', PATH_MAX);
    value.text = (struct mgc_text){longer, PATH_MAX};
    assert_int_equal(kit_folder("directory", &value, out, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "directory: "));
    assert_int_equal(file_remove_tree(root, NULL), 0);
}

static void facts_are_found(void **state)
{
    (void)state;
    const struct mgc_fact facts[] = {kit_fact("path", "/a"), kit_fact("sha256", "00"),
                                     kit_fact("path", "/b")};
    assert_ptr_equal(kit_fact_find(facts, 3, "path"), &facts[0]);
    assert_ptr_equal(kit_fact_find(facts, 3, "sha256"), &facts[1]);
    assert_null(kit_fact_find(facts, 3, "pat"));
    assert_null(kit_fact_find(NULL, 0, "path"));
}

static void a_span_is_least_and_greatest(void **state)
{
    (void)state;
    static const struct mgc_record records[] = {
        {.sequence = 0, .time_us = 5},
        {.sequence = 9, .time_us = 0},
        {.sequence = 7, .time_us = 3},
    };
    struct kit_span s = {0};
    for (size_t i = 0; i < 3; i++)
        kit_span_add(&s, &records[i]);
    assert_int_equal(s.records, 3);
    assert_int_equal(s.first_sequence, 7);
    assert_int_equal(s.last_sequence, 9);
    assert_int_equal(s.first_us, 0);
    assert_int_equal(s.last_us, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_pass_is_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pass_may_be_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cancelled_call_stops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_the_host_says_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_range_is_settled, set_up, tear_down),
        cmocka_unit_test(results_are_the_contract_s),
        cmocka_unit_test(a_folder_is_made),
        cmocka_unit_test(facts_are_found),
        cmocka_unit_test(a_span_is_least_and_greatest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
