/* SPDX-License-Identifier: Apache-2.0 */
/* The module that keeps nothing: what is left of the contract then. */
#include "tests/contract/adapter_sample.h"

#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

const struct mgc_adapter *mgc_adapter_v0(uint32_t host_major);

struct fixture {
    struct host host;
    struct sample sample;
    char root[64];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)snprintf(f->root, sizeof f->root, "/tmp/null.XXXXXX");
    assert_non_null(mkdtemp(f->root));
    host_init_linked(&f->host, mgc_adapter_v0, f->root);
    sample_mixed(&f->sample);
    host_batch(&f->host, &f->sample);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    sample_done(&f->sample);
    host_done(&f->host);
    assert_int_equal(file_remove_tree(f->root, NULL), 0);
    free(f);
    return 0;
}

static void settles_all(void **state)
{
    struct fixture *f = *state;
    struct mgc_error e;
    assert_int_equal(host_deliver(&f->host, &e), MGC_OK);
    assert_true(host_all_settled(&f->host, MGC_OK));
    assert_int_equal(f->host.noted->settles, 1);
    assert_string_equal(f->host.noted->facts[0].name, "bytes");
    assert_int_equal(strtoull(f->host.noted->facts[0].value, NULL, 10), f->sample.batch.bytes);
}

static void empty_batch(void **state)
{
    struct fixture *f = *state;
    struct mgc_error e;
    sample_done(&f->sample);
    sample_empty(&f->sample);
    host_batch(&f->host, &f->sample);
    assert_int_equal(host_deliver(&f->host, &e), MGC_OK);
    assert_int_equal(f->host.noted->settles, 0);
}

static void stops_when_asked(void **state)
{
    struct fixture *f = *state;
    struct mgc_error e;
    host_option(&f->host, "pause", "1h");
    assert_int_equal(write(f->host.cancel[1], "x", 1), 1);
    assert_int_equal(host_deliver(&f->host, &e), MGC_CANCELLED);
    assert_int_equal(host_settled(&f->host), 0);
}

static void other_records(void **state)
{
    struct fixture *f = *state;
    struct mgc_error e;
    f->sample.batch.bytes++;
    assert_int_equal(host_deliver(&f->host, &e), MGC_FAULT);
    assert_int_equal(host_settled(&f->host), 0);
}

static void claims_no_read_back(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(f->host.adapter->readback, MGC_READBACK_NONE);
    assert_null(f->host.adapter->find);
    assert_null(f->host.adapter->verify);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(settles_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(empty_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stops_when_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(claims_no_read_back, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
