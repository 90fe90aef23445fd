/* SPDX-License-Identifier: Apache-2.0 */
/* Fails the n-th allocation of the running case. */
#include "sweep.h"

#include "base/err.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *old, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *old, size_t n);

static long left = LONG_MAX; /* allocations until the one that fails */

static int spared(void)
{
    return left == LONG_MAX || left-- != 0;
}

void *__wrap_malloc(size_t n)
{
    return spared() ? __real_malloc(n) : NULL;
}

void *__wrap_calloc(size_t count, size_t n)
{
    return spared() ? __real_calloc(count, n) : NULL;
}

void *__wrap_realloc(void *old, size_t n)
{
    return spared() ? __real_realloc(old, n) : NULL;
}

void sweep(int (*one)(void))
{
    for (long n = 0; n < 10000; n++) {
        left = n;
        int rc = one();
        int failed = left < 0;
        left = LONG_MAX;
        if (!failed) {
            assert_int_equal(rc, 0);
            assert_true(n > 0);
            return;
        }
        /* Which class it is must not depend on where memory ran out. */
        assert_int_equal(rc, ERR_RETRY);
    }
    fail_msg("no end of allocations");
}
