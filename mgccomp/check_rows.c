/* SPDX-License-Identifier: Apache-2.0 */
/* Every staged or kept record: its bytes have its hash, and say what its columns say. */
#include "base/own.h"
#include "mgccomp/check_inside.h"

#include <inttypes.h>
#include <string.h>

enum { PAGE = 500 };

struct place {
    int64_t generation, part, pos;
};

struct row {
    struct place at;
    int64_t kind, flags, time_us, sequence, epoch; /* sequence 0: none */
    bool stream;
    struct slice hash, raw, source, subject;
};

static void row_of(const struct db_rows *r, struct row *out)
{
    *out = (struct row){.at = {db_rows_int(r, 0), db_rows_int(r, 1), db_rows_int(r, 2)},
                        .sequence = db_rows_int(r, 3),
                        .kind = db_rows_int(r, 4),
                        .flags = db_rows_int(r, 5),
                        .time_us = db_rows_int(r, 6),
                        .hash = db_rows_slice(r, 7),
                        .raw = db_rows_slice(r, 8),
                        .stream = !db_rows_null(r, 9),
                        .source = db_rows_slice(r, 9),
                        .epoch = db_rows_int(r, 10),
                        .subject = db_rows_slice(r, 11)};
}

static void where_of(const struct row *r, char out[1200])
{
    if (r->stream && r->sequence)
        (void)snprintf(out, 1200, "%.*s#%" PRId64, SLICE_ARG(r->subject), r->sequence);
    else
        (void)snprintf(out, 1200, "partition %" PRId64 " position %" PRId64, r->at.part, r->at.pos);
}

/* NULL: they agree. */
static const char *differs(const struct row *r, const struct record *rec)
{
    if (!r->stream)
        return "it can be read, and belongs to no room";
    if (!slice_eq(r->source, rec->source) || !slice_eq(r->subject, rec->subject) ||
        r->epoch != (rec->sequenced ? rec->epoch : 0))
        return "it is filed under another room than its bytes say";
    if (r->sequence != (rec->sequenced ? rec->sequence : 0))
        return "its number is not the one in its bytes";
    if (r->kind != (int64_t)rec->kind)
        return "its kind is not the one in its bytes";
    if (r->time_us != rec->time_us)
        return "its time is not the one in its bytes";
    if (!rec->sequenced != !!(r->flags & STAGING_UNPROVABLE))
        return "whether it is provable is marked wrongly";
    return NULL;
}

static int check_row(struct check *c, const struct row *r, struct err *e)
{
    char where[1200];
    uint8_t hash[SHA256_SIZE];
    struct record rec;
    const char *text = NULL;
    int rc = 0;
    where_of(r, where);
    sha256(r->raw.p ? r->raw.p : "", r->raw.n, hash);
    if (r->hash.n != sizeof hash || memcmp(hash, r->hash.p, sizeof hash) != 0)
        text = "its bytes do not have its hash";
    else if (r->flags & STAGING_UNREADABLE)
        text = NULL; /* the note says why, and the database may have been the reason */
    else if ((rc = record_decode(c->doc, r->raw, &rec, e)) == ERR_RETRY)
        return rc; /* for want of memory */
    else
        text = rc < 0 ? "it can't be read, and is not marked so" : differs(r, &rec);
    if (text)
        check_found(c, where, "%s", text);
    return 0;
}

#define COLUMNS                                                                                    \
    "SELECT r.generation, r.part, r.pos, r.sequence, r.kind, r.flags, r.time_us, r.hash, r.raw,"   \
    " s.source, s.epoch, s.subject FROM "
#define NEXT                                                                                       \
    " r LEFT JOIN stream s ON s.id = r.stream WHERE (r.generation, r.part, r.pos) > ($1, $2, $3)"  \
    " ORDER BY r.generation, r.part, r.pos LIMIT $4"

static int page(struct check *c, const char *sql, struct place *at, size_t *n, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc =
        db_query(c->db, sql,
                 DB_ARGS(DB_I(at->generation), DB_I(at->part), DB_I(at->pos), DB_I(PAGE)), &r, e);
    *n = 0;
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        struct row row;
        row_of(r, &row);
        rc = check_row(c, &row, e);
        if (rc < 0)
            return rc;
        *at = row.at;
        ++*n;
        c->records++;
        check_step(c);
    }
    return rc;
}

int check_rows(struct check *c, struct err *e)
{
    static const char *const tables[] = {COLUMNS "record" NEXT, COLUMNS "kept" NEXT};
    int rc = 0;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        struct place at = {0, -1, -1};
        size_t n = PAGE;
        while (rc == 0 && n == PAGE)
            rc = page(c, tables[i], &at, &n, e);
    }
    return rc;
}
