/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record: one CloudEvents 1.0 event in structured JSON, kept for ever as the bytes first
 * written (docs/record-format.md). Decoding extracts copies; nobody re-serialises.
 */
#ifndef MGCCOMP_RECORD_H
#define MGCCOMP_RECORD_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"

/* Limits of the specification, checked before any database sees a value. */
enum {
    RECORD_MAX_BYTES = 512 * 1024,
    RECORD_MAX_ID = 128,
    RECORD_MAX_SOURCE = 512,
    RECORD_MAX_TYPE = 128,
    RECORD_MAX_SUBJECT = 1024,
    RECORD_MAX_PARTICIPANT = 1024,
    RECORD_MAX_DEPTH = 32,
    RECORD_MAX_NODES = 20000,
};
#define RECORD_MAX_SEQUENCE                                                                        \
    INT64_C(999999999999999999) /* 18 digits: room to add without overflow */

/* `type` is "holdfast." and the name below; others pass through as RECORD_OTHER. */
enum record_kind {
    RECORD_OTHER,
    RECORD_JOIN,          /* holdfast.join */
    RECORD_LEAVE,         /* holdfast.leave */
    RECORD_POST,          /* holdfast.post */
    RECORD_READ,          /* holdfast.read: history shown to a participant, as ranges of chat ids */
    RECORD_SIGN_IN,       /* holdfast.sign-in */
    RECORD_SIGN_OUT,      /* holdfast.sign-out */
    RECORD_SESSION_START, /* holdfast.session-start */
    RECORD_SESSION_STOP,  /* holdfast.session-stop */
    RECORD_EDIT,          /* holdfast.edit: and so on, one word for one word */
    RECORD_DELETE,
    RECORD_REACTION,
    RECORD_PIN,
    RECORD_UPLOAD,
    RECORD_DOWNLOAD,
    RECORD_INVITE,
    RECORD_MEMBERS, /* who is in a conversation, as a list */
    RECORD_ROOM_ADMIN,
    RECORD_CATEGORY_ADMIN,
    RECORD_REPLACE,     /* an administrator's edit */
    RECORD_PURGE,       /* an administrator's delete, of many */
    RECORD_TOTALS,      /* a source's signed heads */
    RECORD_EPOCH_START, /* after a restore: the heads known before */
    RECORD_KINDS
};
const char *record_type(enum record_kind kind); /* "holdfast.post"; NULL for RECORD_OTHER */
enum record_kind record_kind_of(struct slice type);

struct record {
    struct slice raw;
    uint8_t hash[SHA256_SIZE]; /* of raw */
    struct slice id, source, type, subject;
    enum record_kind kind;
    int64_t time_us;
    bool sequenced; /* epoch, sequence and previous are there */
    int64_t epoch, sequence;
    uint8_t previous[SHA256_SIZE];
    /* From `data`, absent or zero where a kind has none: */
    struct slice participant; /* URI of who acted */
    struct slice name;        /* that person's display name */
    struct slice endpoint;    /* which of the participant's clients */
    struct slice room;        /* the room's display name, when the record tells it */
    struct slice text;        /* post, edit, replace: as UTF-8 */
    struct slice text_bytes;  /* base64 of the exact bytes, where text could not hold them */
    struct slice reason;      /* leave, sign-out, session-stop */
    int64_t chat_id;          /* post: number of the message in its room, from 1 */
    const struct json *data;  /* the whole `data` member, or NULL */
};

/* Decodes and validates. Slices point into raw or d, valid until the next use of d. raw needs not
 * be NUL-terminated. ERR_REJECTED: "no member \"time\"", "sequence has 7 digits, not 20", ...
 * Members of other names pass. `time` outside years 1970-9999, oversize and over-deep records are
 * refused, and so is a line feed: one record is one line. */
int record_decode(struct json_doc *d, struct slice raw, struct record *out, struct err *e);
/* As record_decode for a record before ingest completes it: `source` may be missing (absent slice)
 * from a record without a sequence. */
int record_decode_producer(struct json_doc *d, struct slice raw, struct record *out, struct err *e);

/* The same, and *section says which part of the specification was broken when it was. */
int record_check(struct json_doc *d, struct slice raw, struct record *out, const char **section,
                 struct err *e);

/* What the store knows when it writes a record. */
struct record_head {
    const char *id; /* UUID */
    struct slice source, type, subject;
    int64_t time_us;
    int64_t epoch, sequence;
    const uint8_t *previous;
};
/* Appends the record's bytes to out: attributes in fixed order, then "data":{members}. `members` is
 * JSON members without the braces, may be absent. */
void record_build(struct buf *out, const struct record_head *h, struct slice members);
/* A producer's record gets the members it lacks before its closing brace; its own bytes stay in
 * front. `has` says which of them the producer already wrote. Trailing blanks after the brace are
 * dropped. */
struct record_has {
    bool source, epoch_sequence_previous;
};
int record_complete(struct buf *out, struct slice producer, const struct record_has *has,
                    const struct record_head *h, struct err *e);
/* "00000000000000000017" */
void record_sequence_text(int64_t sequence, char out[21]);

#endif
