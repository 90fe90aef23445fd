/* SPDX-License-Identifier: Apache-2.0 */
/* Private to mgccomp/check*.c. */
#ifndef MGCCOMP_CHECK_INSIDE_H
#define MGCCOMP_CHECK_INSIDE_H

#include "mgccomp/check.h"
#include "mgccomp/ledger.h"

struct check {
    struct app_io *io;
    struct db *db;
    struct json_doc *doc;
    bool json;
    int64_t records, streams, findings;
    struct app_progress progress;
    int64_t done, total; /* of the progress: rows and streams */
};

/* One line of something that is not as it should be. where: "room#number", "batch ...". */
void check_found(struct check *c, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void check_step(struct check *c);

int check_rows(struct check *c, struct err *e);    /* each staged and kept record by itself */
int check_streams(struct check *c, struct err *e); /* each stream's chain, head and counts */
int check_ledger(struct check *c, struct err *e);  /* positions, batches, cursors, totals */

#endif
