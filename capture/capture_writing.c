/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writing threads: a decoded batch into mgccomp while the next one is read. Each lane has one
 * batch in hand at most; what was read behind one that failed is dropped in all lanes, since
 * positions must be asked for anew.
 */
#include "base/log.h"
#include "capture/capture_inside.h"

#include <stdlib.h>

static void load_drop(struct load *l)
{
    source_batch_clear(&l->read);
    capture_batch_clear(l->decoded);
}

struct load *lane_load(struct lane *lane)
{
    return &lane->loads[lane->turn];
}

static void told(struct capture *c, const struct capture_outcome *out)
{
    capture_count(c, out);
    capture_read_to(c);
    if (c->o.captured)
        wake_ring(c->o.captured);
    if (out->incidents > 0 || out->exceptions > 0)
        log_event(LOG_WARN, "capture.batch",
                  "records=%zu duplicates=%zu exceptions=%zu incidents=%zu", out->stored,
                  out->duplicates, out->exceptions, out->incidents);
}

static void write_load(struct lane *lane)
{
    struct capture *c = lane->c;
    lane->e = (struct err){0};
    lane->rc = capture_write(lane->writer, lane->in_hand->decoded, c->positions.at, c->positions.n,
                             &lane->out, &lane->e);
    if (lane->rc == 0)
        told(c, &lane->out);
}

static void *run(void *arg)
{
    struct lane *lane = arg;
    struct lanes *all = &lane->c->lanes;
    (void)pthread_mutex_lock(&all->lock);
    for (;;) {
        while (!lane->ending && (!lane->in_hand || lane->written))
            (void)pthread_cond_wait(&all->turned, &all->lock);
        if (!lane->in_hand || lane->written)
            break;
        (void)pthread_mutex_unlock(&all->lock);
        write_load(lane);
        (void)pthread_mutex_lock(&all->lock);
        lane->written = true;
        (void)pthread_cond_broadcast(&all->turned);
    }
    (void)pthread_mutex_unlock(&all->lock);
    return NULL;
}

/* ---- one lane ---- */

static bool writes(const struct lane *lane) /* the lock is held */
{
    return lane->in_hand && !lane->written;
}

static void wait_written(struct lane *lane)
{
    struct lanes *all = &lane->c->lanes;
    (void)pthread_mutex_lock(&all->lock);
    while (writes(lane))
        (void)pthread_cond_wait(&all->turned, &all->lock);
    (void)pthread_mutex_unlock(&all->lock);
}

/* The load whose writing is over, if there is one; nothing is in hand then. */
static struct load *take_written(struct lane *lane)
{
    struct lanes *all = &lane->c->lanes;
    (void)pthread_mutex_lock(&all->lock);
    struct load *l = lane->in_hand;
    lane->in_hand = NULL;
    (void)pthread_mutex_unlock(&all->lock);
    return l;
}

static void begin(struct lane *lane)
{
    struct lanes *all = &lane->c->lanes;
    (void)pthread_mutex_lock(&all->lock);
    lane->in_hand = lane_load(lane);
    lane->written = false;
    lane->turn = 1 - lane->turn;
    (void)pthread_cond_broadcast(&all->turned);
    (void)pthread_mutex_unlock(&all->lock);
}

static void written_well(struct lane *lane)
{
    struct capture *c = lane->c;
    c->failing = false;
    capture_well(c);
    if (lane->out.incidents > 0)
        capture_heal_soon(c);
}

/* The batch that was in hand is told of, and what was read meanwhile is in hand: first of all, so
 * that the database does not wait. False: it was not written, and all lanes are empty. */
static bool pass_on(struct lane *lane)
{
    wait_written(lane);
    struct load *old = take_written(lane);
    if (old && lane->rc < 0) {
        struct err e = lane->e;
        int rc = lane->rc;
        load_drop(old);
        capture_drop(lane->c);
        capture_write_failed(lane->c, rc, &e);
        return false;
    }
    if (lane_load(lane)->read.n > 0)
        begin(lane);
    if (old) {
        capture_note_age(lane->c, lane, &old->read);
        load_drop(old);
        written_well(lane);
    }
    return true;
}

/* ---- all of them ---- */

void capture_drop(struct capture *c)
{
    for (size_t i = 0; i < c->lanes.n; i++) {
        struct lane *lane = &c->lanes.at[i];
        wait_written(lane);
        (void)take_written(lane);
        load_drop(&lane->loads[0]);
        load_drop(&lane->loads[1]);
    }
}

void capture_write_wait(struct capture *c)
{
    for (size_t i = 0; i < c->lanes.n; i++)
        wait_written(&c->lanes.at[i]);
}

bool capture_writes(const struct capture *c)
{
    for (size_t i = 0; i < c->lanes.n; i++) {
        if (c->lanes.at[i].in_hand)
            return true;
    }
    return false;
}

static bool is_writing(struct lane *lane)
{
    struct lanes *all = &lane->c->lanes;
    (void)pthread_mutex_lock(&all->lock);
    bool out = writes(lane);
    (void)pthread_mutex_unlock(&all->lock);
    return out;
}

bool capture_write_on(struct capture *c)
{
    for (size_t i = 0; i < c->lanes.n; i++) {
        struct lane *lane = &c->lanes.at[i];
        if (!is_writing(lane) && !pass_on(lane))
            return false;
    }
    return true;
}

static bool some_could(const struct lanes *all) /* the lock is held */
{
    for (size_t i = 0; i < all->n; i++) {
        const struct lane *lane = &all->at[i];
        if (lane->loads[lane->turn].read.n > 0 && !writes(lane))
            return true;
    }
    return false;
}

static bool some_is_full(const struct capture *c)
{
    for (size_t i = 0; i < c->lanes.n; i++) {
        const struct lane *lane = &c->lanes.at[i];
        if (source_batch_full(&lane->loads[lane->turn].read))
            return true;
    }
    return false;
}

void capture_hand_over(struct capture *c)
{
    while (capture_write_on(c) && some_is_full(c)) {
        (void)pthread_mutex_lock(&c->lanes.lock);
        while (!some_could(&c->lanes))
            (void)pthread_cond_wait(&c->lanes.turned, &c->lanes.lock);
        (void)pthread_mutex_unlock(&c->lanes.lock);
    }
}

void capture_write_all(struct capture *c)
{
    do
        capture_write_wait(c);
    while (capture_write_on(c) && capture_writes(c));
}

/* ---- their life ---- */

static int lane_init(struct lane *lane, struct capture *c, struct err *e)
{
    int rc = 0;
    lane->c = c;
    for (size_t i = 0; rc == 0 && i < 2; i++) {
        struct load *l = &lane->loads[i];
        rc = source_batch_init(&l->read, c->o.batch_records, c->o.batch_bytes, e);
        if (rc == 0)
            rc = capture_batch_new(&l->decoded, e);
    }
    if (rc < 0)
        return rc;
    if (pthread_create(&lane->thread, NULL, run, lane) != 0)
        return err_memory(e, "starting capture's writing thread");
    lane->started = true;
    return 0;
}

static void lane_done(struct lane *lane)
{
    for (size_t i = 0; i < 2; i++) {
        source_batch_done(&lane->loads[i].read);
        capture_batch_free(lane->loads[i].decoded);
    }
    capture_writer_free(lane->writer);
    if (lane->staging != lane->c->o.staging)
        staging_close(lane->staging);
}

int lanes_start(struct capture *c, size_t n, struct err *e)
{
    struct lanes *all = &c->lanes;
    all->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    all->turned = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    all->at = calloc(n, sizeof *all->at);
    if (!all->at)
        return err_memory(e, "starting capture");
    int rc = 0;
    while (rc == 0 && all->n < n)
        rc = lane_init(&all->at[all->n++], c, e);
    return rc;
}

int lanes_open(struct capture *c, int64_t generation, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < c->lanes.n; i++) {
        struct lane *lane = &c->lanes.at[i];
        if (!lane->staging && i == 0)
            lane->staging = c->o.staging;
        if (!lane->staging)
            rc = staging_open(&lane->staging, staging_url(c->o.staging), e);
        if (rc == 0 && !lane->writer)
            rc = capture_writer_new(&lane->writer, lane->staging, generation, e);
    }
    return rc;
}

void lanes_forget(struct capture *c)
{
    for (size_t i = 0; i < c->lanes.n; i++) {
        if (c->lanes.at[i].writer)
            capture_writer_forget(c->lanes.at[i].writer);
    }
}

void lanes_end(struct capture *c)
{
    struct lanes *all = &c->lanes;
    if (!all->at)
        return;
    (void)pthread_mutex_lock(&all->lock);
    for (size_t i = 0; i < all->n; i++)
        all->at[i].ending = true;
    (void)pthread_cond_broadcast(&all->turned);
    (void)pthread_mutex_unlock(&all->lock);
    for (size_t i = 0; i < all->n; i++) {
        if (all->at[i].started)
            (void)pthread_join(all->at[i].thread, NULL);
        lane_done(&all->at[i]);
    }
    (void)pthread_cond_destroy(&all->turned);
    (void)pthread_mutex_destroy(&all->lock);
    free(all->at);
}
