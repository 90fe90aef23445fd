/* SPDX-License-Identifier: Apache-2.0 */
/* The server as a whole: options, thread, tick, stop. */
#include "chat-server/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/net.h"
#include "base/own.h"
#include "chat-server/chat.h"
#include "chat-server/confirm.h"
#include "chat-server/conn.h"
#include "chat-server/reader.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* ---- the loop's thread ---- */

static void look_at_writer(struct chat_server *s)
{
    struct writer_state state;

    writer_state(s->writer, &state);
    s->store_age_ms = state.oldest_ms;
    s->store_waiting = state.waiting;
    if (state.lost_session)
        chat_lost(s);
}

static void tick(void *arg)
{
    struct chat_server *s = arg;
    int64_t now = clock_mono_ms();

    look_at_writer(s);
    for (struct conn *c = s->conns; c; c = c->next)
        conn_tick(c, now);
    confirm_tick(s, now);
    conn_reap(s);
    /* The writer or the queue still holds what is in flight: its memory must stay. */
    if (s->stopping && !s->conns && s->in_flight == 0)
        loop_quit(s->loop);
}

static void begin_stop(void *arg)
{
    struct chat_server *s = arg;

    s->stopping = true;
    s->stop_by_ms = clock_mono_ms() + CHAT_STOP_MS;
    loop_unlisten(s->loop);
    for (struct conn *c = s->conns; c; c = c->next)
        conn_end(c, "server-stopped");
}

static void *run(void *arg)
{
    struct chat_server *s = arg;

    loop_run(s->loop);

    return NULL;
}

/* Signals are for the program's main thread; a broken pipe is a failed write here. */
static int start_thread(struct chat_server *s, struct err *e)
{
    sigset_t all;
    sigset_t before;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&s->thread, NULL, run, s);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0)
        return err_set(e, ERR_RETRY, "chat server's thread: %s", strerror(r));

    return 0;
}

/* ---- start and stop ---- */

static void server_free(struct chat_server *s)
{
    if (!s)
        return;
    loop_free(s->loop);
    while (s->doc_count > 0)
        xml_doc_free(s->docs[--s->doc_count]);
    reader_free(s->reader);
    free(s);
}

OWN_DEFINE(server, struct chat_server, server_free)

static int take_text(char *out, size_t size, const char *text, const char *what, struct err *e)
{
    if (!text || !*text || !slice_copy(slice_of(text), out, size))
        return err_set(e, ERR_CONFIG, "chat server: %s is empty or too long", what);

    return 0;
}

static int take_options(struct chat_server *s, const struct chat_options *o, struct err *e)
{
    int r = take_text(s->host, sizeof s->host, o->host, "host", e);

    if (r == 0 && !net_is_loopback(s->host))
        r = err_set(e, ERR_CONFIG, "chat server: %s is not a loopback address", s->host);
    if (r == 0)
        r = take_text(s->domain, sizeof s->domain, o->domain, "domain", e);
    if (r == 0)
        r = take_text(s->pool, sizeof s->pool, o->pool, "pool", e);
    if (r == 0)
        r = take_text(s->session, sizeof s->session, o->session, "session", e);
    if (r < 0)
        return r;
    s->writer = o->writer;
    s->must_refuse = o->must_refuse;
    s->must_refuse_arg = o->must_refuse_arg;
    s->lost_fn = o->lost;
    s->lost_arg = o->lost_arg;
    s->queue = o->queue;
    s->queue_wait_ms = o->queue_wait_ms > 0 ? o->queue_wait_ms : CHAT_QUEUE_MS;
    s->session_seconds = o->session_seconds > 0 ? o->session_seconds : CHAT_SESSION_SECONDS;
    s->sign_in_ms = o->sign_in_ms > 0 ? o->sign_in_ms : CHAT_SIGN_IN_MS;

    return 0;
}

/* A connection too many must not keep the store from opening its files. */
static void set_max_conns(struct chat_server *s)
{
    const rlim_t want = CHAT_MAX_CONNS + CHAT_SPARE_CONNS + CHAT_OTHER_FILES;
    struct rlimit files = {0};

    s->max_conns = CHAT_MAX_CONNS;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur >= want)
        return;
    files.rlim_cur = files.rlim_max < want ? files.rlim_max : want;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < want) {
        s->max_conns = files.rlim_cur / 2;
        log_event(LOG_WARN, "chat.files", "connections=%zu", s->max_conns);
    }
}

static void set_via(struct chat_server *s)
{
    (void)snprintf(s->via, sizeof s->via, strchr(s->host, ':') ? "[%s]:%u" : "%s:%u", s->host,
                   (unsigned)s->port);
}

int chat_server_start(struct chat_server **out, const struct chat_options *o, struct err *e)
{
    OWN(own_server) struct chat_server *s = calloc(1, sizeof *s);

    if (!s)
        return err_memory(e, "chat server");
    int r = take_options(s, o, e);
    if (r < 0)
        return r;
    set_max_conns(s);
    s->reader = reader_new(o->store_url);
    if (!s->reader)
        return err_memory(e, "chat server");
    r = loop_new(&s->loop, e);
    if (r == 0)
        r = loop_listen(s->loop, s->host, o->port, conn_accepted, s, &s->port, e);
    if (r == 0)
        r = loop_tick(s->loop, CHAT_TICK_MS, tick, s, e);
    if (r < 0)
        return r;
    set_via(s);
    r = start_thread(s, e);
    if (r < 0)
        return r;

    *out = s;
    s = NULL;
    return 0;
}

uint16_t chat_server_port(const struct chat_server *s)
{
    return s->port;
}

void chat_server_stop(struct chat_server *s)
{
    if (!s)
        return;
    s->stop_call = (struct loop_call){.fn = begin_stop, .arg = s};
    loop_call(s->loop, &s->stop_call);
    (void)pthread_join(s->thread, NULL);
    server_free(s);
}

void chat_server_state(struct chat_server *s, struct chat_state *out)
{
    *out = (struct chat_state){.connections = atomic_load(&s->shown_conns),
                               .users = atomic_load(&s->shown_users),
                               .rooms_open = atomic_load(&s->shown_rooms),
                               .posts = atomic_load(&s->shown_posts),
                               .lost = atomic_load(&s->shown_lost)};
}
