/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writing thread. Jobs stay in the queue until they are answered, so that what waits and since
 * when is read off the queue. Order is kept in trouble too: nothing is stored before what was
 * submitted earlier was either stored or answered.
 */
#include "chat-server/store/writer.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum {
    MAX_JOBS = 10000,
    MAX_GROUP = 512,
    MAX_CLAIMS = 16,
    GROUP_BYTES = 8 * 1024 * 1024,
    WAITING_BYTES = 64 * 1024 * 1024,
    CHUNK = 256, /* events of writer_submit_wait at once */
    PATIENCE_MS = 5000,
    DOUBT_MS = 20000,
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
    /* The thread's own: */
    struct store *store;
    struct backoff backoff;
    char *claims[MAX_CLAIMS];
    size_t claim_count;
    char *session_source, *session;
    struct store_event *events;
    struct store_result *results;
    uint64_t fresh;   /* stored, and not yet counted and rung for */
    struct buf doubt; /* records read again after a commit in doubt */
};

static size_t job_bytes(const struct writer_job *job)
{
    return sizeof *job + job->event.members.n + job->event.raw.n;
}

static void lock(struct writer *w)
{
    (void)pthread_mutex_lock(&w->mutex);
}

static void unlock(struct writer *w)
{
    (void)pthread_mutex_unlock(&w->mutex);
}

static void set_reachable(struct writer *w, bool reachable)
{
    lock(w);
    w->reachable = reachable && !w->lost_session;
    unlock(w);
}

static void wait_ms(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(cond, mutex, &until);
}

/* A pause before the next try, ended early by a stop. */
static void pause_ms(struct writer *w, int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;
    lock(w);
    for (int64_t left = ms; left > 0 && !w->stopping; left = until - clock_mono_ms())
        wait_ms(&w->work, &w->mutex, left);
    unlock(w);
}

/* In the thread, after each commit. */
static void on_stored(void *arg, struct slice subject, const struct store_result *r)
{
    struct writer *w = arg;
    if (w->options.stored)
        w->options.stored(w->options.stored_arg, subject, r);
    w->fresh++;
}

static void ring(struct writer *w)
{
    if (w->fresh == 0)
        return;
    lock(w);
    w->stored += w->fresh;
    unlock(w);
    w->fresh = 0;
    if (w->options.committed)
        wake_ring(w->options.committed);
}

static struct writer_job *pop(struct writer *w)
{
    lock(w);
    struct writer_job *job = w->first;
    if (job) {
        w->first = job->next;
        if (!w->first)
            w->last = NULL;
        w->waiting--;
        w->waiting_bytes -= job_bytes(job);
        (void)pthread_cond_broadcast(&w->answered);
    }
    unlock(w);
    return job;
}

static void answer_group(struct writer *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct writer_job *job = pop(w);
        job->done(job, &w->results[i]);
    }
}

/* Everything that waits, also behind the group at hand: else it would be stored before what came
 * earlier and is tried again. */
static void answer_all(struct writer *w, int class, const char *text)
{
    struct store_result r = {.class = class};
    (void)snprintf(r.text, sizeof r.text, "%.159s", text);
    for (struct writer_job *job = pop(w); job; job = pop(w))
        job->done(job, &r);
}

static void lose_session(struct writer *w, const struct err *e)
{
    log_error("writer.lost", e, "reachable=0");
    lock(w);
    w->lost_session = true;
    w->reachable = false;
    unlock(w);
    answer_all(w, ERR_STOPPED, e->text);
}

static int open_store(struct writer *w, struct err *e)
{
    int rc = store_open(&w->store, w->url, e);
    if (rc == 0)
        store_on_stored(w->store, on_stored, w);
    return rc;
}

static int reconnect(struct writer *w, struct err *e)
{
    store_close(w->store);
    w->store = NULL;
    int rc = open_store(w, e);
    if (rc == 0 && w->session)
        rc = store_resume_session(w->store, slice_of(w->session_source), slice_of(w->session), e);
    for (size_t i = 0; rc == 0 && i < w->claim_count; i++)
        rc = store_claim(w->store, slice_of(w->claims[i]), e);
    if (rc < 0) {
        store_close(w->store);
        w->store = NULL;
    }
    return rc;
}

static bool connected(const struct writer *w)
{
    return w->store && !store_broken(w->store);
}

struct row_copy {
    struct buf *out;
    bool found;
    const uint8_t *hash;
};

static int copy_row(void *arg, const struct store_row *row, struct err *e)
{
    struct row_copy *copy = arg;
    uint8_t hash[SHA256_SIZE];
    sha256(row->raw.p, row->raw.n, hash);
    if (memcmp(hash, copy->hash, SHA256_SIZE) != 0)
        return 0;
    copy->found = true;
    buf_slice(copy->out, row->raw);
    return buf_ok(copy->out, "records of a group", e);
}

static bool in_doubt(const struct store_result *r)
{
    return r->class == ERR_DOUBT && !r->duplicate;
}

/* The group was one transaction: its first record tells for all. *committed is written. */
static int look_up_group(struct writer *w, size_t n, bool *committed, struct err *e)
{
    size_t at[MAX_GROUP + 1];
    bool all = true;
    buf_clear(&w->doubt);
    for (size_t i = 0; i < n; i++) {
        struct store_result *r = &w->results[i];
        at[i] = w->doubt.n;
        if (!in_doubt(r))
            continue;
        struct row_copy copy = {&w->doubt, false, r->hash};
        int rc =
            store_read_stream(w->store, r->stream, r->sequence, r->sequence, 1, copy_row, &copy, e);
        if (rc < 0)
            return rc;
        all = all && copy.found;
        if (!all)
            break;
    }
    at[n] = w->doubt.n;
    for (size_t i = 0; all && i < n; i++) {
        struct store_result *r = &w->results[i];
        if (in_doubt(r))
            r->record = (struct slice){w->doubt.p + at[i], at[i + 1] - at[i]};
        if (r->class == ERR_DOUBT)
            r->class = 0;
    }
    *committed = all;
    return 0;
}

static void publish_looked_up(struct writer *w, size_t n)
{
    OWN(own_json_doc) struct json_doc *d = json_doc_new();
    for (size_t i = 0; d && i < n; i++) {
        struct record r;
        if (w->results[i].class < 0 || w->results[i].duplicate)
            continue;
        if (record_decode(d, w->results[i].record, &r, NULL) == 0)
            on_stored(w, r.subject, &w->results[i]);
    }
}

/* After a commit whose answer never came. 1: it is committed, results are complete. 0: it is not.
 * Else a class. The new connection's claim succeeds only once the old one's transaction has ended.
 */
static int settle_doubt(struct writer *w, size_t n, struct err *e)
{
    int64_t until = clock_mono_ms() + DOUBT_MS;
    for (size_t i = 0; i < n; i++)
        w->results[i].record = (struct slice){NULL, 0};
    set_reachable(w, false);
    for (;;) {
        bool committed = false;
        int rc = connected(w) ? 0 : reconnect(w, e);
        if (rc == 0)
            rc = look_up_group(w, n, &committed, e);
        if (rc == 0) {
            set_reachable(w, true);
            if (committed)
                publish_looked_up(w, n);
            return committed;
        }
        if (rc == ERR_STOPPED || clock_mono_ms() >= until)
            return rc == ERR_STOPPED ? rc : ERR_DOUBT;
        pause_ms(w, backoff_next(&w->backoff));
    }
}

static void give_up(struct writer *w, size_t n, int class, const struct err *e)
{
    log_error("writer.refused", e, "group=%zu", n);
    if (class == ERR_DOUBT) {
        for (size_t i = 0; i < n; i++) {
            if (w->results[i].class == 0)
                w->results[i].class = ERR_DOUBT;
        }
        answer_group(w, n);
        class = ERR_RETRY;
    }
    answer_all(w, class, e->text);
}

static int try_group(struct writer *w, size_t n, struct err *e)
{
    int rc = connected(w) ? 0 : reconnect(w, e);
    if (rc < 0)
        return rc == ERR_STOPPED ? rc : ERR_RETRY;
    rc = store_append(w->store, w->events, n, w->results, e);
    if (rc == ERR_DOUBT) {
        rc = settle_doubt(w, n, e);
        return rc == 0 ? ERR_RETRY : rc > 0 ? 0 : rc;
    }
    return rc;
}

static void store_group(struct writer *w, size_t n)
{
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    for (;;) {
        struct err e = {0};
        int rc = try_group(w, n, &e);
        if (rc == 0) {
            backoff_reset(&w->backoff);
            set_reachable(w, true);
            ring(w);
            answer_group(w, n);
            return;
        }
        if (rc == ERR_STOPPED) {
            lose_session(w, &e);
            return;
        }
        if (rc != ERR_RETRY && rc != ERR_DOUBT) {
            log_error("writer.group", &e, "group=%zu", n);
            answer_group(w, n);
            return;
        }
        set_reachable(w, false);
        if (rc == ERR_DOUBT || clock_mono_ms() >= until) {
            give_up(w, n, rc, &e);
            return;
        }
        pause_ms(w, backoff_next(&w->backoff));
    }
}

/* Copies what waits, within the group's limits, without taking it out of the queue. */
static size_t collect(struct writer *w)
{
    size_t n = 0;
    size_t bytes = 0;
    lock(w);
    for (struct writer_job *job = w->first; job && n < w->options.max_group; job = job->next) {
        bytes += job_bytes(job);
        if (n > 0 && bytes > GROUP_BYTES)
            break;
        w->events[n++] = job->event;
    }
    unlock(w);
    return n;
}

static int keep_claim(struct writer *w, struct slice source, struct err *e)
{
    for (size_t i = 0; i < w->claim_count; i++) {
        if (slice_is(source, w->claims[i]))
            return 0;
    }
    if (w->claim_count == MAX_CLAIMS)
        return err_set(e, ERR_REJECTED, "a writer has at most %d sources", MAX_CLAIMS);
    char *copy = slice_dup(source);
    if (!copy)
        return err_memory(e, "claiming a source");
    w->claims[w->claim_count++] = copy;
    return 0;
}

static int keep_session(struct writer *w, const struct order *o, struct err *e)
{
    OWN(own_mem) char *source = slice_dup(o->source);
    OWN(own_mem) char *session = slice_dup(o->session);
    if (!source || !session)
        return err_memory(e, "beginning a session");
    w->session_source = source;
    w->session = session;
    source = session = NULL;
    return 0;
}

static int obey(struct writer *w, struct order *o)
{
    int rc = connected(w) ? 0 : reconnect(w, &o->e);
    if (rc == 0 && o->call)
        return o->call(w->store, o->arg, &o->e);
    if (rc == 0 && o->begin)
        rc = store_begin_session(w->store, o->source, o->session, o->members, &o->e);
    else if (rc == 0)
        rc = store_claim(w->store, o->source, &o->e);
    if (rc == 0)
        rc = o->begin ? keep_session(w, o, &o->e) : keep_claim(w, o->source, &o->e);
    return rc;
}

static void take_order(struct writer *w, struct order *o)
{
    int rc = obey(w, o);
    ring(w);
    lock(w);
    o->rc = rc;
    o->answered = true;
    w->order = NULL;
    (void)pthread_cond_broadcast(&w->answered);
    unlock(w);
}

/* Out of reach and nothing waits: try to get back, so that submitters are let in again. A store
 * that is connected but was full is simply tried by the next job. */
static void recover(struct writer *w)
{
    struct err e = {0};
    pause_ms(w, backoff_next(&w->backoff));
    int rc = connected(w) ? 0 : reconnect(w, &e);
    if (rc == ERR_STOPPED)
        lose_session(w, &e);
    else if (rc == 0)
        set_reachable(w, true);
}

enum turn { TURN_GROUP, TURN_ORDER, TURN_RECOVER, TURN_END };

static enum turn next_turn(struct writer *w, struct order **order)
{
    enum turn turn = TURN_END;
    lock(w);
    for (;;) {
        *order = w->order;
        if (w->order) {
            turn = TURN_ORDER;
            break;
        }
        if (w->first) {
            turn = TURN_GROUP;
            break;
        }
        if (w->stopping)
            break;
        if (!w->reachable && !w->lost_session) {
            turn = TURN_RECOVER;
            break;
        }
        (void)pthread_cond_wait(&w->work, &w->mutex);
    }
    unlock(w);
    return turn;
}

static void end_session(struct writer *w)
{
    struct err e = {0};
    if (!w->session || w->lost_session)
        return;
    int rc = connected(w) ? 0 : reconnect(w, &e);
    if (rc == 0)
        rc = store_end_session(w->store, &e);
    ring(w);
    if (rc < 0)
        log_error("writer.session-end", &e, "next=%s", "the next start closes it");
}

static void *run(void *arg)
{
    struct writer *w = arg;
    for (;;) {
        struct order *order;
        enum turn turn = next_turn(w, &order);
        if (turn == TURN_END)
            break;
        if (turn == TURN_ORDER)
            take_order(w, order);
        else if (turn == TURN_GROUP)
            store_group(w, collect(w));
        else
            recover(w);
    }
    end_session(w);
    return NULL;
}

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
    if (w->options.max_group == 0 || w->options.max_group > MAX_GROUP)
        w->options.max_group = MAX_GROUP;
    backoff_init(&w->backoff, 50, 2000);
    buf_init(&w->doubt, 2 * GROUP_BYTES + RECORD_MAX_BYTES);
    w->url = slice_dup(slice_of(o->url));
    w->events = calloc(w->options.max_group, sizeof *w->events);
    w->results = calloc(w->options.max_group, sizeof *w->results);
    if (!w->url || !w->events || !w->results)
        return err_memory(e, "starting the writer");
    int rc = open_store(w, e);
    if (rc < 0)
        return rc;
    w->reachable = true;
    if (pthread_create(&w->thread, NULL, run, w) != 0)
        return err_set(e, ERR_RETRY, "no thread for the writer");
    *out = w;
    w = NULL;
    return 0;
}

void writer_stop(struct writer *w)
{
    if (!w)
        return;
    lock(w);
    w->stopping = true;
    (void)pthread_cond_broadcast(&w->work);
    (void)pthread_cond_broadcast(&w->answered);
    unlock(w);
    (void)pthread_join(w->thread, NULL);
    writer_free(w);
}

static int give_order(struct writer *w, struct order *o, struct err *e)
{
    lock(w);
    while (w->order && !w->stopping)
        (void)pthread_cond_wait(&w->answered, &w->mutex);
    if (w->stopping) {
        unlock(w);
        return err_set(e, ERR_STOPPED, "the writer is stopping");
    }
    w->order = o;
    (void)pthread_cond_broadcast(&w->work);
    while (!o->answered)
        (void)pthread_cond_wait(&w->answered, &w->mutex);
    unlock(w);
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
        w->waiting_bytes += job_bytes(job);
    }
    (void)pthread_cond_signal(&w->work);
}

int writer_submit(struct writer *w, struct writer_job *job, struct err *e)
{
    lock(w);
    int rc = may_submit(w, 1, job_bytes(job), e);
    if (rc == 0)
        enqueue(w, job, 1);
    unlock(w);
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
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    c->left = n;
    lock(w);
    int rc = may_submit(w, n, bytes, e);
    while (rc == ERR_AGAIN && clock_mono_ms() < until) {
        wait_ms(&w->answered, &w->mutex, 100);
        rc = may_submit(w, n, bytes, e);
    }
    if (rc == 0)
        enqueue(w, c->jobs, n);
    unlock(w);
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
        if (used > 0 && *bytes + next > GROUP_BYTES)
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
    lock(w);
    *out = (struct writer_state){
        .waiting = w->waiting,
        .oldest_ms = w->first ? clock_mono_ms() - w->first->submitted_ms : 0,
        .reachable = w->reachable,
        .lost_session = w->lost_session,
        .stored = w->stored,
    };
    unlock(w);
}
