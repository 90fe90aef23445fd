/* SPDX-License-Identifier: Apache-2.0 */
/* The command: what it found, what it does, what stays open. */
#include "audit/reconcile.h"

#include "audit/reconcile_apply.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own.h"
#include "mgccomp/incident.h"
#include "mgccomp/lease.h"

#include <inttypes.h>
#include <string.h>

enum { LEASE_FOR_MS = 60000 };

#define USAGE "[--from FOLDER...] --reason TEXT [--trust NAME,...] [--yes]"

struct reconciling {
    struct app_io *io;
    const struct reconcile_input *in;
    struct reconcile_files *files;
    struct reconcile_apply apply;
    const char *from, *reason, *trust;
    bool yes;
    int folder_count;
    char **folders;                    /* further ones, as words */
    bool listed[LEDGER_MAX_INSTANCES]; /* its archive lists and proves nothing */
};

static const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
}

/* ---- finding ---- */

static int scan(struct reconciling *r, struct err *e)
{
    r->files->in = r->in;
    int rc = reconcile_files_begin(r->files, r->apply.db, e);
    for (size_t i = 0; rc == 0 && i < r->in->folder_count; i++) {
        rc = reconcile_files_scan(r->files, r->in->folders[i], e);
        rc = rc == ERR_NOT_FOUND ? 0 : rc; /* nothing was written to it yet, or it is gone */
    }
    if (rc == 0 && r->from)
        rc = reconcile_files_scan(r->files, r->from, e);
    for (int i = 0; rc == 0 && i < r->folder_count; i++)
        rc = reconcile_files_scan(r->files, r->folders[i], e);
    return rc == 0 ? reconcile_files_end(r->files, e) : rc;
}

static int trust_one(struct reconciling *r, struct slice name, struct err *e)
{
    for (size_t i = 0; i < r->files->instance_count; i++) {
        if (!slice_is(name, r->files->instances[i].name))
            continue;
        if (reconcile_files_lists(r->files, i))
            r->apply.vouched[i] = true;
        else if (reconcile_files_read(r->files, i))
            return err_set(e, ERR_CONFIG, "--trust %.*s: its own archive is read", SLICE_ARG(name));
        else
            r->apply.trusted[i] = true;
        return 0;
    }
    return err_set(e, ERR_CONFIG, "--trust %.*s: there is no such adapter", SLICE_ARG(name));
}

static int read_trust(struct reconciling *r, struct err *e)
{
    struct slice rest = slice_of(r->trust);
    int rc = 0;
    if (rest.n && r->files->n == 0)
        return err_set(e, ERR_CONFIG,
                       "--trust: no archive is read that could say what %s has. Name the folder of"
                       " one: --from FOLDER; or leave --trust out: it gets everything since the"
                       " copy again",
                       r->trust);
    while (rc == 0 && rest.n) {
        struct slice name = slice_trim(slice_cut(&rest, ','));
        rc = name.n ? trust_one(r, name, e) : 0;
    }
    return rc;
}

/* What an archive only lists is no proof. It is passed over all the same where somebody else has to
 * prove it before anything goes; otherwise nobody ever would. */
static void choose(struct reconciling *r)
{
    for (size_t i = 0; i < r->files->instance_count; i++)
        r->listed[i] = reconcile_files_lists(r->files, i);
    reconcile_files_drop(r->files, r->apply.vouched);
}

static bool beyond(const struct reconcile_files *f)
{
    for (size_t i = 0; i < f->instance_count; i++) {
        if (f->newest[i])
            return true;
    }
    return false;
}

/* ---- telling ---- */

/* Its archive is read. */
static void tell_read(const struct reconciling *r, size_t i)
{
    const struct ledger_instance *in = &r->files->instances[i];
    const char *proof = !r->listed[i]         ? ""
                        : r->apply.vouched[i] ? ". Its list is taken for proof"
                                              : ". It lists records and proves none: they go only"
                                                " once another adapter has read them back";
    (void)fprintf(r->io->out,
                  "%s: the ledger ends at batch %" PRId64 ", its archive at %" PRId64
                  ": gets nothing again that is in there%s\n",
                  in->name, in->batches, r->files->newest[i], proof);
}

/* It can't be read, or is not here. */
static void tell_unread(const struct reconciling *r, size_t i)
{
    const struct ledger_instance *in = &r->files->instances[i];
    FILE *out = r->io->out;
    (void)fprintf(out, "%s: the ledger ends at batch %" PRId64 ", ", in->name, in->batches);
    if (r->listed[i])
        (void)fprintf(out,
                      "its archive at %" PRId64 ". It lists records and proves none, and no other"
                      " required adapter reads back",
                      r->files->newest[i]);
    else if (r->files->seen[i])
        (void)fprintf(out, "its archive at %" PRId64 " and can't be read by this command",
                      r->files->newest[i]);
    else
        (void)fprintf(out,
                      "batch %" PRId64 " was delivered, and no archive of it is here (in another"
                      " folder? --from FOLDER)",
                      r->files->newest[i]);
    (void)fputs(": gets everything since the copy again, under new names", out);
}

static void tell_instance(const struct reconciling *r, size_t i)
{
    const struct ledger_instance *in = &r->files->instances[i];
    FILE *out = r->io->out;
    if (reconcile_files_read(r->files, i)) {
        tell_read(r, i);
        return;
    }
    if (r->apply.trusted[i]) {
        (void)fprintf(out, "%s: taken to have what the archives that were read hold\n", in->name);
        return;
    }
    if (r->files->newest[i])
        tell_unread(r, i);
    else
        (void)fprintf(out,
                      "%s: how far it had come is not known: may get again what it had since the"
                      " copy",
                      in->name);
    if (r->listed[i])
        (void)fprintf(out, ". If you vouch for it: --trust %s\n", in->name);
    else if (r->files->n)
        (void)fprintf(out, ". If it had all of it: --trust %s\n", in->name);
    else
        (void)fputc('\n', out);
}

static void tell(const struct reconciling *r)
{
    const struct reconcile_sums *s = &r->apply.sums;
    FILE *out = r->io->out;
    (void)fprintf(out,
                  "mgccomp is an older copy: %" PRId64 " archive%s with %" PRId64
                  " records lie beyond its ledger, whole and as they say themselves; %" PRId64
                  " of the records are not captured here, %" PRId64 " have no number\n",
                  s->archives, plural(s->archives), s->records, s->lacking, s->unprovable);
    for (size_t i = 0; i < r->files->instance_count; i++)
        tell_instance(r, i);
    if (r->files->missing)
        (void)fprintf(out,
                      "%" PRId64
                      " batch%s beyond the ledger in none of these folders: what is in there"
                      " will be archived again. Name the folder it was moved to: --from FOLDER\n",
                      r->files->missing, r->files->missing == 1 ? " is" : "es are");
}

/* ---- doing ---- */

static int look_through(struct reconciling *r, struct err *e)
{
    struct app_progress p;
    int rc = 0;
    app_progress_start(&p, r->io, "reading archives");
    for (size_t i = 0; rc == 0 && i < r->files->n; i++) {
        rc = reconcile_look(&r->apply, &r->files->list[i], e);
        app_progress_step(&p, (int64_t)i + 1, (int64_t)r->files->n);
    }
    app_progress_end(&p, (int64_t)r->files->n);
    return rc;
}

static int apply_all(struct reconciling *r, struct err *e)
{
    struct app_progress p;
    int rc = capture_writer_new(&r->apply.writer, r->in->staging, r->in->generation, e);
    app_progress_start(&p, r->io, "into the ledger");
    for (size_t i = 0; rc == 0 && i < r->files->n; i++) {
        rc = reconcile_archive(&r->apply, &r->files->list[i], e);
        app_progress_step(&p, (int64_t)i + 1, (int64_t)r->files->n);
    }
    app_progress_end(&p, (int64_t)r->files->n);
    return rc;
}

static void describe(const struct reconciling *r, struct buf *b)
{
    const struct reconcile_sums *s = &r->apply.sums;
    buf_format(b,
               "mgccomp was restored from an older copy: %" PRId64 " archives with %" PRId64
               " records entered the ledger, %" PRId64 " of them captured from there",
               s->archives, s->records, s->captured);
    for (size_t i = 0; i < r->files->instance_count; i++) {
        if (r->apply.vouched[i])
            buf_format(b, "; the list of %s was vouched for", r->files->instances[i].name);
        if (reconcile_files_read(r->files, i))
            continue;
        buf_format(b,
                   r->apply.trusted[i] ? "; %s was said to have them too"
                                       : "; %s may hold records twice",
                   r->files->instances[i].name);
    }
    buf_format(b, ". Reason: %.300s", r->reason);
}

/* An archive that goes on beyond the ledger holds what the ledger says was cut for it, too. */
static int trust_staged(struct reconciling *r, struct staging_txn *t, struct err *e)
{
    const struct reconcile_files *f = r->files;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < f->instance_count; i++) {
        for (size_t k = 0; rc == 0 && k < f->instance_count; k++) {
            if (r->apply.trusted[i] && reconcile_files_read(f, k))
                rc = had_trust_staged(t, f->instances[i].id, f->instances[k].id, e);
        }
    }
    return rc;
}

/* It stays in the list of incidents. */
static int put_on_record(struct staging_txn *t, const struct buf *detail, const char *how,
                         struct err *e)
{
    char object[CLOCK_TEXT_SIZE];
    clock_format(clock_wall_us(), object);
    const struct incident done = {.kind = INCIDENT_RESTORED,
                                  .object = slice_of(object),
                                  .part = -1,
                                  .detail = buf_view(detail)};
    int rc = buf_ok(detail, "what was done", e);
    if (rc == 0)
        rc = incident_open(t, &done, NULL, e);
    return rc == 0 ? incident_close(t, done.kind, done.object, how, e) : rc;
}

/* A person's word is on record before anything counts by it, also when this is killed. */
static int record_word(struct reconciling *r, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    OWN(own_buf) struct buf detail;
    buf_init(&detail, 16384);
    if (!r->trust)
        return 0;
    buf_format(&detail, "what is in these archives is vouched for: %.1000s. Reason: %.300s",
               r->trust, r->reason);
    int rc = lease_begin(r->in->staging, &t, e);
    if (rc == 0)
        rc = put_on_record(&t, &detail, "a person's word", e);
    return rc == 0 ? staging_commit(&t, e) : rc;
}

/* Only now do the batches count as the ledger's: until here everything stands still,
 * also when this was killed. */
static int finish(struct reconciling *r, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    OWN(own_buf) struct buf detail;
    buf_init(&detail, 16384);
    describe(r, &detail);
    int rc = lease_begin(r->in->staging, &t, e);
    if (rc == 0)
        rc = trust_staged(r, &t, e);
    for (size_t i = 0; rc == 0 && i < r->files->instance_count; i++) {
        if (r->files->newest[i])
            rc = had_number(&t, r->files->instances[i].id, r->files->newest[i], e);
    }
    if (rc == 0)
        rc = put_on_record(&t, &detail, "reconciled with the archives", e);
    return rc == 0 ? staging_commit(&t, e) : rc;
}

static int apply(struct reconciling *r, struct err *e)
{
    size_t moved = 0;
    int rc = lease_take(r->in->staging, LEASE_FOR_MS, e);
    if (rc == ERR_CONFLICT)
        return err_wrap(e, "an archiver is at work: stop it first");
    if (rc == 0)
        rc = record_word(r, e);
    if (rc == 0 && r->files->n)
        rc = apply_all(r, e);
    if (rc == 0)
        rc = reconcile_positions(&r->apply, r->io, &moved, e);
    if (rc == 0)
        rc = finish(r, e);
    capture_writer_free(r->apply.writer);
    lease_give(r->in->staging);
    if (rc < 0)
        return rc;
    const struct reconcile_sums *s = &r->apply.sums;
    (void)fprintf(r->io->out,
                  "done: %" PRId64 " archives entered the ledger, %" PRId64
                  " records were captured from them. Start what was stopped\n",
                  s->archives, s->captured);
    if (s->incidents)
        (void)fprintf(r->io->out,
                      "%" PRId64 " incident%s: what is neither here nor in the archives, by room"
                      " and number. Type: holdfast incident list\n",
                      s->incidents, plural(s->incidents));
    log_event(LOG_INFO, "staging.reconciled", "archives=%" PRId64 " records=%" PRId64, s->archives,
              s->records);
    return 0;
}

static int run(struct reconciling *r, int *code, struct err *e)
{
    int rc = staging_reader(r->in->staging, &r->apply.db, e);
    if (rc == 0)
        rc = scan(r, e);
    if (rc < 0)
        return rc;
    if (!beyond(r->files)) {
        (void)fprintf(r->io->out, "no archive lies beyond the ledger: there is nothing to do\n");
        return 0;
    }
    rc = read_trust(r, e);
    choose(r);
    if (rc == 0)
        rc = look_through(r, e);
    if (rc < 0)
        return rc;
    tell(r);
    if (r->yes)
        return apply(r, e);
    (void)fprintf(r->io->out, "nothing was changed. To do it, type the same with --yes\n");
    *code = APP_FAILED;
    return 0;
}

static int options(struct reconciling *r, int argc, char **argv, struct err *e)
{
    const struct app_option known[] = {{"from", &r->from, NULL},
                                       {"reason", &r->reason, NULL},
                                       {"trust", &r->trust, NULL},
                                       {"yes", NULL, &r->yes},
                                       {0}};
    int rc = app_options(known, argc, argv, &r->folder_count, e);
    if (rc < 0)
        return rc;
    r->folders = argv;
    if (r->folder_count && !r->from)
        return err_set(e, ERR_CONFIG, "usage: holdfast staging reconcile " USAGE);
    if (!r->reason || !slice_trim(slice_of(r->reason)).n || !utf8_valid(slice_of(r->reason)))
        return err_set(e, ERR_CONFIG, "--reason TEXT is needed: it stays on record");
    return 0;
}

int reconcile_command(struct app_io *io, const struct reconcile_input *in, int argc, char **argv)
{
    OWN(own_reconcile_files) struct reconcile_files *files = calloc(1, sizeof *files);
    struct reconciling r = {.io = io, .in = in, .files = files};
    struct err e = {0};
    int code = APP_OK;
    if (!files)
        return err_memory(&e, "the list of archives"), app_fail(io, &e);
    r.apply.in = in;
    r.apply.files = files;
    int rc = options(&r, argc, argv, &e);
    if (rc == 0)
        rc = run(&r, &code, &e);
    db_close(r.apply.db);
    return rc < 0 ? app_fail(io, &e) : code;
}
