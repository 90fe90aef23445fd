/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines into the store, in groups. What is read is bounded by a group and a line, whatever the
 * input; a line beyond the limit is passed over as it streams by. A group that the store could not
 * take is given again: what is there already is recognised.
 */
#include "capture/ingest.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "base/stop.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum {
    GROUP_LINES = 512,
    GROUP_BYTES = 1024 * 1024,
    CHUNK_BYTES = 64 * 1024,
    SHOWN_BAD = 100,
    GIVE_UP_MS = 60000,
};

struct line {
    size_t at, n; /* in text */
    int64_t number;
    bool settled;
};

struct ingest {
    struct app_io *io;
    const struct ingest_into *into;
    struct slice source;
    const char *name;
    struct ingest_counts *counts;
    struct app_progress progress;
    struct buf text;
    size_t line_at; /* where the line being read begins */
    bool skipping;  /* it is over the limit */
    struct line lines[GROUP_LINES];
    struct store_event events[GROUP_LINES];
    struct store_result results[GROUP_LINES];
    size_t index[GROUP_LINES]; /* of events among lines */
    size_t n;
    int64_t bad_here;
};

static void ingest_free(struct ingest *in)
{
    if (in)
        buf_done(&in->text);
    free(in);
}

static void own_ingest(struct ingest **in)
{
    ingest_free(*in);
}

static void bad(struct ingest *in, int64_t number, const char *why)
{
    in->counts->bad++;
    in->bad_here++;
    if (in->bad_here <= SHOWN_BAD)
        (void)fprintf(in->io->err, "%s:%" PRId64 ": %s\n", in->name, number, why);
    else if (in->bad_here == SHOWN_BAD + 1)
        (void)fprintf(in->io->err, "%s: more bad lines follow; they are counted\n", in->name);
}

/* Events of the lines that have no outcome yet. */
static size_t pending(struct ingest *in)
{
    size_t n = 0;
    for (size_t i = 0; i < in->n; i++) {
        const struct line *line = &in->lines[i];
        if (line->settled)
            continue;
        in->events[n] =
            (struct store_event){.source = in->source, .raw = {in->text.p + line->at, line->n}};
        in->index[n++] = i;
    }
    return n;
}

/* Takes what is final; the rest has to be given again. */
static void settle(struct ingest *in, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct store_result *r = &in->results[i];
        struct line *line = &in->lines[in->index[i]];
        if (r->class != 0 && r->class != ERR_REJECTED)
            continue;
        line->settled = true;
        if (r->class == ERR_REJECTED)
            bad(in, line->number, r->text);
        else if (r->duplicate)
            in->counts->known++;
        else
            in->counts->stored++;
    }
}

static int give(struct ingest *in, struct err *e)
{
    const struct store_limit *limit = in->into->limit;
    size_t n = pending(in);
    if (limit_of_disk(limit, limit_disk_free(limit)))
        return err_set(e, ERR_RETRY,
                       "the disk of %s has less free than [store] reserve, %" PRId64 " MiB",
                       limit->folder, limit->reserve >> 20);
    memset(in->results, 0, n * sizeof in->results[0]);
    FAULT("ingest.group.before");
    int rc = writer_submit_wait(in->into->writer, in->events, n, in->results, e);
    FAULT("ingest.group.after");
    settle(in, n); /* a part of it may be, also when the rest failed */
    return rc;
}

static int flush(struct ingest *in, struct err *e)
{
    struct backoff pause;
    int64_t until = clock_mono_ms() + GIVE_UP_MS;
    backoff_init(&pause, 50, 2000);
    int rc = in->n > 0 ? give(in, e) : 0;
    while (rc == ERR_RETRY || rc == ERR_DOUBT || rc == ERR_AGAIN) {
        if (clock_mono_ms() > until || stop_wait(backoff_next(&pause)))
            break;
        rc = give(in, e);
    }
    if (rc < 0)
        return rc;
    buf_drop_front(&in->text, in->line_at);
    in->line_at = 0;
    in->n = 0;
    app_progress_step(&in->progress, in->counts->lines, 0);
    return 0;
}

static bool blank(struct slice s)
{
    return slice_trim(s).n == 0;
}

static int end_line(struct ingest *in, struct err *e)
{
    struct slice line = {in->text.p + in->line_at, in->text.n - in->line_at};
    in->counts->lines++;
    if (in->skipping) {
        char why[80];
        (void)snprintf(why, sizeof why, "line is over %d bytes", RECORD_MAX_BYTES);
        bad(in, in->counts->lines, why);
        in->skipping = false;
        return 0;
    }
    if (line.n == 0 || blank(line)) {
        in->text.n = in->line_at;
        return 0;
    }
    in->lines[in->n++] = (struct line){in->line_at, line.n, in->counts->lines, false};
    in->line_at = in->text.n;
    return in->n == GROUP_LINES || in->text.n >= GROUP_BYTES ? flush(in, e) : 0;
}

static int add_part(struct ingest *in, struct slice part, struct err *e)
{
    if (in->skipping)
        return 0;
    if (in->text.n - in->line_at + part.n > RECORD_MAX_BYTES) {
        in->text.n = in->line_at;
        in->skipping = true;
        return 0;
    }
    buf_slice(&in->text, part);
    return buf_ok(&in->text, in->name, e);
}

static int take_chunk(struct ingest *in, struct slice chunk, struct err *e)
{
    while (chunk.n > 0) {
        const char *feed = memchr(chunk.p, '\n', chunk.n);
        size_t n = feed ? (size_t)(feed - chunk.p) : chunk.n;
        int rc = add_part(in, (struct slice){chunk.p, n}, e);
        if (rc == 0 && feed)
            rc = end_line(in, e);
        if (rc < 0)
            return rc;
        n += feed ? 1 : 0;
        chunk.p += n;
        chunk.n -= n;
    }
    return 0;
}

static int read_all(struct ingest *in, struct err *e)
{
    OWN(own_mem) char *chunk = malloc(CHUNK_BYTES);
    if (!chunk)
        return err_memory(e, in->name);
    for (;;) {
        size_t n = fread(chunk, 1, CHUNK_BYTES, in->io->in);
        if (n == 0 && ferror(in->io->in))
            return err_errno(e, ERR_RETRY, "read %s", in->name);
        if (n == 0)
            break;
        int rc = take_chunk(in, (struct slice){chunk, n}, e);
        if (rc < 0)
            return rc;
        if (stop_requested())
            return err_set(e, ERR_STOPPED, "%s: stopped behind line %" PRId64, in->name,
                           in->counts->lines);
    }
    /* The last line may lack its line feed. */
    int rc = in->text.n > in->line_at || in->skipping ? end_line(in, e) : 0;
    return rc < 0 ? rc : flush(in, e);
}

int ingest_stream(struct app_io *io, const struct ingest_into *into, struct slice source,
                  const char *name, struct ingest_counts *counts, struct err *e)
{
    OWN(own_ingest) struct ingest *in = calloc(1, sizeof *in);
    if (!in)
        return err_memory(e, name);
    in->io = io;
    in->into = into;
    in->source = source;
    in->name = name;
    in->counts = counts;
    buf_init(&in->text, GROUP_BYTES + 2 * (size_t)RECORD_MAX_BYTES);
    app_progress_start(&in->progress, io, name);
    int rc = read_all(in, e);
    app_progress_end(&in->progress, counts->lines);
    return rc;
}
