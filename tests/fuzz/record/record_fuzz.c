/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes through the record's reader; what it takes must keep the specification's limits, and a
 * producer's record it takes must be readable again once it is completed. */
#include "mgccomp/record.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static void expect(bool condition)
{
    if (!condition)
        abort();
}

static void check_limits(const struct record *r)
{
    expect(r->raw.n <= RECORD_MAX_BYTES);
    expect(r->id.n >= 1 && r->id.n <= RECORD_MAX_ID && utf8_valid(r->id));
    expect(r->source.n <= RECORD_MAX_SOURCE && utf8_valid(r->source));
    expect(r->type.n >= 1 && r->type.n <= RECORD_MAX_TYPE && utf8_valid(r->type));
    expect(r->subject.n >= 1 && r->subject.n <= RECORD_MAX_SUBJECT && utf8_valid(r->subject));
    expect(r->participant.n <= RECORD_MAX_PARTICIPANT && utf8_valid(r->participant));
    expect(!r->subject.n || !memchr(r->subject.p, 0, r->subject.n));
    expect(!r->participant.n || !memchr(r->participant.p, 0, r->participant.n));
    expect(r->time_us >= 0);
    expect(r->chat_id >= 0 && r->chat_id <= RECORD_MAX_SEQUENCE);
    if (r->sequenced)
        expect(r->epoch >= 1 && r->sequence >= 1 && r->sequence <= RECORD_MAX_SEQUENCE);
}

static void complete_and_read(struct json_doc *d, const struct record *r)
{
    static const uint8_t zeros[SHA256_SIZE];
    struct record_head h = {.source = SLICE("fuzz"), .epoch = 1, .sequence = 1, .previous = zeros};
    struct record_has has = {r->source.p != NULL, r->sequenced};
    struct record again;
    struct slice raw = r->raw;
    struct buf b;
    struct err e;

    buf_init(&b, RECORD_MAX_BYTES);
    int rc = record_complete(&b, raw, &has, &h, &e);
    expect(rc == 0 || rc == ERR_REJECTED);
    if (rc == 0) {
        expect(record_decode(d, buf_view(&b), &again, &e) == 0);
        expect(again.sequenced && again.source.p);
    }
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static struct json_doc *d;
    struct slice raw = {(const char *)bytes, n};
    struct record r;
    struct err e;

    if (!d)
        d = json_doc_new();
    expect(d);
    int rc = record_decode(d, raw, &r, &e);
    expect(rc == 0 || rc == ERR_REJECTED);
    if (rc == 0) {
        check_limits(&r);
        expect(r.source.n >= 1);
    }
    rc = record_decode_producer(d, raw, &r, &e);
    expect(rc == 0 || rc == ERR_REJECTED);
    if (rc == 0) {
        check_limits(&r);
        complete_and_read(d, &r);
    }
    return 0;
}
