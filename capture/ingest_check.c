/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each line by itself (mgccomp/record_json.c), then against what came before it: the chain of its
 * stream, and the id, which one source never gives twice.
 */
#include "capture/ingest_check.h"

#include "base/own.h"
#include "base/stop.h"
#include "mgccomp/head_cache.h"
#include "mgccomp/record.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum {
    STREAMS_MAX = 100000,
    IDS_MAX = 1 << 20,
    IDS_SLOTS = 2 * IDS_MAX,
    KEY_SIZE = 16, /* of SHA-256: nobody stumbles over 128 bits */
};

struct id_slot {
    uint8_t key[KEY_SIZE]; /* of source and id */
    uint8_t hash[KEY_SIZE];
    bool used;
};

struct check {
    struct app_io *io;
    struct slice source; /* of records that name none */
    const char *name;    /* of the file at hand */
    int64_t line;
    struct ingest_check_counts counts;
    struct json_doc *doc;
    struct head_cache *streams;
    struct id_slot *ids;
    size_t id_count;
    struct buf text, completed;
};

static void check_done(struct check *c)
{
    json_doc_free(c->doc);
    head_cache_free(c->streams);
    free(c->ids);
    buf_done(&c->text);
    buf_done(&c->completed);
}

static int check_init(struct check *c, struct err *e)
{
    buf_init(&c->text, RECORD_MAX_BYTES + 1);
    buf_init(&c->completed, RECORD_MAX_BYTES);
    c->doc = json_doc_new();
    c->streams = head_cache_new(STREAMS_MAX);
    c->ids = calloc(IDS_SLOTS, sizeof *c->ids);
    return c->doc && c->streams && c->ids ? 0 : err_memory(e, "checking records");
}

static void problem(struct check *c, const char *section, const char *text)
{
    (void)fprintf(c->io->out, "%s:%" PRId64 ": %s (%s)\n", c->name, c->line, text, section);
}

/* What ingest would add must fit too. */
static int check_completed(struct check *c, const struct record *r, struct err *e)
{
    static const uint8_t zeros[SHA256_SIZE];
    const struct record_has has = {r->source.p != NULL, r->sequenced};
    const struct record_head h = {
        .source = c->source, .epoch = 1, .sequence = RECORD_MAX_SEQUENCE, .previous = zeros};
    buf_clear(&c->completed);
    return record_complete(&c->completed, r->raw, &has, &h, e);
}

static int check_id(struct check *c, const struct record *r, struct slice source, bool *known,
                    struct err *e)
{
    uint8_t key[SHA256_SIZE];
    size_t at = 0;
    struct sha256 *sum = sha256_new();
    if (!sum)
        return err_memory(e, "checking an id");
    sha256_add(sum, source.p, source.n);
    sha256_add(sum, "", 1);
    sha256_add(sum, r->id.p, r->id.n);
    sha256_end(sum, key);
    sha256_free(sum);
    memcpy(&at, key, sizeof at);
    for (at %= IDS_SLOTS; c->ids[at].used; at = (at + 1) % IDS_SLOTS) {
        if (memcmp(c->ids[at].key, key, KEY_SIZE) != 0)
            continue;
        *known = memcmp(c->ids[at].hash, r->hash, KEY_SIZE) == 0;
        return *known ? 0
                      : err_set(e, ERR_REJECTED, "id \"%.*s\" was there before, with other content",
                                SLICE_ARG(r->id));
    }
    if (c->id_count == IDS_MAX) {
        c->counts.ids_full = true;
        return 0;
    }
    c->ids[at].used = true;
    memcpy(c->ids[at].key, key, KEY_SIZE);
    memcpy(c->ids[at].hash, r->hash, KEY_SIZE);
    c->id_count++;
    return 0;
}

static int check_chain(struct check *c, const struct record *r, struct err *e)
{
    static const uint8_t zeros[SHA256_SIZE];
    struct stream *s = head_cache_get(c->streams, r->source, r->epoch, r->subject);
    int rc = 0;
    if (!s)
        return err_memory(e, "checking a chain");
    const int64_t head = s->now.sequence;
    if (head == 0) { /* the file may begin anywhere in a stream */
        if (r->sequence == 1 && memcmp(r->previous, zeros, sizeof zeros) != 0)
            rc = err_set(e, ERR_REJECTED, "the first record of a stream has a previous of zeros");
    } else if (r->sequence != head + 1) {
        rc = err_set(e, ERR_REJECTED, "sequence is %" PRId64 " where %" PRId64 " is due",
                     r->sequence, head + 1);
    } else if (memcmp(r->previous, s->now.hash, SHA256_SIZE) != 0) {
        rc = err_set(e, ERR_REJECTED, "previous is not the hash of record %" PRId64, head);
    }
    if (r->sequence > head) {
        s->now.sequence = r->sequence;
        memcpy(s->now.hash, r->hash, SHA256_SIZE);
    }
    head_cache_trim(c->streams);
    return rc;
}

static int check_record(struct check *c, struct slice line, const char **section, struct err *e)
{
    struct record r;
    bool known = false;
    int rc = record_check(c->doc, line, &r, section, e);
    if (rc == 0)
        rc = check_completed(c, &r, e);
    if (rc < 0)
        return rc;
    *section = "1.1";
    rc = check_id(c, &r, r.source.p ? r.source : c->source, &known, e);
    c->counts.repeated += known;
    if (rc < 0 || known || !r.sequenced)
        return rc;
    *section = "2";
    return check_chain(c, &r, e);
}

static int check_line(struct check *c, struct err *e)
{
    struct slice line = slice_trim(buf_view(&c->text));
    const char *section = "1";
    struct err why = {0};
    int rc = buf_ok(&c->text, c->name, e);
    c->line++;
    if (rc < 0 || line.n == 0)
        return rc;
    c->counts.lines++;
    rc = check_record(c, line, &section, &why);
    if (rc == 0)
        return 0;
    if (rc != ERR_REJECTED)
        return err_set(e, rc, "%s", why.text);
    c->counts.bad++;
    problem(c, section, why.text);
    return 0;
}

/* Of a line beyond the limit one byte more than may be is kept, which is enough to refuse it. */
static int check_stream(struct check *c, FILE *in, struct err *e)
{
    int rc = 0;
    c->line = 0;
    c->counts.files++;
    buf_clear(&c->text);
    for (int ch = getc_unlocked(in); rc == 0 && !stop_requested(); ch = getc_unlocked(in)) {
        if (ch == '\n' || ch == EOF) {
            rc = check_line(c, e);
            buf_clear(&c->text);
            if (ch == EOF)
                break;
        } else if (c->text.n <= RECORD_MAX_BYTES) {
            buf_char(&c->text, (char)ch);
        }
    }
    return rc == 0 && ferror(in) ? err_errno(e, ERR_RETRY, "read %s", c->name) : rc;
}

static int check_file(struct check *c, const char *path, struct err *e)
{
    if (strcmp(path, "-") == 0) {
        c->name = path;
        return check_stream(c, c->io->in, e);
    }
    OWN(own_file) FILE *in = fopen(path, "rbe");
    if (!in)
        return err_errno(e, ERR_CONFIG, "%s", path);
    c->name = path;
    return check_stream(c, in, e);
}

static void report(const struct check *c, bool json)
{
    const struct ingest_check_counts *n = &c->counts;
    if (json) {
        (void)fprintf(c->io->out,
                      "{\"files\":%" PRId64 ",\"lines\":%" PRId64 ",\"bad\":%" PRId64
                      ",\"repeated\":%" PRId64 ",\"ids_compared\":%s}\n",
                      n->files, n->lines, n->bad, n->repeated, n->ids_full ? "false" : "true");
        return;
    }
    if (n->bad == 0)
        (void)fprintf(c->io->out, "%" PRId64 " records: all conform\n", n->lines);
    else
        (void)fprintf(c->io->out,
                      "%" PRId64 " records: %" PRId64 " do not conform. In brackets: the section"
                      " of docs/record-format.md\n",
                      n->lines, n->bad);
    if (n->repeated > 0)
        (void)fprintf(c->io->out, "%" PRId64 " came again with the same content\n", n->repeated);
    if (n->ids_full)
        (void)fprintf(c->io->out, "ids were compared for the first %d records only\n", IDS_MAX);
}

int ingest_check_command(struct app_io *io, int argc, char **argv)
{
    OWN(check_done) struct check c = {.io = io};
    const char *source = "-";
    bool json = io->json;
    const struct app_option known[] = {{"source", &source, NULL}, {"json", NULL, &json}, {0}};
    struct err e = {0};
    int operands = 0;
    int rc = app_options(known, argc, argv, &operands, &e);
    if (rc == 0 && operands == 0)
        rc = err_set(&e, ERR_CONFIG, "ingest --check: name a file, or - for the standard input");
    if (rc == 0)
        rc = check_init(&c, &e);
    c.source = slice_of(source);
    for (int i = 0; rc == 0 && i < operands && !stop_requested(); i++)
        rc = check_file(&c, argv[i], &e);
    if (rc < 0)
        return app_fail(io, &e);
    if (stop_requested())
        return APP_FAILED;
    report(&c, json);
    return c.counts.bad > 0 ? APP_FAILED : APP_OK;
}
