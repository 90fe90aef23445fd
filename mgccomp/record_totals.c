/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of a statement. Fields are parted by one blank; the subject, which may hold some, is
 * the last. */
#include "mgccomp/record_totals.h"

#include "base/clock.h"
#include "mgccomp/record_data.h"

static const char title[] = "holdfast totals 1";

void totals_put_head(struct buf *out, const struct totals_head *h)
{
    char time[CLOCK_TEXT_SIZE];
    char next[CLOCK_TEXT_SIZE] = "-";
    clock_format(h->time_us, time);
    if (h->next_us)
        clock_format(h->next_us, next);
    buf_format(out, "%s\nsource ", title);
    buf_slice(out, h->source);
    buf_format(out, "\ntime %s\nnext %s\npart %lld %s\n", time, next, (long long)h->part,
               h->last ? "last" : "more");
}

void totals_put_line(struct buf *out, const struct totals_line *l)
{
    char hash[SHA256_HEX];
    hex_encode(l->hash, SHA256_SIZE, hash);
    buf_format(out, "%lld %lld %lld %s ", (long long)l->epoch, (long long)l->sequence,
               (long long)l->count, hash);
    buf_slice(out, l->subject);
    buf_char(out, '\n');
}

int totals_members(struct buf *out, struct slice statement, const struct sign_key *key,
                   struct err *e)
{
    uint8_t signature[SIGN_SIZE];
    char hex[2 * SIGN_KEY_SIZE + 1];
    int rc = sign_bytes(key, statement.p, statement.n, signature, e);
    if (rc < 0)
        return rc;
    hex_encode(key->public_key, SIGN_KEY_SIZE, hex);
    buf_text(out, "\"statement\":");
    json_write_string(out, statement);
    buf_text(out, ",\"signature\":");
    json_write_base64(out, (struct slice){(const char *)signature, sizeof signature});
    buf_format(out, ",\"key\":\"%s\"", hex);
    return buf_ok(out, "control totals", e);
}

bool totals_signed_by(const struct json *data, const uint8_t public_key[SIGN_KEY_SIZE])
{
    uint8_t signature[SIGN_SIZE + 3];
    size_t n = 0;
    struct slice statement = json_string(data, "statement");
    struct slice text = json_string(data, "signature");
    return statement.p && text.n == base64_encoded_size(SIGN_SIZE) &&
           base64_decode(text, signature, &n) && n == SIGN_SIZE &&
           sign_verify(public_key, statement.p, statement.n, signature);
}

static bool field(struct slice *rest, const char *name, struct slice *out)
{
    struct slice line = slice_cut(rest, '\n');
    struct slice word = slice_cut(&line, ' ');
    *out = line;
    return slice_is(word, name) && line.n > 0;
}

int totals_read_head(struct slice statement, struct totals_head *out, struct slice *rest,
                     struct err *e)
{
    struct totals_head h = {0};
    struct slice left = statement;
    struct slice time, next, part;
    if (!slice_is(slice_cut(&left, '\n'), title))
        return err_set(e, ERR_REJECTED, "the statement does not begin with \"%s\"", title);
    if (!field(&left, "source", &h.source) || !field(&left, "time", &time) ||
        !field(&left, "next", &next) || !field(&left, "part", &part))
        return err_set(e, ERR_REJECTED, "the statement lacks source, time, next or part");
    struct slice number = slice_cut(&part, ' ');
    h.last = slice_is(part, "last");
    if (!clock_parse(time, &h.time_us) ||
        (!slice_is(next, "-") && !clock_parse(next, &h.next_us)) || !text_i64(number, &h.part) ||
        h.part < 1 || (!h.last && !slice_is(part, "more")))
        return err_set(e, ERR_REJECTED, "the statement's time, next or part can't be read");
    *out = h;
    *rest = left;
    return 0;
}

int totals_next_line(struct slice *rest, struct totals_line *out, struct err *e)
{
    struct totals_line l = {0};
    if (rest->n == 0)
        return 0;
    struct slice line = slice_cut(rest, '\n');
    struct slice epoch = slice_cut(&line, ' ');
    struct slice sequence = slice_cut(&line, ' ');
    struct slice count = slice_cut(&line, ' ');
    struct slice hash = slice_cut(&line, ' ');
    if (!text_i64(epoch, &l.epoch) || l.epoch < 1 || !text_i64(sequence, &l.sequence) ||
        l.sequence < 1 || l.sequence > RECORD_MAX_SEQUENCE || !text_i64(count, &l.count) ||
        l.count < 0 || !hex_decode(hash, l.hash, sizeof l.hash) || line.n == 0 ||
        line.n > RECORD_MAX_SUBJECT || !record_plain(line))
        return err_set(e, ERR_REJECTED, "a line of the statement can't be read");
    l.subject = line;
    *out = l;
    return 1;
}
