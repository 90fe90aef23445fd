/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a stage with the adapter tar, and `staging check` as the judge of what is in it. */
#ifndef TESTS_CONTRACT_CHECKED_H
#define TESTS_CONTRACT_CHECKED_H

#include "tests/contract/stage.h"

int checked_set_up(void **state); /* its rooms are called room:one and room:two */
#define CHECKED(fn) cmocka_unit_test_setup_teardown(fn, checked_set_up, stage_tear_down)

int cut_own(struct stage *f);   /* everything, for f->instance */
int64_t swept(struct stage *f); /* rows deleted by one pass */

/* The command's exit code; its output until the next call. */
int check(struct stage *f, bool json, const char **text);
void whole(struct stage *f);
/* One finding, which names the place and says this. */
void damaged(struct stage *f, const char *place, const char *says);

#endif
