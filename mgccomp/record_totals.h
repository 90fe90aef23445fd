/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The statement of control totals (docs/record-format.md, 3.8): what a source says of its streams'
 * heads, as lines of text under one signature. Built where the source writes, read where its
 * records are captured.
 */
#ifndef MGCCOMP_RECORD_TOTALS_H
#define MGCCOMP_RECORD_TOTALS_H

#include "base/sign.h"
#include "mgccomp/record.h"

struct totals_head {
    struct slice source;
    int64_t time_us, next_us; /* next 0: the source stops in order */
    int64_t part;             /* from 1 */
    bool last;                /* the last part of this time's totals */
};
struct totals_line {
    int64_t epoch, sequence, count;
    uint8_t hash[SHA256_SIZE];
    struct slice subject;
};

void totals_put_head(struct buf *out, const struct totals_head *h);
void totals_put_line(struct buf *out, const struct totals_line *l);
/* Members of `data`: statement, signature, key. */
int totals_members(struct buf *out, struct slice statement, const struct sign_key *key,
                   struct err *e);

/* Takes the statement out of `data`, and says whether the signature is of that key. */
bool totals_signed_by(const struct json *data, const uint8_t public_key[SIGN_KEY_SIZE]);
/* Reads the head; *rest is what totals_next_line reads. ERR_REJECTED. */
int totals_read_head(struct slice statement, struct totals_head *out, struct slice *rest,
                     struct err *e);
/* 1: a line; 0: the end; ERR_REJECTED. */
int totals_next_line(struct slice *rest, struct totals_line *out, struct err *e);

#endif
