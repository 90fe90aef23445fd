/* SPDX-License-Identifier: Apache-2.0 */
/* Look-ups for records that are not simply the next of their stream. */
#include "base/own.h"
#include "mgccomp/capture_batch.h"
#include "mgccomp/incident.h"

#include <string.h>

static const struct staged *in_batch(const struct batch *b, const struct stream *s,
                                     int64_t sequence, const struct staged *after)
{
    if (sequence < s->lowest)
        return NULL;
    for (size_t i = after ? after->before : s->last; i > 0; i = b->staged[i - 1].before) {
        if (b->staged[i - 1].sequenced && b->staged[i - 1].sequence == sequence)
            return &b->staged[i - 1];
    }
    return NULL;
}

static void compare(enum known *known, struct slice found, const uint8_t hash[SHA256_SIZE])
{
    if (found.n == SHA256_SIZE && memcmp(found.p, hash, SHA256_SIZE) == 0)
        *known = KNOWN_SAME;
    else if (*known == KNOWN_NOT)
        *known = KNOWN_OTHER;
}

static int in_rows(struct db *db, const char *sql, int64_t stream, int64_t sequence,
                   const uint8_t hash[SHA256_SIZE], enum known *known, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(db, sql, DB_ARGS(DB_I(stream), DB_I(sequence)), &r, e);
    if (rc < 0)
        return rc;
    for (rc = db_rows_next(r, e); rc == 1; rc = db_rows_next(r, e))
        compare(known, db_rows_slice(r, 0), hash);
    return rc;
}

int batch_known(struct batch *b, const struct stream *s, int64_t sequence,
                const uint8_t hash[SHA256_SIZE], enum known *out, struct err *e)
{
    static const char *const tables[] = {
        "SELECT hash FROM record WHERE stream = $1 AND sequence = $2",
        "SELECT hash FROM kept WHERE stream = $1 AND sequence = $2",
        ("SELECT substr(hashes, CAST(($2 - first) * 32 + 1 AS integer), 32) FROM deleted"
         " WHERE stream = $1 AND first <= $2 AND last >= $2"),
    };
    enum known known = KNOWN_NOT;
    const struct staged *other = NULL;
    while (known != KNOWN_SAME && (other = in_batch(b, s, sequence, other)) != NULL)
        compare(&known, (struct slice){(const char *)other->hash, SHA256_SIZE}, hash);
    for (size_t i = 0; i < sizeof tables / sizeof tables[0] && s->id && known != KNOWN_SAME; i++) {
        int rc = in_rows(b->t->db, tables[i], s->id, sequence, hash, &known, e);
        if (rc < 0)
            return rc;
    }
    *out = known;
    return 0;
}

/* As batch_known, for what the record of that number says of the one before it. */
static int names_as_previous(struct batch *b, const struct stream *s, int64_t sequence,
                             const uint8_t hash[SHA256_SIZE], enum known *out, struct err *e)
{
    enum known known = KNOWN_NOT;
    const struct staged *other = NULL;
    while ((other = in_batch(b, s, sequence, other)) != NULL)
        compare(&known, (struct slice){(const char *)other->previous, SHA256_SIZE}, hash);
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(b->t->db,
                      "SELECT raw FROM record WHERE stream = $1 AND sequence = $2"
                      " UNION ALL SELECT raw FROM kept WHERE stream = $1 AND sequence = $2",
                      DB_ARGS(DB_I(s->id), DB_I(sequence)), &r, e);
    if (rc < 0)
        return rc;
    for (rc = db_rows_next(r, e); rc == 1; rc = db_rows_next(r, e)) {
        struct record next;
        rc = record_decode(b->doc, db_rows_slice(r, 0), &next, e);
        if (rc < 0 && rc != ERR_REJECTED)
            return rc;
        if (rc < 0)
            return err_set(e, ERR_FAULT, "mgccomp: record %lld of %.*s is damaged",
                           (long long)sequence, SLICE_ARG(s->subject));
        compare(&known, (struct slice){(const char *)next.previous, SHA256_SIZE}, hash);
    }
    if (rc == 0)
        *out = known;
    return rc;
}

int batch_check_links(struct batch *b, size_t item, struct err *e)
{
    static const uint8_t none[SHA256_SIZE];
    const struct staged *r = &b->staged[item];
    const struct stream *s = r->decoded;
    enum known before = KNOWN_NOT;
    enum known behind = KNOWN_NOT;
    int rc = 0;
    if (r->sequence > 1)
        rc = batch_known(b, s, r->sequence - 1, r->previous, &before, e);
    else if (memcmp(r->previous, none, SHA256_SIZE) != 0)
        before = KNOWN_OTHER;
    if (rc == 0)
        rc = names_as_previous(b, s, r->sequence + 1, r->hash, &behind, e);
    if (rc == 0 && before == KNOWN_OTHER)
        rc = batch_find(b, INCIDENT_ALTERED, item, r->sequence - 1, r->sequence, e);
    if (rc == 0 && behind == KNOWN_OTHER)
        rc = batch_find(b, INCIDENT_ALTERED, item, r->sequence, r->sequence + 1, e);
    return rc;
}
