/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: calls that must go well, or fail in one way. */
#ifndef TESTS_EXPECT_H
#define TESTS_EXPECT_H

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static inline void ok(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s: %s", err_class_name(rc), e->text);
}

/* The same for a call whose last argument is written &e. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        int rc_ = (call);                                                                          \
        if (rc_ < 0)                                                                               \
            fail_msg("%s: %d %s", #call, rc_, e.text);                                             \
    } while (0)

#define FAILS(class_, call)                                                                        \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        int rc_ = (call);                                                                          \
        if (rc_ != (class_))                                                                       \
            fail_msg("%s: %d, not %d: %s", #call, rc_, (class_), e.text);                          \
    } while (0)

#endif
