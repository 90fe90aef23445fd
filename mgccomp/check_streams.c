/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream from its first number to its head: staged, kept, deleted (by its packed hashes), or
 * missing with an incident that says so; each record names the hash of the one before. Rows and
 * hashes are read in one snapshot a page, so that a deletion in between is no hole.
 */
#include "base/own.h"
#include "mgccomp/check_inside.h"
#include "mgccomp/incident.h"

#include <inttypes.h>
#include <string.h>

enum { PAGE = 500, STREAMS = 200 };

struct stream_check {
    struct check *c;
    int64_t id, head, captured, deleted;
    uint8_t head_hash[SHA256_SIZE];
    char subject[RECORD_MAX_SUBJECT + 1];
    /* Where the walk is: */
    int64_t at, part, pos; /* at: the last number of the chain that was passed */
    bool has_hash;
    uint8_t hash[SHA256_SIZE]; /* of it */
    int64_t forgotten;         /* deleted records whose hashes are forgotten, and not needed yet */
};

static void found(struct stream_check *s, int64_t sequence, const char *text)
{
    char where[RECORD_MAX_SUBJECT + 24];
    (void)snprintf(where, sizeof where, "%s#%" PRId64, s->subject, sequence);
    check_found(s->c, where, "%s", text);
}

static int stream_row(struct stream_check *s, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_first(s->c->db,
                      "SELECT sequence, hash, captured, COALESCE((SELECT w.records FROM swept w"
                      " WHERE w.stream = id), 0), subject FROM stream WHERE id = $1",
                      DB_ARGS(DB_I(s->id)), &r, e);
    if (rc <= 0)
        return rc < 0 ? rc : err_set(e, ERR_FAULT, "stream %" PRId64 " is gone", s->id);
    s->head = db_rows_int(r, 0);
    s->captured = db_rows_int(r, 2);
    s->deleted = db_rows_int(r, 3);
    if (!slice_copy(db_rows_slice(r, 4), s->subject, sizeof s->subject))
        (void)snprintf(s->subject, sizeof s->subject, "stream %" PRId64, s->id);
    memset(s->head_hash, 0, sizeof s->head_hash);
    if (db_rows_slice(r, 1).n == SHA256_SIZE)
        memcpy(s->head_hash, db_rows_slice(r, 1).p, SHA256_SIZE);
    else
        found(s, s->head, "the head's hash is none");
    return 0;
}

/* 1: *out is the packed hash of that deleted record. */
static int packed(struct stream_check *s, int64_t sequence, uint8_t out[SHA256_SIZE], struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_first(s->c->db,
                      "SELECT substr(hashes, CAST(($2 - first) * 32 + 1 AS integer), 32)"
                      " FROM deleted WHERE stream = $1 AND first <= $2 AND last >= $2",
                      DB_ARGS(DB_I(s->id), DB_I(sequence)), &r, e);
    if (rc != 1 || db_rows_slice(r, 0).n != SHA256_SIZE)
        return rc < 0 ? rc : 0;
    memcpy(out, db_rows_slice(r, 0).p, SHA256_SIZE);
    return 1;
}

/* How many numbers of first..last are neither deleted with a hash nor missing by an incident. */
static int unexplained(struct stream_check *s, int64_t first, int64_t last, int64_t *n,
                       struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int64_t next = first;
    int rc = db_query(s->c->db,
                      "SELECT d.first, d.last FROM (SELECT first, last FROM deleted"
                      " WHERE stream = $1 UNION ALL SELECT first, last FROM incident"
                      " WHERE stream = $1 AND kind = 'gap') d WHERE d.first <= $3 AND d.last >= $2"
                      " ORDER BY d.first",
                      DB_ARGS(DB_I(s->id), DB_I(first), DB_I(last)), &r, e);
    *n = 0;
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        if (db_rows_int(r, 0) > next)
            *n += db_rows_int(r, 0) - next;
        if (db_rows_int(r, 1) >= next)
            next = db_rows_int(r, 1) + 1;
    }
    if (next <= last)
        *n += last - next + 1;
    return rc;
}

/* Numbers first..last are no rows. Hashes of what was deleted long ago are forgotten. */
static int hole(struct stream_check *s, int64_t first, int64_t last, struct err *e)
{
    char text[120];
    int64_t n = 0;
    int rc = unexplained(s, first, last, &n, e);
    if (rc < 0)
        return rc;
    s->forgotten -= n;
    if (s->forgotten < 0) {
        (void)snprintf(text, sizeof text,
                       "%" PRId64 " of the numbers to %" PRId64
                       " are not here, not deleted, and no incident misses them",
                       -s->forgotten, last);
        found(s, first, text);
        s->forgotten = 0;
    }
    rc = packed(s, last, s->hash, e);
    s->has_hash = rc == 1;
    return rc < 0 ? rc : 0;
}

/* An incident that says so is what there is to know about it. */
static int known_as_altered(struct stream_check *s, int64_t sequence, bool *known, struct err *e)
{
    int64_t n = 0;
    int rc = db_int(s->c->db,
                    "SELECT count(*) FROM incident WHERE stream = $1 AND kind = 'altered'"
                    " AND first <= $2 AND last >= $2",
                    DB_ARGS(DB_I(s->id), DB_I(sequence)), 0, &n, e);
    *known = n > 0;
    return rc;
}

struct link {
    int64_t sequence;
    uint8_t hash[SHA256_SIZE], previous[SHA256_SIZE];
    bool readable;
};

static int pass(struct stream_check *s, const struct link *l, struct err *e)
{
    static const uint8_t none[SHA256_SIZE];
    bool known = false;
    int rc = 0;
    if (l->sequence == s->at) {
        found(s, l->sequence, "it is there twice");
        return 0;
    }
    if (l->sequence > s->at + 1)
        rc = hole(s, s->at + 1, l->sequence - 1, e);
    if (rc == 0 && l->sequence == 1) {
        memcpy(s->hash, none, sizeof none);
        s->has_hash = true;
    }
    if (rc == 0 && s->has_hash && l->readable &&
        memcmp(s->hash, l->previous, sizeof s->hash) != 0) {
        rc = known_as_altered(s, l->sequence, &known, e);
        if (rc == 0 && !known)
            found(s, l->sequence, "it does not name the hash of the record before it");
    }
    s->at = l->sequence;
    memcpy(s->hash, l->hash, sizeof s->hash);
    s->has_hash = true;
    return rc;
}

/* 1: the row is a link. A fork or a repeat is beside the chain, what is far ahead is above it. */
static int link_of(struct stream_check *s, const struct db_rows *r, struct link *l, struct err *e)
{
    struct record rec;
    s->part = db_rows_int(r, 1);
    s->pos = db_rows_int(r, 2);
    l->sequence = db_rows_int(r, 0);
    if (db_rows_int(r, 3) & (STAGING_FORK | STAGING_REPEAT) || l->sequence > s->head ||
        db_rows_slice(r, 4).n != SHA256_SIZE)
        return 0;
    memcpy(l->hash, db_rows_slice(r, 4).p, SHA256_SIZE);
    int rc = record_decode(s->c->doc, db_rows_slice(r, 5), &rec, e);
    l->readable = rc == 0;
    if (l->readable)
        memcpy(l->previous, rec.previous, SHA256_SIZE);
    return rc == ERR_RETRY ? rc : 1; /* for want of memory nothing is known of it */
}

#define NONE_IN(table)                                                                             \
    "NOT EXISTS (SELECT 1 FROM " table                                                             \
    " o WHERE o.stream = $1 AND o.sequence = r.sequence AND o.flags < 8)"
/* What was far ahead is the chain's only where the chain has no other. */
#define ROWS_OF(table)                                                                             \
    "SELECT sequence, part, pos, flags, hash, raw FROM " table                                     \
    " r WHERE stream = $1 AND sequence >= $2 AND (sequence, part, pos) > ($2, $3, $4)"             \
    " AND (flags < 32 OR (" NONE_IN("record") " AND " NONE_IN("kept") "))"

/* *n rows that are the next ones; their links are looked at when the statement has ended. */
static int read_links(struct stream_check *s, int64_t from, struct link *links, size_t *n,
                      size_t *rows, int64_t *last, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(
        s->c->db,
        ROWS_OF("record") " UNION ALL " ROWS_OF("kept") " ORDER BY sequence, part, pos LIMIT $5",
        DB_ARGS(DB_I(s->id), DB_I(from), DB_I(s->part), DB_I(s->pos), DB_I(PAGE)), &r, e);
    *n = 0;
    *rows = 0;
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        int link = link_of(s, r, &links[*n], e);
        if (link < 0)
            return link;
        *n += (size_t)link;
        *last = db_rows_int(r, 0);
        ++*rows;
    }
    return rc;
}

static int check_head(struct stream_check *s, struct err *e)
{
    int64_t rows = 0;
    int rc = s->head > s->at ? hole(s, s->at + 1, s->head, e) : 0;
    if (rc == 0 && s->has_hash && s->head && memcmp(s->hash, s->head_hash, sizeof s->hash) != 0)
        found(s, s->head, "the head has another hash than this record");
    if (rc == 0)
        rc = db_int(s->c->db,
                    "SELECT (SELECT count(*) FROM record WHERE stream = $1)"
                    " + (SELECT count(*) FROM kept WHERE stream = $1)",
                    DB_ARGS(DB_I(s->id)), 0, &rows, e);
    if (rc == 0 && rows != s->captured - s->deleted)
        check_found(s->c, s->subject,
                    "%" PRId64 " records are here, captured less deleted are %" PRId64, rows,
                    s->captured - s->deleted);
    return rc;
}

/* One snapshot. *more: there may be further rows. */
static int walk_page(struct stream_check *s, int64_t *from, bool *more, struct err *e)
{
    struct link links[PAGE];
    size_t n = 0;
    size_t rows = 0;
    OWN(own_db_rollback) struct db *txn = s->c->db;
    int rc = db_begin_read(txn, e);
    if (rc == 0)
        rc = stream_row(s, e);
    if (rc == 0)
        rc = read_links(s, *from, links, &n, &rows, from, e);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = pass(s, &links[i], e);
    *more = rows == PAGE;
    return rc == 0 && !*more ? check_head(s, e) : rc;
}

static int check_stream(struct check *c, int64_t id, struct err *e)
{
    struct stream_check s = {.c = c, .id = id, .part = -1, .pos = -1};
    int64_t from = 0;
    bool more = true;
    int rc = db_int(c->db,
                    "SELECT CAST(COALESCE((SELECT w.records FROM swept w WHERE w.stream = $1), 0)"
                    " - COALESCE((SELECT sum(d.last - d.first + 1) FROM deleted d"
                    " WHERE d.stream = $1), 0) AS bigint)",
                    DB_ARGS(DB_I(id)), 0, &s.forgotten, e);
    while (rc == 0 && more)
        rc = walk_page(&s, &from, &more, e);
    c->streams++;
    check_step(c);
    return rc;
}

static int next_streams(struct db *db, int64_t after, int64_t out[STREAMS], size_t *n,
                        struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db, "SELECT id FROM stream WHERE id > $1 ORDER BY id LIMIT $2",
                      DB_ARGS(DB_I(after), DB_I(STREAMS)), &r, e);
    *n = 0;
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e))
        out[(*n)++] = db_rows_int(r, 0);
    return rc;
}

int check_streams(struct check *c, struct err *e)
{
    int64_t ids[STREAMS];
    size_t n = STREAMS;
    int64_t after = 0;
    int rc = 0;
    while (rc == 0 && n == STREAMS) {
        rc = next_streams(c->db, after, ids, &n, e);
        for (size_t i = 0; rc == 0 && i < n; i++)
            rc = check_stream(c, ids[i], e);
        if (n)
            after = ids[n - 1];
    }
    return rc;
}
