/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A row of table totals is a record of totals that is not settled; it goes when every head it names
 * is there. A head that is not reached in time opens one gap for its stream, which this file moves
 * and closes: a record that comes is the stream's next one, and fills no gap of capture's; but a
 * record behind what is missing makes it one (gap_open).
 */
#include "mgccomp/totals.h"

#include "base/fault.h"
#include "base/own.h"
#include "mgccomp/gap.h"
#include "mgccomp/record_totals.h"

#include <inttypes.h>
#include <string.h>

enum { ROUND = 64, AGAIN_MS = 2000, SILENT_GRACE_MS = 30000 };

struct pending {
    int64_t stream, sequence, noted_us;
    char *raw;
    size_t raw_n;
};

static void own_pending(struct pending *p)
{
    free(p->raw);
}

struct judging {
    struct staging_txn *t;
    const struct totals_check *c;
    const struct pending *p;
    struct slice source;
    size_t behind;     /* heads not reached */
    size_t *incidents; /* opened */
};

int totals_note(struct staging_txn *t, int64_t stream, int64_t sequence, struct slice raw,
                int64_t now_us, struct err *e)
{
    return db_run(t->db,
                  "INSERT INTO totals (stream, sequence, raw, noted_us, looked_us)"
                  " VALUES ($1, $2, $3, $4, 0) ON CONFLICT (stream, sequence) DO NOTHING",
                  DB_ARGS(DB_I(stream), DB_I(sequence), DB_B(raw), DB_I(now_us)), NULL, e);
}

/* ---- one head against what was captured ---- */

static int open_incident(struct judging *j, const struct incident *i, struct err *e)
{
    bool opened = false;
    int rc = incident_open(j->t, i, &opened, e);
    *j->incidents += rc == 0 && opened;
    return rc;
}

struct head {
    int64_t stream, sequence;
    uint8_t hash[SHA256_SIZE];
};

/* Up to which number people accepted that what is behind the head is lost. */
static int given_up(struct judging *j, struct slice object, int64_t *last, struct err *e)
{
    return db_int(j->t->db,
                  "SELECT max(last) FROM incident WHERE kind = 'gap' AND object = $1"
                  " AND closed_us IS NOT NULL AND accepted_by IS NOT NULL",
                  DB_ARGS(DB_T(object)), 0, last, e);
}

static int missing_tail(struct judging *j, int64_t stream, int64_t head,
                        const struct totals_line *l, struct err *e)
{
    /* Who proposed to accept it did not know that more is missing. */
    static const char moved[] =
        "UPDATE incident SET first = $2, last = CASE WHEN last < $3 THEN $3 ELSE last END,"
        " proposed_by = CASE WHEN last < $3 THEN NULL ELSE proposed_by END,"
        " proposed_us = CASE WHEN last < $3 THEN NULL ELSE proposed_us END,"
        " proposed_why = CASE WHEN last < $3 THEN NULL ELSE proposed_why END,"
        " stream = COALESCE(stream, $4) WHERE kind = 'gap' AND object = $1 AND closed_us IS NULL";
    char object[GAP_TAIL_OBJECT_SIZE];
    int64_t lost = 0;
    gap_tail_object(l->epoch, j->source, l->subject, object);
    int rc = given_up(j, slice_of(object), &lost, e);
    if (rc < 0 || lost >= l->sequence)
        return rc;
    const int64_t first = (lost > head ? lost : head) + 1;
    j->behind++;
    /* Noted in what is the future now: the clock was set back, and how long ago it was nobody
     * knows.
     */
    const int64_t age_us = j->c->now_us - j->p->noted_us;
    if (!j->c->caught_up || (age_us >= 0 && age_us < j->c->patience_ms * 1000))
        return 0;
    const struct incident i = {
        .kind = INCIDENT_GAP,
        .object = slice_of(object),
        .stream = stream,
        .source = j->source,
        .subject = l->subject,
        .part = -1,
        .first = first,
        .last = l->sequence,
        .opened_us = j->c->now_us,
        .detail = SLICE("the source's signed totals name a later head than was captured")};
    rc = open_incident(j, &i, e);
    if (rc < 0)
        return rc;
    return db_run(j->t->db, moved,
                  DB_ARGS(DB_T(slice_of(object)), DB_I(first), DB_I(l->sequence),
                          stream ? DB_I(stream) : DB_N),
                  NULL, e);
}

/* What is behind the last record no more is either there, or missed by a gap of capture's. */
static int reached(struct judging *j, const struct head *head, const struct totals_line *l,
                   struct err *e)
{
    char object[GAP_TAIL_OBJECT_SIZE];
    int64_t open = 0;
    int64_t others = 0;
    gap_tail_object(l->epoch, j->source, l->subject, object);
    int rc = db_int(j->t->db,
                    "SELECT count(*) FROM incident WHERE kind = 'gap' AND object = $1"
                    " AND closed_us IS NULL AND last <= $2",
                    DB_ARGS(DB_T(slice_of(object)), DB_I(head->sequence)), 0, &open, e);
    if (rc == 0 && open)
        rc = db_int(j->t->db,
                    "SELECT count(*) FROM incident t JOIN incident g ON g.first <= t.last"
                    " AND g.last >= t.first WHERE t.kind = 'gap' AND t.object = $1"
                    " AND t.closed_us IS NULL AND g.kind = 'gap' AND g.stream = $2"
                    " AND g.id <> t.id AND (g.closed_us IS NULL OR g.accepted_by IS NOT NULL)",
                    DB_ARGS(DB_T(slice_of(object)), DB_I(head->stream)), 0, &others, e);
    if (rc < 0 || !open)
        return rc;
    return incident_close(j->t, INCIDENT_GAP, slice_of(object),
                          others ? "later records came; what is missing before them is told apart"
                                 : "the missing records arrived",
                          e);
}

static int altered(struct judging *j, int64_t stream, struct slice subject, int64_t sequence,
                   const char *detail, struct err *e)
{
    char object[80];
    (void)snprintf(object, sizeof object, "totals:%" PRId64 ":%" PRId64, stream, sequence);
    const struct incident i = {.kind = INCIDENT_ALTERED,
                               .object = slice_of(object),
                               .stream = stream,
                               .source = j->source,
                               .subject = subject,
                               .part = -1,
                               .first = sequence,
                               .last = sequence,
                               .opened_us = j->c->now_us,
                               .detail = slice_of(detail)};
    return open_incident(j, &i, e);
}

/* The hash captured under that number, wherever it is now. *known false: nowhere any more. */
static int hash_differs(struct db *db, int64_t stream, const struct totals_line *l, bool *differs,
                        struct err *e)
{
    static const char find[] =
        "SELECT hash FROM record WHERE stream = $1 AND sequence = $2"
        " UNION ALL SELECT hash FROM kept WHERE stream = $1 AND sequence = $2"
        " UNION ALL SELECT substr(hashes, CAST(($2 - first) * 32 + 1 AS integer), 32) FROM deleted"
        " WHERE stream = $1 AND first <= $2 AND last >= $2";
    OWN(own_db_rows) struct db_rows *r = NULL;
    bool same = false;
    bool other = false;
    int rc = db_query(db, find, DB_ARGS(DB_I(stream), DB_I(l->sequence)), &r, e);
    if (rc < 0)
        return rc;
    for (rc = db_rows_next(r, e); rc == 1; rc = db_rows_next(r, e)) {
        struct slice hash = db_rows_slice(r, 0);
        bool equal = hash.n == SHA256_SIZE && memcmp(hash.p, l->hash, SHA256_SIZE) == 0;
        same |= equal;
        other |= !equal;
    }
    *differs = other && !same;
    return rc;
}

static int find_head(struct judging *j, const struct totals_line *l, struct head *out,
                     struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_first(j->t->db,
                      "SELECT id, sequence, hash FROM stream"
                      " WHERE source = $1 AND epoch = $2 AND subject = $3",
                      DB_ARGS(DB_T(j->source), DB_I(l->epoch), DB_T(l->subject)), &r, e);
    *out = (struct head){0};
    if (rc != 1)
        return rc;
    struct slice hash = db_rows_slice(r, 2);
    out->stream = db_rows_int(r, 0);
    out->sequence = db_rows_int(r, 1);
    if (hash.n == SHA256_SIZE)
        memcpy(out->hash, hash.p, SHA256_SIZE);
    return 0;
}

static int judge_line(struct judging *j, const struct totals_line *l, struct err *e)
{
    struct head head;
    bool differs = false;
    int rc = find_head(j, l, &head, e);
    if (rc < 0)
        return rc;
    if (head.sequence < l->sequence)
        return missing_tail(j, head.stream, head.sequence, l, e);
    if (head.sequence == l->sequence)
        differs = memcmp(head.hash, l->hash, SHA256_SIZE) != 0;
    else
        rc = hash_differs(j->t->db, head.stream, l, &differs, e);
    if (rc == 0 && differs)
        rc = altered(j, head.stream, l->subject, l->sequence,
                     "the source's signed totals give this record another hash", e);
    return rc < 0 ? rc : reached(j, &head, l, e);
}

/* ---- one record of totals ---- */

static int settle(struct judging *j, struct err *e)
{
    return db_run(j->t->db, "DELETE FROM totals WHERE stream = $1 AND sequence = $2",
                  DB_ARGS(DB_I(j->p->stream), DB_I(j->p->sequence)), NULL, e);
}

/* Its signature is good: the source was heard. Newer is what was written later, also when its time
 * is earlier because the source's clock was set back; then it is complete to that time at most. */
static int heard(struct judging *j, const struct totals_head *h, struct err *e)
{
    int rc = db_run(j->t->db,
                    "INSERT INTO source (name, totals_us, due_us, complete_us, part_us, parts,"
                    " stream, sequence) VALUES ($1, $2, $3, 0, 0, 0, $4, $5)"
                    " ON CONFLICT (name) DO UPDATE SET"
                    " totals_us = excluded.totals_us, due_us = excluded.due_us,"
                    " complete_us = CASE WHEN source.complete_us > excluded.totals_us THEN 0"
                    " ELSE source.complete_us END,"
                    " stream = excluded.stream, sequence = excluded.sequence"
                    " WHERE source.totals_us <= excluded.totals_us"
                    " OR source.stream < excluded.stream"
                    " OR (source.stream = excluded.stream AND source.sequence < excluded.sequence)",
                    DB_ARGS(DB_T(j->source), DB_I(h->time_us), DB_I(h->next_us), DB_I(j->p->stream),
                            DB_I(j->p->sequence)),
                    NULL, e);
    return rc < 0 ? rc
                  : incident_close(j->t, INCIDENT_SILENT, j->source, "its totals came again", e);
}

/* Complete to the totals' time once all their parts are settled and nothing older waits. */
static int advance(struct judging *j, const struct totals_head *h, struct err *e)
{
    int rc = db_run(j->t->db,
                    "UPDATE source SET parts = CASE WHEN part_us = $2 THEN parts + 1 ELSE 1 END,"
                    " part_us = $2 WHERE name = $1",
                    DB_ARGS(DB_T(j->source), DB_I(h->time_us)), NULL, e);
    if (rc < 0 || !h->last)
        return rc;
    return db_run(j->t->db,
                  "UPDATE source SET complete_us = $2 WHERE name = $1 AND part_us = $2"
                  " AND parts >= $3 AND complete_us < $2 AND NOT EXISTS (SELECT 1 FROM totals t"
                  " JOIN stream s ON s.id = t.stream WHERE s.source = $1"
                  " AND (t.stream < $4 OR (t.stream = $4 AND t.sequence < $5)))",
                  DB_ARGS(DB_T(j->source), DB_I(h->time_us), DB_I(h->part), DB_I(j->p->stream),
                          DB_I(j->p->sequence)),
                  NULL, e);
}

static int judge_lines(struct judging *j, struct slice rest, struct err *e)
{
    struct totals_line line;
    int rc = totals_next_line(&rest, &line, e);
    for (; rc == 1; rc = totals_next_line(&rest, &line, e)) {
        int one = judge_line(j, &line, e);
        if (one < 0)
            return one;
    }
    return rc;
}

static int judge_statement(struct judging *j, const struct record *r,
                           const struct totals_source *source, struct err *e)
{
    struct totals_head head;
    struct slice rest;
    if (!totals_signed_by(r->data, source->public_key))
        return err_set(e, ERR_REJECTED,
                       "the signature of these control totals is not the source's");
    int rc = totals_read_head(json_string(r->data, "statement"), &head, &rest, e);
    if (rc == 0 && !slice_eq(head.source, j->source))
        rc = err_set(e, ERR_REJECTED, "these control totals are signed for another source");
    if (rc == 0)
        rc = heard(j, &head, e);
    if (rc == 0)
        rc = judge_lines(j, rest, e);
    if (rc < 0)
        return rc;
    if (j->behind > 0)
        return db_run(
            j->t->db, "UPDATE totals SET looked_us = $3 WHERE stream = $1 AND sequence = $2",
            DB_ARGS(DB_I(j->p->stream), DB_I(j->p->sequence), DB_I(j->c->now_us)), NULL, e);
    rc = settle(j, e);
    return rc < 0 ? rc : advance(j, &head, e);
}

static const struct totals_source *declared(const struct totals_check *c, struct slice name)
{
    for (size_t i = 0; i < c->n; i++) {
        if (slice_eq(c->sources[i].name, name))
            return &c->sources[i];
    }
    return NULL;
}

static int judge_pending(struct staging *st, const struct totals_check *c, const struct pending *p,
                         size_t *incidents, struct err *e)
{
    OWN(own_json_doc) struct json_doc *doc = json_doc_new();
    OWN(own_staging_txn) struct staging_txn t = {0};
    struct judging j = {.t = &t, .c = c, .p = p, .incidents = incidents};
    struct record r;
    struct err why = {0};
    if (!doc)
        return err_memory(e, "control totals");
    int rc = record_decode(doc, (struct slice){p->raw, p->raw_n}, &r, e);
    if (rc == 0)
        rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = staging_lock_gate(&t, e);
    if (rc < 0)
        return rc;
    j.source = r.source;
    const struct totals_source *source = declared(c, r.source);
    rc = source ? judge_statement(&j, &r, source, &why) : settle(&j, &why);
    if (rc == ERR_REJECTED) {
        rc = altered(&j, p->stream, r.subject, p->sequence, why.text, e);
        if (rc == 0)
            rc = settle(&j, e);
    } else if (rc < 0) {
        return err_set(e, rc, "%s", why.text);
    }
    if (rc < 0)
        return rc;
    FAULT("totals.commit.before");
    rc = staging_commit(&t, e);
    FAULT("totals.commit.after");
    return rc;
}

/* ---- what waits, and silence ---- */

/* 1: one, not looked at just before; 0: none. A look in the future: the clock was set back. */
static int next_pending(struct staging *st, int64_t now_us, struct pending *out, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = db_first(t.db,
                      "SELECT stream, sequence, noted_us, raw FROM totals WHERE looked_us < $1"
                      " OR looked_us > $2 ORDER BY noted_us, stream, sequence LIMIT 1",
                      DB_ARGS(DB_I(now_us - AGAIN_MS * 1000), DB_I(now_us)), &r, e);
    if (rc != 1)
        return rc;
    struct slice raw = db_rows_slice(r, 3);
    char *copy = slice_dup(raw);
    if (!copy)
        return err_memory(e, "control totals");
    *out = (struct pending){db_rows_int(r, 0), db_rows_int(r, 1), db_rows_int(r, 2), copy, raw.n};
    return 1;
}

static int open_silent(struct staging *st, const struct totals_check *c, struct slice source,
                       int64_t due_us, size_t *incidents, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    struct judging j = {.t = &t, .c = c, .incidents = incidents};
    const struct incident i = {.kind = INCIDENT_SILENT,
                               .object = source,
                               .source = source,
                               .part = -1,
                               .opened_us = due_us,
                               .detail = SLICE("its control totals are overdue: nobody can tell"
                                               " whether records of it are missing")};
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = open_incident(&j, &i, e);
    return rc < 0 ? rc : staging_commit(&t, e);
}

static int is_due(struct staging *st, const struct totals_check *c, const struct totals_source *s,
                  int64_t *due_us, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t known = 0;
    int64_t due = 0;
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = db_int(t.db, "SELECT count(*) FROM source WHERE name = $1", DB_ARGS(DB_T(s->name)), 0,
                    &known, e);
    if (rc == 0)
        rc = db_int(t.db, "SELECT max(due_us) FROM source WHERE name = $1", DB_ARGS(DB_T(s->name)),
                    0, &due, e);
    int64_t first = c->since_us + s->cadence_ms * 1000;
    bool promised = known ? due > 0 : s->cadence_ms > 0;
    *due_us = !promised ? INT64_MAX : due > first ? due : first;
    return rc;
}

static int look_for_silence(struct staging *st, const struct totals_check *c, size_t *incidents,
                            struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < c->n; i++) {
        int64_t due = 0;
        rc = is_due(st, c, &c->sources[i], &due, e);
        if (rc == 0 && due < c->now_us - SILENT_GRACE_MS * 1000)
            rc = open_silent(st, c, c->sources[i].name, due, incidents, e);
    }
    return rc;
}

int totals_run(struct staging *st, const struct totals_check *c, size_t *incidents, struct err *e)
{
    int rc = 1;
    for (int i = 0; rc == 1 && i < ROUND; i++) {
        OWN(own_pending) struct pending p = {0};
        rc = next_pending(st, c->now_us, &p, e);
        if (rc != 1)
            break;
        int one = judge_pending(st, c, &p, incidents, e);
        if (one < 0)
            return one;
    }
    if (rc < 0)
        return rc;
    return c->caught_up ? look_for_silence(st, c, incidents, e) : 0;
}

int totals_each(struct db *db, totals_visit_fn *visit, void *arg, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_first(db, "SELECT name, complete_us, totals_us, due_us FROM source ORDER BY name",
                      DB_NO_ARGS, &r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        const struct totals_known k = {db_rows_int(r, 1), db_rows_int(r, 2), db_rows_int(r, 3)};
        int one = visit(arg, db_rows_slice(r, 0), &k, e);
        if (one < 0)
            return one;
    }
    return rc;
}
