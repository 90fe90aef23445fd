/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record far ahead of its stream is kept, and the stream stays where it was. When the chain gets
 * to that number its own record counts; another one under the number is a fork. A stream remembers
 * the lowest such number, so that those without pay nothing.
 */
#include "mgccomp/capture_batch.h"
#include "mgccomp/incident.h"

#include <string.h>

int batch_far(struct batch *b, size_t item, struct err *e)
{
    struct stream *s = b->staged[item].decoded;
    int64_t sequence = b->staged[item].sequence;
    b->staged[item].flags |= STAGING_AHEAD;
    if (!s->ahead || sequence < s->ahead)
        s->ahead = sequence;
    return batch_find(b, INCIDENT_FAR_AHEAD, item, sequence, sequence, e);
}

/* The lowest beyond `sequence`; those that people accepted are there, too. */
static int next_ahead(const struct batch *b, struct stream *s, int64_t sequence, struct err *e)
{
    int64_t next = 0;
    int rc = 0;
    if (s->id)
        rc = db_int(b->t->db,
                    "SELECT min(first) FROM incident WHERE kind = 'far-ahead' AND stream = $1"
                    " AND first > $2",
                    DB_ARGS(DB_I(s->id), DB_I(sequence)), 0, &next, e);
    for (size_t i = 0; i < b->findings_n; i++) {
        const struct finding *f = &b->findings[i];
        if (f->kind && f->stream == s && strcmp(f->kind, INCIDENT_FAR_AHEAD) == 0 &&
            f->first > sequence && (!next || f->first < next))
            next = f->first;
    }
    if (rc == 0)
        s->ahead = next;
    return rc;
}

int batch_reach(struct batch *b, size_t item, struct err *e)
{
    struct staged *r = &b->staged[item];
    enum known known = KNOWN_NOT;
    int rc = batch_known(b, r->decoded, r->sequence, r->hash, &known, e);
    if (rc == 0)
        rc = next_ahead(b, r->decoded, r->sequence, e);
    if (rc < 0)
        return rc;
    r->dropped = r->placed = known == KNOWN_SAME;
    if (known != KNOWN_OTHER)
        return 0;
    return batch_find(b, INCIDENT_FORK, item, r->sequence, r->sequence, e);
}

int batch_write_ahead(struct batch *b, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < b->touched_n; i++) {
        const struct stream *s = b->touched[i];
        if (s->ahead != s->start_ahead)
            rc = db_run(b->t->db, "UPDATE stream SET ahead = $2 WHERE id = $1",
                        DB_ARGS(DB_I(s->id), DB_I(s->ahead)), NULL, e);
    }
    return rc;
}
