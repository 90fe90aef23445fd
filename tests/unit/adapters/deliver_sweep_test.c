/* SPDX-License-Identifier: Apache-2.0 */
/* A whole delivery and its read-back with the n-th allocation failing, for each n until it passes:
 * only success or a clean "later" may come of it. Linked once with each module that writes files.
 */
#include "tests/contract/adapter_sample.h"

#include "base/file.h"
#include "tests/unit/base/sweep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct host host;
static struct sample sample;
static char target[64];

static int deliver(void)
{
    struct mgc_error e;
    host_batch(&host, &sample);
    return host_deliver(&host, &e);
}

static int verify(void)
{
    struct mgc_error e;
    return host_verify(&host, &e);
}

static void test_sweep(void **state)
{
    (void)state;
    char root[] = "/tmp/deliver-sweep.XXXXXX";
    assert_non_null(mkdtemp(root));
    host_init_linked(&host, mgc_adapter_v0, root);
    (void)snprintf(target, sizeof target, "%s/out", root);
    host_option(&host, "directory", target);
    sample_mixed(&sample);
    sweep(deliver);
    assert_true(host_all_settled(&host, MGC_OK));
    sweep(verify);
    sweep(deliver);
    sample_done(&sample);
    host_done(&host);
    assert_int_equal(file_remove_tree(root, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sweep)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
