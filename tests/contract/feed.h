/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: chains of records, a queue's items made of them, and a fresh mgccomp on either
 * database. */
#ifndef TESTS_CONTRACT_FEED_H
#define TESTS_CONTRACT_FEED_H

#include "mgccomp/capture_write.h"

/* A source's side of a stream: what its next record gets. */
struct feed_stream {
    const char *source, *subject;
    int64_t epoch, sequence;
    uint8_t previous[SHA256_SIZE];
};

/* Items as a queue hands them out; everything is freed by feed_done. */
struct feed {
    struct capture_item *items;
    char **owned;
    size_t n, room, owned_n, owned_room;
    int32_t part;
    int64_t pos; /* of the next item */
};
void feed_done(struct feed *f);
void feed_clear(struct feed *f); /* no items; positions go on */

/* The stream's next record; lives as long as f. members: of data. */
struct slice feed_make(struct feed *f, struct feed_stream *s, enum record_kind kind,
                       const char *members);
struct slice feed_keep(struct feed *f, struct slice bytes); /* a copy that lives as long as f */
void feed_put(struct feed *f, struct slice raw);            /* at the queue's end */
void feed_post(struct feed *f, struct feed_stream *s);      /* makes and puts a post */

/* Decodes n items and writes them, as capture does. */
int feed_write(struct capture_writer *w, const struct capture_item *items, size_t n,
               struct staging_position *positions, size_t position_count,
               struct capture_outcome *out, struct err *e);

/* A database of its own for each case. postgres NULL: SQLite. Returns the URL, valid until the
 * next call. */
const char *feed_database(const char *postgres, const char *scratch);

#endif
