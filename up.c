/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wiring. `up` starts every part in one process, in the order a record passes them backwards, so
 * that each finds its successor ready; it stops them in the order a record passes, so that nothing
 * new comes in behind a part that ended. What is still on its way lies in a database and goes on at
 * the next start.
 */
#include "up.h"

#include "base/clock.h"
#include "base/control.h"
#include "base/file.h"
#include "base/log.h"
#include "base/own.h"
#include "base/stop.h"
#include "capture/queue_tidy.h"
#include "chat-server/store/totals.h"
#include "sources.h"

#include <malloc.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { WATCH_MS = 1000, LOCK_MS = 60000, LARGE = 256 << 10, COPY_MS = 5000 };

struct wiring {
    struct handles *h;
    struct wake committed, captured, archived;
    struct control *control;
    struct totals *totals;
    struct sources sources;
    struct record_queue queue; /* services: the relay's word */
    struct source_embedded_options embedded;
    struct queue_tidy *tidy; /* services */
    int64_t disk_ms;         /* the disk was looked at */
    bool disk_full;
    atomic_bool capturing; /* h->capture may be asked by the chat server */
    bool unchecked;        /* mgccomp could not say yet whether the store is an older copy */
    int64_t checked_ms;
    char session[64];
    char program[SETTINGS_PATH];
};

/* In services the chat server may make its key after capture has started. */
static const struct totals_source *sources_now(void *wiring, size_t *n)
{
    struct wiring *w = wiring;
    struct sources found;

    if (!w->sources.has_key && sources_load(&found, w->h->settings, false, NULL) == 0 &&
        found.has_key)
        w->sources = found;
    *n = w->sources.n;
    return w->sources.list;
}

static int start_capture(struct wiring *w, struct err *e)
{
    struct handles *h = w->h;
    int err = handles_staging(h, &h->staging, e);

    if (!err && !w->sources.has_key) /* else start_chat knows them */
        err = sources_load(&w->sources, h->settings, false, e);
    if (err)
        return err;
    w->embedded = (struct source_embedded_options){h->settings->store_url, &w->committed};
    struct capture_options o = {
        .staging = h->staging,
        .writers = (size_t)h->settings->writers,
        .batch_records = (size_t)h->settings->batch_records,
        .batch_bytes = (size_t)h->settings->batch_bytes,
        .backlog_ms = h->settings->backlog_ms,
        .captured = &w->captured,
        .sources = sources_now,
        .sources_arg = w,
        .embedded = h->settings->services ? NULL : &w->embedded,
        .kafka = h->settings->services ? &h->settings->kafka : NULL,
    };
    err = capture_start(&h->capture, &o, e);
    atomic_store(&w->capturing, err == 0);
    return err;
}

static int start_archiver(struct wiring *w, struct err *e)
{
    struct handles *h = w->h;
    int err = handles_staging(h, &h->staging, e);

    if (!err)
        err = file_make_dirs(h->settings->scratch, e);
    if (!err)
        err = file_make_dirs(h->settings->delivered, e);
    if (err)
        return err;
    struct archiver_options a = {
        .staging = h->staging,
        .conf = h->settings->conf,
        .modules_dir = h->settings->modules,
        .scratch_dir = h->settings->scratch,
        .delivered_dir = h->settings->delivered,
        .program = w->program,
        .backlog_ms = h->settings->backlog_ms,
        .captured = &w->captured,
        .archived = &w->archived,
    };
    err = archiver_start(&h->archiver, &a, e);
    struct sweep_options s = {.staging = h->staging, .archived = &w->archived};
    if (!err && h->settings->services) {
        err = queue_tidy_new(&w->tidy, &h->settings->kafka, h->staging, e);
        s.swept = queue_tidy_swept;
        s.swept_arg = w->tidy;
    }
    return err ? err : sweep_start(&h->sweep, &s, e);
}

/* Embedded: of what was stored since the start, what capture has not taken yet. */
static uint64_t uncaptured(struct handles *h)
{
    struct writer_state stored = {0};
    struct capture_state c = {0};

    capture_state(h->capture, &c);
    writer_state(h->writer, &stored);
    return (uint64_t)limit_waiting(stored.first_pos, stored.last_pos, c.read_to);
}

/* Asked for each request, in the chat server's thread: the disk is looked at now and then. */
static bool disk_is_full(struct wiring *w)
{
    const struct store_limit *l = &w->h->settings->limit;
    int64_t now = clock_mono_ms();

    if (now >= w->disk_ms + WATCH_MS) {
        w->disk_ms = now;
        w->disk_full = limit_of_disk(l, limit_disk_free(l));
    }
    return w->disk_full;
}

/* Posts are refused before records that only this store holds fill its disk. */
static bool refuses(void *arg)
{
    struct wiring *w = arg;
    uint64_t waiting = 0;

    if (w->h->relay)
        waiting = relay_unconfirmed(w->h->relay);
    else if (atomic_load(&w->capturing))
        waiting = uncaptured(w->h);
    return limit_of_records(&w->h->settings->limit, (int64_t)waiting) || disk_is_full(w);
}

static int begin_session(struct wiring *w, struct err *e)
{
    OWN(own_buf) struct buf members = {0};
    char host[256] = "";
    char uuid[37];

    (void)gethostname(host, sizeof host - 1);
    uuid_v7(clock_wall_us(), uuid);
    snprintf(w->session, sizeof w->session, "urn:uuid:%s", uuid);
    buf_init(&members, 1024);
    json_put_string(&members, "server", slice_of(host));
    buf_text(&members, ",");
    buf_text(&members, "\"version\":");
    json_write_string(&members, SLICE(HOLDFAST_VERSION));
    int err = buf_ok(&members, "session start", e);
    return err ? err
               : writer_begin_session(w->h->writer, slice_of(w->h->settings->pool),
                                      slice_of(w->session), buf_view(&members), e);
}

static int start_totals(struct wiring *w, struct err *e)
{
    const struct settings *s = w->h->settings;
    int err = sources_load(&w->sources, s, true, e);
    const struct totals_options o = {
        .store_url = s->store_url,
        .writer = w->h->writer,
        .source = slice_of(s->pool),
        .subject = slice_of(w->session),
        .key = w->sources.key,
        .cadence_ms = w->sources.cadence_ms,
    };
    return err ? err : totals_start(&w->totals, &o, e);
}

/* People chat while mgccomp is away; whether the store is an older copy is asked as soon as it is
 * back (watch). */
static int check_copy(struct wiring *w, struct err *e)
{
    const bool first = !w->unchecked;
    int err = handles_check_copy(w->h, slice_of(w->h->settings->pool), true, e);

    w->checked_ms = clock_mono_ms();
    w->unchecked = err && err != ERR_CONFLICT;
    if (!w->unchecked)
        return err;
    if (first)
        log_error("store.unchecked", e, "source=%s", w->h->settings->pool);
    return 0;
}

static int start_chat(struct wiring *w, struct err *e)
{
    struct handles *h = w->h;
    struct settings *s = h->settings;
    struct writer_options o = {.url = s->store_url, .committed = &w->committed};
    int err = 0;

    if (s->services) {
        struct relay_options r = {
            .store_url = s->store_url, .kafka = s->kafka, .source = slice_of(s->pool)};
        err = relay_start(&h->relay, &r, e);
        o.stored = relay_stored;
        o.stored_arg = h->relay;
        w->queue = (struct record_queue){relay_await, relay_forget, h->relay};
    }
    if (!err)
        err = writer_start(&h->writer, &o, e);
    if (!err)
        err = check_copy(w, e);
    if (!err)
        err = begin_session(w, e);
    if (!err)
        err = start_totals(w, e);
    if (err)
        return err;
    struct chat_options c = {
        .host = s->host,
        .port = s->port,
        .domain = s->domain,
        .pool = s->pool,
        .session = w->session,
        .store_url = s->store_url,
        .writer = h->writer,
        .must_refuse = refuses,
        .must_refuse_arg = w,
        .queue = s->services ? &w->queue : NULL,
        .queue_wait_ms = s->queue_wait_ms,
    };
    return chat_server_start(&h->chat, &c, e);
}

/* A heap for each thread, and the rising threshold above which memory is given back, would keep
 * what a burst of batches needed for good: 15 of 70 MiB. */
static void keep_little_memory(void)
{
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_MMAP_THRESHOLD, LARGE);
    (void)mallopt(M_TRIM_THRESHOLD, LARGE);
}

static int prepare(struct wiring *w, struct handles *h, struct err *e)
{
    keep_little_memory();
    *w = (struct wiring){.h = h};
    h->running = true;
    if (!wake_init(&w->committed) || !wake_init(&w->captured) || !wake_init(&w->archived))
        return err_memory(e, "doorbells");
    ssize_t n = readlink("/proc/self/exe", w->program, sizeof w->program - 1);
    if (n < 0)
        return err_errno(e, ERR_CONFIG, "path of this program");
    int err = file_make_dirs(h->settings->data, e);
    h->started_ms = clock_mono_ms();
    h->started_free = limit_disk_free(&h->settings->limit);
    return err ? err : handles_lock_patiently(h, LOCK_MS, e);
}

static void stop_all(struct wiring *w)
{
    struct handles *h = w->h;

    control_stop(w->control);
    chat_server_stop(h->chat);
    totals_stop(w->totals);
    writer_stop(h->writer);
    relay_stop(h->relay);
    capture_stop(h->capture);
    archiver_stop(h->archiver);
    sweep_stop(h->sweep);
    queue_tidy_free(w->tidy);
    staging_close(h->staging);
    file_unlock(h->lock_fd);
    wake_done(&w->committed);
    wake_done(&w->captured);
    wake_done(&w->archived);
    handles_init(h, h->settings);
}

/* What was recorded since the start stays; where it has numbers that others have, capture finds the
 * forks. From now on there are no more of them. */
static bool proved_older(struct wiring *w)
{
    struct err e = {0};

    if (!w->unchecked || clock_mono_ms() < w->checked_ms + COPY_MS)
        return false;
    int err = check_copy(w, &e);
    if (err)
        log_error("store.older", &e, "source=%s", w->h->settings->pool);
    else if (!w->unchecked)
        log_event(LOG_INFO, "store.checked", "source=%s", w->h->settings->pool);
    return err != 0;
}

/* Until a signal comes, another server has become the writer of our rooms, or the store turns out
 * to be an older copy. */
static int watch(struct wiring *w)
{
    while (!stop_wait(WATCH_MS)) {
        struct writer_state state = {0};
        if (proved_older(w))
            return APP_FAILED;
        if (w->h->writer)
            writer_state(w->h->writer, &state);
        if (state.lost_session) {
            log_event(LOG_ERROR, "session.lost",
                      "session=%s hint=\"another chat server took over\"", w->session);
            return APP_FAILED;
        }
    }
    return APP_OK;
}

static int run_until_stopped(struct app_io *io, struct wiring *w, int err, const struct err *e)
{
    int code;

    if (err) {
        code = app_fail(io, e);
    } else {
        log_event(LOG_INFO, "ready", "pid=%ld", (long)getpid());
        code = watch(w);
    }
    stop_all(w);
    log_event(LOG_INFO, "stopped", "code=%d", code);
    return code;
}

int up_run(struct app_io *io, struct handles *h, const struct app_command *commands)
{
    struct wiring w;
    struct err e = {0};

    if (h->settings->services) {
        err_set(&e, ERR_CONFIG,
                "setup is services: start `holdfast chat-server`, `holdfast capture` and "
                "`holdfast archiver` instead of `up`");
        return app_fail(io, &e);
    }
    int err = prepare(&w, h, &e);
    if (!err)
        err = start_archiver(&w, &e);
    if (!err)
        err = start_chat(&w, &e);
    if (!err)
        err = start_capture(&w, &e);
    if (!err)
        err = control_start(&w.control, h->settings->control, commands, h, &e);
    if (!err)
        log_event(LOG_INFO, "up", "listen=%s:%u data=%s", h->settings->host,
                  chat_server_port(h->chat), h->settings->data);
    return run_until_stopped(io, &w, err, &e);
}

/* One service of the services set-up: what start brings up, until stopped. */
static int run_service(struct app_io *io, struct handles *h, const char *command,
                       int (*start)(struct wiring *w, struct err *e))
{
    struct wiring w;
    struct err e = {0};

    if (!h->settings->services) {
        err_set(&e, ERR_CONFIG,
                "setup is embedded: `holdfast up` runs everything. `holdfast %s` needs "
                "[holdfast] setup = services",
                command);
        return app_fail(io, &e);
    }
    int err = prepare(&w, h, &e);
    if (!err)
        err = start(&w, &e);
    return run_until_stopped(io, &w, err, &e);
}

int chat_server_run(struct app_io *io, struct handles *h)
{
    return run_service(io, h, "chat-server", start_chat);
}

int capture_run(struct app_io *io, struct handles *h)
{
    return run_service(io, h, "capture", start_capture);
}

int archiver_run(struct app_io *io, struct handles *h)
{
    return run_service(io, h, "archiver", start_archiver);
}
