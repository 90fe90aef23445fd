/* SPDX-License-Identifier: Apache-2.0 */
/* A file that is there already is accepted only once its name is durable: the attempt that
 * published it may have failed in its very last step. Linked once with each module that writes
 * files. */
#include "tests/contract/adapter_sample.h"

#include "base/file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static struct stat target;
static bool failing;
static int synced;

int __real_fsync(int fd);
int __wrap_fsync(int fd);

/* Fails for the folder of the files only. */
int __wrap_fsync(int fd)
{
    struct stat s;
    if (fstat(fd, &s) < 0 || s.st_dev != target.st_dev || s.st_ino != target.st_ino)
        return __real_fsync(fd);
    if (failing) {
        errno = EIO;
        return -1;
    }
    synced++;
    return __real_fsync(fd);
}

static void test_existing_file_is_synced(void **state)
{
    (void)state;
    static struct host host;
    static struct sample sample;
    char root[] = "/tmp/deliver-sync.XXXXXX";
    char path[64];
    struct mgc_error e = {.size = sizeof e};
    assert_non_null(mkdtemp(root));
    host_init_linked(&host, mgc_adapter_v0, root);
    (void)snprintf(path, sizeof path, "%s/out", root);
    assert_int_equal(file_make_dirs(path, NULL), 0);
    assert_int_equal(stat(path, &target), 0);
    host_option(&host, "directory", path);
    sample_mixed(&sample);
    host_batch(&host, &sample);

    failing = true;
    for (int attempt = 0; attempt < 2; attempt++) {
        assert_int_equal(host_deliver(&host, &e), MGC_RETRY);
        assert_int_equal(host_settled(&host), 0);
    }
    failing = false;
    synced = 0;
    assert_int_equal(host_deliver(&host, &e), MGC_OK);
    assert_true(host_all_settled(&host, MGC_OK));
    assert_true(synced > 0);

    sample_done(&sample);
    host_done(&host);
    assert_int_equal(file_remove_tree(root, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_existing_file_is_synced)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
