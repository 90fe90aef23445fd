/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joins of a batch are appended in bulk, with their leave when it is in the same batch; the first
 * leave of a person in a batch also ends what earlier batches left open, before that.
 */
#include "mgccomp/presence.h"

#include "base/own.h"

#include <string.h>

enum { TOGETHER = 256 };

/* A person in a stream, as far as this batch is concerned. */
struct person {
    const struct presence_event *who;
    size_t open;                        /* 1 + index of the batch's newest interval; 0: none */
    const struct presence_event *leave; /* the first of the batch */
    int64_t ended;                      /* intervals of earlier batches that it ended */
};

struct interval {
    const struct presence_event *join;
    int64_t left_at; /* 0: still there */
    size_t before;   /* the person's interval before it, as `open` */
};

struct sheet {
    struct person *people; /* open addressing */
    size_t mask;
    struct interval *intervals;
    size_t n;
    struct person **leaving;
    size_t leaving_n;
};

static void sheet_done(struct sheet *s)
{
    free(s->people);
    free(s->intervals);
    free(s->leaving);
}

static int sheet_init(struct sheet *s, size_t events, struct err *e)
{
    size_t size = 16;
    while (size < 2 * events)
        size *= 2;
    s->mask = size - 1;
    s->people = calloc(size, sizeof *s->people);
    s->intervals = calloc(events, sizeof *s->intervals);
    s->leaving = calloc(events, sizeof(struct person *));
    return s->people && s->intervals && s->leaving ? 0
                                                   : err_memory(e, "noting who is in which room");
}

static bool same_person(const struct presence_event *a, const struct presence_event *b)
{
    return a->stream == b->stream && slice_eq(a->participant, b->participant) &&
           slice_eq(a->endpoint, b->endpoint);
}

static size_t hash_of(const struct presence_event *v)
{
    uint64_t x = (uint64_t)v->stream * 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < v->participant.n; i++)
        x = (x ^ (unsigned char)v->participant.p[i]) * 0x100000001b3u;
    for (size_t i = 0; i < v->endpoint.n; i++)
        x = (x ^ (unsigned char)v->endpoint.p[i]) * 0x100000001b3u;
    return (size_t)(x ^ x >> 32);
}

/* Their place; without `who` when they are not there. */
static struct person *find(struct sheet *s, const struct presence_event *v)
{
    size_t i = hash_of(v) & s->mask;
    while (s->people[i].who && !same_person(s->people[i].who, v))
        i = (i + 1) & s->mask;
    return &s->people[i];
}

static struct person *person_of(struct sheet *s, const struct presence_event *v)
{
    struct person *p = find(s, v);
    p->who = v;
    return p;
}

static void join(struct sheet *s, const struct presence_event *v)
{
    struct person *p = person_of(s, v);
    s->intervals[s->n] = (struct interval){.join = v, .before = p->open};
    p->open = ++s->n;
}

static void note_leave(struct sheet *s, const struct presence_event *v)
{
    struct person *p = person_of(s, v);
    if (p->leave)
        return;
    p->leave = v;
    s->leaving[s->leaving_n++] = p;
}

static int note_end(void *arg, struct db_rows *row, struct err *e)
{
    const struct presence_event who = {.stream = db_rows_int(row, 0),
                                       .participant = db_rows_slice(row, 1),
                                       .endpoint = db_rows_slice(row, 2)};
    struct person *p = find(arg, &who);
    if (!p->who)
        return err_set(e, ERR_FAULT, "mgccomp ended the presence of somebody who did not leave");
    p->ended++;
    return 0;
}

static int end_some(struct sheet *s, struct db *db, size_t from, size_t n, struct err *e)
{
    static const struct db_many sql = {
        "UPDATE presence SET left_at = $4 WHERE stream = $1 AND participant = $2"
        " AND endpoint = $3 AND joined < $4 AND left_at IS NULL"
        " RETURNING stream, participant, endpoint",
        "UPDATE presence p SET left_at = u.left_at FROM unnest($1, $2, $3, $4) AS u"
        " (stream, participant, endpoint, left_at) WHERE p.stream = u.stream"
        " AND p.participant = u.participant AND p.endpoint = u.endpoint"
        " AND p.joined < u.left_at AND p.left_at IS NULL"
        " RETURNING p.stream, p.participant, p.endpoint"};
    static const enum db_type types[] = {DB_INT, DB_TEXT, DB_TEXT, DB_INT};
    struct db_value values[TOGETHER][4];
    for (size_t i = 0; i < n; i++) {
        const struct presence_event *v = s->leaving[from + i]->leave;
        const struct db_value list[4] = {DB_I(v->stream), DB_T(v->participant), DB_T(v->endpoint),
                                         DB_I(v->sequence)};
        memcpy(values[i], list, sizeof list);
    }
    const struct db_lists lists = {types, 4, values[0], n};
    return db_query_many(db, &sql, &lists, note_end, s, e);
}

/* Before anything of this batch is in the table, and in one go. */
static int end_earlier(struct sheet *s, struct db *db, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s->leaving_n; i += TOGETHER)
        rc = end_some(s, db, i, s->leaving_n - i < TOGETHER ? s->leaving_n - i : TOGETHER, e);
    return rc;
}

static int leave_without_join(struct db *db, const struct presence_event *v, struct err *e)
{
    return db_run(db,
                  "INSERT INTO presence (stream, participant, endpoint, joined, joined_us,"
                  " left_at, name) VALUES ($1, $2, $3, 0, $5, $4, $6)"
                  " ON CONFLICT (stream, participant, endpoint, joined)"
                  " DO UPDATE SET left_at = excluded.left_at",
                  DB_ARGS(DB_I(v->stream), DB_T(v->participant), DB_T(v->endpoint),
                          DB_I(v->sequence), DB_I(v->time_us), v->name.p ? DB_T(v->name) : DB_N),
                  NULL, e);
}

static int leave(struct sheet *s, struct db *db, const struct presence_event *v, struct err *e)
{
    struct person *p = person_of(s, v);
    int64_t ended = p->ended;
    p->ended = 0;
    for (; p->open; p->open = s->intervals[p->open - 1].before) {
        s->intervals[p->open - 1].left_at = v->sequence;
        ended++;
    }
    return ended > 0 ? 0 : leave_without_join(db, v, e);
}

static int append(struct sheet *s, struct db *db, struct err *e)
{
    static const enum db_type types[] = {DB_INT, DB_TEXT, DB_TEXT, DB_INT, DB_INT, DB_INT, DB_TEXT};
    struct db_copy *c = NULL;
    if (s->n == 0)
        return 0;
    int rc = db_copy_begin(db, "presence",
                           "stream, participant, endpoint, joined, joined_us, left_at, name", types,
                           sizeof types / sizeof types[0], &c, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < s->n; i++) {
        const struct presence_event *v = s->intervals[i].join;
        int64_t left_at = s->intervals[i].left_at;
        const struct db_value row[] = {
            DB_I(v->stream),
            DB_T(v->participant),
            DB_T(v->endpoint),
            DB_I(v->sequence),
            DB_I(v->time_us),
            left_at ? DB_I(left_at) : DB_N,
            v->name.p ? DB_T(v->name) : DB_N,
        };
        rc = db_copy_row(c, row, e);
        if (rc < 0) {
            db_copy_abort(c);
            return rc;
        }
    }
    return db_copy_end(c, e);
}

/* The leave of a late join may have come already: it left an interval from 0. */
static int late_join(struct db *db, const struct presence_event *v, struct err *e)
{
    int64_t found = 0;
    int rc = db_run(db,
                    "UPDATE presence SET joined = $4, joined_us = $5 WHERE stream = $1 AND"
                    " participant = $2 AND endpoint = $3 AND joined = 0 AND left_at > $4",
                    DB_ARGS(DB_I(v->stream), DB_T(v->participant), DB_T(v->endpoint),
                            DB_I(v->sequence), DB_I(v->time_us)),
                    &found, e);
    if (rc < 0 || found > 0)
        return rc;
    return db_run(db,
                  "INSERT INTO presence (stream, participant, endpoint, joined, joined_us, name)"
                  " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
                  DB_ARGS(DB_I(v->stream), DB_T(v->participant), DB_T(v->endpoint),
                          DB_I(v->sequence), DB_I(v->time_us), v->name.p ? DB_T(v->name) : DB_N),
                  NULL, e);
}

/* A later leave may have ended the interval that this one really ends. */
static int late_leave(struct db *db, const struct presence_event *v, struct err *e)
{
    int64_t ended = 0;
    int rc =
        db_run(db,
               "UPDATE presence SET left_at = $4 WHERE stream = $1 AND participant = $2 AND"
               " endpoint = $3 AND joined < $4 AND (left_at IS NULL OR left_at > $4)",
               DB_ARGS(DB_I(v->stream), DB_T(v->participant), DB_T(v->endpoint), DB_I(v->sequence)),
               &ended, e);
    return rc < 0 || ended > 0 ? rc : leave_without_join(db, v, e);
}

int presence_write(struct db *db, const struct presence_event *events, size_t n, struct err *e)
{
    OWN(sheet_done) struct sheet s = {0};
    if (n == 0)
        return 0;
    int rc = sheet_init(&s, n, e);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (!events[i].late && !events[i].join)
            note_leave(&s, &events[i]);
    }
    if (rc == 0)
        rc = end_earlier(&s, db, e);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (events[i].late)
            continue;
        if (events[i].join)
            join(&s, &events[i]);
        else
            rc = leave(&s, db, &events[i], e);
    }
    if (rc == 0)
        rc = append(&s, db, e);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (events[i].late)
            rc = events[i].join ? late_join(db, &events[i], e) : late_leave(db, &events[i], e);
    }
    return rc;
}
