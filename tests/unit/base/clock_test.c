/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static int64_t parsed(const char *text)
{
    int64_t us = -7;
    assert_true(clock_parse(slice_of(text), &us));
    return us;
}

static void known_times(void **state)
{
    (void)state;
    assert_true(parsed("1970-01-01T00:00:00Z") == 0);
    assert_true(parsed("2026-11-24T06:12:19.000001Z") == INT64_C(1795500739000001));
    assert_true(parsed("1969-12-31T23:59:59.999999Z") == -1);
    assert_true(parsed("2000-02-29T12:00:00+02:30") == parsed("2000-02-29T09:30:00Z"));
    assert_true(parsed("2026-01-01t00:00:00.5z") == parsed("2026-01-01T00:00:00.500000Z"));
    assert_true(parsed("2026-01-01T00:00:00.123456789Z") == parsed("2026-01-01T00:00:00.123456Z"));
    assert_true(parsed("2016-12-31T23:59:60Z") == parsed("2017-01-01T00:00:00Z"));
}

static void ill_formed_times(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.1234567890Z",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+00:60",
        "2026-01-01T00:00:00+0000",
        "2026-01-01T00:00:00Zx",
        "+026-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "9999999-01-01T00:00:00Z",
        "2026-01-01T00:00:00-",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t us = 77;
        assert_false(clock_parse(slice_of(bad[i]), &us));
        assert_int_equal(us, 77);
    }
}

static void both_ways_agree_with_the_system_calendar(void **state)
{
    (void)state;
    for (int64_t s = INT64_C(-62135596800); s < INT64_C(253402300800); s += 86400 * 13 + 3607) {
        char text[CLOCK_TEXT_SIZE];
        char theirs[CLOCK_TEXT_SIZE];
        int64_t us = s * 1000000 + (s & 0xFFFF);
        clock_format(us, text);
        assert_true(parsed(text) == us);
        time_t t = (time_t)s;
        struct tm tm;
        assert_non_null(gmtime_r(&t, &tm));
        assert_true(strftime(theirs, sizeof theirs, "-%m-%dT%H:%M:%S.", &tm) > 0);
        assert_memory_equal(text + 4, theirs, strlen(theirs));
    }
}

static void years_out_of_range_give_nothing(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_SIZE] = "x";
    clock_format(INT64_MAX, text);
    assert_string_equal(text, "");
    clock_format(INT64_MIN, text);
    assert_string_equal(text, "");
    clock_format(INT64_C(253402300800) * 1000000, text);
    assert_string_equal(text, "");
    clock_format(INT64_C(253402300800) * 1000000 - 1, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999999Z");
}

static void ages(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_SIZE];
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {{-5, "0 s"},
                 {3999, "3 s"},
                 {60000, "1 min"},
                 {7200000, "2 h"},
                 {172799999, "47 h"},
                 {172800000, "2 days"},
                 {INT64_MAX, "106751991167 days"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        clock_age(cases[i].ms, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void ids_are_well_formed_and_in_order(void **state)
{
    (void)state;
    char before[37];
    uuid_v7(INT64_C(1795500739000000), before);
    assert_true(uuid_valid(slice_of(before)));
    assert_int_equal(before[14], '7');
    assert_non_null(strchr("89ab", before[19]));
    assert_memory_equal(before, "01a20c2f-09b8", 13);
    for (int i = 1; i < 1000; i++) {
        char id[37];
        uuid_v7(INT64_C(1795500739000000) + i * 3, id);
        assert_true(strcmp(before, id) < 0);
        memcpy(before, id, sizeof id);
    }
    char a[37];
    char b[37];
    uuid_v7(1, a);
    uuid_v7(1, b);
    assert_string_not_equal(a, b);
}

static void an_id_of_a_digest(void **state)
{
    (void)state;
    uint8_t digest[16];
    char id[37];
    memset(digest, 0xFF, sizeof digest);
    uuid_from_digest(digest, id);
    assert_string_equal(id, "ffffffff-ffff-8fff-bfff-ffffffffffff");
    assert_false(uuid_valid(SLICE("ffffffff-ffff-8fff-bfff-fffffffffff")));
    assert_false(uuid_valid(SLICE("fffffffff-fff-8fff-bfff-ffffffffffff")));
    assert_false(uuid_valid(SLICE("gfffffff-ffff-8fff-bfff-ffffffffffff")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_times),
        cmocka_unit_test(ill_formed_times),
        cmocka_unit_test(both_ways_agree_with_the_system_calendar),
        cmocka_unit_test(years_out_of_range_give_nothing),
        cmocka_unit_test(ages),
        cmocka_unit_test(ids_are_well_formed_and_in_order),
        cmocka_unit_test(an_id_of_a_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
