/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked to a test that is otherwise as it is elsewhere: from its start to its end, in all threads
 * but the first, one in FAULTS_ONE_IN statements, commits' answers, connections and allocations
 * fails. What the test says of the outcome must hold all the same.
 */
#include "tests/contract/faults/faults.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

__attribute__((constructor)) static void fail_often(void)
{
    faults_often(FAULTS_ONE_IN);
    cmocka_set_test_filter(FAULTS_FILTER);
}
