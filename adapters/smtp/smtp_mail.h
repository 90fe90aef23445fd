/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mail: the records of a room in a batch, or a part of them. It gathers in unnamed scratch
 * files, so that memory holds one record, and is then read from its start as often as wanted. Its
 * bytes depend on the batch, the addresses and the size limit alone: neither on the attempt nor on
 * the time.
 *
 * multipart/mixed: the transcript (text/plain), records.ndjson (the records as first written, one a
 * line), and exceptions.jsonl for those that were unreadable or would not stay on one line.
 */
#ifndef ADAPTERS_SMTP_MAIL_H
#define ADAPTERS_SMTP_MAIL_H

#include "adapters/kit/kit.h"
#include "adapters/smtp/smtp_encode.h"

#include <stdio.h>

/* Records first..last of the batch go into one mail. */
struct smtp_unit {
    uint64_t first, last;
    uint64_t group; /* the room's index in the batch; without a room, its first record */
    uint32_t part, parts;
    bool has_room;
    bool unsettled; /* some record in it is */
};

struct smtp_addresses {
    const char *from;      /* bare address */
    const char *const *to; /* NULL-terminated */
    const char *subject;   /* its start, may be "" */
};

enum { SMTP_SEGMENTS = 6 };
struct smtp_mail {
    const struct mgc_batch *batch;
    const struct smtp_unit *unit;
    FILE *transcript, *records, *exceptions; /* encoded */
    struct smtp_base64 records_state, exceptions_state;
    struct sha256 *records_hash;
    struct buf room_name, room_uri, source; /* made visible */
    int64_t epoch;
    uint64_t lines, odd;
    struct kit_span span; /* of what could be read */
    struct buf head, before_records, before_exceptions, tail;
    int segment;
    size_t offset; /* in a segment of memory */
    uint64_t bytes;
    uint8_t sha256[SHA256_SIZE]; /* of the whole mail */
    char message_id[96];
};

/* first: the unit's first record. batch and unit must outlive the mail. */
int smtp_mail_begin(struct smtp_mail *m, const struct mgc_batch *batch,
                    const struct smtp_unit *unit, const struct mgc_record *first, struct err *e);
int smtp_mail_add(struct smtp_mail *m, const struct mgc_record *r, struct err *e);
/* Completes it; message_id, bytes and sha256 are valid from here on. */
int smtp_mail_end(struct smtp_mail *m, const struct smtp_addresses *a, struct err *e);
void smtp_mail_done(struct smtp_mail *m);
/* Used by smtp_mail_end: message_id and all that lies in memory, from what has been gathered. */
void smtp_mail_head(struct smtp_mail *m, const struct smtp_addresses *a);

/* The next n bytes at most; 0 at the end. ERR_RETRY: scratch space. */
int smtp_mail_read(struct smtp_mail *m, char *out, size_t n, size_t *got, struct err *e);
int smtp_mail_rewind(struct smtp_mail *m, struct err *e);

/* What a record adds to a mail's size. ERR_RETRY: out of memory. */
int smtp_mail_cost(const struct mgc_record *r, uint64_t *bytes, struct err *e);
/* What is in it before any record, at most: headers, preamble and the people present. */
uint64_t smtp_mail_base_cost(const struct mgc_record *first);

static inline void own_smtp_mail(struct smtp_mail *m)
{
    smtp_mail_done(m);
}

#endif
