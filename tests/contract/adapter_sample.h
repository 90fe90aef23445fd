/* SPDX-License-Identifier: Apache-2.0 */
/* Batches for adapter modules: ordinary talk, hostile talk, and records that are none. */
#ifndef TESTS_CONTRACT_ADAPTER_SAMPLE_H
#define TESTS_CONTRACT_ADAPTER_SAMPLE_H

#include "tests/contract/adapter_host.h"

#include <stdio.h>

void sample_empty(struct sample *s);
/* Three streams of every kind of record, with flags, hostile text, and exceptions. */
void sample_mixed(struct sample *s);
/* A few posts with the longest text a record can hold. */
void sample_large(struct sample *s);
void sample_done(struct sample *s);
/* One line of JSON a record: what must be found at the target. */
void sample_expect(const struct sample *s, FILE *out);

#endif
