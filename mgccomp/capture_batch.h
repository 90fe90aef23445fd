/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to mgccomp/capture_*.c: a batch on its way into mgccomp. It is decoded before the
 * transaction (capture_decode.c), judged against the heads inside it (capture_judge.c,
 * capture_known.c, capture_far.c), and appended (capture_heads.c, capture_append.c).
 */
#ifndef MGCCOMP_CAPTURE_BATCH_H
#define MGCCOMP_CAPTURE_BATCH_H

#include "base/arena.h"
#include "mgccomp/capture_write.h"
#include "mgccomp/head_cache.h"
#include "mgccomp/presence.h"

/* What the database had against a record, if anything. */
enum refused {
    REFUSED_NOT,
    REFUSED_TEXTS, /* kept in its stream, its texts in no column but raw */
    REFUSED_PLACE, /* kept raw, in no stream */
};

struct staged {
    const struct capture_item *item;
    uint8_t hash[SHA256_SIZE], previous[SHA256_SIZE];
    struct slice source, subject; /* absent: it could not be read */
    int64_t epoch;
    enum record_kind kind;
    bool sequenced;
    enum refused refused;
    int64_t sequence, time_us;
    struct slice participant, endpoint, name; /* join, leave */
    struct slice room;                        /* the room's display name, if it is told */
    struct slice note;                        /* why it is an exception */
    /* Set by writing: */
    struct stream *decoded; /* NULL: it could not be read */
    bool dropped;           /* a duplicate */
    bool placed;            /* a duplicate of what was far ahead: only now it has its place */
    int64_t flags;          /* enum staging_flag */
    size_t before;          /* the stream's item before it in the batch, as stream.last */
};

/* An incident to be opened once its stream has a row. */
struct finding {
    const char *kind; /* NULL: withdrawn */
    struct stream *stream;
    size_t item;
    int64_t first, last;
};

/* capture_decode.c: what the reader of the queue makes, without a database. */
struct capture_batch {
    struct json_doc *doc;
    struct arena texts;
    struct staged *staged;
    size_t n, room;
};

enum { LIST_VALUES = 8192 };

/* What the writer makes of it. */
struct batch {
    struct staging_txn *t;
    struct head_cache *streams;
    struct json_doc *doc;
    struct capture_batch *in;
    struct staged *staged; /* in's */
    size_t n;
    size_t room;             /* entries of touched and presence */
    struct stream **touched; /* by the slice */
    size_t touched_n;
    struct db_value *values;  /* LIST_VALUES of them, for whoever sends lists */
    struct finding *findings; /* of the slice */
    size_t findings_n, findings_room;
    struct presence_event *presence;
    uint64_t number, slice;
    int64_t generation, now_us;
    size_t incidents; /* opened by the transaction */
};

static inline struct stream *staged_stream(const struct staged *s)
{
    return s->refused == REFUSED_PLACE ? NULL : s->decoded;
}

/* capture_judge.c: judges staged[lo..hi) against the heads and moves these in memory. Nothing but
 * gaps that a late record fills is written yet. */
int batch_judge(struct batch *b, size_t lo, size_t hi, struct err *e);
void batch_unjudge(struct batch *b); /* heads are as before the slice */
int batch_find(struct batch *b, const char *kind, size_t item, int64_t first, int64_t last,
               struct err *e);

/* capture_far.c: records kept far ahead of their stream, until its chain gets there. */
int batch_far(struct batch *b, size_t item, struct err *e);
/* The chain comes to staged[item], by a gap or not: what was kept far ahead under its number is the
 * same, which is then dropped, or the incident fork. */
int batch_reach(struct batch *b, size_t item, struct err *e);
int batch_write_ahead(struct batch *b, struct err *e); /* after batch_write_heads */

/* capture_heads.c: the touched streams' rows are as they are in memory. */
int batch_write_heads(struct batch *b, struct err *e);

/* capture_append.c: judges and writes staged[lo..hi) within b->t. */
int batch_append(struct batch *b, size_t lo, size_t hi, struct err *e);

/* capture_known.c */
enum known { KNOWN_NOT, KNOWN_SAME, KNOWN_OTHER };
/* Is there a record of this number: in the batch before item `end`, in the table, among the hashes
 * of deleted ones? */
int batch_known(struct batch *b, const struct stream *s, int64_t sequence,
                const uint8_t hash[SHA256_SIZE], enum known *out, struct err *e);
/* The late record must carry the hash of the record before it and be named by the one behind it,
 * where these are there; otherwise one of them was altered. */
int batch_check_links(struct batch *b, size_t item, struct err *e);

#endif
