/* SPDX-License-Identifier: Apache-2.0 */
/* A new epoch: the source's row, and records that name the heads this copy of the store knows. */
#include "chat-server/store/epoch.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "chat-server/store/store_inside.h"

#include <string.h>

enum {
    HEADS_A_PART = 64, /* so many of the longest subjects fit into a record */
    PARTS_A_GROUP = 64,
    HEAD_BYTES = 6 * RECORD_MAX_SUBJECT + 256,
};

struct restoring {
    struct store *s;
    const struct store_restore *r;
    struct slice subject; /* of the epoch-start records */
    char first_id[RECORD_MAX_ID + 1];
    int64_t epoch, parts, written;
    int64_t last; /* stream behind which the list goes on */
    struct buf texts[PARTS_A_GROUP];
    struct store_event events[PARTS_A_GROUP];
    struct store_result results[PARTS_A_GROUP];
};

static void restoring_free(struct restoring *g)
{
    for (size_t i = 0; g && i < PARTS_A_GROUP; i++)
        buf_done(&g->texts[i]);
    free(g);
}

OWN_DEFINE(restoring, struct restoring, restoring_free)

/* Each room once: as its newest epoch before this one left it. */
#define LAST_KNOWN                                                                                 \
    " FROM stream s JOIN record r ON r.stream = s.id AND r.sequence ="                             \
    " (SELECT max(q.sequence) FROM record q WHERE q.stream = s.id)"                                \
    " WHERE s.source = $1 AND s.epoch < $2 AND NOT EXISTS (SELECT 1 FROM stream n"                 \
    " WHERE n.source = s.source AND n.subject = s.subject AND n.epoch > s.epoch AND n.epoch < $2)"

static int count_parts(struct restoring *g, struct err *e)
{
    int64_t heads = 0;
    int rc = db_int(g->s->db, "SELECT count(*)" LAST_KNOWN,
                    DB_ARGS(DB_T(g->r->source), DB_I(g->epoch)), 0, &heads, e);
    g->parts = heads > HEADS_A_PART ? (heads + HEADS_A_PART - 1) / HEADS_A_PART : 1;
    return rc;
}

static void put_head(struct buf *b, const struct db_rows *rows)
{
    char hash[2 * SHA256_SIZE + 1];
    char sequence[21];
    struct slice bytes = db_rows_slice(rows, 4);
    if (bytes.n != SHA256_SIZE)
        return;
    hex_encode((const uint8_t *)bytes.p, SHA256_SIZE, hash);
    record_sequence_text(db_rows_int(rows, 3), sequence);
    json_comma(b);
    buf_char(b, '{');
    json_put_string(b, "subject", db_rows_slice(rows, 2));
    json_put_i64(b, "epoch", db_rows_int(rows, 1));
    json_put_string(b, "sequence", slice_of(sequence));
    json_put_string(b, "hash", slice_of(hash));
    buf_char(b, '}');
}

static int put_heads(struct restoring *g, struct buf *b, struct err *e)
{
    static const char read[] = "SELECT s.id, s.epoch, s.subject, r.sequence, r.hash" LAST_KNOWN
                               " AND s.id > $3 ORDER BY s.id LIMIT $4";
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(
        g->s->db, read,
        DB_ARGS(DB_T(g->r->source), DB_I(g->epoch), DB_I(g->last), DB_I(HEADS_A_PART)), &rows, e);
    while (rc == 0) {
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            break;
        put_head(b, rows);
        g->last = db_rows_int(rows, 0);
        rc = 0;
    }
    return rc;
}

/* The next part as an event. */
static int make_part(struct restoring *g, size_t i, struct err *e)
{
    struct buf *b = &g->texts[i];
    buf_clear(b);
    buf_char(b, '{');
    json_put_string(b, "reason", SLICE("restored"));
    json_put_string(b, "note", g->r->note);
    if (g->parts > 1) {
        json_put_i64(b, "part", g->written + (int64_t)i + 1);
        json_put_i64(b, "parts", g->parts);
    }
    if (g->written > 0)
        json_put_string(b, "list", slice_of(g->first_id));
    json_key(b, "heads");
    buf_char(b, '[');
    int rc = put_heads(g, b, e);
    buf_char(b, ']');
    if (rc == 0)
        rc = buf_ok(b, "an epoch-start record", e);
    if (rc < 0)
        return rc;
    g->events[i] = (struct store_event){.source = g->r->source,
                                        .subject = g->subject,
                                        .kind = RECORD_EPOCH_START,
                                        .time_us = clock_wall_us(),
                                        .members = {b->p + 1, b->n - 1}};
    return 0;
}

static int row_raised(struct store *s, void *arg, struct err *e)
{
    const struct restoring *g = arg;
    int rc =
        db_run(s->db,
               "INSERT INTO epoch (source, epoch, since_us, reason) VALUES ($1, $2, $3, $4)"
               " ON CONFLICT (source) DO UPDATE SET epoch = excluded.epoch,"
               " since_us = excluded.since_us, reason = excluded.reason",
               DB_ARGS(DB_T(g->r->source), DB_I(g->epoch), DB_I(clock_wall_us()), DB_T(g->r->note)),
               NULL, e);
    FAULT("epoch.raised");
    return rc;
}

static int write_parts(struct restoring *g, size_t n, store_also_fn *also, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = make_part(g, i, e);
    if (rc == 0)
        rc = store_append_with(g->s, g->events, n, g->results, also, g, e);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (g->results[i].class < 0)
            rc = err_set(e, g->results[i].class, "%s", g->results[i].text);
    }
    if (rc == 0)
        g->written += (int64_t)n;
    return rc;
}

static int note_first(struct restoring *g, struct err *e)
{
    struct record r;
    int rc = record_decode(g->s->json, g->results[0].record, &r, e);
    if (rc == 0 && !slice_copy(r.id, g->first_id, sizeof g->first_id))
        rc = err_set(e, ERR_FAULT, "the id of an epoch-start record is too long");
    return rc;
}

static int raise_epoch(struct restoring *g, struct err *e)
{
    struct store *s = g->s;
    int64_t old = claims_epoch(&s->claims, g->r->source);
    g->epoch = (old > g->r->captured_epoch ? old : g->r->captured_epoch) + 1;
    if (g->epoch > INT32_MAX)
        return err_set(e, ERR_REJECTED, "%.*s has no epoch left", SLICE_ARG(g->r->source));
    int rc = count_parts(g, e);
    if (rc < 0)
        return rc;
    claims_set_epoch(&s->claims, g->r->source, g->epoch);
    rc = write_parts(g, 1, row_raised, e);
    if (rc < 0) {
        claims_set_epoch(&s->claims, g->r->source, old);
        return rc;
    }
    FAULT("epoch.begun");
    rc = note_first(g, e);
    while (rc == 0 && g->written < g->parts) {
        int64_t left = g->parts - g->written;
        rc = write_parts(g, left < PARTS_A_GROUP ? (size_t)left : PARTS_A_GROUP, NULL, e);
    }
    FAULT("epoch.listed");
    return rc;
}

int store_restored(struct store *s, const struct store_restore *r, int64_t *epoch, struct err *e)
{
    OWN(own_restoring) struct restoring *g = calloc(1, sizeof *g);
    char uuid[37];
    char subject[64];
    if (!g)
        return err_memory(e, "beginning an epoch");
    uuid_v7(clock_wall_us(), uuid);
    (void)snprintf(subject, sizeof subject, "urn:uuid:%s", uuid);
    g->s = s;
    g->r = r;
    g->subject = slice_of(subject);
    for (size_t i = 0; i < PARTS_A_GROUP; i++)
        buf_init(&g->texts[i], HEADS_A_PART * HEAD_BYTES + 8192);
    int rc = store_claim(s, r->source, e);
    if (rc == 0)
        rc = session_fence_shared(s, r->source, e);
    if (rc == 0)
        rc = raise_epoch(g, e);
    *epoch = g->epoch;
    return rc;
}
