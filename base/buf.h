/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growable run of bytes with a hard maximum. Appending past the maximum, or without memory, marks
 * the buffer failed and changes nothing more; test once at the end with buf_ok.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"
#include "base/text.h"

struct buf {
    char *p; /* always NUL-terminated when not NULL; the NUL is not counted */
    size_t n;
    size_t cap;
    size_t max;
    bool failed;
    bool too_big; /* why it failed: over max, else out of memory */
};

void buf_init(struct buf *b, size_t max);   /* allocates nothing */
void buf_done(struct buf *b);               /* frees; b may be zeroed; leaves it zeroed */
void buf_clear(struct buf *b);              /* empties, keeps the memory, forgets a failure */
char *buf_detach(struct buf *b, size_t *n); /* hands the memory to the caller (free), resets b */

void buf_add(struct buf *b, const void *bytes, size_t n);
void buf_slice(struct buf *b, struct slice s);
void buf_text(struct buf *b, const char *text);
void buf_char(struct buf *b, char c);
void buf_i64(struct buf *b, int64_t v);
void buf_format(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_u32be(struct buf *b, uint32_t v);
void buf_u64be(struct buf *b, uint64_t v);
/* Room for n more bytes at the end, to be filled by the caller and counted by buf_commit; NULL when
 * failed. */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
void buf_drop_front(struct buf *b, size_t n); /* removes the first n bytes */

struct slice buf_view(const struct buf *b);
/* 0, or ERR_REJECTED "... over N bytes" / ERR_RETRY out of memory, naming `what`. */
int buf_ok(const struct buf *b, const char *what, struct err *e);

static inline void own_buf(struct buf *b)
{
    buf_done(b);
}

#endif
