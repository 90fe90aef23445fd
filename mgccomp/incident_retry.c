/* SPDX-License-Identifier: Apache-2.0 */
/* `holdfast incident retry`: a parked batch is tried again, what a gap or a changed log lacks is
 * asked for again. */
#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "mgccomp/incident_private.h"

#include <inttypes.h>
#include <string.h>

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
    if (log)
        return db_run(t->db, "UPDATE incident SET asked_us = 1 WHERE id = $1", DB_ARGS(DB_I(id)),
                      NULL, e);
    return db_run(t->db,
                  "UPDATE incident SET asked_us = 0, answer = NULL, waits_us = $2 WHERE id = $1",
                  DB_ARGS(DB_I(id), DB_I(incident_waits_us())), NULL, e);
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
    if (!f->asks && !f->batch[0])
        return err_set(e, ERR_CONFLICT,
                       "incident %" PRId64 " (%s) can't be retried. Type: holdfast incident show"
                       " %" PRId64,
                       id, f->kind, id);
    rc = f->asks ? ask_again(&t, id, log, e) : retry_batch(&t, slice_of(f->batch), &changed, e);
    if (rc < 0)
        return rc;
    FAULT("retry.commit.before");
    rc = staging_commit(&t, e);
    FAULT("retry.commit.after");
    return rc;
}

int incident_retry_command(struct app_io *io, struct staging *st, int argc, char **argv)
{
    struct incident_facts f = {0};
    struct err e = {0};
    bool json = io->json;
    const struct app_option known[] = {{"json", NULL, &json}, {0}};
    int64_t id = 0;
    int operands = 0;
    int rc = app_options(known, argc, argv, &operands, &e);
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
