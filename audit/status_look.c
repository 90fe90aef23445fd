/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking: store heads against captured heads, counts, instances, incidents. Nothing here changes
 * anything.
 */
#include "audit/status_look.h"

#include "audit/status_incidents.h"
#include "base/clock.h"
#include "base/own.h"
#include "chat-server/store/epoch.h"
#include "mgccomp/totals.h"

#include <string.h>

/* So many streams that are behind are looked into for their oldest record; more only count. */
enum { BEHIND_STREAMS = 1000, PACE_MS = 600000 };

struct behind {
    int64_t stream, sequence;
};

/* What the visitors need. */
struct looking {
    struct look *look;
    struct store *store;
    struct db *db;
    struct json_doc *doc;
    int64_t matched;           /* streams both sides know */
    int64_t ended, ended_held; /* of them, in epochs that have ended; records the store holds */
    struct behind behind[BEHIND_STREAMS];
    size_t behind_count;
};

static int take_time(void *arg, const struct store_row *row, struct err *e)
{
    struct looking *l = arg;
    struct record r;

    (void)e;
    if (record_decode(l->doc, row->raw, &r, NULL) == 0) {
        int64_t *oldest = &l->look->oldest_uncaptured_us;
        if (!*oldest || r.time_us < *oldest)
            *oldest = r.time_us;
    }
    return 0;
}

struct captured_head {
    int64_t id, sequence, captured, deleted;
    uint8_t hash[SHA256_SIZE];
};

static int captured_head(struct db *db, const struct store_stream *s, struct captured_head *out,
                         struct err *e)
{
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int err =
        db_query(db,
                 "SELECT id, sequence, hash, captured, COALESCE((SELECT w.records FROM swept w"
                 " WHERE w.stream = id), 0) FROM stream"
                 " WHERE source = $1 AND epoch = $2 AND subject = $3",
                 DB_ARGS(DB_T(s->source), DB_I(s->epoch), DB_T(s->subject)), &rows, e);

    if (err)
        return err;
    *out = (struct captured_head){0};
    err = db_rows_next(rows, e);
    if (err <= 0)
        return err;
    out->id = db_rows_int(rows, 0);
    out->sequence = db_rows_int(rows, 1);
    struct slice hash = db_rows_slice(rows, 2);
    if (hash.n == sizeof out->hash)
        memcpy(out->hash, hash.p, sizeof out->hash);
    out->captured = db_rows_int(rows, 3);
    out->deleted = db_rows_int(rows, 4);
    return 0;
}

/* Archived by every required instance: the least of their counts. */
static int archived_of(struct looking *l, int64_t stream, int64_t *out, struct err *e)
{
    return db_int(l->db,
                  "SELECT MIN(COALESCE(a.records, 0)) FROM instance i"
                  " LEFT JOIN archived a ON a.instance = i.id AND a.stream = $1"
                  " WHERE i.required = 1 AND i.state <> 'retired'",
                  DB_ARGS(DB_I(stream)), 0, out, e);
}

static int note_room(struct looking *l, const struct store_stream *s,
                     const struct captured_head *head, struct err *e)
{
    struct look *k = l->look;

    if (!k->rooms || k->room_count == STATUS_ROOMS)
        return 0;
    struct seen_room *room = &k->rooms[k->room_count];
    *room = (struct seen_room){
        .stored = s->sequence, .captured = head->captured, .deleted = head->deleted};
    (void)slice_copy(s->subject, room->subject, sizeof room->subject);
    k->room_count++;
    return archived_of(l, head->id, &room->archived, e);
}

static void disagree(struct look *k, const struct store_stream *s, int64_t sequence,
                     const char *text)
{
    k->disagree++;
    snprintf(k->disagreement, sizeof k->disagreement, "%.*s#%lld %s",
             (int)(s->subject.n > 120 ? 120 : s->subject.n), s->subject.p, (long long)sequence,
             text);
}

static int compare_stream(void *arg, const struct store_stream *s, struct err *e)
{
    struct looking *l = arg;
    struct look *k = l->look;
    struct captured_head head;
    int err = captured_head(l->db, s, &head, e);

    if (err)
        return err;
    k->streams++;
    l->matched += head.id != 0;
    k->stored += s->sequence;
    if (s->epoch < s->source_epoch) {
        l->ended += head.id != 0;
        l->ended_held += s->sequence < head.sequence ? s->sequence : head.sequence;
    }
    if (head.sequence == s->sequence && s->sequence > 0 &&
        memcmp(head.hash, s->hash, sizeof head.hash) != 0)
        disagree(k, s, s->sequence, "is one record in the store and another one captured");
    else if (head.sequence > s->sequence && s->epoch >= s->source_epoch)
        disagree(k, s, head.sequence,
                 "was captured and is not in the store. If that was restored from a copy, type:"
                 " holdfast store restored --reason TEXT");
    if (s->sequence > head.sequence) {
        k->uncaptured += s->sequence - head.sequence;
        if (l->behind_count < BEHIND_STREAMS)
            l->behind[l->behind_count++] = (struct behind){s->id, head.sequence + 1};
    }
    return note_room(l, s, &head, e);
}

static int take_instance(void *arg, const struct ledger_instance *i, struct err *e)
{
    struct look *k = ((struct looking *)arg)->look;

    (void)e;
    if (k->instance_count < STATUS_INSTANCES)
        k->instances[k->instance_count++] = *i;
    return 0;
}

static int take_source(void *arg, struct slice source, const struct totals_known *known,
                       struct err *e)
{
    struct look *k = ((struct looking *)arg)->look;

    (void)e;
    if (k->source_count == STATUS_SOURCES)
        return 0;
    struct seen_source *s = &k->sources[k->source_count++];
    *s = (struct seen_source){
        .complete_us = known->complete_us, .totals_us = known->totals_us, .due_us = known->due_us};
    (void)slice_copy(source, s->name, sizeof s->name);
    return 0;
}

static int count_staging(struct looking *l, struct err *e)
{
    /* Of each partition, and of each batch that a required adapter has not verified: a parked one's
     * records are kept. */
    static const char oldest[] =
        "SELECT COALESCE(min(t.time_us), 0) FROM (SELECT (SELECT r.time_us FROM record r"
        " WHERE r.generation = q.generation AND r.part = p.part ORDER BY r.pos LIMIT 1) AS time_us"
        " FROM queue q CROSS JOIN position p UNION ALL SELECT (SELECT k.time_us FROM kept k"
        " WHERE k.generation = g.generation AND k.part = g.part AND k.pos >= g.from_pos"
        " AND k.pos < g.to_pos ORDER BY k.pos LIMIT 1) FROM batch_range g WHERE g.batch IN"
        " (SELECT b.id FROM batch b JOIN instance i ON i.id = b.instance AND i.required = 1"
        " AND i.state <> 'retired' WHERE b.state <> 'verified')) t";
    static const struct {
        const char *name;
        size_t at;
    } tallies[] = {
        {"captured", offsetof(struct look, captured)},
        {"duplicates", offsetof(struct look, duplicates)},
        {"exceptions", offsetof(struct look, exceptions)},
        {"deleted", offsetof(struct look, deleted)},
        {"accepted_losses", offsetof(struct look, losses)},
    };
    int err = 0;

    for (size_t i = 0; !err && i < sizeof tallies / sizeof *tallies; i++) {
        int64_t *value = (int64_t *)(void *)((char *)l->look + tallies[i].at);
        err = staging_tally_get(l->db, slice_of(tallies[i].name), value, e);
    }
    if (!err)
        err = db_int(l->db, "SELECT count(*) FROM kept", DB_NO_ARGS, 0, &l->look->kept, e);
    if (!err)
        err = db_int(l->db, oldest, DB_NO_ARGS, 0, &l->look->oldest_us, e);
    return err;
}

/* One snapshot of mgccomp, taken before the store is read: what is captured in between only makes
 * the picture look more behind than it is, never more complete. */
static int look_at_staging(struct looking *l, struct err *e)
{
    int err = count_staging(l, e);

    if (!err)
        err = ledger_instances(l->db, false, take_instance, l, e);
    if (!err)
        err = totals_each(l->db, take_source, l, e);
    if (!err)
        err = lease_look(l->db, &l->look->leader, e);
    return err;
}

/* After the streams were passed: a handle reads one thing at a time. */
static int look_at_behind(struct looking *l, struct err *e)
{
    for (size_t i = 0; i < l->behind_count; i++) {
        const struct behind *b = &l->behind[i];
        int err =
            store_read_stream(l->store, b->stream, b->sequence, b->sequence, 1, take_time, l, e);
        if (err)
            return err;
    }
    return 0;
}

static void look_at_disk(struct look *k, const struct status_input *in)
{
    int64_t ms = clock_mono_ms() - in->started_ms;

    k->disk_free = limit_disk_free(in->limit);
    k->disk_hours = -1;
    int64_t used = in->started_free - k->disk_free;
    if (in->started_ms && k->disk_free >= 0 && ms >= PACE_MS && used > 0)
        k->disk_hours = (int64_t)((double)k->disk_free / (double)used * (double)ms / 3600000);
}

/* What was captured of ended epochs, held by the store or not. */
static int count_ended(struct looking *l, int64_t *streams, struct err *e)
{
    struct look *k = l->look;
    int err = 0;

    *streams = 0;
    k->beyond = -l->ended_held;
    for (size_t i = 0; !err && i < k->epoch_count; i++) {
        int64_t n = 0, records = 0;
        struct slice source = slice_of(k->epochs[i].source);
        err = db_int(l->db, "SELECT COUNT(*) FROM stream WHERE source = $1 AND epoch < $2",
                     DB_ARGS(DB_T(source), DB_I(k->epochs[i].epoch)), 0, &n, e);
        if (!err)
            err = db_int(l->db,
                         "SELECT CAST(COALESCE(SUM(sequence), 0) AS BIGINT) FROM stream"
                         " WHERE source = $1 AND epoch < $2",
                         DB_ARGS(DB_T(source), DB_I(k->epochs[i].epoch)), 0, &records, e);
        *streams += n;
        k->beyond += records;
    }
    return err;
}

static int take_epoch(void *arg, const struct store_epoch *p, struct err *e)
{
    struct look *k = ((struct looking *)arg)->look;

    (void)e;
    if (k->epoch_count == STATUS_SOURCES)
        return 0;
    struct seen_epoch *s = &k->epochs[k->epoch_count++];
    *s = (struct seen_epoch){.epoch = p->epoch, .since_us = p->since_us};
    (void)slice_copy(p->source, s->source, sizeof s->source);
    return 0;
}

int status_look(struct look *k, const struct status_input *in, struct err *e)
{
    OWN(own_json_doc) struct json_doc *doc = json_doc_new();
    struct looking l = {.look = k, .store = in->store, .db = in->staging, .doc = doc};
    int64_t known, ended = 0;

    k->now_us = clock_wall_us();
    look_at_disk(k, in);
    if (!doc)
        return err_memory(e, "status");
    if (!in->store || !in->staging)
        return err_set(e, ERR_RETRY, "%s", in->unknown ? in->unknown : "a part can't be asked");
    int err = db_begin_read(in->staging, e);
    if (err)
        return err;
    OWN(own_db_rollback) struct db *txn = in->staging;
    err = look_at_staging(&l, e);
    if (!err)
        err = store_streams(in->store, compare_stream, &l, e);
    if (!err)
        err = store_epochs(in->store, take_epoch, &l, e);
    if (!err)
        err = count_ended(&l, &ended, e);
    if (!err)
        err = look_at_behind(&l, e);
    if (!err)
        err = status_look_incidents(k, in, e);
    if (!err)
        err = db_int(txn, "SELECT COUNT(*) FROM stream", DB_NO_ARGS, 0, &known, e);
    if (err)
        return err;
    k->unproved = known - l.matched - (ended - l.ended);
    if (k->oldest_uncaptured_us && (!k->oldest_us || k->oldest_uncaptured_us < k->oldest_us))
        k->oldest_us = k->oldest_uncaptured_us;
    return 0;
}
