/* SPDX-License-Identifier: Apache-2.0 */
/* The growable buffer: doubles, never past its maximum, and fails for good instead of in parts. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_done(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->failed = false;
    b->too_big = false;
    if (b->p)
        b->p[0] = '\0';
}

char *buf_detach(struct buf *b, size_t *n)
{
    char *p = b->p;
    if (n)
        *n = b->n;
    *b = (struct buf){.max = b->max};
    return p;
}

static bool buf_room(struct buf *b, size_t more)
{
    if (b->failed)
        return false;
    if (more > b->max || b->n > b->max - more) {
        b->failed = true;
        b->too_big = true;
        return false;
    }
    size_t need = b->n + more;
    if (b->p && need < b->cap)
        return true;
    size_t limit = b->max < SIZE_MAX ? b->max + 1 : SIZE_MAX; /* with the final NUL */
    if (need >= limit) {
        b->failed = true;
        return false;
    }
    size_t cap = b->cap ? b->cap : 64;
    if (cap > limit)
        cap = limit;
    while (cap <= need)
        cap = cap > limit / 2 ? limit : cap * 2;
    char *p = realloc(b->p, cap);
    if (!p) {
        b->failed = true;
        return false;
    }
    p[b->n] = '\0';
    b->p = p;
    b->cap = cap;
    return true;
}

void buf_add(struct buf *b, const void *bytes, size_t n)
{
    if (!buf_room(b, n))
        return;
    if (n)
        memcpy(b->p + b->n, bytes, n);
    buf_commit(b, n);
}

void buf_slice(struct buf *b, struct slice s)
{
    buf_add(b, s.p, s.n);
}

void buf_text(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void buf_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_i64(struct buf *b, int64_t v)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)v);
    buf_add(b, digits, (size_t)n);
}

void buf_format(struct buf *b, const char *format, ...)
{
    va_list args;
    va_list again;
    va_start(args, format);
    va_copy(again, args);
    char small[256];
    int n = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (n < 0)
        b->failed = true;
    else if ((size_t)n < sizeof small)
        buf_add(b, small, (size_t)n);
    else if (buf_room(b, (size_t)n)) {
        (void)vsnprintf(b->p + b->n, (size_t)n + 1, format, again);
        buf_commit(b, (size_t)n);
    }
    va_end(again);
}

void buf_u32be(struct buf *b, uint32_t v)
{
    unsigned char bytes[4];
    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(v >> (24 - 8 * i));
    buf_add(b, bytes, sizeof bytes);
}

void buf_u64be(struct buf *b, uint64_t v)
{
    buf_u32be(b, (uint32_t)(v >> 32));
    buf_u32be(b, (uint32_t)v);
}

char *buf_reserve(struct buf *b, size_t n)
{
    return buf_room(b, n) ? b->p + b->n : NULL;
}

void buf_commit(struct buf *b, size_t n)
{
    b->n += n;
    b->p[b->n] = '\0';
}

void buf_drop_front(struct buf *b, size_t n)
{
    if (n >= b->n)
        n = b->n;
    if (!n)
        return;
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
    b->p[b->n] = '\0';
}

struct slice buf_view(const struct buf *b)
{
    return (struct slice){b->p ? b->p : "", b->n};
}

int buf_ok(const struct buf *b, const char *what, struct err *e)
{
    if (!b->failed)
        return 0;
    if (b->too_big)
        return err_set(e, ERR_REJECTED, "%s: over %zu bytes", what, b->max);
    return err_memory(e, what);
}
