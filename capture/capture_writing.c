/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writing thread: a decoded batch into mgccomp while the next one is read. One batch is in hand
 * at most; what was read behind one that failed is dropped, since positions must be asked for anew.
 */
#include "base/log.h"
#include "capture/capture_inside.h"

void load_drop(struct load *l)
{
    source_batch_clear(&l->read);
    capture_batch_clear(l->decoded);
}

static void told(struct capture *c, const struct capture_outcome *out)
{
    capture_count(c, out);
    if (c->o.captured)
        wake_ring(c->o.captured);
    if (out->incidents > 0 || out->exceptions > 0)
        log_event(LOG_WARN, "capture.batch",
                  "records=%zu duplicates=%zu exceptions=%zu incidents=%zu", out->stored,
                  out->duplicates, out->exceptions, out->incidents);
}

static void write_load(struct capture *c, struct writing *w)
{
    w->e = (struct err){0};
    w->rc =
        capture_write(c->writer, w->load->decoded, c->positions.at, c->positions.n, &w->out, &w->e);
    if (w->rc == 0)
        told(c, &w->out);
}

static void *run(void *arg)
{
    struct capture *c = arg;
    struct writing *w = &c->writing;
    (void)pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->ending && (!w->load || w->written))
            (void)pthread_cond_wait(&w->turned, &w->lock);
        if (!w->load || w->written)
            break;
        (void)pthread_mutex_unlock(&w->lock);
        write_load(c, w);
        (void)pthread_mutex_lock(&w->lock);
        w->written = true;
        (void)pthread_cond_broadcast(&w->turned);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

int capture_writing_start(struct capture *c, struct err *e)
{
    struct writing *w = &c->writing;
    w->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    w->turned = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    if (pthread_create(&w->thread, NULL, run, c) != 0)
        return err_memory(e, "starting capture's writing thread");
    w->started = true;
    return 0;
}

void capture_writing_end(struct capture *c)
{
    struct writing *w = &c->writing;
    if (!w->started)
        return;
    (void)pthread_mutex_lock(&w->lock);
    w->ending = true;
    (void)pthread_cond_broadcast(&w->turned);
    (void)pthread_mutex_unlock(&w->lock);
    (void)pthread_join(w->thread, NULL);
    (void)pthread_cond_destroy(&w->turned);
    (void)pthread_mutex_destroy(&w->lock);
}

void capture_write_begin(struct capture *c, struct load *l)
{
    struct writing *w = &c->writing;
    (void)pthread_mutex_lock(&w->lock);
    w->load = l;
    w->written = false;
    (void)pthread_cond_broadcast(&w->turned);
    (void)pthread_mutex_unlock(&w->lock);
}

bool capture_writes(struct capture *c)
{
    struct writing *w = &c->writing;
    (void)pthread_mutex_lock(&w->lock);
    bool busy = w->load && !w->written;
    (void)pthread_mutex_unlock(&w->lock);
    return busy;
}

void capture_write_wait(struct capture *c)
{
    struct writing *w = &c->writing;
    (void)pthread_mutex_lock(&w->lock);
    while (w->load && !w->written)
        (void)pthread_cond_wait(&w->turned, &w->lock);
    (void)pthread_mutex_unlock(&w->lock);
}

bool capture_write_finish(struct capture *c)
{
    struct writing *w = &c->writing;
    capture_write_wait(c);
    (void)pthread_mutex_lock(&w->lock);
    struct load *l = w->load;
    w->load = NULL;
    (void)pthread_mutex_unlock(&w->lock);
    if (!l)
        return true;
    load_drop(l);
    if (w->rc < 0) {
        capture_write_failed(c, w->rc, &w->e);
        return false;
    }
    c->failing = false;
    capture_well(c);
    if (w->out.incidents > 0)
        capture_heal_soon(c);
    return true;
}
