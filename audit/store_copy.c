/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mgccomp's heads against the store's. Staging is read first, so that what is stored meanwhile only
 * makes the store look newer. The streams captured last tell: an older copy lacks the newest.
 */
#include "audit/store_copy.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"
#include "chat-server/store/epoch.h"

#include <inttypes.h>
#include <string.h>

enum { NEWEST_STREAMS = 2000, SOURCES = 256, REASON_MAX = 1000 };

static int older(struct slice source, struct slice subject, int64_t sequence, const char *what,
                 struct err *e)
{
    return err_set(e, ERR_CONFLICT,
                   "the chat store is older than what was captured of %.*s: %s %.*s#%" PRId64
                   ". If it was restored from a copy, type: holdfast store restored --reason TEXT",
                   (int)(source.n > 80 ? 80 : source.n), source.p, what,
                   (int)(subject.n > 120 ? 120 : subject.n), subject.p, sequence);
}

static int knows_stream(struct store *s, struct slice source, int64_t epoch, struct slice subject,
                        bool *knows, struct err *e)
{
    uint8_t hash[SHA256_SIZE];
    int rc = store_hash_at(s, source, epoch, subject, 1, hash, e);
    *knows = rc == 0;
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

/* One captured head: epoch, subject, sequence, hash. */
static int compare_head(struct store *s, struct slice source, const struct db_rows *row, bool all,
                        struct err *e)
{
    int64_t epoch = db_rows_int(row, 0);
    struct slice subject = db_rows_slice(row, 1);
    int64_t sequence = db_rows_int(row, 2);
    struct slice captured = db_rows_slice(row, 3);
    uint8_t hash[SHA256_SIZE];
    bool knows = true;
    int rc = store_hash_at(s, source, epoch, subject, sequence, hash, e);
    if (rc == 0 && captured.n == SHA256_SIZE && memcmp(hash, captured.p, SHA256_SIZE) != 0)
        return older(source, subject, sequence, "it holds another record as", e);
    if (rc != ERR_NOT_FOUND)
        return rc;
    rc = all ? 0 : knows_stream(s, source, epoch, subject, &knows, e);
    return rc < 0 || !knows ? rc : older(source, subject, sequence, "it does not hold", e);
}

int store_copy_check(struct store *s, struct db *staging, struct slice source, bool all,
                     struct err *e)
{
    static const char heads[] = "SELECT epoch, subject, sequence, hash FROM stream"
                                " WHERE source = $1 AND epoch >= $2 AND sequence > 0"
                                " ORDER BY last_us DESC, id DESC LIMIT $3";
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int64_t epoch = 1;
    int rc = store_epoch(s, source, &epoch, e);
    if (rc == 0)
        rc = db_query(staging, heads, DB_ARGS(DB_T(source), DB_I(epoch), DB_I(NEWEST_STREAMS)),
                      &rows, e);
    while (rc == 0) {
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            return rc;
        rc = compare_head(s, source, rows, all, e);
    }
    return rc;
}

/* ---- holdfast store restored ---- */

struct restored {
    struct app_io *io;
    const struct store_copy_input *in;
    struct db *staging;
    struct slice reason;
    char *sources[SOURCES];
    size_t n;
};

static void restored_free(struct restored *r)
{
    for (size_t i = 0; r && i < r->n; i++)
        free(r->sources[i]);
    if (r)
        db_close(r->staging);
    free(r);
}

OWN_DEFINE(restored, struct restored, restored_free)

static int add_source(struct restored *r, struct slice source, struct err *e)
{
    if (r->n == SOURCES)
        return err_set(e, ERR_REJECTED, "the store has more than %d sources", SOURCES);
    r->sources[r->n] = slice_dup(source);
    return r->sources[r->n++] ? 0 : err_memory(e, "the store's sources");
}

static int add_other(void *arg, struct slice source, struct err *e)
{
    struct restored *r = arg;
    return slice_eq(source, r->in->pool) ? 0 : add_source(r, source, e);
}

/* Embedded: capture stands behind records that this copy does not have. All that the copy has were
 * captured then, so that it goes on behind its end. */
static int move_position(struct restored *r, struct store *s, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    OWN(own_db_rows) struct db_rows *rows = NULL;
    struct staging_position at = {.part = 0};
    int64_t last = 0;
    int rc = store_last_pos(s, &last, e);
    if (rc == 0)
        rc = staging_begin(r->in->staging, &t, e);
    if (rc == 0)
        rc = db_query(t.db, "SELECT pos, shift FROM position WHERE part = 0", DB_NO_ARGS, &rows, e);
    if (rc == 0)
        rc = db_rows_next(rows, e);
    if (rc <= 0)
        return rc;
    at.pos = db_rows_int(rows, 0);
    at.shift = db_rows_int(rows, 1);
    db_rows_free(rows);
    rows = NULL;
    if (at.pos - at.shift <= last + 1)
        return 0;
    rc = staging_reread(&t, &at, last + 1, e);
    FAULT("restored.position.before");
    if (rc == 0)
        rc = staging_commit(&t, e);
    FAULT("restored.position.after");
    return rc;
}

static int look(struct restored *r, struct err *e)
{
    OWN(own_store) struct store *s = NULL;
    int rc = store_open(&s, r->in->store_url, e);
    if (rc == 0)
        rc = store_sources(s, add_other, r, e);
    /* Last: until the command has come to its end, the chat server refuses to start. */
    if (rc == 0)
        rc = add_source(r, r->in->pool, e);
    /* First: were it not done before the epoch begins, capture would stand still. */
    if (rc == 0 && r->in->embedded)
        rc = move_position(r, s, e);
    return rc;
}

/* What the copy lacks, of the epoch that ends. */
static int count_beyond(struct restored *r, struct store *s, struct slice source, int64_t *records,
                        int64_t *streams, struct err *e)
{
    static const char heads[] = "SELECT epoch, subject, sequence FROM stream WHERE source = $1"
                                " AND sequence > 0 ORDER BY id";
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(r->staging, heads, DB_ARGS(DB_T(source)), &rows, e);
    while (rc == 0) {
        int64_t held = 0;
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            return rc;
        rc = store_head(s, source, db_rows_int(rows, 0), db_rows_slice(rows, 1), &held, e);
        int64_t beyond = db_rows_int(rows, 2) - held;
        *records += beyond > 0 ? beyond : 0;
        *streams += beyond > 0;
    }
    return rc;
}

/* A handle for each source: a writer has few. */
static int begin_epoch(struct restored *r, struct slice source, struct err *e)
{
    OWN(own_store) struct store *s = NULL;
    struct store_restore restore = {.source = source, .note = r->reason};
    int64_t epoch = 0;
    int64_t records = 0;
    int64_t streams = 0;
    int rc = store_open(&s, r->in->store_url, e);
    if (rc == 0)
        rc = db_int(r->staging, "SELECT COALESCE(max(epoch), 0) FROM stream WHERE source = $1",
                    DB_ARGS(DB_T(source)), 0, &restore.captured_epoch, e);
    if (rc == 0)
        rc = count_beyond(r, s, source, &records, &streams, e);
    if (rc == 0)
        rc = store_restored(s, &restore, &epoch, e);
    if (rc < 0)
        return err_wrap(e, "%.*s", SLICE_ARG(source));
    (void)fprintf(r->io->out,
                  "%.*s: epoch %" PRId64 " begins. Captured and not in this store: %" PRId64
                  " records of %" PRId64 " rooms and sessions\n",
                  SLICE_ARG(source), epoch, records, streams);
    return 0;
}

static int check_reason(const char *reason, struct err *e)
{
    struct slice s = slice_of(reason ? reason : "");
    if (slice_trim(s).n == 0 || s.n > REASON_MAX || !utf8_valid(s))
        return err_set(e, ERR_CONFIG,
                       "store restored: --reason TEXT is needed, at most %d bytes of UTF-8",
                       REASON_MAX);
    return 0;
}

static int run(struct restored *r, struct err *e)
{
    int rc = staging_reader(r->in->staging, &r->staging, e);
    if (rc == 0)
        rc = look(r, e);
    for (size_t i = 0; rc == 0 && i < r->n; i++)
        rc = begin_epoch(r, slice_of(r->sources[i]), e);
    return rc;
}

int store_restored_command(struct app_io *io, const struct store_copy_input *in, int argc,
                           char **argv)
{
    OWN(own_restored) struct restored *r = calloc(1, sizeof *r);
    const char *reason = NULL;
    const struct app_option known[] = {{"reason", &reason, NULL}, {0}};
    struct err e = {0};
    int operands = 0;
    int rc = r ? app_options(known, argc, argv, &operands, &e) : err_memory(&e, "store restored");
    if (rc == 0 && operands > 0)
        rc = err_set(&e, ERR_CONFIG, "usage: holdfast store restored --reason TEXT");
    if (rc == 0)
        rc = check_reason(reason, &e);
    if (rc < 0)
        return app_fail(io, &e);
    r->io = io;
    r->in = in;
    r->reason = slice_of(reason);
    rc = run(r, &e);
    return rc < 0 ? app_fail(io, &e) : APP_OK;
}
