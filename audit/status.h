/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `holdfast status`: is everything recorded, and what is stuck? The verdict is COMPLETE only when
 * it was checked: every stream's head in the store is the captured head, and what was captured was
 * archived by each required instance and deleted. BEHIND: only age differs. INCOMPLETE: an open
 * incident, heads that disagree, a loss that people accepted, or records given up for an archive.
 * UNKNOWN: a part can't be asked.
 */
#ifndef AUDIT_STATUS_H
#define AUDIT_STATUS_H

#include "base/app.h"
#include "chat-server/store/limit.h"
#include "chat-server/store/store.h"
#include "mgccomp/ledger.h"

enum status_verdict { STATUS_COMPLETE, STATUS_BEHIND, STATUS_INCOMPLETE, STATUS_UNKNOWN };

/* What is asked. A part that could not be opened is NULL, and `unknown` says why. */
struct status_input {
    struct store *store; /* a reading handle */
    struct db *staging;  /* a reading handle of mgccomp */
    const char *unknown;
    const char *capture_problem, *relay_problem; /* NULL: does not run in this process; "": none */
    const char *queue_problem;                   /* NULL: embedded; "": it answers and is fit */
    bool capture_held;
    const struct store_limit *limit;
    int64_t started_ms, started_free; /* disk space when this service started; 0: no service */
};

/* `holdfast status [--rooms] [--json]`. Returns the verdict as exit code, or APP_USAGE. */
int status_command(struct app_io *io, const struct status_input *in, int argc, char **argv);

#endif
