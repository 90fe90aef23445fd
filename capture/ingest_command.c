/* SPDX-License-Identifier: Apache-2.0 */
/* `holdfast ingest`: one input, then the wait until the queue has confirmed it. */
#include "base/stop.h"
#include "capture/ingest.h"
#include "chat-server/store/totals.h"

#include <inttypes.h>

enum { WAIT_MS = 500 };

static int options(int argc, char **argv, const char **source, bool *json, const char **name,
                   struct err *e)
{
    const struct app_option known[] = {{"source", source, NULL}, {"json", NULL, json}, {0}};
    int operands = 0;
    int rc = app_options(known, argc, argv, &operands, e);
    if (rc < 0)
        return rc;
    if (!*source || !**source)
        return err_set(e, ERR_CONFIG, "ingest: --source NAME is needed");
    if (operands > 1)
        return err_set(e, ERR_CONFIG, "ingest: one input at a time, not %d", operands);
    *name = operands == 1 ? argv[0] : "-";
    return 0;
}

static int wait_for_queue(struct app_io *io, struct relay *relay, struct err *e)
{
    struct app_progress progress;
    struct relay_state state = {0};
    app_progress_start(&progress, io, "waiting for the queue to confirm");
    int rc = relay_wait(relay, WAIT_MS, e);
    while (rc == ERR_AGAIN && !stop_requested()) {
        relay_state(relay, &state);
        app_progress_step(&progress, (int64_t)state.unconfirmed, 0);
        rc = relay_wait(relay, WAIT_MS, e);
    }
    relay_state(relay, &state);
    app_progress_end(&progress, (int64_t)state.unconfirmed);
    if (rc == 0 && state.parked > 0)
        rc = err_set(e, ERR_REJECTED,
                     "%" PRIu64 " records were refused by the queue and wait for"
                     " a person. Type: holdfast status",
                     state.parked);
    return rc;
}

static void report(struct app_io *io, bool json, const char *name, const struct ingest_counts *c)
{
    if (json)
        (void)fprintf(io->out,
                      "{\"lines\":%" PRId64 ",\"stored\":%" PRId64 ",\"known\":%" PRId64
                      ",\"bad\":%" PRId64 "}\n",
                      c->lines, c->stored, c->known, c->bad);
    else
        (void)fprintf(io->out,
                      "%s: %" PRId64 " lines: %" PRId64 " stored, %" PRId64
                      " known already, %" PRId64 " bad\n",
                      name, c->lines, c->stored, c->known, c->bad);
}

/* One stream for all runs, so that they do not leave a stream each. */
static int write_totals(const struct ingest_into *into, const char *source, struct err *e)
{
    const struct totals_options o = {.store_url = into->store_url,
                                     .writer = into->writer,
                                     .source = slice_of(source),
                                     .subject = SLICE("urn:holdfast:ingest"),
                                     .key = *into->key};
    return totals_write_once(&o, e);
}

int ingest_command(struct app_io *io, const struct ingest_into *into, int argc, char **argv)
{
    struct ingest_counts counts = {0};
    struct err e = {0};
    const char *source = NULL;
    const char *name = NULL;
    bool json = io->json;
    int rc = options(argc, argv, &source, &json, &name, &e);
    if (rc == 0)
        rc = writer_claim(into->writer, slice_of(source), &e);
    if (rc < 0)
        return app_fail(io, &e);
    rc = ingest_stream(io, into, slice_of(source), name, &counts, &e);
    if (rc == 0 && into->key)
        rc = write_totals(into, source, &e);
    if (rc == 0 && into->relay)
        rc = wait_for_queue(io, into->relay, &e);
    report(io, json, name, &counts);
    if (rc < 0)
        return app_fail(io, &e);
    return counts.bad > 0 ? APP_FAILED : APP_OK;
}
