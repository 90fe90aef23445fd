/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds, and the two ways a record's bytes come to be: built whole, or a producer's completed.
 * Decoding is record_json.c. */
#include "mgccomp/record.h"

#include "base/clock.h"

#include <string.h>

static const struct {
    const char *type;
    size_t n;
} kinds[RECORD_KINDS] = {
#define KIND(text)                                                                                 \
    {                                                                                              \
        "holdfast." text, sizeof("holdfast." text) - 1                                             \
    }
    [RECORD_JOIN] = KIND("join"),
    [RECORD_LEAVE] = KIND("leave"),
    [RECORD_POST] = KIND("post"),
    [RECORD_READ] = KIND("read"),
    [RECORD_SIGN_IN] = KIND("sign-in"),
    [RECORD_SIGN_OUT] = KIND("sign-out"),
    [RECORD_SESSION_START] = KIND("session-start"),
    [RECORD_SESSION_STOP] = KIND("session-stop"),
    [RECORD_EDIT] = KIND("edit"),
    [RECORD_DELETE] = KIND("delete"),
    [RECORD_REACTION] = KIND("reaction"),
    [RECORD_PIN] = KIND("pin"),
    [RECORD_UPLOAD] = KIND("upload"),
    [RECORD_DOWNLOAD] = KIND("download"),
    [RECORD_INVITE] = KIND("invite"),
    [RECORD_MEMBERS] = KIND("members"),
    [RECORD_ROOM_ADMIN] = KIND("room-admin"),
    [RECORD_CATEGORY_ADMIN] = KIND("category-admin"),
    [RECORD_REPLACE] = KIND("replace"),
    [RECORD_PURGE] = KIND("purge"),
    [RECORD_TOTALS] = KIND("totals"),
    [RECORD_EPOCH_START] = KIND("epoch-start"),
#undef KIND
};

const char *record_type(enum record_kind kind)
{
    return (unsigned)kind < RECORD_KINDS ? kinds[kind].type : NULL;
}

enum record_kind record_kind_of(struct slice type)
{
    for (int kind = RECORD_OTHER + 1; kind < RECORD_KINDS; kind++) {
        if (type.n == kinds[kind].n && memcmp(type.p, kinds[kind].type, type.n) == 0)
            return (enum record_kind)kind;
    }
    return RECORD_OTHER;
}

void record_sequence_text(int64_t sequence, char out[21])
{
    uint64_t left = sequence > 0 ? (uint64_t)sequence : 0;

    for (int i = 19; i >= 0; i--) {
        out[i] = (char)('0' + left % 10);
        left /= 10;
    }
    out[20] = '\0';
}

/* The stream position: three members, with a comma in front. */
static void add_position(struct buf *out, const struct record_head *h)
{
    char sequence[21];
    char previous[SHA256_HEX];

    record_sequence_text(h->sequence, sequence);
    hex_encode(h->previous, SHA256_SIZE, previous);
    buf_text(out, ",\"epoch\":");
    buf_i64(out, h->epoch);
    buf_text(out, ",\"sequence\":\"");
    buf_add(out, sequence, 20);
    buf_text(out, "\",\"previous\":\"");
    buf_add(out, previous, SHA256_HEX - 1);
    buf_char(out, '"');
}

void record_build(struct buf *out, const struct record_head *h, struct slice members)
{
    char time[CLOCK_TEXT_SIZE];

    clock_format(h->time_us, time);
    buf_text(out, "{\"specversion\":\"1.0\",\"id\":");
    json_write_string(out, slice_of(h->id));
    buf_text(out, ",\"source\":");
    json_write_string(out, h->source);
    buf_text(out, ",\"type\":");
    json_write_string(out, h->type);
    buf_text(out, ",\"time\":\"");
    buf_text(out, time);
    buf_text(out, "\",\"subject\":");
    json_write_string(out, h->subject);
    add_position(out, h);
    buf_text(out, ",\"datacontenttype\":\"application/json\",\"data\":{");
    buf_slice(out, members);
    buf_text(out, "}}");
}

int record_complete(struct buf *out, struct slice producer, const struct record_has *has,
                    const struct record_head *h, struct err *e)
{
    struct slice own = producer;

    while (own.n > 0 && strchr(" \t\r\n", own.p[own.n - 1]) && own.p[own.n - 1] != '\0')
        own.n--;
    if (own.n < 2 || own.p[own.n - 1] != '}')
        return err_set(e, ERR_REJECTED, "record does not end with '}'");
    if (has->source && has->epoch_sequence_previous) {
        buf_slice(out, own);
        return buf_ok(out, "record", e);
    }
    own.n--;
    buf_slice(out, own);
    if (!has->source) {
        buf_text(out, ",\"source\":");
        json_write_string(out, h->source);
    }
    if (!has->epoch_sequence_previous)
        add_position(out, h);
    buf_char(out, '}');
    return buf_ok(out, "record", e);
}
