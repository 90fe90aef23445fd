/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocation sweep: a case is run again and again with its n-th allocation failing, n = 0, 1,
 * 2,
 * ... until it succeeds. The program is linked with --wrap for malloc, calloc and realloc, so that
 * only allocations made by our own code count, not those inside shared libraries.
 */
#ifndef TESTS_SWEEP_H
#define TESTS_SWEEP_H

/* Runs `one` (0 = success, else an error class). Fails the test unless every run before the first
 * success ends with ERR_RETRY, and at least one run did fail. */
void sweep(int (*one)(void));

#endif
