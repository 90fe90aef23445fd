/* SPDX-License-Identifier: Apache-2.0 */
/* Looks only; each finding is a line, the verdict comes first. */
#include "capture/queue_check.h"

#include "base/own.h"
#include "capture/last_record.h"
#include "chat-server/store/heal_line.h"
#include "chat-server/store/store.h"

#include <inttypes.h>
#include <string.h>

enum { CALL_MS = 10000, TEXT_BYTES = 1 << 20 };

struct checking {
    const struct queue_check_input *in;
    struct buf text;
    int problems;
};

static void problem(struct checking *k, const char *text)
{
    k->problems++;
    buf_format(&k->text, "  PROBLEM  %s\n", text);
}

/* ---- Kafka ---- */

static void check_identity(struct checking *k, const struct kafka_facts *f)
{
    OWN(own_db) struct db *db = NULL;
    OWN(own_db_rows) struct db_rows *r = NULL;
    char ours[512];
    struct err e = {0};
    (void)snprintf(ours, sizeof ours, "%s/%s", f->cluster, k->in->kafka->topic);
    int rc = staging_reader(k->in->staging, &db, &e);
    if (rc == 0)
        rc = db_query(db, "SELECT identity FROM queue WHERE id = 1", DB_NO_ARGS, &r, &e);
    if (rc == 0)
        rc = db_rows_next(r, &e);
    if (rc < 0) {
        problem(k, e.text);
    } else if (rc == 0) {
        buf_text(&k->text, "  ok       nothing was captured from any queue yet\n");
    } else if (!slice_is(db_rows_slice(r, 0), ours)) {
        k->problems++;
        buf_format(&k->text,
                   "  PROBLEM  mgccomp was filled from %.*s, this is %s. Configure that queue, or"
                   " start with an empty mgccomp\n",
                   SLICE_ARG(db_rows_slice(r, 0)), ours);
    } else {
        buf_format(&k->text, "  ok       it is the queue captured before (%s)\n", ours);
    }
}

static void check_control(struct checking *k)
{
    char name[HEAL_TOPIC_SIZE];
    struct kafka_facts f = {.partitions = 0};
    struct err e = {0};
    struct kafka_target t = *k->in->kafka;
    int rc = heal_topic(t.topic, name, &e);
    t.topic = name;
    if (rc == 0)
        rc = kafka_check(&t, CALL_MS, &f, &e);
    if (rc == 0 && f.partitions != 1)
        rc = err_set(&e, ERR_CONFIG, "topic %s has %" PRId32 " partitions. It must have one", name,
                     f.partitions);
    if (rc < 0)
        problem(k, e.text);
    else
        buf_format(&k->text, "  ok       control topic %s\n", name);
}

static const char *said(enum last_record last, int64_t low, const struct staging_position *at)
{
    switch (last) {
    case LAST_NONE:
        return at->pos ? "it is read again" : "nothing was captured from it yet";
    case LAST_SAME:
        return "the record before it is the one captured";
    case LAST_ABSENT:
        if (low == position_offset(at))
            return "what lies before it was tidied up";
        break;
    case LAST_OTHER:
        break;
    }
    return NULL;
}

static int check_part(struct checking *k, int32_t part, struct err *e)
{
    struct staging_position at = {.part = part};
    enum last_record last = LAST_NONE;
    int64_t low = 0;
    int64_t high = 0;
    int rc = staging_positions(k->in->staging, &at, 1, e);
    if (rc == 0)
        rc = kafka_ends(k->in->kafka, part, CALL_MS, &low, &high, e);
    if (rc == 0)
        rc = last_record_compare(k->in->kafka, &at, CALL_MS, &last, e);
    if (rc < 0)
        return rc;
    int64_t offset = position_offset(&at);
    const char *well = offset >= low && offset <= high ? said(last, low, &at) : NULL;
    const char *ill = offset < low         ? "records before they were captured are gone"
                      : offset > high      ? "the log ends before what was captured"
                      : last == LAST_OTHER ? "another record lies where the last one was captured"
                                           : "the record before it is gone";
    k->problems += well == NULL;
    buf_format(&k->text,
               "  %s partition %" PRId32 ": offsets %" PRId64 " to %" PRId64 ", next %" PRId64
               ", to be captured %" PRId64 "; %s\n",
               well ? "ok      " : "PROBLEM ", part, low, high, offset,
               high > offset ? high - offset : 0, well ? well : ill);
    if (!well)
        buf_text(&k->text, "           Type: holdfast incident list\n");
    return 0;
}

static void check_kafka(struct checking *k)
{
    struct kafka_facts f = {.partitions = 0};
    struct err e = {0};
    int rc = kafka_check(k->in->kafka, CALL_MS, &f, &e);
    if (rc < 0) {
        problem(k, e.text);
        if (rc == ERR_RETRY)
            buf_text(&k->text,
                     "           See that the brokers run, and what [kafka] brokers says in"
                     " holdfast.conf\n");
        return;
    }
    buf_format(&k->text, "  ok       topic %s at %s: settings, %" PRId32 " partitions\n",
               k->in->kafka->topic, k->in->kafka->brokers, f.partitions);
    check_identity(k, &f);
    check_control(k);
    for (int32_t p = 0; p < f.partitions; p++) {
        if (check_part(k, p, &e) < 0)
            problem(k, e.text);
    }
    if (f.topics_deletable)
        buf_text(&k->text, "  note     topics may be deleted: set delete.topic.enable=false on the"
                           " brokers, or forbid it by an ACL\n");
}

/* ---- embedded ---- */

struct found {
    bool there;
    uint8_t hash[SHA256_SIZE];
    int64_t pos;
};

static int take_row(void *arg, const struct store_row *row, struct err *e)
{
    struct found *f = arg;
    (void)e;
    f->there = true;
    f->pos = row->pos;
    sha256(row->raw.p, row->raw.n, f->hash);
    return 0;
}

static void check_embedded(struct checking *k)
{
    OWN(own_store) struct store *s = NULL;
    struct staging_position at = {.part = 0};
    struct found f = {.there = false};
    struct err e = {0};
    int64_t last = 0;
    int rc = store_open_reader(&s, k->in->store_url, &e);
    if (rc == 0)
        rc = store_last_pos(s, &last, &e);
    if (rc == 0)
        rc = staging_positions(k->in->staging, &at, 1, &e);
    int64_t next = position_offset(&at);
    if (rc == 0 && at.has_hash)
        rc = store_read_from(s, next - 1, 1, 1, take_row, &f, &e);
    if (rc < 0) {
        problem(k, e.text);
        return;
    }
    bool same = f.there && f.pos == next - 1 && memcmp(f.hash, at.hash, SHA256_SIZE) == 0;
    if (at.has_hash && !same) {
        problem(k, "the record before capture's position is not the one captured: the store is"
                   " another one, or was changed. Type: holdfast incident list");
        return;
    }
    buf_format(&k->text,
               "  ok       the store's last position %" PRId64 ", next %" PRId64
               ", to be captured %" PRId64 "%s\n",
               last, next, last >= next ? last - next + (next ? 1 : 0) : 0,
               same ? "; the record before it is the one captured" : "");
}

int queue_check_command(struct app_io *io, const struct queue_check_input *in, int argc,
                        char **argv)
{
    const struct app_option options[] = {{0}};
    OWN(own_buf) struct buf text = {0};
    struct checking k = {.in = in};
    struct err e = {0};
    int operands = 0;
    int rc = app_options(options, argc, argv, &operands, &e);
    if (rc == 0 && operands > 0)
        rc = err_set(&e, ERR_CONFIG, "queue check takes no words");
    if (rc < 0)
        return app_fail(io, &e);
    buf_init(&k.text, TEXT_BYTES);
    if (in->kafka)
        check_kafka(&k);
    else
        check_embedded(&k);
    text = k.text;
    if (buf_ok(&text, "queue check", &e) < 0)
        return app_fail(io, &e);
    if (k.problems == 0)
        (void)fprintf(io->out, "the queue is well\n");
    else
        (void)fprintf(io->out, "%d problem%s with the queue\n", k.problems,
                      k.problems == 1 ? "" : "s");
    (void)fwrite(text.p, 1, text.n, io->out);
    return k.problems ? APP_FAILED : APP_OK;
}
