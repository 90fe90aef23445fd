/* SPDX-License-Identifier: Apache-2.0 */
/* `holdfast adapter add|list|pause|resume|retire`: which instances must have every record before it
 * may go. */
#include "adapters/host/archiver.h"
#include "adapters/host/options.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"

#include <inttypes.h>
#include <string.h>

enum { OUT_MAX = 1 << 20 };

static const char *readback_name(int32_t readback)
{
    static const char *const names[] = {"none", "receipt", "full"};
    return readback < 0 || readback > 2 ? "unknown" : names[readback];
}

/* Prints help's hint and fails. */
static int misused(struct app_io *io, const char *usage)
{
    (void)fprintf(io->err, "holdfast: usage: holdfast adapter %s\n", usage);
    return APP_USAGE;
}

int adapter_add_command(struct app_io *io, struct staging *st, struct conf *conf,
                        const char *modules_dir, int argc, char **argv)
{
    static const struct app_option none[] = {{0}};
    OWN(own_adapter_options) struct adapter_options *o = NULL;
    struct err e = {0};
    int operands = 0;
    int rc = app_options(none, argc, argv, &operands, &e);
    if (rc < 0)
        return app_fail(io, &e);
    if (operands != 1)
        return misused(io, "add NAME");
    /* This very program, whatever its name on disk is by now. */
    rc = adapter_options_load(&o, conf, argv[0], modules_dir, "/proc/self/exe", &e);
    if (rc == 0)
        rc = ledger_add(st, slice_of(argv[0]), slice_of(o->module_name), o->required,
                        o->module.readback, &e);
    if (rc < 0)
        return app_fail(io, &e);
    (void)fprintf(io->out,
                  "added %s (module %s, %s, read-back %s): it starts at the oldest staged"
                  " record\n",
                  argv[0], o->module_name, o->required ? "required" : "not required",
                  readback_name(o->module.readback));
    return APP_OK;
}

struct listing {
    bool json;
    size_t n;
    struct buf out;
};

static void as_json(struct buf *b, const struct ledger_instance *i)
{
    json_comma(b);
    buf_char(b, '{');
    json_put_string(b, "name", slice_of(i->name));
    json_put_string(b, "module", slice_of(i->module));
    json_put_string(b, "state", slice_of(i->state));
    json_put_bool(b, "required", i->required);
    json_put_string(b, "readback", slice_of(readback_name(i->readback)));
    json_put_i64(b, "archived", i->archived);
    json_put_i64(b, "batches", i->batches);
    json_put_i64(b, "failures", i->failures);
    json_put_i64(b, "missed", i->missed);
    json_put_string(b, "last_error", slice_of(i->last_error));
    json_put_string(b, "reason", slice_of(i->reason));
    buf_char(b, '}');
}

static void as_line(struct buf *b, const struct ledger_instance *i)
{
    buf_format(b, "%-16s %-10s %-8s %-12s %-9s %10" PRId64 " %8" PRId64, i->name, i->module,
               i->state, i->required ? "required" : "not required", readback_name(i->readback),
               i->archived, i->batches);
    if (i->reason[0])
        buf_format(b, "  because %s", i->reason);
    if (i->missed)
        buf_format(b, "  missed %" PRId64 ": %s", i->missed,
                   i->required ? "given up by two people" : "deleted before it took them");
    if (i->failures)
        buf_format(b, "  %" PRId64 " tries failed: %s", i->failures, i->last_error);
    else if (i->last_error[0])
        buf_format(b, "  %s", i->last_error);
    buf_char(b, '\n');
}

static int show(void *arg, const struct ledger_instance *i, struct err *e)
{
    struct listing *l = arg;
    (void)e;
    if (l->json)
        as_json(&l->out, i);
    else
        as_line(&l->out, i);
    l->n++;
    return 0;
}

static int list(struct staging *st, bool all, struct listing *l, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = ledger_instances(t.db, all, show, l, e);
    return rc == 0 ? buf_ok(&l->out, "the list of adapters", e) : rc;
}

static void own_listing(struct listing *l)
{
    buf_done(&l->out);
}

int adapter_list_command(struct app_io *io, struct staging *st, int argc, char **argv)
{
    bool all = false;
    bool json = io->json;
    const struct app_option known[] = {{"all", NULL, &all}, {"json", NULL, &json}, {0}};
    OWN(own_listing) struct listing l = {0};
    struct err e = {0};
    int operands = 0;
    buf_init(&l.out, OUT_MAX);
    int rc = app_options(known, argc, argv, &operands, &e);
    if (rc == 0 && operands)
        return misused(io, "list [--all] [--json]");
    l.json = json;
    buf_text(&l.out, json ? "{\"adapters\":[" : "");
    if (rc == 0)
        rc = list(st, all, &l, &e);
    if (rc < 0)
        return app_fail(io, &e);
    if (!json && l.n)
        (void)fprintf(io->out, "%-16s %-10s %-8s %-12s %-9s %10s %8s\n", "NAME", "MODULE", "STATE",
                      "", "READ-BACK", "ARCHIVED", "BATCHES");
    if (!json && !l.n)
        (void)fputs("no adapter was added: nothing is archived, nothing may be deleted."
                    " Write a section [adapter NAME], then: holdfast adapter add NAME\n",
                    io->out);
    (void)fprintf(io->out, "%s%s", l.out.p ? l.out.p : "", json ? "]}\n" : "");
    return APP_OK;
}

/* One NAME, and a reason that says something. */
static int with_reason(struct app_io *io, struct staging *st, int argc, char **argv,
                       const char *usage,
                       int change(struct staging *st, struct slice name, struct slice reason,
                                  struct err *e))
{
    const char *reason = NULL;
    const struct app_option known[] = {{"reason", &reason, NULL}, {0}};
    struct err e = {0};
    int operands = 0;
    int rc = app_options(known, argc, argv, &operands, &e);
    if (rc < 0)
        return app_fail(io, &e);
    if (operands != 1 || !reason || !slice_trim(slice_of(reason)).n)
        return misused(io, usage);
    if (!utf8_valid(slice_of(reason)))
        rc = err_set(&e, ERR_CONFIG, "the reason is not UTF-8");
    if (rc == 0)
        rc = change(st, slice_of(argv[0]), slice_of(reason), &e);
    return rc < 0 ? app_fail(io, &e) : APP_OK;
}

int adapter_pause_command(struct app_io *io, struct staging *st, int argc, char **argv)
{
    int code = with_reason(io, st, argc, argv, "pause NAME --reason TEXT", ledger_pause);
    if (code == APP_OK)
        (void)fprintf(io->out,
                      "paused %s: it begins no attempt, and nothing that it must have is deleted."
                      " Type: holdfast adapter resume %s\n",
                      argv[0], argv[0]);
    return code;
}

int adapter_resume_command(struct app_io *io, struct staging *st, int argc, char **argv)
{
    static const struct app_option none[] = {{0}};
    struct err e = {0};
    int operands = 0;
    int rc = app_options(none, argc, argv, &operands, &e);
    if (rc == 0 && operands != 1)
        return misused(io, "resume NAME");
    if (rc == 0)
        rc = ledger_resume(st, slice_of(argv[0]), &e);
    if (rc < 0)
        return app_fail(io, &e);
    (void)fprintf(io->out, "resumed %s: it is tried again at once\n", argv[0]);
    return APP_OK;
}

int adapter_retire_command(struct app_io *io, struct staging *st, int argc, char **argv)
{
    int code = with_reason(io, st, argc, argv, "retire NAME --reason TEXT", ledger_retire);
    if (code == APP_OK)
        (void)fprintf(io->out, "retired %s: records no longer wait for it\n", argv[0]);
    return code;
}
