/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the sweep: its two transactions, each of at most SWEEP_ROWS rows of one partition.
 * Both lock the gate first and put every row to the gate. */
#ifndef RETENTION_SWEEP_STEP_H
#define RETENTION_SWEEP_STEP_H

#include "mgccomp/ledger.h"
#include "retention/sweep_hashes.h"

enum { SWEEP_ROWS = 10000 };

struct sweep_step {
    int64_t generation;
    int32_t part;
    struct swept_row *rows; /* room for SWEEP_ROWS: what is deleted */
    /* Outcome: */
    size_t looked, n, moved; /* rows looked at, deleted, moved to the kept ones */
    int64_t first, last;     /* positions of the rows that went, either way */
    const char *why;         /* why rows were moved, or why the row at stuck stays; or NULL */
    int64_t stuck;           /* the position that nothing behind it can pass; -1: none */
    /* Read anew by each: */
    struct ledger_holder holders[LEDGER_MAX_INSTANCES], optional[LEDGER_MAX_INSTANCES];
    size_t holder_count, optional_count;
    int64_t low;  /* no required instance is before it */
    bool reasons; /* there is anything that could keep a row */
};

/* The oldest staged rows below the low water: deletes them, or moves them to the kept ones. */
int sweep_staged(struct staging *st, struct sweep_step *s, struct err *e);
/* Kept rows that nothing keeps any more, the oldest first. */
int sweep_kept(struct staging *st, struct sweep_step *s, struct err *e);

#endif
