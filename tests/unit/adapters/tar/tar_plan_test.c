/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/tar/tar_plan.h"

#include "base/own.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A host over two records. */
struct few {
    struct mgc_room rooms[2];
    struct mgc_record records[2];
    uint64_t count, place;
};

static int32_t on_next(void *context, const struct mgc_record **out, struct mgc_error *e)
{
    (void)e;
    struct few *f = context;
    if (f->place == f->count)
        return MGC_END;
    *out = &f->records[f->place++];
    return MGC_OK;
}

static int32_t on_rewind(void *context, struct mgc_error *e)
{
    (void)e;
    ((struct few *)context)->place = 0;
    return MGC_OK;
}

static void test_lines(void **state)
{
    (void)state;
    static const struct mgc_room room = {0};
    struct mgc_record r = {.room = &room, .raw = {"{\"a\":\"b\r\"}", 10}};
    assert_true(tar_is_line(&r));
    r.raw = (struct mgc_text){"{\n}", 3};
    assert_false(tar_is_line(&r));
    r.raw = (struct mgc_text){"", 0};
    assert_false(tar_is_line(&r));
    r.raw = (struct mgc_text){"{}", 2};
    r.flags = MGC_RECORD_UNREADABLE;
    assert_false(tar_is_line(&r));
    r.flags = MGC_RECORD_LATE;
    assert_true(tar_is_line(&r));
    r.room = NULL;
    assert_false(tar_is_line(&r));
}

/* The names of two rooms' members, from a plan. */
static void plan_names(const char *a, const char *b, char names[2][160])
{
    char scratch[] = "/tmp/tar-plan.XXXXXX";
    assert_non_null(mkdtemp(scratch));
    struct few f = {.count = 2};
    const char *rooms[] = {a, b};
    struct sha256 *all = sha256_new();
    for (uint64_t i = 0; i < 2; i++) {
        f.rooms[i] = (struct mgc_room){.uri = {rooms[i], strlen(rooms[i])}, .index = i};
        f.records[i] = (struct mgc_record){.room = &f.rooms[i], .index = i, .raw = {"{}", 2}};
        sha256_add(all, "\0\0\0\0\0\0\0\2{}", 10);
    }
    struct mgc_host host = {.context = &f, .next = on_next, .rewind = on_rewind};
    struct mgc_batch batch = {
        .records = 2, .scratch = scratch, .cancel_fd = -1, .id = {"id", 2}, .stem = {"s", 1}};
    sha256_end(all, batch.sha256);
    sha256_free(all);
    struct err e = {0};
    OWN(own_kit_source) struct kit_source s;
    OWN(own_tar_plan) struct tar_plan p = {0};
    assert_int_equal(kit_source_init(&s, &host, &batch, &e), 0);
    if (tar_plan_make(&p, &s, &e))
        fail_msg("%s", e.text);
    assert_int_equal(p.count, 2);
    for (int i = 0; i < 2; i++) {
        struct tar_member m;
        assert_int_equal(tar_plan_next(&p, &m, &e), 0);
        assert_int_equal(m.bytes, 3);
        memcpy(names[i], m.name, sizeof m.name);
    }
    assert_int_equal(rmdir(scratch), 0);
}

/* Names are plain ASCII inside the folder, and differ when the rooms do. */
static void test_names(void **state)
{
    (void)state;
    static const char *const hostile[][2] = {
        {"../../etc/passwd", "..\\..\\etc\\passwd"},
        {"caf\xc3\xa9", "caf\xc3\xa8"},
        {"...", "---"},
        {"a b", "a  b"},
        {"\r\n", "\n\r"},
        {"-rf", "--rf"},
        {"%)@**(%!", "!+&@;,$!"}, /* of their digests the first 48 bits are the same */
    };
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        char names[2][160];
        plan_names(hostile[i][0], hostile[i][1], names);
        assert_string_not_equal(names[0], names[1]);
        for (int k = 0; k < 2; k++) {
            static const char start[] = "records/";
            assert_memory_equal(names[k], start, sizeof start - 1);
            const char *rest = names[k] + sizeof start - 1;
            assert_true(strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789-_.") == strlen(rest));
            assert_true(rest[0] != '.' && rest[0] != '-');
        }
    }
}

static void test_long_name(void **state)
{
    (void)state;
    char room[1025];
    char other[1025];
    memset(room, 'x', sizeof room - 1);
    memset(other, 'x', sizeof other - 1);
    room[1024] = other[1024] = '\0';
    other[1023] = 'y';
    char names[2][160];
    plan_names(room, other, names);
    assert_string_not_equal(names[0], names[1]);
    assert_true(strlen(names[0]) < 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_long_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
