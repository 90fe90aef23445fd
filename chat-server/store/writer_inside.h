/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the writer alone. */
#ifndef CHAT_STORE_WRITER_INSIDE_H
#define CHAT_STORE_WRITER_INSIDE_H

#include "base/backoff.h"
#include "chat-server/store/writer.h"

#include <pthread.h>

enum {
    WRITER_GROUP = 512,
    WRITER_CLAIMS = 16,
    WRITER_GROUP_BYTES = 8 * 1024 * 1024,
    WRITER_PATIENCE_MS = 5000,
};

/* A call that runs in the writer's thread while its caller waits. */
struct order {
    bool begin; /* a session, else only a claim */
    struct slice source, session, members;
    writer_call_fn *call; /* instead of both */
    void *arg;
    bool answered;
    int rc;
    struct err e;
};

struct writer {
    struct writer_options options;
    char *url;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t work;     /* for the thread */
    pthread_cond_t answered; /* for those who wait for an order or for room */
    /* Under the mutex: */
    struct writer_job *first, *last;
    size_t waiting, waiting_bytes;
    struct order *order;
    bool stopping, reachable, lost_session;
    uint64_t stored;
    int64_t first_pos, last_pos;
    /* The thread's own: */
    struct store *store;
    struct backoff backoff;
    char *claims[WRITER_CLAIMS];
    size_t claim_count;
    char *session_source, *session;
    struct store_event *events;
    struct store_result *results;
    uint64_t fresh;                  /* stored, and not yet counted and rung for */
    int64_t fresh_first, fresh_last; /* their positions */
    size_t doubtful;  /* results of a group answered ERR_DOUBT, to be passed on if it is there */
    struct buf doubt; /* records read again after a commit in doubt */
};

void *writer_run(void *writer); /* the thread */
void writer_lock(struct writer *w);
void writer_unlock(struct writer *w);
/* Waits for a condition, under the mutex. */
void writer_wait_ms(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t ms);
size_t writer_job_bytes(const struct writer_job *job);
int writer_open_store(struct writer *w, struct err *e);

#endif
