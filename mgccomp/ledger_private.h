/* SPDX-License-Identifier: Apache-2.0 */
/* Private to mgccomp/ledger*.c: what its three files share. */
#ifndef MGCCOMP_LEDGER_PRIVATE_H
#define MGCCOMP_LEDGER_PRIVATE_H

#include "mgccomp/ledger.h"

/* The records of a batch, staged or kept: $1 is its id. Each of the two is read by its key before
 * they are put together. */
#define LEDGER_ROWS_OF(table)                                                                      \
    " SELECT r.* FROM batch_range b JOIN " table " r ON r.generation = b.generation"               \
    " AND r.part = b.part AND r.pos >= b.from_pos AND r.pos < b.to_pos WHERE b.batch = $1"
#define LEDGER_FROM_BATCH                                                                          \
    " FROM (" LEDGER_ROWS_OF("record") " UNION ALL" LEDGER_ROWS_OF("kept") ") r WHERE 1 = 1 "

/* Copies what fits; a value that is cut ends at a whole character. */
void ledger_text(char *out, size_t size, struct slice from);
/* A reason for a person, made fit for a text column: printable, valid, at most size - 1 bytes. */
struct slice ledger_reason(char *out, size_t size, struct slice why);

#endif
