/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/host/delivered.h"

#include "base/file.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char folder[] = "/tmp/hf-delivered.XXXXXX";

static int64_t noted(const char *instance)
{
    struct err e = {0};
    int64_t number = -1;
    if (delivered_read(folder, instance, &number, &e) < 0)
        fail_msg("%s", e.text);
    return number;
}

static void the_highest_number_stays(void **state)
{
    struct err e = {0};
    (void)state;
    assert_int_equal(noted("mail"), 0);
    assert_int_equal(delivered_note(folder, "mail", 7, &e), 0);
    assert_int_equal(delivered_note(folder, "mail", 12, &e), 0);
    assert_int_equal(delivered_note(folder, "mail", 8, &e), 0); /* parked, and tried again */
    assert_int_equal(delivered_note(folder, "..", 3, &e), 0);
    assert_int_equal(noted("mail"), 12);
    assert_int_equal(noted(".."), 3);
    assert_int_equal(noted("tar"), 0);
}

static void what_is_no_number_is_said(void **state)
{
    static const char *const contents[] = {"",    "x\n",     "-4\n",
                                           "0\n", "12 13\n", "99999999999999999999\n"};
    char path[PATH_MAX];
    struct err e = {0};
    int64_t number;
    (void)state;
    (void)snprintf(path, sizeof path, "%s/odd.batch", folder);
    for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++) {
        assert_int_equal(file_replace(path, slice_of(contents[i]), 0600, &e), 0);
        assert_int_equal(delivered_read(folder, "odd", &number, &e), ERR_CONFIG);
        assert_int_equal(delivered_note(folder, "odd", 5, &e), ERR_CONFIG);
        assert_non_null(strstr(e.text, "odd.batch holds no batch number"));
    }
}

/* Nothing goes out when it can't be noted. */
static void a_folder_that_is_gone_is_an_error(void **state)
{
    struct err e = {0};
    (void)state;
    assert_true(delivered_note("/no/such/folder", "mail", 1, &e) < 0);
    assert_non_null(strstr(e.text, "/no/such/folder"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_highest_number_stays),
        cmocka_unit_test(what_is_no_number_is_said),
        cmocka_unit_test(a_folder_that_is_gone_is_an_error),
    };
    struct err e = {0};
    if (!mkdtemp(folder))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return file_remove_tree(folder, &e) < 0 || failed ? 1 : 0;
}
