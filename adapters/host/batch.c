/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a batch's spool. It is checked against the frozen digest on the way, so that a worker
 * never gets anything else under that batch's id. */
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

struct spooling {
    int fd;
    struct buf out;
    struct sha256 *sum;
    int64_t records, stream;
    uint32_t room; /* of stream; rooms come in the streams' order */
};

static void own_spooling(struct spooling *s)
{
    own_fd(&s->fd);
    buf_done(&s->out);
    sha256_free(s->sum);
}

static int flush(struct spooling *s, struct err *e)
{
    int rc = buf_ok(&s->out, "a batch's spool", e);
    if (rc == 0)
        rc = file_write_all(s->fd, s->out.p, s->out.n, e);
    buf_clear(&s->out);
    return rc;
}

static int write_json(struct spooling *s, const struct buf *json, struct err *e)
{
    int rc = buf_ok(json, "a batch's head", e);
    if (rc < 0)
        return rc;
    buf_u32be(&s->out, (uint32_t)json->n);
    rc = flush(s, e);
    return rc == 0 ? file_write_all(s->fd, json->p, json->n, e) : rc;
}

static int write_roster(struct spooling *s, struct db *db, const struct ledger_batch *b,
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

static int write_settlements(struct spooling *s, struct db *db, const struct ledger_batch *b,
                             struct err *e)
{
    OWN(own_buf) struct buf json;
    buf_init(&json, SPOOL_MAX_JSON);
    buf_char(&json, '[');
    int rc = ledger_settlements(db, b, add_settlement, &json, e);
    buf_char(&json, ']');
    return rc == 0 ? write_json(s, &json, e) : rc;
}

static int write_record(void *arg, const struct ledger_record *r, struct err *e)
{
    struct spooling *s = arg;
    struct slice note = r->note.n > SPOOL_MAX_NOTE ? (struct slice){r->note.p, 0} : r->note;
    uint8_t length[8];
    if (r->raw.n > SPOOL_MAX_RAW)
        return err_set(e, ERR_FAULT, "partition %" PRId32 " position %" PRId64 " has %zu bytes",
                       r->part, r->pos, r->raw.n);
    if (r->stream && r->stream != s->stream) {
        s->room = s->stream ? s->room + 1 : 0;
        s->stream = r->stream;
    }
    size_t start = s->out.n;
    buf_u32be(&s->out, r->stream ? s->room : SPOOL_NO_ROOM);
    buf_u32be(&s->out, (uint32_t)r->flags);
    const int64_t numbers[] = {r->sequence, r->time_us, r->captured_us, r->part, r->pos};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        buf_u64be(&s->out, (uint64_t)numbers[i]);
    buf_add(&s->out, r->hash, SHA256_SIZE);
    buf_u32be(&s->out, (uint32_t)note.n);
    buf_u32be(&s->out, (uint32_t)r->raw.n);
    assert(s->out.failed || s->out.n - start == SPOOL_RECORD);
    buf_slice(&s->out, note);
    buf_slice(&s->out, r->raw);
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)r->raw.n >> (56 - 8 * i));
    sha256_add(s->sum, length, sizeof length);
    sha256_add(s->sum, r->raw.p ? r->raw.p : "", r->raw.n);
    s->records++;
    return s->out.n >= FLUSH_AT || s->out.failed ? flush(s, e) : 0;
}

static int write_spool(struct spooling *s, struct db *db, const struct ledger_batch *b,
                       struct err *e)
{
    uint8_t digest[SHA256_SIZE];
    buf_text(&s->out, SPOOL_MAGIC);
    int rc = write_roster(s, db, b, e);
    if (rc == 0)
        rc = write_settlements(s, db, b, e);
    if (rc == 0)
        rc = ledger_batch_records(db, b, write_record, s, e);
    if (rc == 0)
        rc = flush(s, e);
    if (rc < 0)
        return rc;
    sha256_end(s->sum, digest);
    if (s->records != b->records || memcmp(digest, b->digest, SHA256_SIZE) != 0)
        return err_set(e, ERR_FAULT, "batch %s: what is staged is not what was frozen", b->id);
    return 0;
}

int batch_spool(struct db *db, const struct ledger_batch *b, const char *dir, int *fd,
                struct err *e)
{
    char path[PATH_MAX];
    OWN(own_spooling) struct spooling s = {.fd = -1, .sum = sha256_new()};
    buf_init(&s.out, FLUSH_AT + SPOOL_MAX_RAW + SPOOL_MAX_NOTE + SPOOL_RECORD);
    if (!s.sum)
        return err_memory(e, "a batch's spool");
    int n = snprintf(path, sizeof path, "%s/%s.spool", dir, b->id);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(e, ERR_CONFIG, "the scratch folder has too long a name");
    (void)unlink(path);
    s.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (s.fd < 0)
        return err_errno(e, ERR_RETRY, "create %s", path);
    /* A second descriptor, since the worker's must not be able to write. */
    OWN(own_fd) int reader = open(path, O_RDONLY | O_CLOEXEC);
    (void)unlink(path);
    if (reader < 0)
        return err_errno(e, ERR_RETRY, "open %s", path);
    int rc = write_spool(&s, db, b, e);
    if (rc < 0)
        return rc;
    *fd = reader;
    reader = -1;
    return 0;
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
                            .deadline_ms = o->deadline_ms};
    memcpy(t->digest, b->digest, SHA256_SIZE);
    adapter_options_task(o, t);
    wire_task_write(out, t);
    return buf_ok(out, "a worker's task", e);
}
