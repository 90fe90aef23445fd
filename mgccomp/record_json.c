/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes to fields, strictly (docs/record-format.md). What any database or file name may later be
 * made of is checked here, once; what nobody interprets passes as it is.
 */
#include "mgccomp/record.h"

#include "base/clock.h"

#include <string.h>

/* 10000-01-01T00:00:00Z */
#define TIME_END_US INT64_C(253402300800000000)
enum { EPOCH_MAX = 2147483647 };

/* Texts that become columns, keys or names: UTF-8 is sure already, control characters are out. */
static bool plain(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    }
    return true;
}

static int attribute(const struct json *root, const char *name, size_t max, struct slice *out,
                     struct err *e)
{
    const struct json *member = json_get(root, name);

    if (!member)
        return err_set(e, ERR_REJECTED, "no member \"%s\"", name);
    if (member->type != JSON_STRING)
        return err_set(e, ERR_REJECTED, "%s is not a string", name);
    if (member->text.n == 0)
        return err_set(e, ERR_REJECTED, "%s is empty", name);
    if (member->text.n > max)
        return err_set(e, ERR_REJECTED, "%s has %zu bytes, more than %zu", name, member->text.n,
                       max);
    if (!plain(member->text))
        return err_set(e, ERR_REJECTED, "%s holds a control character", name);
    *out = member->text;
    return 0;
}

static int decode_time(const struct json *root, int64_t *out, struct err *e)
{
    struct slice text = {0};
    int rc = attribute(root, "time", 64, &text, e);
    if (rc < 0)
        return rc;

    int64_t us = 0;
    if (!clock_parse(text, &us))
        return err_set(e, ERR_REJECTED, "time \"%.*s\" is not RFC 3339", SLICE_ARG(text));
    if (us < 0 || us >= TIME_END_US)
        return err_set(e, ERR_REJECTED, "time \"%.*s\" is outside 1970 to 9999", SLICE_ARG(text));
    *out = us;
    return 0;
}

static int decode_sequence(const struct json *root, int64_t *out, struct err *e)
{
    struct slice text = {0};
    int rc = attribute(root, "sequence", 64, &text, e);
    if (rc < 0)
        return rc;

    if (text.n != 20)
        return err_set(e, ERR_REJECTED, "sequence has %zu digits, not 20", text.n);
    int64_t value = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return err_set(e, ERR_REJECTED, "sequence is not 20 digits");
        if (i < 2 && text.p[i] != '0')
            return err_set(e, ERR_REJECTED, "sequence is above 999999999999999999");
        value = value * 10 + (text.p[i] - '0');
    }
    if (value == 0)
        return err_set(e, ERR_REJECTED, "sequence is 0; the first record has 1");
    *out = value;
    return 0;
}

/* All three or none: a record with half a position could be neither placed nor completed. */
static int decode_position(const struct json *root, struct record *r, struct err *e)
{
    bool any = json_get(root, "epoch") || json_get(root, "sequence") || json_get(root, "previous");
    if (!any)
        return 0;

    if (!json_get(root, "epoch"))
        return err_set(e, ERR_REJECTED, "epoch is missing beside sequence and previous");
    if (!json_i64(root, "epoch", &r->epoch) || r->epoch < 1 || r->epoch > EPOCH_MAX)
        return err_set(e, ERR_REJECTED, "epoch is not a whole number from 1 to %d", EPOCH_MAX);
    int rc = decode_sequence(root, &r->sequence, e);
    if (rc < 0)
        return rc;
    struct slice hex = {0};
    rc = attribute(root, "previous", 128, &hex, e);
    if (rc < 0)
        return rc;
    if (!hex_decode(hex, r->previous, SHA256_SIZE))
        return err_set(e, ERR_REJECTED, "previous is not 64 hexadecimal digits");
    r->sequenced = true;
    return 0;
}

/* A member of `data` that becomes a field. Of a kind we do not know, what does not fit is simply
 * not ours to judge and stays absent. */
struct field {
    const char *name;
    size_t max; /* 0: as long as the record */
    bool nul;   /* may hold U+0000 */
};

static int data_text(const struct record *r, const struct field *f, bool required,
                     struct slice *out, struct err *e)
{
    bool known = r->kind != RECORD_OTHER;
    const struct json *member = r->data ? json_get(r->data, f->name) : NULL;

    if (!member)
        return required ? err_set(e, ERR_REJECTED, "no member \"data.%s\"", f->name) : 0;
    if (member->type != JSON_STRING)
        return known ? err_set(e, ERR_REJECTED, "data.%s is not a string", f->name) : 0;
    struct slice s = member->text;
    if (f->max && s.n > f->max)
        return known ? err_set(e, ERR_REJECTED, "data.%s has %zu bytes, more than %zu", f->name,
                               s.n, f->max)
                     : 0;
    if (!f->nul && s.n && memchr(s.p, '\0', s.n))
        return known ? err_set(e, ERR_REJECTED, "data.%s holds U+0000", f->name) : 0;
    *out = s;
    return 0;
}

static bool base64_shape(struct slice s)
{
    size_t pad = 0;

    if (s.n % 4 != 0)
        return false;
    while (pad < 2 && pad < s.n && s.p[s.n - 1 - pad] == '=')
        pad++;
    for (size_t i = 0; i + pad < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              c == '+' || c == '/'))
            return false;
    }
    return true;
}

static int decode_post(struct record *r, struct err *e)
{
    static const struct field text = {"text", 0, true};
    static const struct field text_bytes = {"text_bytes", 0, false};

    int rc = data_text(r, &text, true, &r->text, e);
    if (rc < 0)
        return rc;
    rc = data_text(r, &text_bytes, false, &r->text_bytes, e);
    if (rc < 0)
        return rc;
    if (!base64_shape(r->text_bytes))
        return err_set(e, ERR_REJECTED, "data.text_bytes is not base64");
    if (!json_get(r->data, "chatId"))
        return 0;
    if (!json_i64(r->data, "chatId", &r->chat_id) || r->chat_id < 1 ||
        r->chat_id > RECORD_MAX_SEQUENCE)
        return err_set(e, ERR_REJECTED, "data.chatId is not a whole number from 1 on");
    return 0;
}

static bool has_actor(enum record_kind kind)
{
    return kind != RECORD_OTHER && kind != RECORD_SESSION_START && kind != RECORD_SESSION_STOP;
}

static int decode_data(const struct json *root, struct record *r, struct err *e)
{
    static const struct field participant = {"participant", RECORD_MAX_PARTICIPANT, false};
    static const struct field name = {"name", RECORD_MAX_PARTICIPANT, false};
    static const struct field endpoint = {"endpoint", RECORD_MAX_PARTICIPANT, false};
    static const struct field reason = {"reason", RECORD_MAX_PARTICIPANT, false};
    static const struct field room = {"room", RECORD_MAX_PARTICIPANT, false};

    r->data = json_get(root, "data");
    if (r->kind != RECORD_OTHER && (!r->data || r->data->type != JSON_OBJECT))
        return err_set(e, ERR_REJECTED, "data is not an object");
    if (r->data && r->data->type != JSON_OBJECT)
        return 0;
    int rc = data_text(r, &participant, has_actor(r->kind), &r->participant, e);
    if (rc == 0)
        rc = data_text(r, &name, false, &r->name, e);
    if (rc == 0)
        rc = data_text(r, &endpoint, false, &r->endpoint, e);
    if (rc == 0)
        rc = data_text(r, &reason, false, &r->reason, e);
    if (rc == 0 && r->kind != RECORD_OTHER)
        rc = data_text(r, &room, false, &r->room, e);
    if (rc < 0)
        return rc;
    if (has_actor(r->kind) && r->participant.n == 0)
        return err_set(e, ERR_REJECTED, "data.participant is empty");
    if (!plain(r->participant) || !plain(r->endpoint)) {
        if (r->kind != RECORD_OTHER)
            return err_set(e, ERR_REJECTED,
                           "data.participant or data.endpoint holds a control "
                           "character");
        r->participant = r->endpoint = (struct slice){0};
    }
    return r->kind == RECORD_POST ? decode_post(r, e) : 0;
}

static int decode_attributes(const struct json *root, bool may_lack_source, struct record *r,
                             struct err *e)
{
    struct slice version = {0};
    int rc = attribute(root, "specversion", 16, &version, e);
    if (rc < 0)
        return rc;
    if (!slice_is(version, "1.0"))
        return err_set(e, ERR_REJECTED, "specversion is \"%.*s\", not \"1.0\"", SLICE_ARG(version));
    rc = attribute(root, "id", RECORD_MAX_ID, &r->id, e);
    if (rc == 0 && (!may_lack_source || json_get(root, "source")))
        rc = attribute(root, "source", RECORD_MAX_SOURCE, &r->source, e);
    if (rc == 0)
        rc = attribute(root, "type", RECORD_MAX_TYPE, &r->type, e);
    if (rc == 0)
        rc = decode_time(root, &r->time_us, e);
    if (rc == 0)
        rc = attribute(root, "subject", RECORD_MAX_SUBJECT, &r->subject, e);
    if (rc == 0)
        rc = decode_position(root, r, e);
    return rc;
}

static int decode(struct json_doc *d, struct slice raw, bool may_lack_source, struct record *out,
                  struct err *e)
{
    static const struct json_limits limits = {RECORD_MAX_BYTES, RECORD_MAX_DEPTH, RECORD_MAX_NODES};

    if (raw.n > RECORD_MAX_BYTES)
        return err_set(e, ERR_REJECTED, "record has %zu bytes, more than %d", raw.n,
                       RECORD_MAX_BYTES);
    /* One record, one line, wherever records are kept as lines. Inside strings JSON forbids it. */
    const char *feed = raw.n ? memchr(raw.p, '\n', raw.n) : NULL;
    if (feed)
        return err_set(e, ERR_REJECTED, "line feed at byte %zu: a record is one line",
                       (size_t)(feed - raw.p));
    const struct json *root = NULL;
    int rc = json_parse(d, raw, &limits, &root, e);
    if (rc < 0)
        return rc;
    if (root->type != JSON_OBJECT)
        return err_set(e, ERR_REJECTED, "record is not a JSON object");

    struct record r = {.raw = raw};
    rc = decode_attributes(root, may_lack_source, &r, e);
    if (rc < 0)
        return rc;
    r.kind = record_kind_of(r.type);
    rc = decode_data(root, &r, e);
    if (rc < 0)
        return rc;
    sha256(raw.p, raw.n, r.hash);
    *out = r;
    return 0;
}

int record_decode(struct json_doc *d, struct slice raw, struct record *out, struct err *e)
{
    return decode(d, raw, false, out, e);
}

int record_decode_producer(struct json_doc *d, struct slice raw, struct record *out, struct err *e)
{
    int rc = decode(d, raw, true, out, e);
    if (rc < 0)
        return rc;
    /* Its successor's `previous` is the hash of these bytes, so nothing may be added to them. */
    if (out->sequenced && !out->source.p)
        return err_set(e, ERR_REJECTED, "a record with a sequence must have its source");
    return 0;
}
