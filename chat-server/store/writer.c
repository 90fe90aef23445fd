/* SPDX-License-Identifier: Apache-2.0 */
/* The writer as others see it: started, given jobs and orders, asked how it is. What the thread
 * does is writer_loop.c. */
#include "chat-server/store/writer.h"

#include "base/clock.h"
#include "base/own.h"
#include "chat-server/store/writer_inside.h"

#include <string.h>

enum {
    MAX_JOBS = 10000,
    WAITING_BYTES = 64 * 1024 * 1024,
    CHUNK = 256, /* events of writer_submit_wait at once */
};

static void writer_free(struct writer *w)
{
    if (!w)
        return;
    store_close(w->store);
    for (size_t i = 0; i < w->claim_count; i++)
        free(w->claims[i]);
    free(w->session_source);
    free(w->session);
    free(w->events);
    free(w->results);
    free(w->url);
    buf_done(&w->doubt);
    (void)pthread_cond_destroy(&w->work);
    (void)pthread_cond_destroy(&w->answered);
    (void)pthread_mutex_destroy(&w->mutex);
    free(w);
}

OWN_DEFINE(writer, struct writer, writer_free)

static void init_locks(struct writer *w)
{
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&w->mutex, NULL);
    (void)pthread_cond_init(&w->work, &attr);
    (void)pthread_cond_init(&w->answered, &attr);
    (void)pthread_condattr_destroy(&attr);
}

int writer_start(struct writer **out, const struct writer_options *o, struct err *e)
{
    struct writer *fresh = calloc(1, sizeof *fresh);
    if (!fresh)
        return err_memory(e, "starting the writer");
    init_locks(fresh);
    OWN(own_writer) struct writer *w = fresh;
    w->options = *o;
    if (w->options.max_jobs == 0)
        w->options.max_jobs = MAX_JOBS;
    if (w->options.max_group == 0 || w->options.max_group > WRITER_GROUP)
        w->options.max_group = WRITER_GROUP;
    backoff_init(&w->backoff, 50, 2000);
    buf_init(&w->doubt, 2 * WRITER_GROUP_BYTES + RECORD_MAX_BYTES);
    w->url = slice_dup(slice_of(o->url));
    w->events = calloc(w->options.max_group, sizeof *w->events);
    w->results = calloc(w->options.max_group, sizeof *w->results);
    if (!w->url || !w->events || !w->results)
        return err_memory(e, "starting the writer");
    int rc = writer_open_store(w, e);
    if (rc < 0)
        return rc;
    w->reachable = true;
    if (pthread_create(&w->thread, NULL, writer_run, w) != 0)
        return err_set(e, ERR_RETRY, "no thread for the writer");
    *out = w;
    w = NULL;
    return 0;
}

void writer_stop(struct writer *w)
{
    if (!w)
        return;
    writer_lock(w);
    w->stopping = true;
    (void)pthread_cond_broadcast(&w->work);
    (void)pthread_cond_broadcast(&w->answered);
    writer_unlock(w);
    (void)pthread_join(w->thread, NULL);
    writer_free(w);
}

static int give_order(struct writer *w, struct order *o, struct err *e)
{
    writer_lock(w);
    while (w->order && !w->stopping)
        (void)pthread_cond_wait(&w->answered, &w->mutex);
    if (w->stopping) {
        writer_unlock(w);
        return err_set(e, ERR_STOPPED, "the writer is stopping");
    }
    w->order = o;
    (void)pthread_cond_broadcast(&w->work);
    while (!o->answered)
        (void)pthread_cond_wait(&w->answered, &w->mutex);
    writer_unlock(w);
    if (o->rc < 0 && e)
        *e = o->e;
    return o->rc;
}

int writer_claim(struct writer *w, struct slice source, struct err *e)
{
    struct order o = {.source = source};
    return give_order(w, &o, e);
}

int writer_begin_session(struct writer *w, struct slice source, struct slice session,
                         struct slice members, struct err *e)
{
    struct order o = {.begin = true, .source = source, .session = session, .members = members};
    return give_order(w, &o, e);
}

int writer_call(struct writer *w, writer_call_fn *call, void *arg, struct err *e)
{
    struct order o = {.call = call, .arg = arg};
    return give_order(w, &o, e);
}

/* Under the mutex. */
static int may_submit(const struct writer *w, size_t n, size_t bytes, struct err *e)
{
    if (w->stopping)
        return err_set(e, ERR_STOPPED, "the writer is stopping");
    if (w->lost_session)
        return err_set(e, ERR_STOPPED, "another server session writes now");
    if (!w->reachable)
        return err_set(e, ERR_RETRY, "the store is out of reach");
    if (w->waiting + n > w->options.max_jobs)
        return err_set(e, ERR_AGAIN, "%zu records wait to be stored", w->waiting);
    if (w->waiting > 0 && w->waiting_bytes + bytes > WAITING_BYTES)
        return err_set(e, ERR_AGAIN, "%zu bytes wait to be stored", w->waiting_bytes);
    return 0;
}

/* Under the mutex: several are taken together or not at all. */
static void enqueue(struct writer *w, struct writer_job *jobs, size_t n)
{
    int64_t now = clock_mono_ms();
    for (size_t i = 0; i < n; i++) {
        struct writer_job *job = &jobs[i];
        job->next = NULL;
        job->submitted_ms = now;
        *(w->last ? &w->last->next : &w->first) = job;
        w->last = job;
        w->waiting++;
        w->waiting_bytes += writer_job_bytes(job);
    }
    (void)pthread_cond_signal(&w->work);
}

int writer_submit(struct writer *w, struct writer_job *job, struct err *e)
{
    writer_lock(w);
    int rc = may_submit(w, 1, writer_job_bytes(job), e);
    if (rc == 0)
        enqueue(w, job, 1);
    writer_unlock(w);
    return rc == ERR_AGAIN ? err_wrap(e, "busy"), ERR_RETRY : rc;
}

struct waiting {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    size_t left;
    struct writer_job jobs[CHUNK];
    struct store_result *results;
};

static void own_waiting(struct waiting **p)
{
    if (!*p)
        return;
    (void)pthread_mutex_destroy(&(*p)->mutex);
    (void)pthread_cond_destroy(&(*p)->done);
    free(*p);
}

static void chunk_done(struct writer_job *job, const struct store_result *result)
{
    struct waiting *c = job->arg;
    struct store_result *r = &c->results[job - c->jobs];
    *r = *result;
    r->record = (struct slice){NULL, 0};
    (void)pthread_mutex_lock(&c->mutex);
    c->left--;
    (void)pthread_cond_signal(&c->done);
    (void)pthread_mutex_unlock(&c->mutex);
}

static int submit_chunk(struct writer *w, struct waiting *c, size_t n, size_t bytes, struct err *e)
{
    int64_t until = clock_mono_ms() + WRITER_PATIENCE_MS;
    c->left = n;
    writer_lock(w);
    int rc = may_submit(w, n, bytes, e);
    while (rc == ERR_AGAIN && clock_mono_ms() < until) {
        writer_wait_ms(&w->answered, &w->mutex, 100);
        rc = may_submit(w, n, bytes, e);
    }
    if (rc == 0)
        enqueue(w, c->jobs, n);
    writer_unlock(w);
    if (rc < 0)
        return rc == ERR_AGAIN ? ERR_RETRY : rc;
    (void)pthread_mutex_lock(&c->mutex);
    while (c->left > 0)
        (void)pthread_cond_wait(&c->done, &c->mutex);
    (void)pthread_mutex_unlock(&c->mutex);
    return 0;
}

static int first_group_failure(const struct store_result *results, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (results[i].class < 0 && results[i].class != ERR_REJECTED)
            return err_set(e, results[i].class, "%s", results[i].text);
    }
    return 0;
}

/* How many of the events make one chunk. */
static size_t fill_chunk(struct waiting *c, const struct store_event *events, size_t n,
                         size_t *bytes)
{
    size_t used = 0;
    *bytes = 0;
    while (used < n && used < CHUNK) {
        size_t next = sizeof *c->jobs + events[used].members.n + events[used].raw.n;
        if (used > 0 && *bytes + next > WRITER_GROUP_BYTES)
            break;
        c->jobs[used] = (struct writer_job){.event = events[used], .done = chunk_done, .arg = c};
        *bytes += next;
        used++;
    }
    return used;
}

int writer_submit_wait(struct writer *w, const struct store_event *events, size_t n,
                       struct store_result *results, struct err *e)
{
    OWN(own_waiting) struct waiting *c = calloc(1, sizeof *c);
    int rc = c ? 0 : err_memory(e, "submitting records");
    if (c) {
        (void)pthread_mutex_init(&c->mutex, NULL);
        (void)pthread_cond_init(&c->done, NULL);
    }
    size_t done = 0;
    while (rc == 0 && done < n) {
        size_t bytes;
        size_t part = fill_chunk(c, events + done, n - done, &bytes);
        c->results = results + done;
        rc = submit_chunk(w, c, part, bytes, e);
        if (rc == 0) {
            rc = first_group_failure(results + done, part, e);
            done += part;
        }
    }
    for (; done < n; done++)
        results[done] = (struct store_result){.class = rc};
    return rc;
}

void writer_state(struct writer *w, struct writer_state *out)
{
    writer_lock(w);
    *out = (struct writer_state){
        .waiting = w->waiting,
        .oldest_ms = w->first ? clock_mono_ms() - w->first->submitted_ms : 0,
        .reachable = w->reachable,
        .lost_session = w->lost_session,
        .stored = w->stored,
        .first_pos = w->first_pos,
        .last_pos = w->last_pos,
    };
    writer_unlock(w);
}
