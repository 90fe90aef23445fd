/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop on libuv: listener, tick, calls from other threads, work beside it. */
#include "base/own.h"
#include "chat-server/loop_inside.h"

#include <string.h>

struct work {
    uv_work_t request;
    loop_fn *work, *after;
    void *arg;
};

static int loop_error(struct err *e, int class, const char *what, int code)
{
    return err_set(e, class, "%s: %s", what, uv_strerror(code));
}

static void run_calls(uv_async_t *async)
{
    struct loop *l = async->data;

    (void)pthread_mutex_lock(&l->lock);
    struct loop_call *c = l->first;
    l->first = NULL;
    l->last = NULL;
    (void)pthread_mutex_unlock(&l->lock);

    while (c) {
        /* The call's memory may be gone once it ran. */
        struct loop_call *next = c->next;

        c->fn(c->arg);
        c = next;
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    stream_send_collected(prepare->data);
}

int loop_new(struct loop **out, struct err *e)
{
    OWN(own_mem) struct loop *l = calloc(1, sizeof *l);

    if (!l)
        return err_memory(e, "event loop");
    int r = uv_loop_init(&l->uv);
    if (r < 0)
        return loop_error(e, ERR_RETRY, "event loop", r);
    r = uv_async_init(&l->uv, &l->async, run_calls);
    if (r < 0) {
        (void)uv_loop_close(&l->uv);
        return loop_error(e, ERR_RETRY, "event loop", r);
    }
    l->async.data = l;
    (void)uv_prepare_init(&l->uv, &l->prepare);
    l->prepare.data = l;
    (void)uv_prepare_start(&l->prepare, on_prepare);
    uv_unref((uv_handle_t *)&l->prepare);
    (void)pthread_mutex_init(&l->lock, NULL);

    *out = l;
    l = NULL;
    return 0;
}

void loop_run(struct loop *l)
{
    (void)uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_unlisten(struct loop *l)
{
    if (l->listening)
        uv_close((uv_handle_t *)&l->listener, NULL);
    l->listening = false;
}

void loop_quit(struct loop *l)
{
    if (l->quitting)
        return;
    l->quitting = true;
    loop_unlisten(l);
    if (l->ticking)
        uv_close((uv_handle_t *)&l->timer, NULL);
    l->ticking = false;
    uv_close((uv_handle_t *)&l->async, NULL);
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    loop_quit(l);
    uv_close((uv_handle_t *)&l->prepare, NULL);
    (void)uv_run(&l->uv, UV_RUN_DEFAULT);
    (void)uv_loop_close(&l->uv);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- listener ---- */

static void free_unstarted(uv_handle_t *h)
{
    free(h->data);
}

static void describe_peer(const uv_tcp_t *tcp, char *out, size_t size)
{
    struct sockaddr_storage a;
    int n = sizeof a;
    char host[INET6_ADDRSTRLEN] = "?";
    uint16_t port = 0;

    if (uv_tcp_getpeername(tcp, (struct sockaddr *)&a, &n) == 0) {
        if (a.ss_family == AF_INET6) {
            const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&a;

            (void)uv_ip6_name(six, host, sizeof host);
            port = ntohs(six->sin6_port);
        } else {
            const struct sockaddr_in *four = (const struct sockaddr_in *)&a;

            (void)uv_ip4_name(four, host, sizeof host);
            port = ntohs(four->sin_port);
        }
    }
    (void)snprintf(out, size, "%s:%u", host, (unsigned)port);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct loop *l = listener->data;
    char peer[INET6_ADDRSTRLEN + 8];

    if (status < 0)
        return;
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return;
    if (uv_tcp_init(&l->uv, &s->tcp) < 0) {
        free(s);
        return;
    }
    stream_init(s, l);
    if (uv_accept(listener, (uv_stream_t *)&s->tcp) < 0) {
        uv_close((uv_handle_t *)&s->tcp, free_unstarted);
        return;
    }
    (void)uv_tcp_nodelay(&s->tcp, 1);
    describe_peer(&s->tcp, peer, sizeof peer);
    l->accepted(l->accepted_arg, s, peer);
}

static int bind_listener(struct loop *l, const char *host, uint16_t port)
{
    struct sockaddr_storage a = {0};
    int r = strchr(host, ':') ? uv_ip6_addr(host, port, (struct sockaddr_in6 *)&a)
                              : uv_ip4_addr(host, port, (struct sockaddr_in *)&a);

    if (r == 0)
        r = uv_tcp_bind(&l->listener, (const struct sockaddr *)&a, 0);
    if (r == 0)
        r = uv_listen((uv_stream_t *)&l->listener, 128, on_connection);

    return r;
}

int loop_listen(struct loop *l, const char *host, uint16_t port, loop_accept_fn *accepted,
                void *arg, uint16_t *bound, struct err *e)
{
    struct sockaddr_storage a;
    int n = sizeof a;

    int r = uv_tcp_init(&l->uv, &l->listener);
    if (r < 0)
        return loop_error(e, ERR_RETRY, "chat listener", r);
    l->listening = true;
    l->listener.data = l;
    l->accepted = accepted;
    l->accepted_arg = arg;
    r = bind_listener(l, host, port);
    if (r == 0)
        r = uv_tcp_getsockname(&l->listener, (struct sockaddr *)&a, &n);
    if (r < 0)
        return err_set(e, ERR_CONFIG, "chat listener %s:%u: %s", host, (unsigned)port,
                       uv_strerror(r));
    *bound = ntohs(a.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)&a)->sin6_port
                                           : ((const struct sockaddr_in *)&a)->sin_port);

    return 0;
}

/* ---- tick, calls, work ---- */

static void on_tick(uv_timer_t *t)
{
    struct loop *l = t->data;

    l->tick(l->tick_arg);
}

int loop_tick(struct loop *l, uint64_t every_ms, loop_fn *tick, void *arg, struct err *e)
{
    int r = uv_timer_init(&l->uv, &l->timer);

    if (r < 0)
        return loop_error(e, ERR_RETRY, "timer", r);
    l->ticking = true;
    l->timer.data = l;
    l->tick = tick;
    l->tick_arg = arg;
    (void)uv_timer_start(&l->timer, on_tick, every_ms, every_ms);

    return 0;
}

void loop_call(struct loop *l, struct loop_call *c)
{
    c->next = NULL;
    (void)pthread_mutex_lock(&l->lock);
    if (l->last)
        l->last->next = c;
    else
        l->first = c;
    l->last = c;
    (void)uv_async_send(&l->async);
    (void)pthread_mutex_unlock(&l->lock);
}

static void do_work(uv_work_t *request)
{
    struct work *w = request->data;

    w->work(w->arg);
}

static void after_work(uv_work_t *request, int status)
{
    struct work *w = request->data;

    (void)status;
    w->after(w->arg);
    free(w);
}

int loop_work(struct loop *l, loop_fn *work, loop_fn *after, void *arg, struct err *e)
{
    struct work *w = calloc(1, sizeof *w);

    if (!w)
        return err_memory(e, "work");
    w->request.data = w;
    w->work = work;
    w->after = after;
    w->arg = arg;
    int r = uv_queue_work(&l->uv, &w->request, do_work, after_work);
    if (r < 0) {
        free(w);
        return loop_error(e, ERR_RETRY, "work", r);
    }

    return 0;
}
