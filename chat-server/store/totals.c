/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads are read while the writer goes on: each line is true by itself, and what moves meanwhile is
 * in the next totals. What was told is remembered only once its record is durable, so that totals
 * that failed are written again.
 */
#include "chat-server/store/totals.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "base/wake.h"
#include "mgccomp/record_totals.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { PART_BYTES = 256 * 1024, AGAIN_MS = 5000, CLOCK_LOOK_MS = 2000, LINE_MAX = 1200 };

struct told {
    int64_t stream, sequence;
};

struct totals {
    struct totals_options o;
    char *url, *source, *subject;
    pthread_t thread;
    struct wake bell; /* rung to stop */
    atomic_bool stopping;
    /* The thread's own: */
    struct told *told; /* by stream */
    size_t told_n, told_room;
    struct told *part; /* of the part at hand */
    size_t part_n, part_room;
    struct buf lines, statement, members;
    struct totals_head head;
};

static void totals_free(struct totals *t)
{
    if (!t)
        return;
    wake_done(&t->bell);
    buf_done(&t->lines);
    buf_done(&t->statement);
    buf_done(&t->members);
    free(t->told);
    free(t->part);
    free(t->url);
    free(t->source);
    free(t->subject);
    free(t);
}

OWN_DEFINE(totals, struct totals, totals_free)

/* Where the stream stands among those told, or would. */
static size_t place(const struct totals *t, int64_t stream)
{
    size_t lo = 0;
    size_t hi = t->told_n;
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;
        if (t->told[middle].stream < stream)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo;
}

static int64_t told_of(const struct totals *t, int64_t stream)
{
    size_t at = place(t, stream);
    return at < t->told_n && t->told[at].stream == stream ? t->told[at].sequence : 0;
}

static bool grow(struct told **list, size_t n, size_t *room)
{
    if (n < *room)
        return true;
    size_t more = *room ? 2 * *room : 64;
    struct told *bigger = realloc(*list, more * sizeof **list);
    if (!bigger)
        return false;
    *list = bigger;
    *room = more;
    return true;
}

static int remember(struct totals *t, const struct told *what, struct err *e)
{
    size_t at = place(t, what->stream);
    if (at < t->told_n && t->told[at].stream == what->stream) {
        t->told[at].sequence = what->sequence;
        return 0;
    }
    if (!grow(&t->told, t->told_n, &t->told_room))
        return err_memory(e, "control totals");
    memmove(&t->told[at + 1], &t->told[at], (t->told_n - at) * sizeof *t->told);
    t->told[at] = *what;
    t->told_n++;
    return 0;
}

static int write_part(struct totals *t, bool last, struct err *e)
{
    struct store_result result = {0};
    struct store_event event = {.source = slice_of(t->source),
                                .subject = slice_of(t->subject),
                                .kind = RECORD_TOTALS,
                                .time_us = t->head.time_us,
                                .has_once = true};
    t->head.last = last;
    buf_clear(&t->statement);
    buf_clear(&t->members);
    totals_put_head(&t->statement, &t->head);
    buf_slice(&t->statement, buf_view(&t->lines));
    int rc = buf_ok(&t->statement, "control totals", e);
    if (rc == 0)
        rc = totals_members(&t->members, buf_view(&t->statement), &t->o.key, e);
    if (rc < 0)
        return rc;
    event.members = buf_view(&t->members);
    random_bytes(event.once, sizeof event.once);
    rc = writer_submit_wait(t->o.writer, &event, 1, &result, e);
    if (rc == 0 && result.class < 0)
        rc = err_set(e, result.class, "%s", result.text);
    for (size_t i = 0; rc == 0 && i < t->part_n; i++)
        rc = remember(t, &t->part[i], e);
    t->head.part++;
    t->part_n = 0;
    buf_clear(&t->lines);
    return rc;
}

static int add_stream(void *arg, const struct store_stream *s, struct err *e)
{
    struct totals *t = arg;
    int64_t before = told_of(t, s->id);
    if (s->sequence == before || !slice_is(s->source, t->source))
        return 0;
    if (t->lines.n + LINE_MAX > t->o.part_bytes) {
        int rc = write_part(t, false, e);
        if (rc < 0)
            return rc;
    }
    struct totals_line line = {.epoch = s->epoch,
                               .sequence = s->sequence,
                               .count = s->sequence - before,
                               .subject = s->subject};
    memcpy(line.hash, s->hash, sizeof line.hash);
    totals_put_line(&t->lines, &line);
    if (t->lines.failed || !grow(&t->part, t->part_n, &t->part_room))
        return err_memory(e, "control totals");
    t->part[t->part_n++] = (struct told){s->id, s->sequence};
    return 0;
}

static int write_totals(struct totals *t, bool final, struct err *e)
{
    OWN(own_store) struct store *reader = NULL;
    int64_t now = clock_wall_us();
    t->head = (struct totals_head){.source = slice_of(t->source),
                                   .time_us = now,
                                   .next_us = final ? 0 : now + t->o.cadence_ms * 1000,
                                   .part = 1};
    t->part_n = 0;
    buf_clear(&t->lines);
    int rc = store_open_reader(&reader, t->url, e);
    if (rc == 0)
        rc = store_streams(reader, add_stream, t, e);
    return rc < 0 ? rc : write_part(t, true, e);
}

/* What was promised by the wall clock must be kept by it: when it jumped ahead, the promise is
 * broken already; when it was set back, the last totals are from the future. */
static bool clock_jumped(const struct totals *t)
{
    int64_t now = clock_wall_us();
    return now >= t->head.next_us || now < t->head.time_us;
}

/* Not wake_wait, which ends when the program is asked to stop: the last totals come after everybody
 * has left. */
static void wait_for_beat(struct totals *t, int64_t ms, bool written)
{
    struct pollfd p = {.fd = t->bell.fd, .events = POLLIN};
    int64_t end = clock_mono_ms() + ms;
    int64_t left = ms;
    while (left > 0 && !(written && clock_jumped(t))) {
        if (poll(&p, 1, left < CLOCK_LOOK_MS ? (int)left : CLOCK_LOOK_MS) > 0)
            break;
        left = end - clock_mono_ms();
    }
}

static void *run(void *arg)
{
    struct totals *t = arg;
    bool final = false;
    while (!final) {
        struct err e = {0};
        final = atomic_load(&t->stopping);
        int rc = write_totals(t, final, &e);
        if (rc < 0)
            log_error("totals", &e, "final=%d", final);
        if (rc == ERR_STOPPED)
            break; /* another server writes this source */
        if (!final)
            wait_for_beat(t, rc < 0 && t->o.cadence_ms > AGAIN_MS ? AGAIN_MS : t->o.cadence_ms,
                          rc == 0);
    }
    return NULL;
}

static int take_options(struct totals *t, const struct totals_options *o, struct err *e)
{
    t->o = *o;
    t->o.part_bytes = o->part_bytes ? o->part_bytes : PART_BYTES;
    t->url = strdup(o->store_url);
    t->source = slice_dup(o->source);
    t->subject = slice_dup(o->subject);
    buf_init(&t->lines, t->o.part_bytes + LINE_MAX);
    buf_init(&t->statement, t->o.part_bytes + 2 * LINE_MAX);
    buf_init(&t->members, RECORD_MAX_BYTES);
    if (!t->url || !t->source || !t->subject || !wake_init(&t->bell))
        return err_memory(e, "control totals");
    return 0;
}

static int totals_new(struct totals **out, const struct totals_options *o, struct err *e)
{
    OWN(own_totals) struct totals *t = calloc(1, sizeof *t);
    if (!t)
        return err_memory(e, "control totals");
    t->bell.fd = -1;
    int rc = take_options(t, o, e);
    if (rc < 0)
        return rc;
    *out = t;
    t = NULL;
    return 0;
}

int totals_write_once(const struct totals_options *o, struct err *e)
{
    OWN(own_totals) struct totals *t = NULL;
    int rc = totals_new(&t, o, e);
    return rc < 0 ? rc : write_totals(t, true, e);
}

int totals_start(struct totals **out, const struct totals_options *o, struct err *e)
{
    OWN(own_totals) struct totals *t = NULL;
    int rc = totals_new(&t, o, e);
    if (rc < 0)
        return rc;
    if (pthread_create(&t->thread, NULL, run, t) != 0)
        return err_memory(e, "control totals' thread");
    *out = t;
    t = NULL;
    return 0;
}

void totals_stop(struct totals *t)
{
    if (!t)
        return;
    atomic_store(&t->stopping, true);
    wake_ring(&t->bell);
    (void)pthread_join(t->thread, NULL);
    totals_free(t);
}
