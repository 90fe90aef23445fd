/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes to fields, strictly (docs/record-format.md). What any database or file name may later be
 * made of is checked here, once; what nobody interprets passes as it is.
 */
#include "mgccomp/record_data.h"

#include "base/clock.h"

#include <string.h>

/* 10000-01-01T00:00:00Z */
#define TIME_END_US INT64_C(253402300800000000)
enum { EPOCH_MAX = 2147483647 };

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
    if (!record_plain(member->text))
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
    return record_parse_sequence(text, "sequence", out, e);
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
                  const char **section, struct err *e)
{
    static const struct json_limits limits = {RECORD_MAX_BYTES, RECORD_MAX_DEPTH, RECORD_MAX_NODES};

    *section = "1";
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
    *section = "1.1";
    rc = decode_attributes(root, may_lack_source, &r, e);
    if (rc < 0)
        return rc;
    r.kind = record_kind_of(r.type);
    rc = record_data(json_get(root, "data"), &r, section, e);
    if (rc < 0)
        return rc;
    sha256(raw.p, raw.n, r.hash);
    *out = r;
    return 0;
}

int record_decode(struct json_doc *d, struct slice raw, struct record *out, struct err *e)
{
    const char *section = NULL;
    return decode(d, raw, false, out, &section, e);
}

int record_check(struct json_doc *d, struct slice raw, struct record *out, const char **section,
                 struct err *e)
{
    int rc = decode(d, raw, true, out, section, e);
    if (rc < 0)
        return rc;
    /* Its successor's `previous` is the hash of these bytes, so nothing may be added to them. */
    *section = "4";
    if (out->sequenced && !out->source.p)
        return err_set(e, ERR_REJECTED, "a record with a sequence must have its source");
    return 0;
}

int record_decode_producer(struct json_doc *d, struct slice raw, struct record *out, struct err *e)
{
    const char *section = NULL;
    return record_check(d, raw, out, &section, e);
}
