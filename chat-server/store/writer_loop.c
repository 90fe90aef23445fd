/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writing thread. Jobs stay in the queue until they are answered, so that what waits and since
 * when is read off the queue. Order is kept in trouble too: nothing is stored before what was
 * submitted earlier was either stored or answered.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/own.h"
#include "chat-server/store/writer_inside.h"

#include <string.h>
#include <time.h>

enum { DOUBT_MS = 20000, END_TRIES = 3 };

size_t writer_job_bytes(const struct writer_job *job)
{
    return sizeof *job + job->event.members.n + job->event.raw.n;
}

void writer_lock(struct writer *w)
{
    (void)pthread_mutex_lock(&w->mutex);
}

void writer_unlock(struct writer *w)
{
    (void)pthread_mutex_unlock(&w->mutex);
}

static void set_reachable(struct writer *w, bool reachable)
{
    writer_lock(w);
    w->reachable = reachable && !w->lost_session;
    writer_unlock(w);
}

void writer_wait_ms(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t ms)
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

/* A pause before the next try, ended early when a stop begins. */
static void pause_ms(struct writer *w, int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;
    writer_lock(w);
    const bool stopping = w->stopping;
    for (int64_t left = ms; left > 0 && w->stopping == stopping; left = until - clock_mono_ms())
        writer_wait_ms(&w->work, &w->mutex, left);
    writer_unlock(w);
}

/* In the thread, after each commit. */
static void on_stored(void *arg, struct slice subject, const struct store_result *r)
{
    struct writer *w = arg;
    if (w->options.stored)
        w->options.stored(w->options.stored_arg, subject, r);
    w->fresh++;
    if (!w->fresh_first)
        w->fresh_first = r->pos;
    if (r->pos > w->fresh_last)
        w->fresh_last = r->pos;
}

static void ring(struct writer *w)
{
    if (w->fresh == 0)
        return;
    writer_lock(w);
    w->stored += w->fresh;
    if (!w->first_pos)
        w->first_pos = w->fresh_first;
    w->last_pos = w->fresh_last;
    writer_unlock(w);
    w->fresh = 0;
    if (w->options.committed)
        wake_ring(w->options.committed);
}

static struct writer_job *pop(struct writer *w)
{
    writer_lock(w);
    struct writer_job *job = w->first;
    if (job) {
        w->first = job->next;
        if (!w->first)
            w->last = NULL;
        w->waiting--;
        w->waiting_bytes -= writer_job_bytes(job);
        (void)pthread_cond_broadcast(&w->answered);
    }
    writer_unlock(w);
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
    writer_lock(w);
    w->lost_session = true;
    w->reachable = false;
    writer_unlock(w);
    answer_all(w, ERR_STOPPED, e->text);
}

int writer_open_store(struct writer *w, struct err *e)
{
    int rc = store_open(&w->store, w->url, e);
    if (rc == 0)
        store_on_stored(w->store, on_stored, w);
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
    size_t at[WRITER_GROUP + 1];
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

static int open_again(struct writer *w, struct err *e)
{
    store_close(w->store);
    w->store = NULL;
    int rc = writer_open_store(w, e);
    if (rc == 0 && w->session)
        rc = store_resume_session(w->store, slice_of(w->session_source), slice_of(w->session), e);
    for (size_t i = 0; rc == 0 && i < w->claim_count; i++)
        rc = store_claim(w->store, slice_of(w->claims[i]), e);
    return rc;
}

/* What was answered "in doubt" and is there after all: its submitter was told, the queue was not.
 */
static int pass_on_doubtful(struct writer *w, struct err *e)
{
    bool committed = false;
    if (w->doubtful == 0)
        return 0;
    int rc = look_up_group(w, w->doubtful, &committed, e);
    if (rc < 0)
        return rc;
    if (committed)
        publish_looked_up(w, w->doubtful);
    ring(w);
    w->doubtful = 0;
    return 0;
}

static int reconnect(struct writer *w, struct err *e)
{
    int rc = open_again(w, e);
    if (rc == 0)
        rc = pass_on_doubtful(w, e);
    /* A connection that is there counts as one on which nothing is in doubt any more. */
    if (rc < 0) {
        store_close(w->store);
        w->store = NULL;
    }
    return rc;
}

/* After a commit whose answer never came. 1: it is committed, results are complete. 0: it is not.
 * Else a class. The new connection's claim succeeds only once the old one's transaction has ended.
 */
static int settle_doubt(struct writer *w, size_t n, int64_t until, struct err *e)
{
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
            log_event(LOG_WARN, "writer.doubt", "group=%zu committed=%d", n, committed);
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
        w->doubtful = n;
        store_close(w->store); /* the next connection settles it first */
        w->store = NULL;
        class = ERR_RETRY;
    }
    answer_all(w, class, e->text);
}

static int try_group(struct writer *w, size_t n, struct err *e)
{
    int rc = connected(w) ? 0 : reconnect(w, e);
    if (rc < 0)
        return rc == ERR_STOPPED ? rc : ERR_RETRY;
    const int64_t until = clock_mono_ms() + DOUBT_MS;
    rc = store_append(w->store, w->events, n, w->results, e);
    if (rc == ERR_DOUBT) {
        rc = settle_doubt(w, n, until, e);
        return rc == 0 ? ERR_RETRY : rc > 0 ? 0 : rc;
    }
    return rc;
}

static void store_group(struct writer *w, size_t n)
{
    int64_t until = clock_mono_ms() + WRITER_PATIENCE_MS;
    for (;;) {
        struct err e = {0};
        int rc = try_group(w, n, &e);
        if (rc == 0) {
            backoff_reset(&w->backoff);
            set_reachable(w, true);
            FAULT("writer.answer.before");
            ring(w);
            answer_group(w, n);
            FAULT("writer.answer.after");
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
    writer_lock(w);
    for (struct writer_job *job = w->first; job && n < w->options.max_group; job = job->next) {
        bytes += writer_job_bytes(job);
        if (n > 0 && bytes > WRITER_GROUP_BYTES)
            break;
        w->events[n++] = job->event;
    }
    writer_unlock(w);
    return n;
}

static int keep_claim(struct writer *w, struct slice source, struct err *e)
{
    for (size_t i = 0; i < w->claim_count; i++) {
        if (slice_is(source, w->claims[i]))
            return 0;
    }
    if (w->claim_count == WRITER_CLAIMS)
        return err_set(e, ERR_REJECTED, "a writer has at most %d sources", WRITER_CLAIMS);
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
    writer_lock(w);
    o->rc = rc;
    o->answered = true;
    w->order = NULL;
    (void)pthread_cond_broadcast(&w->answered);
    writer_unlock(w);
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
    writer_lock(w);
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
    writer_unlock(w);
    return turn;
}

static void end_session(struct writer *w)
{
    struct err e = {0};
    if (!w->session || w->lost_session)
        return;
    int rc = ERR_RETRY;
    for (int tries = 0; tries < END_TRIES && (rc == ERR_RETRY || rc == ERR_DOUBT); tries++) {
        rc = connected(w) ? 0 : reconnect(w, &e);
        if (rc == 0)
            rc = store_end_session(w->store, &e);
    }
    ring(w);
    /* ERR_STOPPED after a try in doubt: it had gone through. */
    if (rc < 0 && rc != ERR_STOPPED)
        log_error("writer.session-end", &e, "next=%s", "the next start closes it");
}

void *writer_run(void *arg)
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
