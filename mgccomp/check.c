/* SPDX-License-Identifier: Apache-2.0 */
#include "mgccomp/check.h"

#include "base/buf.h"
#include "base/own.h"
#include "mgccomp/check_inside.h"
#include "mgccomp/schema.h"

#include <inttypes.h>
#include <stdarg.h>

enum {
    TEXT = 1500,
    JSON_MAX = 16384,
    PATIENCE_MS = 3600 * 1000 /* for what counts all that is staged */
};

static const char advice[] =
    "Type, once mgccomp is restored from a copy: holdfast staging reconcile --reason TEXT";

static void print_json(struct check *c, const char *where, const char *text)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, JSON_MAX);
    buf_text(&b, c->findings ? ",\n{" : "\n{");
    json_key(&b, "where");
    (void)json_write_lossy(&b, slice_of(where));
    json_key(&b, "text");
    (void)json_write_lossy(&b, slice_of(text));
    json_put_string(&b, "advice", slice_of(advice));
    buf_char(&b, '}');
    (void)fwrite(b.p, 1, b.n, c->io->out);
}

void check_found(struct check *c, const char *where, const char *format, ...)
{
    char text[TEXT];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (c->json)
        print_json(c, where, text);
    else
        (void)fprintf(c->io->out, "%s: %s. %s\n", where, text, advice);
    c->findings++;
}

void check_step(struct check *c)
{
    app_progress_step(&c->progress, ++c->done, c->total);
}

static int count(struct check *c, struct err *e)
{
    return db_int(c->db,
                  "SELECT (SELECT count(*) FROM record) + (SELECT count(*) FROM kept)"
                  " + (SELECT count(*) FROM stream)",
                  DB_NO_ARGS, 0, &c->total, e);
}

static int run(struct check *c, struct staging *st, struct err *e)
{
    int rc = staging_reader(st, &c->db, e);
    if (rc == 0)
        rc = db_patience(c->db, PATIENCE_MS, e);
    if (rc == 0)
        rc = schema_migrate(c->db, e); /* a handle that only reads compares the versions */
    if (rc == 0)
        rc = count(c, e);
    app_progress_start(&c->progress, c->io, "checking");
    if (rc == 0)
        rc = check_rows(c, e);
    if (rc == 0)
        rc = check_streams(c, e);
    if (rc == 0)
        rc = check_ledger(c, e);
    app_progress_end(&c->progress, c->done);
    return rc;
}

static void conclude(const struct check *c)
{
    if (c->json)
        (void)fprintf(c->io->out,
                      "],\"records\":%" PRId64 ",\"streams\":%" PRId64 ",\"consistent\":%s}\n",
                      c->records, c->streams, c->findings ? "false" : "true");
    else if (c->findings)
        (void)fprintf(c->io->out, "%" PRId64 " finding%s among %" PRId64 " records\n", c->findings,
                      c->findings == 1 ? "" : "s", c->records);
    else
        (void)fprintf(c->io->out,
                      "consistent: %" PRId64 " records staged or kept, %" PRId64
                      " streams, positions, ledger and counts\n",
                      c->records, c->streams);
}

int staging_check_command(struct app_io *io, struct staging *st, int argc, char **argv)
{
    OWN(own_json_doc) struct json_doc *doc = json_doc_new();
    struct check c = {.io = io, .doc = doc, .json = io->json};
    const struct app_option known[] = {{"json", NULL, &c.json}, {0}};
    struct err e = {0};
    int operands = 0;
    int rc = doc ? app_options(known, argc, argv, &operands, &e) : err_memory(&e, "the check");
    if (rc == 0 && operands)
        rc = err_set(&e, ERR_CONFIG, "usage: holdfast staging check [--json]");
    if (rc < 0)
        return app_fail(io, &e);
    if (c.json)
        (void)fputs("{\"findings\":[", io->out);
    rc = run(&c, st, &e);
    db_close(c.db);
    if (rc < 0)
        return app_fail(io, &e);
    conclude(&c);
    return c.findings ? APP_FAILED : APP_OK;
}
