/* SPDX-License-Identifier: Apache-2.0 */
/* `holdfast incident list|show|retry`; accept has its own file. Each line ends in what to type
 * next. */
#include "base/clock.h"
#include "base/own.h"
#include "mgccomp/incident_private.h"
#include "mgccomp/totals.h"

#include <inttypes.h>
#include <string.h>

struct listing {
    struct app_io *io;
    bool json;
    int64_t wanted; /* 0: all of them */
    size_t n;
};

static int options(struct app_io *io, int argc, char **argv, bool *all, bool *json, int *operands,
                   struct err *e)
{
    const struct app_option known[] = {{"all", NULL, all}, {"json", NULL, json}, {0}};
    *json = io->json;
    return app_options(known, argc, argv, operands, e);
}

static bool retryable(const struct incident *i)
{
    return !i->closed_us &&
           (strcmp(i->kind, INCIDENT_PARKED) == 0 || strcmp(i->kind, INCIDENT_GAP) == 0 ||
            strcmp(i->kind, INCIDENT_LOG_CHANGED) == 0);
}

/* Positions begin at 0, numbers of records at 1. */
static bool ranged(const struct incident *i)
{
    return i->first || i->last || i->part >= 0;
}

static void range(struct buf *b, const char *mark, const struct incident *i)
{
    if (!ranged(i))
        return;
    buf_format(b, "%s%" PRId64, mark, i->first);
    if (i->last != i->first)
        buf_format(b, "..%" PRId64, i->last);
}

/* room#17..19, partition 3 position 120, batch ... of instance ... */
static void place(struct buf *b, const struct incident *i)
{
    size_t start = b->n;
    if (i->subject.p) {
        buf_slice(b, i->subject);
        if (i->part < 0)
            range(b, "#", i);
    } else if (i->batch.p) {
        buf_format(b, "batch %.*s of adapter %.*s", SLICE_ARG(i->batch), SLICE_ARG(i->instance));
    } else if (i->source.p) {
        buf_slice(b, i->source);
    }
    if (i->part < 0)
        return;
    buf_format(b, "%spartition %" PRId64, b->n > start ? ", " : "", i->part);
    range(b, " position ", i);
}

static void since(struct buf *b, int64_t us)
{
    char at[CLOCK_TEXT_SIZE];
    char age[CLOCK_TEXT_SIZE];
    clock_format(us, at);
    clock_age((clock_wall_us() - us) / 1000, age);
    buf_format(b, "%.19sZ (%s)", at, age);
}

static void command(struct buf *b, const struct incident *i, bool shown)
{
    bool acceptable = !i->closed_us && incident_acceptable(i->kind, i->first, i->last, NULL);
    /* A gap's detail says first what its store has answered. */
    bool retry = retryable(i) && (shown || strcmp(i->kind, INCIDENT_PARKED) == 0);
    if (retry)
        buf_format(b, "holdfast incident retry %" PRId64, i->id);
    if (shown && acceptable)
        buf_format(b,
                   "%sholdfast incident accept %" PRId64 " --reason TEXT, by two people, if it"
                   " can't be mended",
                   retry ? ", or " : "", i->id);
    if (retry || (shown && acceptable))
        return;
    if (shown)
        buf_text(b, "holdfast status");
    else
        buf_format(b, "holdfast incident show %" PRId64, i->id);
}

static void put_time(struct buf *b, const char *key, int64_t us)
{
    char at[CLOCK_TEXT_SIZE];
    if (!us)
        return;
    clock_format(us, at);
    json_put_string(b, key, slice_of(at));
}

static void put_text(struct buf *b, const char *key, struct slice text)
{
    if (text.p)
        json_put_string(b, key, text);
}

static void as_json(struct buf *b, const struct incident *i)
{
    OWN(own_buf) struct buf type;
    buf_init(&type, 64);
    command(&type, i, false);
    buf_char(b, '{');
    json_put_i64(b, "id", i->id);
    json_put_string(b, "kind", slice_of(i->kind));
    json_put_bool(b, "open", i->closed_us == 0);
    put_text(b, "source", i->source);
    put_text(b, "subject", i->subject);
    if (i->part >= 0)
        json_put_i64(b, "partition", i->part);
    if (ranged(i)) {
        json_put_i64(b, "first", i->first);
        json_put_i64(b, "last", i->last);
    }
    put_text(b, "batch", i->batch);
    put_text(b, "adapter", i->instance);
    put_time(b, "opened", i->opened_us);
    put_time(b, "closed", i->closed_us);
    put_text(b, "closed_how", i->closed_how);
    put_time(b, "proposed", i->proposed_us);
    put_text(b, "proposed_by", i->proposed_by);
    put_text(b, "proposed_why", i->proposed_why);
    put_text(b, "accepted_by", i->accepted_by);
    put_text(b, "accepted_why", i->accepted_why);
    json_put_string(b, "detail", i->detail);
    json_put_string(b, "command", buf_view(&type));
    buf_char(b, '}');
}

static void as_line(struct buf *b, const struct incident *i)
{
    buf_format(b, "%5" PRId64 "  %-11s ", i->id, i->kind);
    place(b, i);
    buf_text(b, "  since ");
    since(b, i->opened_us);
    if (i->closed_us)
        buf_format(b, "  closed: %.*s", SLICE_ARG(i->closed_how));
    else if (i->proposed_us)
        buf_text(b, "  proposed to be accepted");
    buf_text(b, "  ");
    command(b, i, false);
}

static int print(struct app_io *io, struct buf *b, struct err *e)
{
    int rc = buf_ok(b, "incident", e);
    if (rc < 0)
        return rc;
    if (fwrite(b->p, 1, b->n, io->out) != b->n)
        return err_errno(e, ERR_RETRY, "write");
    return 0;
}

static int list_one(void *arg, const struct incident *i, struct err *e)
{
    struct listing *l = arg;
    OWN(own_buf) struct buf b;
    buf_init(&b, 64 * 1024);
    if (l->json) {
        buf_text(&b, l->n ? ",\n  " : "\n  ");
        as_json(&b, i);
    } else {
        as_line(&b, i);
        buf_char(&b, '\n');
    }
    l->n++;
    return print(l->io, &b, e);
}

static int verdict(struct app_io *io, struct db *db, struct err *e)
{
    int64_t n = 0;
    int rc =
        db_int(db, "SELECT count(*) FROM incident WHERE closed_us IS NULL", DB_NO_ARGS, 0, &n, e);
    if (rc < 0)
        return rc;
    if (n == 0)
        (void)fputs("no open incidents\n", io->out);
    else
        (void)fprintf(io->out, "%" PRId64 " open incident%s\n", n, n == 1 ? "" : "s");
    return 0;
}

int incident_list_command(struct app_io *io, struct staging *st, int argc, char **argv)
{
    OWN(own_db) struct db *db = NULL;
    struct listing l = {.io = io};
    struct err e = {0};
    bool all = false;
    int operands = 0;
    int rc = options(io, argc, argv, &all, &l.json, &operands, &e);
    if (rc == 0 && operands > 0)
        rc = err_set(&e, ERR_CONFIG, "incident list takes no words");
    if (rc == 0)
        rc = staging_reader(st, &db, &e);
    if (rc == 0 && l.json)
        (void)fputs("{\"incidents\":[", io->out);
    else if (rc == 0)
        rc = verdict(io, db, &e);
    if (rc == 0)
        rc = incident_each(db, all, list_one, &l, &e);
    if (rc == 0 && l.json)
        (void)fputs(l.n ? "\n]}\n" : "]}\n", io->out);
    return rc < 0 ? app_fail(io, &e) : APP_OK;
}

static const char *meaning(const struct incident *i)
{
    static const struct {
        const char *kind, *text;
    } texts[] = {
        {INCIDENT_GAP, "These records of the room never came. The store of their source was asked"
                       " for them; retry asks again. The gap closes by itself when they come;"
                       " until then nothing of the room is deleted."},
        {INCIDENT_ALTERED, "A record's content does not match the hash that the record behind it"
                           " carries: one of the two was changed after it was made."},
        {INCIDENT_FORK, "Two different records carry the same number. Both are kept."},
        {INCIDENT_REPEAT, "An old number came again after its hash was forgotten. It is kept."},
        {INCIDENT_FAR_AHEAD, "A number more than a million ahead of its stream. The record is"
                             " kept, the stream stays where it was."},
        {INCIDENT_LOG_CHANGED, "The queue is not the log that was captured before, or records"
                               " are gone from it. Where a store stands behind the records, they"
                               " are sent again and this closes by itself; else capture of this"
                               " partition stands still. retry compares and asks again."},
        {INCIDENT_UNREADABLE, "This could not be read as a record. Its bytes are kept and"
                              " archived as they came."},
        {INCIDENT_PARKED, "The adapter can't deliver this batch. Mend the cause, then retry."},
        {INCIDENT_SILENT, "The source's signed control totals are overdue. It closes with the next"
                          " ones; until then nothing of the source is deleted."},
        {INCIDENT_DAMAGED, "What was read back from the archive is not what was delivered."},
    };
    for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
        if (strcmp(i->kind, texts[k].kind) == 0)
            return texts[k].text;
    }
    return "A kind this program does not know.";
}

static void as_acceptance(struct buf *b, const struct incident *i)
{
    if (!i->proposed_us)
        return;
    buf_text(b, "\n  proposed to be accepted ");
    since(b, i->proposed_us);
    buf_format(b, " by %.*s: %.*s", SLICE_ARG(i->proposed_by), SLICE_ARG(i->proposed_why));
    if (i->accepted_by.p)
        buf_format(b, "\n  accepted by %.*s: %.*s", SLICE_ARG(i->accepted_by),
                   SLICE_ARG(i->accepted_why));
}

static void as_page(struct buf *b, const struct incident *i)
{
    buf_format(b, "incident %" PRId64 ": %s, %s\n", i->id, i->kind,
               i->closed_us ? "closed" : "open");
    buf_text(b, "  where   ");
    place(b, i);
    if (i->source.p)
        buf_format(b, "\n  source  %.*s", SLICE_ARG(i->source));
    buf_text(b, "\n  since   ");
    since(b, i->opened_us);
    if (i->closed_us) {
        buf_text(b, "\n  closed  ");
        since(b, i->closed_us);
        buf_format(b, " %.*s", SLICE_ARG(i->closed_how));
    }
    as_acceptance(b, i);
    buf_format(b, "\n  detail  %.*s\n  %s\n", SLICE_ARG(i->detail), meaning(i));
    buf_text(b, "  type    ");
    command(b, i, true);
    buf_char(b, '\n');
}

static int show_one(void *arg, const struct incident *i, struct err *e)
{
    struct listing *l = arg;
    OWN(own_buf) struct buf b = {0};
    if (i->id != l->wanted)
        return 0;
    buf_init(&b, 64 * 1024);
    if (l->json)
        as_json(&b, i);
    else
        as_page(&b, i);
    if (l->json)
        buf_char(&b, '\n');
    l->n++;
    return print(l->io, &b, e);
}

int incident_number(int operands, char **argv, int64_t *id, struct err *e)
{
    if (operands != 1 || !text_i64(slice_of(argv[0]), id) || *id < 1)
        return err_set(e, ERR_CONFIG,
                       "give one incident's number, as `holdfast incident list`"
                       " shows it");
    return 0;
}

int incident_absent(int64_t id, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND,
                   "there is no incident %" PRId64 ". Type: holdfast incident"
                   " list --all",
                   id);
}

int incident_show_command(struct app_io *io, struct staging *st, int argc, char **argv)
{
    OWN(own_db) struct db *db = NULL;
    struct listing l = {.io = io};
    struct err e = {0};
    bool all = false;
    int operands = 0;
    int rc = options(io, argc, argv, &all, &l.json, &operands, &e);
    if (rc == 0)
        rc = incident_number(operands, argv, &l.wanted, &e);
    if (rc == 0)
        rc = staging_reader(st, &db, &e);
    if (rc == 0)
        rc = incident_each(db, true, show_one, &l, &e);
    if (rc == 0 && l.n == 0)
        rc = incident_absent(l.wanted, &e);
    return rc < 0 ? app_fail(io, &e) : APP_OK;
}

static int retry_batch(struct staging_txn *t, struct slice batch, int64_t *changed, struct err *e)
{
    int rc = db_run(t->db,
                    "UPDATE batch SET state = 'frozen', changed_us = $2"
                    " WHERE id = $1 AND state = 'parked'",
                    DB_ARGS(DB_T(batch), DB_I(clock_wall_us())), changed, e);
    if (rc < 0 || *changed == 0)
        return rc;
    return db_run(t->db,
                  "UPDATE instance SET failures = 0, next_try_us = 0 WHERE id ="
                  " (SELECT instance FROM batch WHERE id = $1)",
                  DB_ARGS(DB_T(batch)), NULL, e);
}

struct incident_facts {
    char kind[32], batch[64];
    bool open;
    bool asks; /* it is asked for again: there is no batch */
};

static int facts(struct db *db, int64_t id, struct incident_facts *out, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db, "SELECT kind, batch, closed_us FROM incident WHERE id = $1",
                      DB_ARGS(DB_I(id)), &r, e);
    if (rc < 0)
        return rc;
    rc = db_rows_next(r, e);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return incident_absent(id, e);
    (void)slice_copy(db_rows_slice(r, 0), out->kind, sizeof out->kind);
    (void)slice_copy(db_rows_slice(r, 1), out->batch, sizeof out->batch);
    out->open = db_rows_null(r, 2);
    return 0;
}

/* Capture looks at these every second. A log is compared again, too. */
static int ask_again(struct staging_txn *t, int64_t id, bool log, struct err *e)
{
    return db_run(t->db,
                  log ? "UPDATE incident SET asked_us = 1 WHERE id = $1"
                      : "UPDATE incident SET asked_us = 0, answer = NULL WHERE id = $1",
                  DB_ARGS(DB_I(id)), NULL, e);
}

static int retry(struct staging *st, int64_t id, struct incident_facts *f, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t changed = 0;
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = facts(t.db, id, f, e);
    if (rc < 0)
        return rc;
    if (!f->open)
        return err_set(e, ERR_CONFLICT, "incident %" PRId64 " is closed already", id);
    bool log = strcmp(f->kind, INCIDENT_LOG_CHANGED) == 0;
    f->asks = log || strcmp(f->kind, INCIDENT_GAP) == 0;
    if (!f->asks && strcmp(f->kind, INCIDENT_PARKED) != 0)
        return err_set(e, ERR_CONFLICT,
                       "incident %" PRId64 " (%s) can't be retried. Type: holdfast incident show"
                       " %" PRId64,
                       id, f->kind, id);
    rc = f->asks ? ask_again(&t, id, log, e) : retry_batch(&t, slice_of(f->batch), &changed, e);
    if (rc < 0)
        return rc;
    return staging_commit(&t, e);
}

int incident_retry_command(struct app_io *io, struct staging *st, int argc, char **argv)
{
    struct incident_facts f = {0};
    struct err e = {0};
    bool all = false;
    bool json = false;
    int64_t id = 0;
    int operands = 0;
    int rc = options(io, argc, argv, &all, &json, &operands, &e);
    if (rc == 0)
        rc = incident_number(operands, argv, &id, &e);
    if (rc == 0)
        rc = retry(st, id, &f, &e);
    if (rc < 0)
        return app_fail(io, &e);
    if (f.asks && !json)
        (void)fprintf(io->out,
                      "asked for again; the incident closes once what is missing has come. Type:"
                      " holdfast incident show %" PRId64 "\n",
                      id);
    else if (json)
        (void)fprintf(io->out, "{\"id\":%" PRId64 ",\"batch\":\"%s\",\"retried\":true}\n", id,
                      f.batch);
    else
        (void)fprintf(io->out,
                      "batch %s is tried again; the incident closes once it is delivered and read"
                      " back. Type: holdfast incident show %" PRId64 "\n",
                      f.batch, id);
    return APP_OK;
}
