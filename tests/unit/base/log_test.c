/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char captured[400000];

/* Runs fn with standard error going to a file; captured then holds what it wrote. */
static void capture(void (*fn)(void))
{
    FILE *f = tmpfile();
    assert_non_null(f);
    int saved = dup(STDERR_FILENO);
    assert_true(dup2(fileno(f), STDERR_FILENO) >= 0);
    fn();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    (void)close(saved);
    rewind(f);
    size_t n = fread(captured, 1, sizeof captured - 1, f);
    captured[n] = '\0';
    (void)fclose(f);
}

static void one_event(void)
{
    log_init("holdfast up", LOG_INFO);
    log_init("capture", LOG_INFO);
    log_event(LOG_DEBUG, "too.low", "n=%d", 1);
    log_event(LOG_INFO, "capture.batch", "partition=%d records=%zu", 3, (size_t)7);
}

static void a_line_is_key_value_pairs(void **state)
{
    (void)state;
    capture(one_event);
    assert_memory_equal(captured, "time=2", 6);
    assert_string_equal(strstr(captured, " level"),
                        " level=info program=capture event=capture.batch partition=3 records=7\n");
}

static void one_error(void)
{
    struct err e;
    (void)err_set(&e, ERR_CONFIG, "room \"x\"\nforged=1 \\");
    log_error("room.add", &e, "room=%s", "r");
}

static void an_error_cannot_forge_a_line(void **state)
{
    (void)state;
    capture(one_error);
    assert_non_null(strstr(captured, " event=room.add room=r class=config "
                                     "error=\"room \\\"x\\\"?forged=1 \\\\\"\n"));
    assert_int_equal(captured[strlen(captured) - 1], '\n');
    assert_ptr_equal(strchr(captured, '\n'), captured + strlen(captured) - 1);
}

static void one_long_event(void)
{
    char big[5000];
    memset(big, 'b', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    log_event(LOG_WARN, "big", "x=%s", big);
    log_event(LOG_WARN, "big", NULL);
    struct err e;
    (void)err_set(&e, ERR_FAULT, "%s", big);
    log_error("big", &e, "x=%s", big);
}

static void long_values_are_cut(void **state)
{
    (void)state;
    capture(one_long_event);
    size_t lines = 0;
    for (const char *p = captured; (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, 3);
    assert_true(strlen(captured) < 3 * 2048);
}

static void values_are_quoted(void **state)
{
    (void)state;
    char out[LOG_TEXT_SIZE];
    assert_string_equal(log_text(out, SLICE("a b\"c\\\n")), "\"a b\\\"c\\\\?\"");
    char big[1000];
    memset(big, '"', sizeof big);
    assert_int_equal(strlen(log_text(out, (struct slice){big, sizeof big})) % 2, 0);
    assert_true(strlen(out) < LOG_TEXT_SIZE);
}

static void *many(void *arg)
{
    for (int i = 0; i < 500; i++)
        log_event(LOG_INFO, "thread", "name=%s number=%04d", (const char *)arg, i);
    return NULL;
}

static void two_threads(void)
{
    static char names[2][4] = {"one", "two"};
    pthread_t t[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, many, names[i]), 0);
    for (int i = 0; i < 2; i++)
        (void)pthread_join(t[i], NULL);
}

static void lines_do_not_mix(void **state)
{
    (void)state;
    capture(two_threads);
    size_t lines = 0;
    for (const char *p = captured; *p; p = strchr(p, '\n') + 1) {
        assert_memory_equal(p, "time=", 5);
        assert_non_null(strchr(p, '\n'));
        lines++;
    }
    assert_int_equal(lines, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_key_value_pairs), cmocka_unit_test(an_error_cannot_forge_a_line),
        cmocka_unit_test(long_values_are_cut),       cmocka_unit_test(values_are_quoted),
        cmocka_unit_test(lines_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
