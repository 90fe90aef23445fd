/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `holdfast incident accept`: two people close what nothing can mend. The first call proposes, a
 * second one by another person accepts. A person is who the system says: the database role that is
 * logged in (PostgreSQL), else the user id at the other end of the control socket. No name that is
 * typed counts.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "mgccomp/gap.h"
#include "mgccomp/incident_private.h"
#include "mgccomp/kept.h"
#include "mgccomp/ledger_private.h"

#include <inttypes.h>
#include <pwd.h>
#include <string.h>

enum { PERSON_SIZE = 120, REASON_SIZE = 300 };
#define USER "user id "

struct proposal {
    char kind[32];
    char by[PERSON_SIZE];              /* "": nobody proposed it yet */
    char batch[40];                    /* "": it is of none */
    char object[GAP_TAIL_OBJECT_SIZE]; /* of a gap: what it is known by behind the last record */
    bool open;
    int64_t stream, first, last, lost;
};

bool incident_acceptable(const char *kind, int64_t first, int64_t last, int64_t *lost)
{
    static const struct {
        const char *kind;
        bool range; /* first..last are gone */
        int64_t lost;
    } kinds[] = {
        {INCIDENT_GAP, true, 0},
        {INCIDENT_ALTERED, false, 1},
        /* All bytes of these were kept and archived. */
        {INCIDENT_FORK, false, 0},
        {INCIDENT_REPEAT, false, 0},
        {INCIDENT_FAR_AHEAD, false, 0},
        {INCIDENT_UNREADABLE, false, 0},
        /* Another archive has them. */
        {INCIDENT_PARKED, false, 0},
        {INCIDENT_DAMAGED, false, 0},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kind, kinds[i].kind) != 0)
            continue;
        if (lost)
            *lost = kinds[i].range ? last - first + 1 : kinds[i].lost;
        return true;
    }
    return false;
}

int incident_given_up(struct db *db, struct slice source, int64_t epoch, struct slice subject,
                      int64_t sequence, int64_t *since_us, struct err *e)
{
    return db_int(db,
                  "SELECT max(i.closed_us) FROM incident i JOIN stream s ON s.id = i.stream"
                  " WHERE i.kind = 'gap' AND i.accepted_by IS NOT NULL AND s.source = $1"
                  " AND s.epoch = $2 AND s.subject = $3 AND i.first <= $4 AND i.last >= $4",
                  DB_ARGS(DB_T(source), DB_I(epoch), DB_T(subject), DB_I(sequence)), 0, since_us,
                  e);
}

static int role(struct db *db, char out[PERSON_SIZE], struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db, "SELECT CAST(session_user AS TEXT)", DB_NO_ARGS, &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    if (rc == 1)
        (void)snprintf(out, PERSON_SIZE, "database role %.*s", SLICE_ARG(db_rows_slice(r, 0)));
    return rc < 0 ? rc : 0;
}

static int person(struct db *db, uid_t uid, char out[PERSON_SIZE], struct err *e)
{
    char space[4096];
    struct passwd entry;
    struct passwd *found = NULL;
    if (db_kind(db) == DB_POSTGRES)
        return role(db, out, e);
    if (getpwuid_r(uid, &entry, space, sizeof space, &found) == 0 && found &&
        utf8_valid(slice_of(found->pw_name)))
        (void)snprintf(out, PERSON_SIZE, USER "%u (%.60s)", (unsigned)uid, found->pw_name);
    else
        (void)snprintf(out, PERSON_SIZE, USER "%u", (unsigned)uid);
    return 0;
}

/* A user who was renamed is the same one. */
static bool same_person(const char *a, const char *b)
{
    size_t n = sizeof USER - 1;
    if (strncmp(a, USER, n) != 0 || strncmp(b, USER, n) != 0)
        return strcmp(a, b) == 0;
    return strtoul(a + n, NULL, 10) == strtoul(b + n, NULL, 10);
}

static int read_proposal(struct db *db, int64_t id, struct proposal *p, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db,
                      "SELECT i.kind, i.first, i.last, i.closed_us, i.proposed_by, i.batch,"
                      " i.stream, i.object, i.source, i.subject, s.epoch FROM incident i"
                      " LEFT JOIN stream s ON s.id = i.stream WHERE i.id = $1",
                      DB_ARGS(DB_I(id)), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return incident_absent(id, e);
    ledger_text(p->kind, sizeof p->kind, db_rows_slice(r, 0));
    p->first = db_rows_int(r, 1);
    p->last = db_rows_int(r, 2);
    p->open = db_rows_null(r, 3);
    ledger_text(p->by, sizeof p->by, db_rows_slice(r, 4));
    ledger_text(p->batch, sizeof p->batch, db_rows_slice(r, 5));
    p->stream = db_rows_int(r, 6);
    ledger_text(p->object, sizeof p->object, db_rows_slice(r, 7));
    if (p->stream)
        gap_tail_object(db_rows_int(r, 10), db_rows_slice(r, 8), db_rows_slice(r, 9), p->object);
    if (!p->open)
        return err_set(e, ERR_CONFLICT, "incident %" PRId64 " is closed already", id);
    if (!incident_acceptable(p->kind, p->first, p->last, &p->lost))
        return err_set(e, ERR_CONFLICT,
                       "incident %" PRId64 " (%s) can't be accepted: it closes once its cause is"
                       " mended. Type: holdfast incident show %" PRId64,
                       id, p->kind, id);
    return 0;
}

/* What was accepted before, as another gap, is not lost once more. */
static int count_once(struct db *db, struct proposal *p, struct err *e)
{
    int64_t before = 0;
    if (strcmp(p->kind, INCIDENT_GAP) != 0)
        return 0;
    int rc = gap_accepted(db, p->stream, p->object, p->first, p->last, &before, e);
    p->lost -= before;
    return rc;
}

static int propose(struct staging_txn *t, int64_t id, const char *who, struct slice why,
                   struct err *e)
{
    return db_run(t->db,
                  "UPDATE incident SET proposed_us = $2, proposed_by = $3, proposed_why = $4"
                  " WHERE id = $1",
                  DB_ARGS(DB_I(id), DB_I(clock_wall_us()), DB_T(slice_of(who)), DB_T(why)), NULL,
                  e);
}

static int close_accepted(struct staging_txn *t, int64_t id, const struct proposal *p,
                          const char *who, struct slice why, struct err *e)
{
    char how[2 * PERSON_SIZE + 40];
    (void)snprintf(how, sizeof how, "accepted by %s, proposed by %s", who, p->by);
    int rc = db_run(t->db,
                    "UPDATE incident SET closed_us = $2, closed_how = $3, accepted_by = $4,"
                    " accepted_why = $5, lost = $6 WHERE id = $1",
                    DB_ARGS(DB_I(id), DB_I(clock_wall_us()), DB_T(slice_of(how)),
                            DB_T(slice_of(who)), DB_T(why), DB_I(p->lost)),
                    NULL, e);
    if (rc == 0 && p->batch[0])
        rc = ledger_give_up(t, slice_of(p->batch), e);
    if (rc == 0 && p->batch[0])
        rc = incident_close_batch(t, slice_of(p->batch), "its batch was given up", e);
    if (rc == 0 && p->lost)
        rc = staging_tally(t, SLICE("accepted_losses"), p->lost, e);
    return rc == 0 ? kept_released(t, e) : rc;
}

/* p is what was found: with a proposer before it, the incident is closed now. */
static int accept_one(struct staging *st, int64_t id, uid_t uid, struct slice reason,
                      struct proposal *p, struct err *e)
{
    char who[PERSON_SIZE] = "";
    char text[REASON_SIZE];
    struct slice why = ledger_reason(text, sizeof text, reason);
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = staging_lock_gate(&t, e);
    if (rc == 0)
        rc = read_proposal(t.db, id, p, e);
    if (rc == 0)
        rc = count_once(t.db, p, e);
    if (rc == 0)
        rc = person(t.db, uid, who, e);
    if (rc < 0)
        return rc;
    if (p->by[0] && same_person(p->by, who))
        return err_set(e, ERR_CONFLICT,
                       "incident %" PRId64 ": %s proposed to accept it; another person must do it",
                       id, who);
    rc = p->by[0] ? close_accepted(&t, id, p, who, why, e) : propose(&t, id, who, why, e);
    if (rc < 0)
        return rc;
    FAULT("accept.commit.before");
    rc = staging_commit(&t, e);
    FAULT("accept.commit.after");
    return rc;
}

static void say(struct app_io *io, bool json, int64_t id, const struct proposal *p)
{
    bool accepted = p->by[0] != '\0';
    if (json)
        (void)fprintf(io->out,
                      "{\"id\":%" PRId64 ",\"proposed\":true,\"accepted\":%s,\"lost\":%" PRId64
                      "}\n",
                      id, accepted ? "true" : "false", p->lost);
    else if (accepted)
        (void)fprintf(io->out,
                      "incident %" PRId64 " is closed: accepted, records lost: %" PRId64
                      "; holdfast"
                      " status goes on to say so\n",
                      id, p->lost);
    else
        (void)fprintf(io->out,
                      "proposed to accept incident %" PRId64 " (records lost: %" PRId64 "). Another"
                      " person must type: holdfast incident accept %" PRId64 " --reason TEXT\n",
                      id, p->lost, id);
}

int incident_accept_command(struct app_io *io, struct staging *st, int argc, char **argv)
{
    const char *reason = NULL;
    bool json = io->json;
    const struct app_option known[] = {{"reason", &reason, NULL}, {"json", NULL, &json}, {0}};
    struct proposal p = {0};
    struct err e = {0};
    int64_t id = 0;
    int operands = 0;
    int rc = app_options(known, argc, argv, &operands, &e);
    if (rc == 0)
        rc = incident_number(operands, argv, &id, &e);
    if (rc == 0 && (!reason || !slice_trim(slice_of(reason)).n || !utf8_valid(slice_of(reason))))
        rc = err_set(&e, ERR_CONFIG, "say why: --reason TEXT, in UTF-8");
    if (rc == 0)
        rc = accept_one(st, id, io->uid, slice_of(reason), &p, &e);
    if (rc < 0)
        return app_fail(io, &e);
    say(io, json, id, &p);
    return APP_OK;
}
