/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one writing thread of a store: takes whatever waits, stores it as one group, then tells each
 * submitter. It owns its struct store, reconnects it between groups, and passes committed records
 * on to the relay and the embedded queue's doorbell.
 */
#ifndef CHAT_STORE_WRITER_H
#define CHAT_STORE_WRITER_H

#include "base/wake.h"
#include "chat-server/store/store.h"

struct writer;
struct writer_job;

/* Called in the writer's thread once the outcome is known. result->record is valid during the call.
 * After it the job's memory is the submitter's again. Must not block. */
typedef void writer_done_fn(struct writer_job *job, const struct store_result *result);

/* The submitter owns the job and everything its event points to until done was called. */
struct writer_job {
    struct store_event event;
    writer_done_fn *done;
    void *arg;
    struct writer_job *next; /* the writer's, like the next one */
    int64_t submitted_ms;
};

struct writer_options {
    const char *url;
    size_t max_jobs;        /* waiting; above it submit refuses (ERR_RETRY). 0: 10,000 */
    size_t max_group;       /* events in one transaction. 0: 512 */
    struct wake *committed; /* rung after each commit (embedded queue); may be NULL */
    /* Called in the writer's thread for each committed record, in commit order, also for the
     * records of sessions; may be NULL. */
    store_stored_fn *stored;
    void *stored_arg;
};

/* Opens the store and starts the thread. */
int writer_start(struct writer **out, const struct writer_options *o, struct err *e);
/* Finishes what waits, ends the session if one was begun, stops the thread. */
void writer_stop(struct writer *w);

/* Runs store_claim / store_begin_session in the writer's thread and waits for it. */
int writer_claim(struct writer *w, struct slice source, struct err *e);
int writer_begin_session(struct writer *w, struct slice source, struct slice session,
                         struct slice members, struct err *e);

/* When the store breaks the writer reconnects; what waits is stored if that succeeds within 5 s,
 * else everything that waits is answered ERR_RETRY, in order. A group whose commit is in doubt is
 * looked up by its hashes after the reconnect; ERR_DOUBT only when that did not succeed within 20
 * s of its beginning. A database that says nothing counts as broken after 10 s. */

/* Runs call with the store in the writer's thread and waits for it: for the few changes that are no
 * records (rooms, users). It must be quick and must leave no transaction open. */
typedef int writer_call_fn(struct store *s, void *arg, struct err *e);
int writer_call(struct writer *w, writer_call_fn *call, void *arg, struct err *e);

/* Hands a job over. Any thread. ERR_RETRY: too many wait, or the store is out of reach (answer
 * 503). ERR_STOPPED: stopping. On failure the job is not taken and done is not called. */
int writer_submit(struct writer *w, struct writer_job *job, struct err *e);
/* Submits n jobs and waits until all are done (ingest). Results in order; records are not kept. */
int writer_submit_wait(struct writer *w, const struct store_event *events, size_t n,
                       struct store_result *results, struct err *e);

/* For status: jobs waiting, age of the oldest in ms, whether the store answers, records stored
 * since start. */
struct writer_state {
    size_t waiting;
    int64_t oldest_ms;
    bool reachable;
    bool lost_session; /* somebody else is the writer now: the program must end */
    uint64_t stored;
    int64_t first_pos, last_pos; /* SQLite: the positions of these; 0: none yet */
};
void writer_state(struct writer *w, struct writer_state *out);

#endif
