/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An archive is read as if it were one more partition of the queue: capture's own rules say what is
 * known, what is next in its room, and what is missing in between. So the copies that the queue
 * still holds are dropped as repeated, and adapters that have not got a record get it from here.
 */
#include "audit/reconcile_apply.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "mgccomp/incident.h"
#include "mgccomp/lease.h"

#include <inttypes.h>
#include <string.h>

enum {
    CHUNK_RECORDS = 2000,
    CHUNK_BYTES = 2 << 20,
    TRIES = 100, /* of a chunk, while capture writes the same rooms */
    ENDS_MS = 10000,
};

struct reading {
    struct reconcile_apply *a;
    const struct reconcile_file *file;
    struct json_doc *doc;
    /* looking: */
    struct buf room; /* source and subject of the room that head is of */
    int64_t head;
    struct reconcile_sums *sums;
    /* feeding: */
    struct arena texts;
    struct capture_item items[CHUNK_RECORDS];
    size_t n, bytes;
    /* taking into the ledger: */
    struct staging_txn *t;
};

static void own_reading(struct reading **r)
{
    if (!*r)
        return;
    json_doc_free((*r)->doc);
    buf_done(&(*r)->room);
    arena_done(&(*r)->texts);
    free(*r);
}

static struct reading *reading_new(struct reconcile_apply *a, const struct reconcile_file *f)
{
    struct reading *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->a = a;
    r->file = f;
    r->doc = json_doc_new();
    buf_init(&r->room, RECORD_MAX_SOURCE + RECORD_MAX_SUBJECT + 64);
    arena_init(&r->texts, CHUNK_BYTES);
    if (!r->doc)
        own_reading(&r);
    return r;
}

static int walk(struct reading *r, reconcile_visit_fn *visit, struct had_batch *b, struct err *e)
{
    char instance[64];
    const struct ledger_instance *i = &r->a->files->instances[r->file->instance];
    int rc = r->a->in->kinds[r->file->kind].walk(r->file->path, b, instance, visit, r, e);
    if (rc < 0)
        return rc;
    if (strcmp(instance, i->name) != 0 || b->number != r->file->number)
        return err_set(e, ERR_FAULT, "%s says that it is batch %" PRId64 " of %s", r->file->path,
                       b->number, instance);
    b->instance = i->id;
    return 0;
}

/* ---- looking ---- */

static int head_of(struct reading *r, const struct record *rec, struct err *e)
{
    OWN(own_buf) struct buf room;
    buf_init(&room, r->room.max);
    buf_format(&room, "%" PRId64 " %.*s ", rec->epoch, SLICE_ARG(rec->source));
    buf_slice(&room, rec->subject);
    if (slice_eq(buf_view(&room), buf_view(&r->room)))
        return 0;
    buf_clear(&r->room);
    buf_slice(&r->room, buf_view(&room));
    r->head = 0;
    int rc = db_int(
        r->a->db, "SELECT sequence FROM stream WHERE source = $1 AND epoch = $2 AND subject = $3",
        DB_ARGS(DB_T(rec->source), DB_I(rec->epoch), DB_T(rec->subject)), 0, &r->head, e);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int look_at(void *arg, const struct reconcile_record *x, struct err *e)
{
    struct reading *r = arg;
    struct record rec;
    r->sums->records++;
    if (!x->exception && !x->raw.p)
        return 0;
    if (x->exception || record_decode(r->doc, x->raw, &rec, NULL) < 0 || !rec.sequenced) {
        r->sums->unprovable++;
        return 0;
    }
    int rc = head_of(r, &rec, e);
    r->sums->lacking += rc == 0 && rec.sequence > r->head;
    return rc;
}

int reconcile_look(struct reconcile_apply *a, const struct reconcile_file *f, struct err *e)
{
    OWN(own_reading) struct reading *r = reading_new(a, f);
    struct reconcile_sums sums = a->sums;
    struct had_batch b;
    if (!r)
        return err_memory(e, "reading an archive");
    r->sums = &sums;
    int rc = walk(r, look_at, &b, e);
    if (rc == 0) {
        a->sums = sums;
        a->sums.archives++;
    }
    return rc;
}

/* ---- capturing from the archive ---- */

static int write_once(struct reading *r, struct capture_outcome *out, struct err *e)
{
    OWN(own_capture_batch) struct capture_batch *batch = NULL;
    struct staging_position at = {.part = STAGING_ARCHIVE_PART};
    int rc = staging_positions(r->a->in->staging, &at, 1, e);
    for (size_t i = 0; rc == 0 && i < r->n; i++)
        r->items[i].pos = at.pos + (int64_t)i;
    if (rc == 0)
        rc = capture_batch_new(&batch, e);
    if (rc == 0)
        rc = capture_decode(batch, r->items, r->n, e);
    return rc == 0 ? capture_write(r->a->writer, batch, &at, 1, out, e) : rc;
}

static int flush(struct reading *r, struct err *e)
{
    struct capture_outcome out = {0};
    int rc = ERR_CONFLICT;
    for (int i = 0; r->n && rc == ERR_CONFLICT && i < TRIES; i++)
        rc = write_once(r, &out, e);
    if (r->n && rc < 0)
        return rc;
    r->a->sums.captured += (int64_t)out.stored;
    r->a->sums.incidents += (int64_t)out.incidents;
    r->n = 0;
    r->bytes = 0;
    arena_reset(&r->texts);
    return 0;
}

/* What has no number can't be told from its copy in the queue: it comes from there, if it does. */
static int feed(void *arg, const struct reconcile_record *x, struct err *e)
{
    struct reading *r = arg;
    struct record rec;
    struct err why = {0};
    if (x->exception || !x->raw.p)
        return 0;
    int rc = record_decode(r->doc, x->raw, &rec, &why);
    if (rc < 0 && rc != ERR_REJECTED)
        return err_set(e, rc, "reading an archive: %s", why.text);
    if (rc < 0 || !rec.sequenced)
        return 0;
    struct capture_item *item = &r->items[r->n];
    *item = (struct capture_item){.part = STAGING_ARCHIVE_PART, .queued_us = clock_wall_us()};
    if (!arena_copy(&r->texts, x->raw, &item->raw))
        return err_memory(e, "reading an archive");
    r->n++;
    r->bytes += x->raw.n;
    return r->n == CHUNK_RECORDS || r->bytes >= CHUNK_BYTES ? flush(r, e) : 0;
}

/* ---- into the ledger ---- */

static int take(void *arg, const struct reconcile_record *x, struct err *e)
{
    struct reading *r = arg;
    const struct reconcile_files *f = r->a->files;
    const bool proved = !r->a->in->kinds[r->file->kind].lists || r->a->vouched[r->file->instance];
    int rc = had_add(r->t, f->instances[r->file->instance].id, x->hash, proved, e);
    for (size_t i = 0; rc == 0 && i < f->instance_count; i++) {
        if (r->a->trusted[i] && i != r->file->instance)
            rc = had_trust(r->t, f->instances[i].id, x->hash, e);
    }
    return rc;
}

static int enter(struct reading *r, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    struct had_batch b;
    int rc = lease_begin(r->a->in->staging, &t, e);
    if (rc < 0)
        return rc;
    r->t = &t;
    rc = walk(r, take, &b, e);
    if (rc == 0) {
        (void)slice_copy((struct slice){r->file->path + r->file->name, r->file->stem}, b.stem,
                         sizeof b.stem);
        rc = had_adopt(&t, &b, e);
    }
    FAULT("reconcile.commit.before");
    if (rc == 0)
        rc = staging_commit(&t, e);
    FAULT("reconcile.commit.after");
    return rc;
}

int reconcile_archive(struct reconcile_apply *a, const struct reconcile_file *f, struct err *e)
{
    OWN(own_reading) struct reading *r = reading_new(a, f);
    struct had_batch b;
    bool done = false;
    if (!r)
        return err_memory(e, "reading an archive");
    int rc = had_adopted(a->db, a->files->instances[f->instance].id, f->number, &done, e);
    if (rc < 0 || done)
        return rc;
    rc = walk(r, feed, &b, e);
    if (rc == 0)
        rc = flush(r, e);
    FAULT("reconcile.captured");
    return rc == 0 ? enter(r, e) : rc;
}

/* ---- where the queue begins now ---- */

enum { PARTS = STAGING_ARCHIVE_PART };

static int read_positions(struct db *db, struct staging_position *at, size_t *n, struct err *e)
{
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(db, "SELECT part, pos, shift FROM position WHERE part < $1 ORDER BY part",
                      DB_ARGS(DB_I(PARTS)), &rows, e);
    *n = 0;
    if (rc == 0)
        rc = db_rows_next(rows, e);
    for (; rc == 1; rc = db_rows_next(rows, e))
        at[(*n)++] = (struct staging_position){.part = (int32_t)db_rows_int(rows, 0),
                                               .pos = db_rows_int(rows, 1),
                                               .shift = db_rows_int(rows, 2)};
    return rc;
}

/* Capture compares an open log-changed incident's partition again, and closes it. */
static int move(struct staging *st, const struct staging_position *at, int64_t low, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int rc = staging_begin(st, &t, e);
    if (rc == 0)
        rc = staging_reread(&t, at, low, e);
    if (rc == 0)
        rc = db_run(t.db,
                    "UPDATE incident SET asked_us = 1 WHERE kind = $1 AND closed_us IS NULL"
                    " AND part = $2",
                    DB_ARGS(DB_T(slice_of(INCIDENT_LOG_CHANGED)), DB_I(at->part)), NULL, e);
    return rc == 0 ? staging_commit(&t, e) : rc;
}

int reconcile_positions(struct reconcile_apply *a, struct app_io *io, size_t *moved, struct err *e)
{
    OWN(own_mem) struct staging_position *at = calloc(PARTS, sizeof *at);
    size_t n = 0;
    *moved = 0;
    if (!at)
        return err_memory(e, "the queue's positions");
    int rc = a->in->kafka ? read_positions(a->db, at, &n, e) : 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const int64_t offset = at[i].pos - at[i].shift;
        int64_t low = 0;
        int64_t high = 0;
        rc = kafka_ends(a->in->kafka, at[i].part, ENDS_MS, &low, &high, e);
        if (rc < 0 || low <= offset)
            continue;
        rc = move(a->in->staging, &at[i], low, e);
        if (rc < 0)
            continue;
        ++*moved;
        (void)fprintf(io->out,
                      "partition %" PRId32 ": offsets %" PRId64 " to %" PRId64
                      " are gone from the queue; capture goes on behind them\n",
                      at[i].part, offset, low - 1);
    }
    return rc;
}
