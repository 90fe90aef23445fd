/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Freezing a batch. Positions say what is cut, time and size only when: a row captured before the
 * cut and committed after it lies above the position that this transaction read, so it is in the
 * next batch and never lost.
 */
#include "base/clock.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/own.h"
#include "mgccomp/had.h"
#include "mgccomp/lease.h"
#include "mgccomp/ledger.h"
#include "mgccomp/ledger_private.h"
#include "mgccomp/stem.h"

#include <inttypes.h>
#include <string.h>

/* A partition with something between the instance's cursor and capture's position. */
struct slot {
    struct ledger_range range; /* to: capture's position, then where the cut ends */
    int64_t oldest_us;         /* of its first uncut record; INT64_MAX when there is none */
    bool cut;
};

struct cut {
    struct db *db;
    int64_t instance, number, now_us;
    const struct ledger_sink *sink;
    struct slot slots[LEDGER_MAX_RANGES];
    size_t slot_count;
    int64_t records, bytes, oldest_us;
    bool full;       /* a limit was reached */
    bool reads_back; /* the instance's module, in full */
};

/* The partitions that waited longest: busy ones would starve the others, and more than fit would
 * starve those behind them. */
static int read_slots(struct cut *c, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(c->db,
                      "SELECT s.generation, s.part, s.done, s.pos, s.record_us, s.kept_us FROM ("
                      " SELECT q.generation AS generation, p.part AS part,"
                      " COALESCE(c.pos, 0) AS done, p.pos AS pos,"
                      " (SELECT r.captured_us FROM record r WHERE r.generation = q.generation"
                      " AND r.part = p.part AND r.pos >= COALESCE(c.pos, 0) AND r.pos < p.pos"
                      " ORDER BY r.pos LIMIT 1) AS record_us,"
                      " (SELECT k.captured_us FROM kept k WHERE k.generation = q.generation"
                      " AND k.part = p.part AND k.pos >= COALESCE(c.pos, 0) AND k.pos < p.pos"
                      " ORDER BY k.pos LIMIT 1) AS kept_us"
                      " FROM queue q CROSS JOIN position p LEFT JOIN cursor c ON c.instance = $1"
                      " AND c.generation = q.generation AND c.part = p.part"
                      " WHERE p.pos > COALESCE(c.pos, 0)) s"
                      " ORDER BY CASE WHEN s.kept_us IS NULL OR s.record_us < s.kept_us"
                      " THEN s.record_us ELSE s.kept_us END NULLS LAST, s.part LIMIT $2",
                      DB_ARGS(DB_I(c->instance), DB_I(LEDGER_MAX_RANGES)), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        struct slot *s = &c->slots[c->slot_count++];
        s->range = (struct ledger_range){.generation = db_rows_int(r, 0),
                                         .part = (int32_t)db_rows_int(r, 1),
                                         .from = db_rows_int(r, 2),
                                         .to = db_rows_int(r, 3)};
        s->oldest_us = db_rows_null(r, 4) ? INT64_MAX : db_rows_int(r, 4);
        if (!db_rows_null(r, 5) && db_rows_int(r, 5) < s->oldest_us)
            s->oldest_us = db_rows_int(r, 5);
        s->cut = false;
    }
    return rc;
}

/* Takes records of a partition until a limit is reached; at least one record in the whole cut. */
static int measure_slot(struct cut *c, struct slot *s, int64_t max_records, int64_t max_bytes,
                        struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(c->db,
                      "SELECT pos, length(raw) AS bytes FROM record WHERE generation = $1"
                      " AND part = $2 AND pos >= $3 AND pos < $4"
                      " UNION ALL SELECT pos, length(raw) FROM kept WHERE generation = $1"
                      " AND part = $2 AND pos >= $3 AND pos < $4 ORDER BY pos LIMIT $5",
                      DB_ARGS(DB_I(s->range.generation), DB_I(s->range.part), DB_I(s->range.from),
                              DB_I(s->range.to), DB_I(max_records - c->records + 1)),
                      &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        int64_t pos = db_rows_int(r, 0);
        int64_t length = db_rows_int(r, 1);
        if (c->records && (c->records >= max_records || c->bytes + length > max_bytes)) {
            s->range.to = pos;
            c->full = true;
            return 0;
        }
        c->records++;
        c->bytes += length;
        s->cut = true;
    }
    return rc;
}

static int measure(struct cut *c, const struct ledger_due *due, int64_t max_records, struct err *e)
{
    int rc = 0;
    c->oldest_us = c->slot_count ? c->slots[0].oldest_us : INT64_MAX;
    for (size_t i = 0; rc == 0 && i < c->slot_count && !c->full; i++) {
        if (c->slots[i].oldest_us != INT64_MAX)
            rc = measure_slot(c, &c->slots[i], max_records, due->bytes, e);
    }
    if (c->records >= max_records || c->bytes >= due->bytes)
        c->full = true;
    return rc;
}

static bool is_due(const struct cut *c, const struct ledger_due *due)
{
    if (c->records == 0)
        return false;
    if (c->full || due->now || due->interval_ms <= 0)
        return true;
    int64_t interval_us = due->interval_ms * 1000;
    /* Captured in the future: the clock was set back, and waiting until then might take days. */
    return c->oldest_us < c->now_us - c->now_us % interval_us ||
           c->oldest_us > c->now_us + interval_us;
}

static int move_cursor(struct cut *c, const struct ledger_range *r, struct err *e)
{
    int64_t changed = 0;
    int rc = db_run(
        c->db,
        "UPDATE cursor SET pos = $4 WHERE instance = $1 AND generation = $2"
        " AND part = $3 AND pos = $5",
        DB_ARGS(DB_I(c->instance), DB_I(r->generation), DB_I(r->part), DB_I(r->to), DB_I(r->from)),
        &changed, e);
    if (rc < 0 || changed == 1)
        return rc;
    if (r->from != 0)
        return err_set(e, ERR_CONFLICT, "another archiver moved the cursor of partition %" PRId32,
                       r->part);
    return db_run(
        c->db, "INSERT INTO cursor (instance, generation, part, pos) VALUES ($1, $2, $3, $4)",
        DB_ARGS(DB_I(c->instance), DB_I(r->generation), DB_I(r->part), DB_I(r->to)), NULL, e);
}

/* Positions without rows (duplicates were dropped there) are passed over without a batch. */
static int pass_empty(struct cut *c, bool *moved, struct err *e)
{
    for (size_t i = 0; i < c->slot_count; i++) {
        if (c->slots[i].oldest_us != INT64_MAX)
            continue;
        int rc = move_cursor(c, &c->slots[i].range, e);
        if (rc < 0)
            return rc;
        *moved = true;
    }
    return 0;
}

/* Rows that were passed over on a list's word: nobody read them back for this instance. */
static int not_read_back(struct cut *c, const struct ledger_range *passed, struct err *e)
{
    return db_run(
        c->db,
        "UPDATE cursor SET full_from = $4 WHERE instance = $1 AND generation = $2"
        " AND part = $3 AND full_from < $4",
        DB_ARGS(DB_I(c->instance), DB_I(passed->generation), DB_I(passed->part), DB_I(passed->to)),
        NULL, e);
}

/* After a restore: what the instance's archive holds already is no part of a batch. */
static int pass_had(struct cut *c, struct staging_txn *t, bool *moved, struct err *e)
{
    int64_t left = 0;
    int rc = had_left(c->db, c->instance, &left, e);
    for (size_t i = 0; rc == 0 && left && i < c->slot_count; i++) {
        struct ledger_range *r = &c->slots[i].range;
        const int64_t from = r->from;
        bool proved = true;
        if (c->slots[i].oldest_us == INT64_MAX)
            continue;
        rc = had_pass(t, c->instance, r, &proved, e);
        if (rc < 0 || r->from == from)
            continue;
        const struct ledger_range passed = {r->generation, r->part, from, r->from};
        rc = move_cursor(c, &passed, e);
        if (rc == 0 && !(proved && c->reads_back))
            rc = not_read_back(c, &passed, e);
        *moved = true;
    }
    return rc;
}

static int store_ranges(struct cut *c, struct ledger_batch *b, struct err *e)
{
    for (size_t i = 0; i < c->slot_count; i++) {
        const struct ledger_range *r = &c->slots[i].range;
        if (!c->slots[i].cut)
            continue;
        int rc = db_run(c->db,
                        "INSERT INTO batch_range (batch, generation, part, from_pos, to_pos)"
                        " VALUES ($1, $2, $3, $4, $5)",
                        DB_ARGS(DB_T(slice_of(b->id)), DB_I(r->generation), DB_I(r->part),
                                DB_I(r->from), DB_I(r->to)),
                        NULL, e);
        if (rc == 0)
            rc = move_cursor(c, r, e);
        if (rc < 0)
            return rc;
        b->ranges[b->range_count++] = *r;
    }
    return 0;
}

static void own_sha256(struct sha256 **s)
{
    sha256_free(*s);
}

struct digesting {
    struct sha256 *sum;
    const struct ledger_sink *sink;
    int64_t records, bytes;
};

static int digest_record(void *arg, const struct ledger_record *r, struct err *e)
{
    struct digesting *d = arg;
    sha256_add_part(d->sum, r->raw.p, r->raw.n);
    d->records++;
    d->bytes += (int64_t)r->raw.n;
    return d->sink ? d->sink->visit(d->sink->arg, r, e) : 0;
}

static int digest(struct cut *c, struct ledger_batch *b, struct err *e)
{
    OWN(own_sha256) struct sha256 *sum = sha256_new();
    if (!sum)
        return err_memory(e, "a batch's digest");
    struct digesting d = {.sum = sum, .sink = c->sink};
    int rc = ledger_batch_records(c->db, b, digest_record, &d, e);
    if (rc < 0)
        return rc;
    if (d.records != c->records || d.bytes != c->bytes)
        return err_set(e, ERR_FAULT, "batch %s: %" PRId64 " records were found, then %" PRId64,
                       b->id, c->records, d.records);
    sha256_end(sum, b->digest);
    b->records = d.records;
    b->bytes = d.bytes;
    return 0;
}

/* The rooms in the records' order. streams gets each room's stream, for the rosters. */
static int write_rooms(struct cut *c, const struct ledger_batch *b, struct buf *json,
                       struct buf *streams, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    int rc = db_query(c->db,
                      "SELECT s.id, s.source, s.epoch, s.subject, s.name, f.first, f.records"
                      " FROM (SELECT r.stream AS stream, min(r.sequence) AS first,"
                      " count(*) AS records" LEDGER_FROM_BATCH
                      " AND r.stream IS NOT NULL GROUP BY r.stream) f"
                      " JOIN stream s ON s.id = f.stream ORDER BY s.id",
                      DB_ARGS(DB_T(slice_of(b->id))), &r, e);
    buf_text(json, "{\"rooms\":[");
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        int64_t stream = db_rows_int(r, 0);
        json_comma(json);
        buf_char(json, '{');
        json_put_i64(json, "stream", stream);
        json_put_string(json, "source", db_rows_slice(r, 1));
        json_put_i64(json, "epoch", db_rows_int(r, 2));
        json_put_string(json, "subject", db_rows_slice(r, 3));
        json_put_string(json, "name", db_rows_slice(r, 4));
        json_put_i64(json, "first", db_rows_int(r, 5));
        json_put_i64(json, "records", db_rows_int(r, 6));
        buf_char(json, '}');
        buf_add(streams, &stream, sizeof stream);
    }
    buf_text(json, "],\"rosters\":[");
    return rc;
}

static void write_present(struct buf *json, size_t room, const struct db_rows *r)
{
    json_comma(json);
    buf_char(json, '[');
    buf_i64(json, (int64_t)room);
    buf_char(json, ',');
    json_write_string(json, db_rows_slice(r, 1));
    buf_char(json, ',');
    json_write_string(json, db_rows_slice(r, 2));
    buf_char(json, ',');
    buf_i64(json, db_rows_int(r, 3));
    buf_char(json, ']');
}

/* Who was there before a room's first record of the batch: somebody with two clients is one. */
static int write_rosters(struct cut *c, const struct ledger_batch *b, const struct buf *streams,
                         struct buf *json, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    size_t rooms = streams->n / sizeof(int64_t);
    size_t room = 0;
    int rc = db_query(c->db,
                      "SELECT p.stream, p.participant, max(COALESCE(p.name, '')), min(p.joined_us)"
                      " FROM (SELECT r.stream AS stream, min(r.sequence) AS first" LEDGER_FROM_BATCH
                      " AND r.sequence IS NOT NULL AND r.stream IS NOT NULL GROUP BY r.stream) f"
                      " JOIN presence p ON p.stream = f.stream AND p.joined < f.first"
                      " AND (p.left_at IS NULL OR p.left_at >= f.first)"
                      " GROUP BY p.stream, p.participant ORDER BY p.stream, p.participant",
                      DB_ARGS(DB_T(slice_of(b->id))), &r, e);
    if (rc == 0)
        rc = db_rows_next(r, e);
    for (; rc == 1; rc = db_rows_next(r, e)) {
        int64_t stream = db_rows_int(r, 0);
        int64_t here = 0;
        for (; room < rooms; room++) {
            memcpy(&here, streams->p + room * sizeof here, sizeof here);
            if (here >= stream)
                break;
        }
        if (room == rooms || here != stream)
            return err_set(e, ERR_FAULT, "batch %s: a roster without its room", b->id);
        write_present(json, room, r);
    }
    buf_text(json, "]}");
    return rc;
}

static int roster(struct cut *c, const struct ledger_batch *b, struct buf *json, struct err *e)
{
    OWN(own_buf) struct buf streams;
    buf_init(&streams, LEDGER_MAX_ROSTER);
    int rc = write_rooms(c, b, json, &streams, e);
    if (rc == 0)
        rc = buf_ok(&streams, "the rooms of a batch", e);
    if (rc == 0)
        rc = write_rosters(c, b, &streams, json, e);
    if (rc == 0)
        rc = buf_ok(json, "the rosters of a batch", e);
    return rc;
}

static int store_batch(struct cut *c, struct ledger_batch *b, const struct buf *json, struct err *e)
{
    int64_t changed = 0;
    int rc = db_run(
        c->db,
        "INSERT INTO batch (id, instance, number, purpose, state, stem, cut_us,"
        " records, bytes, digest, format, roster, attempts, changed_us)"
        " VALUES ($1, $2, $3, 'archive', 'frozen', $4, $5, $6, $7, $8, 1, $9, 0, $5)",
        DB_ARGS(DB_T(slice_of(b->id)), DB_I(b->instance), DB_I(b->number), DB_T(slice_of(b->stem)),
                DB_I(b->cut_us), DB_I(b->records), DB_I(b->bytes),
                DB_B(((struct slice){(const char *)b->digest, SHA256_SIZE})), DB_B(buf_view(json))),
        NULL, e);
    if (rc == 0)
        rc = db_run(c->db,
                    "UPDATE instance SET batches = $2 WHERE id = $1 AND batches = $3"
                    " AND state = 'active'",
                    DB_ARGS(DB_I(b->instance), DB_I(b->number), DB_I(b->number - 1)), &changed, e);
    if (rc == 0 && changed == 0)
        rc = err_set(e, ERR_CONFLICT, "another archiver cut, or the adapter was retired");
    return rc;
}

static int freeze(struct cut *c, const char *instance, struct ledger_batch *b, struct err *e)
{
    OWN(own_buf) struct buf json;
    buf_init(&json, LEDGER_MAX_ROSTER);
    *b = (struct ledger_batch){.instance = c->instance, .number = c->number, .cut_us = c->now_us};
    uuid_v7(c->now_us, b->id);
    /* Its digits of the id keep apart what two staging databases write to one folder. */
    stem_make(b->stem, b->cut_us, instance, b->number, b->id);
    ledger_text(b->state, sizeof b->state, SLICE("frozen"));
    int rc = store_ranges(c, b, e);
    /* A roster that is too long ends the cut before anything goes into the sink. */
    if (rc == 0)
        rc = roster(c, b, &json, e);
    if (rc == 0)
        rc = digest(c, b, e);
    return rc == 0 ? store_batch(c, b, &json, e) : rc;
}

/* The number of the instance's next batch; ERR_NOT_FOUND when it may cut none. */
static int next_number(struct cut *c, struct err *e)
{
    int64_t open = 0;
    int64_t parked = 0;
    int64_t batches = 0;
    int rc = db_int(c->db, "SELECT batches FROM instance WHERE id = $1 AND state = 'active'",
                    DB_ARGS(DB_I(c->instance)), 0, &batches, e);
    if (rc == 0)
        rc = db_int(c->db, "SELECT count(*) FROM batch WHERE instance = $1 AND state <> 'verified'",
                    DB_ARGS(DB_I(c->instance)), 0, &open, e);
    if (rc == 0 && open)
        rc = db_int(c->db,
                    "SELECT count(*) FROM batch WHERE instance = $1 AND state <> 'verified'"
                    " AND state = 'parked'",
                    DB_ARGS(DB_I(c->instance)), 0, &parked, e);
    if (rc == 0 && (open > parked || parked >= LEDGER_MAX_PARKED))
        rc = err_set(e, ERR_NOT_FOUND, "a batch is in hand, or too many are parked");
    c->number = batches + 1;
    return rc;
}

static int cut_once(struct staging *st, const struct ledger_instance *i,
                    const struct ledger_due *due, int64_t max_records,
                    const struct ledger_sink *sink, struct ledger_batch *out, struct err *e)
{
    OWN(own_mem) struct cut *c = calloc(1, sizeof *c);
    OWN(own_mem) struct ledger_batch *b = calloc(1, sizeof *b);
    OWN(own_staging_txn) struct staging_txn t = {0};
    bool moved = false;
    if (!c || !b)
        return err_memory(e, "cutting a batch");
    int rc = lease_begin(st, &t, e);
    /* The sweep does not wait for an instance that is not required: not while this looks, either.
     */
    if (rc == 0 && !i->required)
        rc = staging_lock_gate(&t, e);
    if (rc < 0)
        return rc;
    c->db = t.db;
    c->instance = i->id;
    c->reads_back = i->readback == LEDGER_READBACK_FULL;
    c->sink = sink;
    rc = next_number(c, e);
    if (rc == 0)
        rc = db_now_us(t.db, &c->now_us, e);
    if (rc == 0)
        rc = read_slots(c, e);
    if (rc == 0)
        rc = pass_had(c, &t, &moved, e);
    if (rc == 0)
        rc = measure(c, due, max_records, e);
    if (rc == 0)
        rc = pass_empty(c, &moved, e);
    if (rc < 0)
        return rc;
    bool cut = is_due(c, due);
    if (cut)
        rc = freeze(c, i->name, b, e);
    FAULT("cut.commit.before");
    if (rc == 0 && (cut || moved))
        rc = staging_commit(&t, e);
    FAULT("cut.commit.after");
    if (rc < 0)
        return rc;
    if (!cut)
        return err_set(e, ERR_NOT_FOUND, "nothing is due");
    *out = *b;
    return 0;
}

int ledger_cut(struct staging *st, const struct ledger_instance *i, const struct ledger_due *due,
               const struct ledger_sink *sink, struct ledger_batch *out, struct err *e)
{
    int64_t records = due->records > 0 ? due->records : 1;
    for (;;) {
        int rc = cut_once(st, i, due, records, sink, out, e);
        /* Rosters over their limit: fewer records name fewer rooms. */
        if (rc != ERR_REJECTED || records == 1)
            return rc;
        records /= 2;
    }
}
