/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One instance at work: its open batch, the worker that has it, what the worker settles, and what
 * becomes of the batch when the worker ends. A runner never waits: the archiver polls its
 * descriptors and calls it.
 */
#ifndef ADAPTERS_HOST_RUNNER_H
#define ADAPTERS_HOST_RUNNER_H

#include "adapters/host/batch.h"
#include "adapters/host/child.h"
#include "adapters/host/options.h"
#include "base/backoff.h"

#include <poll.h>

/* What all runners share; the archiver's. */
struct runner_context {
    struct staging *staging;
    struct db *reader;
    const char *program, *scratch_dir, *delivered_dir;
    int64_t until_ms; /* no worker may run longer (clock_mono_ms) */
    bool draining, stopping;
    bool archived; /* set when a batch was verified */
};

enum runner_state {
    RUNNER_IDLE,
    RUNNER_DELIVERING,
    RUNNER_VERIFYING,
};

struct runner {
    struct ledger_instance row;
    struct adapter_options *options;
    bool present; /* its row was there at the last look */
    enum runner_state state;
    struct child child;
    struct ledger_batch batch;
    struct batch_spool spool; /* of batch */
    struct json_doc *doc;
    char scratch[PATH_MAX];
    int64_t started_ms, silent_ms; /* silent: since its socket ended; 0: not yet */
    bool cancelled, hung, garbage, said_retry;
    int said;         /* of the attempt: lines of the log, as far as they were counted */
    bool progress;    /* the attempt settled what none had before */
    int64_t done;     /* records of the batch done_of that were settled when its attempt ended */
    char done_of[37]; /* "": of none */
    bool has_result;  /* the worker's own: */
    int32_t result;
    char text[WIRE_MAX_TEXT + 1];
    struct backoff backoff;
    int faults; /* attempts in a row that ended without reason or result */
    int64_t next_ms;
    char trouble[512]; /* of database or machine, as last shown; the archiver's */
};

/* Takes options; scratch_dir must live as long. */
int runner_new(struct runner **out, const struct ledger_instance *row,
               struct adapter_options *options, const char *scratch_dir, struct err *e);
void runner_free(struct runner *r); /* kills what runs; waits at most 2 s for it */

bool runner_busy(const struct runner *r);
/* Begins what is due, goes on with what runs. *wait_ms is lowered to when it wants to be called
 * again. Fails only for reasons of the database or this machine: call again later. */
int runner_step(struct runner *r, struct runner_context *c, int64_t *wait_ms, struct err *e);
/* Up to 2 descriptors to wait for; returns how many. */
int runner_poll(const struct runner *r, struct pollfd p[2]);
void runner_cancel(struct runner *r);                   /* asks a running worker to return soon */
void runner_extend(struct runner *r, int64_t until_ms); /* a running worker may go on so long */
void runner_kill(struct runner *r);

#endif
