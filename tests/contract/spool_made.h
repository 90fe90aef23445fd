/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a spool made by hand (adapters/host/spool.h). */
#ifndef TESTS_CONTRACT_SPOOL_MADE_H
#define TESTS_CONTRACT_SPOOL_MADE_H

#include "adapters/host/spool.h"
#include "base/buf.h"

/* n records of no room, which nobody can read; rooms (with rosters) and settlements as JSON. out is
 * initialised here. */
void spool_made(struct buf *out, uint8_t digest[SHA256_SIZE], const struct slice *raws, size_t n,
                const char *rooms, const char *settlements);
/* A file without a name that holds just this. */
int spool_made_file(struct slice bytes);

#endif
