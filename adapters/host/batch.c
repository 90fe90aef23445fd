/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a batch's spool: its records once, its head (rooms, rosters, what is settled) behind them
 * for each attempt. */
#include "adapters/host/batch.h"

#include "adapters/host/child.h"
#include "adapters/host/spool.h"
#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

enum { FLUSH_AT = 256 << 10 };

void batch_spool_init(struct batch_spool *s, const char *dir, const char *name)
{
    *s = (struct batch_spool){.fd = -1, .reader = -1, .dir = dir, .name = name};
}

void batch_spool_done(struct batch_spool *s)
{
    own_fd(&s->fd);
    own_fd(&s->reader);
    buf_done(&s->out);
    sha256_free(s->sum);
    batch_spool_init(s, s->dir, s->name);
}

/* A second descriptor, since the worker's must not be able to write. */
static int make_file(struct batch_spool *s, struct err *e)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s.spool", s->dir, s->name);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(e, ERR_CONFIG, "the scratch folder has too long a name");
    int rc = file_make_dirs(s->dir, e);
    if (rc < 0)
        return rc;
    (void)unlink(path);
    s->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (s->fd < 0)
        return err_errno(e, ERR_RETRY, "create %s", path);
    s->reader = open(path, O_RDONLY | O_CLOEXEC);
    (void)unlink(path);
    if (s->reader < 0)
        return err_errno(e, ERR_RETRY, "open %s", path);
    buf_init(&s->out, FLUSH_AT + SPOOL_MAX_RAW + SPOOL_MAX_NOTE + SPOOL_RECORD);
    return 0;
}

static int flush(struct batch_spool *s, struct err *e)
{
    int rc = buf_ok(&s->out, "a batch's spool", e);
    if (rc == 0)
        rc = file_write_all(s->fd, s->out.p, s->out.n, e);
    s->end += (int64_t)s->out.n;
    buf_clear(&s->out);
    return rc;
}

static void count(struct batch_spool *s, const struct ledger_record *r)
{
    if (r->stream && r->stream != s->stream) {
        s->room = s->stream ? s->room + 1 : 0;
        s->stream = r->stream;
    }
    if (s->records == 0 || r->time_us < s->first_us)
        s->first_us = r->time_us;
    if (s->records == 0 || r->time_us > s->last_us)
        s->last_us = r->time_us;
    s->records++;
    s->bytes += (int64_t)r->raw.n;
    if (s->sum)
        sha256_add_part(s->sum, r->raw.p, r->raw.n);
}

int batch_spool_record(void *arg, const struct ledger_record *r, struct err *e)
{
    struct batch_spool *s = arg;
    struct slice note = r->note.n > SPOOL_MAX_NOTE ? (struct slice){r->note.p, 0} : r->note;
    if (r->raw.n > SPOOL_MAX_RAW)
        return err_set(e, ERR_FAULT, "partition %" PRId32 " position %" PRId64 " has %zu bytes",
                       r->part, r->pos, r->raw.n);
    int rc = s->fd < 0 ? make_file(s, e) : 0;
    if (rc < 0)
        return rc;
    count(s, r);
    size_t start = s->out.n;
    buf_u32be(&s->out, r->stream ? s->room : SPOOL_NO_ROOM);
    buf_u32be(&s->out, (uint32_t)(r->flags & ~(int64_t)STAGING_AHEAD));
    const int64_t numbers[] = {r->sequence, r->time_us, r->captured_us, r->part, r->pos};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        buf_u64be(&s->out, (uint64_t)numbers[i]);
    buf_add(&s->out, r->hash, SHA256_SIZE);
    buf_u32be(&s->out, (uint32_t)note.n);
    buf_u32be(&s->out, (uint32_t)r->raw.n);
    assert(s->out.failed || s->out.n - start == SPOOL_RECORD);
    buf_slice(&s->out, note);
    buf_slice(&s->out, r->raw);
    return s->out.n >= FLUSH_AT || s->out.failed ? flush(s, e) : 0;
}

int batch_spool_whole(struct batch_spool *s, const struct ledger_batch *b, struct err *e)
{
    int rc = flush(s, e);
    if (rc < 0)
        return rc;
    if (s->records != b->records || s->bytes != b->bytes)
        return err_set(e, ERR_FAULT, "batch %s: what is staged is not what was frozen", b->id);
    memcpy(s->id, b->id, sizeof s->id);
    return 0;
}

/* By another process, or by this one before its database failed. */
static int fill_anew(struct batch_spool *s, struct db *db, const struct ledger_batch *b,
                     struct err *e)
{
    uint8_t digest[SHA256_SIZE];
    batch_spool_done(s);
    s->sum = sha256_new();
    int rc = s->sum ? make_file(s, e) : err_memory(e, "a batch's spool");
    if (rc == 0)
        rc = ledger_batch_records(db, b, batch_spool_record, s, e);
    if (rc < 0)
        return rc;
    sha256_end(s->sum, digest);
    if (memcmp(digest, b->digest, sizeof digest) != 0)
        return err_set(e, ERR_FAULT, "batch %s: what is staged is not what was frozen", b->id);
    return batch_spool_whole(s, b, e);
}

static int write_json(struct batch_spool *s, const struct buf *json, struct err *e)
{
    uint8_t length[4];
    int rc = buf_ok(json, "a batch's head", e);
    if (rc < 0)
        return rc;
    for (int i = 0; i < 4; i++)
        length[i] = (uint8_t)(json->n >> (24 - 8 * i));
    rc = file_write_all(s->fd, length, sizeof length, e);
    return rc == 0 ? file_write_all(s->fd, json->p, json->n, e) : rc;
}

static int write_totals(struct batch_spool *s, struct err *e)
{
    OWN(own_buf) struct buf json;
    buf_init(&json, 1024);
    buf_char(&json, '{');
    json_put_i64(&json, "records", s->records);
    json_put_i64(&json, "bytes", s->bytes);
    json_put_i64(&json, "first_us", s->first_us);
    json_put_i64(&json, "last_us", s->last_us);
    buf_char(&json, '}');
    return write_json(s, &json, e);
}

static int write_roster(struct batch_spool *s, struct db *db, const struct ledger_batch *b,
                        struct err *e)
{
    OWN(own_buf) struct buf json;
    buf_init(&json, SPOOL_MAX_JSON);
    int rc = ledger_batch_roster(db, b, &json, e);
    return rc == 0 ? write_json(s, &json, e) : rc;
}

static int add_settlement(void *arg, const struct ledger_settlement *x, struct err *e)
{
    struct buf *json = arg;
    (void)e;
    if (!slice_is(x->verdict, "done"))
        return 0;
    json_comma(json);
    buf_format(json, "[%" PRId64 ",%" PRId64 ",", x->first, x->last);
    buf_slice(json, x->receipt);
    buf_char(json, ']');
    return 0;
}

static int write_settlements(struct batch_spool *s, struct db *db, const struct ledger_batch *b,
                             struct err *e)
{
    OWN(own_buf) struct buf json;
    buf_init(&json, SPOOL_MAX_JSON);
    buf_char(&json, '[');
    int rc = ledger_settlements(db, b, add_settlement, &json, e);
    buf_char(&json, ']');
    s->receipts = (int64_t)json.n;
    return rc == 0 ? write_json(s, &json, e) : rc;
}

/* Behind the records; its place stands in the file's last 8 bytes. */
static int write_head(struct batch_spool *s, struct db *db, const struct ledger_batch *b,
                      struct err *e)
{
    uint8_t place[8];
    if (ftruncate(s->fd, s->end) < 0 || lseek(s->fd, s->end, SEEK_SET) < 0)
        return err_errno(e, ERR_RETRY, "a batch's spool");
    int rc = write_totals(s, e);
    if (rc == 0)
        rc = write_roster(s, db, b, e);
    if (rc == 0)
        rc = write_settlements(s, db, b, e);
    for (int i = 0; i < 8; i++)
        place[i] = (uint8_t)((uint64_t)s->end >> (56 - 8 * i));
    return rc == 0 ? file_write_all(s->fd, place, sizeof place, e) : rc;
}

int batch_spool_open(struct batch_spool *s, struct db *db, const struct ledger_batch *b, int *fd,
                     struct err *e)
{
    int rc = strcmp(s->id, b->id) == 0 ? 0 : fill_anew(s, db, b, e);
    if (rc == 0)
        rc = write_head(s, db, b, e);
    if (rc < 0) {
        batch_spool_done(s);
        return rc;
    }
    *fd = fcntl(s->reader, F_DUPFD_CLOEXEC, 0);
    return *fd < 0 ? err_errno(e, ERR_RETRY, "a batch's spool") : 0;
}

int batch_task(const struct ledger_batch *b, enum wire_do what, const char *instance,
               const struct adapter_options *o, const char *scratch, struct buf *out, struct err *e)
{
    OWN(own_mem) struct wire_task *t = calloc(1, sizeof *t);
    if (!t)
        return err_memory(e, "a worker's task");
    *t = (struct wire_task){.what = what,
                            .instance = slice_of(instance),
                            .scratch = slice_of(scratch),
                            .id = slice_of(b->id),
                            .stem = slice_of(b->stem),
                            .number = b->number,
                            .attempt = b->attempts > 0 ? b->attempts : 1,
                            .records = b->records,
                            .bytes = b->bytes,
                            .cut_us = b->cut_us,
                            .deadline_ms = o->deadline_ms,
                            .readback = o->module.readback};
    memcpy(t->digest, b->digest, SHA256_SIZE);
    adapter_options_task(o, t);
    wire_task_write(out, t);
    return buf_ok(out, "a worker's task", e);
}
