/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: the way from capture to deletion as steps that may fail and be done again, over
 * records that are the same in every run: two rooms, people, a gap that is filled, a fork, one
 * altered, one far ahead, repeats, what can't be read, totals; two adapters, a batch refused.
 */
#ifndef TESTS_CONTRACT_FAULTS_PATH_STEPS_H
#define TESTS_CONTRACT_FAULTS_PATH_STEPS_H

#include "mgccomp/capture_write.h"
#include "mgccomp/ledger.h"
#include "tests/contract/faults/faults.h"

#include <stddef.h>

/* What the steps get; only the URL counts before the first. */
struct path {
    char url[600];
    struct staging *st;
    struct capture_writer *w;
    struct db *reader;
    struct staging_position at;
    struct ledger_instance tar, mail;
    struct ledger_batch batch;
    int64_t rows;
    struct err e;
};

extern const struct faults_step path_steps[];
extern const size_t path_step_count;

/* Before and after all: makes the records. */
void path_records(void);
void path_records_done(void);
void path_close(struct path *p);

#endif
