/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drain asks the archiver, through a row that both set-ups share, to cut whatever there is, and
 * then only looks: first until the noted heads and ends are captured, then until no row below the
 * positions of that moment is left.
 */
#include "retention/drain.h"

#include "base/clock.h"
#include "base/own.h"
#include "base/stop.h"
#include "mgccomp/drain_request.h"
#include "mgccomp/incident.h"
#include "mgccomp/ledger.h"

#include <string.h>

enum { LOOK_MS = 100, ASK_AHEAD_US = 5000000, MAX_PARTS = 1024, KAFKA_MS = 10000 };

/* A stream's head when the command began. */
struct noted {
    char *source, *subject;
    int64_t epoch, sequence;
};

struct drain {
    struct app_io *io;
    const struct drain_input *in;
    struct db *db;
    struct noted *noted; /* not yet seen captured */
    size_t count, room;
    int64_t ends[MAX_PARTS]; /* per partition: everything below must go */
    int32_t parts;
    bool kept; /* some of them are kept: by an incident, or by an adapter that is not required */
    char why[400];
};

/* ---- what was accepted before the command ---- */

static int is_captured(struct drain *d, const struct noted *n, bool *captured, struct err *e)
{
    int64_t head = 0;
    int err = db_int(
        d->db, "SELECT sequence FROM stream WHERE source = $1 AND epoch = $2 AND subject = $3",
        DB_ARGS(DB_T(slice_of(n->source)), DB_I(n->epoch), DB_T(slice_of(n->subject))), 0, &head,
        e);

    if (err && err != ERR_NOT_FOUND)
        return err;
    *captured = head >= n->sequence;
    return 0;
}

static int note_stream(void *arg, const struct store_stream *s, struct err *e)
{
    struct drain *d = arg;

    if (d->count == d->room) {
        size_t room = d->room ? 2 * d->room : 256;
        struct noted *more = realloc(d->noted, room * sizeof *more);
        if (!more)
            return err_memory(e, "drain");
        d->noted = more;
        d->room = room;
    }
    struct noted *n = &d->noted[d->count];
    *n = (struct noted){slice_dup(s->source), slice_dup(s->subject), s->epoch, s->sequence};
    d->count++;
    return n->source && n->subject ? 0 : err_memory(e, "drain");
}

/* Streams leave the list from its end as they turn out captured, so a look is cheap. */
static int look_at_store(struct drain *d, bool *captured, struct err *e)
{
    *captured = true;
    while (d->count > 0) {
        struct noted *n = &d->noted[d->count - 1];
        int err = is_captured(d, n, captured, e);
        if (err)
            return err;
        if (!*captured) {
            snprintf(d->why, sizeof d->why, "%.250s#%lld is not captured yet", n->subject,
                     (long long)n->sequence);
            return 0;
        }
        free(n->source);
        free(n->subject);
        d->count--;
    }
    return 0;
}

static int note_ends(struct drain *d, struct err *e)
{
    struct kafka_facts facts;
    int64_t low;

    if (!d->in->kafka)
        return 0;
    int err = kafka_check(d->in->kafka, KAFKA_MS, &facts, e);
    if (!err && facts.partitions > MAX_PARTS)
        err = err_set(e, ERR_CONFIG, "topic %s has more than %d partitions", d->in->kafka->topic,
                      MAX_PARTS);
    for (int32_t p = 0; !err && p < facts.partitions; p++)
        err = kafka_ends(d->in->kafka, p, KAFKA_MS, &low, &d->ends[p], e);
    if (!err)
        d->parts = facts.partitions;
    return err;
}

/* Positions at this moment: from here on everything below must be deleted. True once they have
 * reached the noted ends. */
static int look_at_positions(struct drain *d, bool *reached, struct err *e)
{
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int64_t pos[MAX_PARTS] = {0};
    int64_t offset[MAX_PARTS] = {0}; /* in the queue's own numbers, as the ends are */
    int err = db_query(d->db, "SELECT part, pos, shift FROM position", DB_NO_ARGS, &rows, e);

    while (!err && (err = db_rows_next(rows, e)) > 0) {
        int64_t part = db_rows_int(rows, 0);
        if (part >= 0 && part < MAX_PARTS) {
            pos[part] = db_rows_int(rows, 1);
            offset[part] = pos[part] - db_rows_int(rows, 2);
            if (part >= d->parts)
                d->parts = (int32_t)part + 1;
        }
        err = 0;
    }
    if (err)
        return err;
    *reached = true;
    for (int32_t p = 0; p < d->parts; p++)
        if (offset[p] < d->ends[p])
            *reached = false;
    if (*reached)
        memcpy(d->ends, pos, sizeof d->ends);
    else
        snprintf(d->why, sizeof d->why, "the queue's end at the start is not captured yet");
    return 0;
}

/* ---- what holds it ---- */

static int first_incident(void *arg, const struct incident *i, struct err *e)
{
    struct drain *d = arg;

    (void)e;
    if (!strstr(d->why, "incident"))
        snprintf(d->why, sizeof d->why,
                 "incident %lld (%s) holds it: %.*s. Type: holdfast incident show %lld",
                 (long long)i->id, i->kind, (int)(i->detail.n > 200 ? 200 : i->detail.n),
                 i->detail.p ? i->detail.p : "", (long long)i->id);
    return 0;
}

static int first_failed(void *arg, const struct ledger_instance *i, struct err *e)
{
    struct drain *d = arg;

    (void)e;
    const char *because = i->reason[0] ? i->reason : i->last_error;
    if ((i->required || d->kept) && because[0])
        snprintf(d->why, sizeof d->why, "adapter %s is behind (%s): %.250s", i->name, i->state,
                 because);
    return 0;
}

#define BELOW(table)                                                                               \
    " FROM queue q JOIN " table " r ON r.generation = q.generation AND r.part = $1 AND r.pos < $2"

static int count_below(struct drain *d, const char *sql, int64_t *n, struct err *e)
{
    *n = 0;
    for (int32_t p = 0; p < d->parts; p++) {
        int64_t found = 0;
        if (d->ends[p] == 0)
            continue;
        int err = db_int(d->db, sql, DB_ARGS(DB_I(p), DB_I(d->ends[p])), 0, &found, e);
        if (err && err != ERR_NOT_FOUND)
            return err;
        *n += err ? 0 : found;
    }
    return 0;
}

/* Asked ten times a second: whether there is one, not how many. */
static int look_at_rows(struct drain *d, bool *gone, struct err *e)
{
    int64_t staged, kept = 0;

    int err = count_below(d, "SELECT 1" BELOW("record") " LIMIT 1", &staged, e);
    if (!err && !staged)
        err = count_below(d, "SELECT 1" BELOW("kept") " LIMIT 1", &kept, e);
    *gone = !err && staged == 0 && kept == 0;
    return err;
}

static int explain_rows(struct drain *d, struct err *e)
{
    int64_t staged, kept;

    int err = count_below(d, "SELECT count(*)" BELOW("record"), &staged, e);
    if (!err)
        err = count_below(d, "SELECT count(*)" BELOW("kept"), &kept, e);
    if (err)
        return err;
    d->kept = kept > 0;
    snprintf(d->why, sizeof d->why, "%lld records are not deleted yet, %lld of them are kept",
             (long long)(staged + kept), (long long)kept);
    err = ledger_instances(d->db, false, first_failed, d, e);
    return err ? err : incident_each(d->db, false, first_incident, d, e);
}

/* ---- waiting ---- */

enum drain_step { DRAIN_CAPTURE, DRAIN_POSITIONS, DRAIN_DELETE, DRAIN_DONE };

static int take_step(struct drain *d, enum drain_step *step, struct err *e)
{
    bool done = false;
    int err = 0;

    switch (*step) {
    case DRAIN_CAPTURE:
        err = look_at_store(d, &done, e);
        break;
    case DRAIN_POSITIONS:
        err = look_at_positions(d, &done, e);
        break;
    case DRAIN_DELETE:
        err = look_at_rows(d, &done, e);
        break;
    case DRAIN_DONE:
        break;
    }
    if (!err && done)
        (*step)++;
    return err;
}

static int drain(struct drain *d, int64_t timeout_ms, struct err *e)
{
    int64_t end = clock_mono_ms() + timeout_ms;
    int64_t asked = INT64_MIN / 2;
    enum drain_step step = DRAIN_CAPTURE;
    struct app_progress progress;
    int err = store_streams(d->in->store, note_stream, d, e);

    if (!err)
        err = note_ends(d, e);
    app_progress_start(&progress, d->io, "draining, steps of 3");
    while (!err && step != DRAIN_DONE) {
        if (clock_mono_ms() - asked > ASK_AHEAD_US / 5000) {
            err = drain_request(d->in->staging, clock_wall_us() + ASK_AHEAD_US, e);
            asked = clock_mono_ms();
        }
        enum drain_step before = step;
        if (!err)
            err = take_step(d, &step, e);
        app_progress_step(&progress, step, DRAIN_DONE);
        if (err || step != before)
            continue;
        if (clock_mono_ms() >= end) {
            err = step == DRAIN_DELETE ? explain_rows(d, e) : 0;
            return err ? err : err_set(e, ERR_AGAIN, "not drained: %s", d->why);
        }
        if (stop_wait(LOOK_MS))
            return err_set(e, ERR_STOPPED, "stopped before everything was archived");
    }
    app_progress_end(&progress, step);
    return err;
}

static void drain_free(struct drain *d)
{
    for (size_t i = 0; d && i < d->count; i++) {
        free(d->noted[i].source);
        free(d->noted[i].subject);
    }
    if (d)
        free(d->noted);
    free(d);
}
OWN_DEFINE(drain, struct drain, drain_free)

int drain_command(struct app_io *io, const struct drain_input *in, int argc, char **argv)
{
    const char *timeout = "5m";
    const struct app_option options[] = {{"timeout", &timeout, NULL}, {0}};
    OWN(own_drain) struct drain *d = calloc(1, sizeof *d);
    OWN(own_db) struct db *db = NULL;
    int64_t timeout_ms;
    struct err e = {0};
    int operands;

    if (app_options(options, argc, argv, &operands, &e))
        return app_fail(io, &e);
    if (!text_duration_ms(slice_of(timeout), &timeout_ms))
        return err_set(&e, ERR_CONFIG, "--timeout %s is no duration like 30s or 5m", timeout),
               app_fail(io, &e);
    if (!d)
        return err_memory(&e, "drain"), app_fail(io, &e);
    if (staging_reader(in->staging, &db, &e))
        return app_fail(io, &e);
    d->io = io;
    d->in = in;
    d->db = db;
    if (drain(d, timeout_ms, &e))
        return app_fail(io, &e);
    fprintf(io->out, "drained: everything accepted before is archived and deleted from staging\n");
    return APP_OK;
}
