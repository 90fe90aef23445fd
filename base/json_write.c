/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON writer: escapes by runs, so that plain text is copied whole. */
#include "base/json.h"

#include <stdio.h>
#include <string.h>

static void write_escape(struct buf *b, unsigned char c)
{
    static const char named[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    const char *hit = c ? strchr(named, c) : NULL;
    if (hit) {
        char two[2] = {'\\', letters[hit - named]};
        buf_add(b, two, sizeof two);
        return;
    }
    char six[8];
    (void)snprintf(six, sizeof six, "\\u%04x", c);
    buf_add(b, six, 6);
}

static bool needs_escape(char c)
{
    return (unsigned char)c < 0x20 || c == '"' || c == '\\';
}

static void write_runs(struct buf *b, struct slice s)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!needs_escape(s.p[i]))
            continue;
        buf_add(b, s.p + from, i - from);
        write_escape(b, (unsigned char)s.p[i]);
        from = i + 1;
    }
    if (from < s.n)
        buf_add(b, s.p + from, s.n - from);
}

void json_write_string(struct buf *b, struct slice utf8)
{
    buf_char(b, '"');
    write_runs(b, utf8);
    buf_char(b, '"');
}

bool json_write_lossy(struct buf *b, struct slice bytes)
{
    bool whole = true;
    buf_char(b, '"');
    size_t from = 0;
    for (size_t i = 0; i < bytes.n;) {
        size_t n = utf8_sequence((struct slice){bytes.p + i, bytes.n - i});
        if (n) {
            i += n;
            continue;
        }
        write_runs(b, (struct slice){bytes.p + from, i - from});
        buf_text(b, "\xEF\xBF\xBD");
        whole = false;
        from = ++i;
    }
    if (from < bytes.n)
        write_runs(b, (struct slice){bytes.p + from, bytes.n - from});
    buf_char(b, '"');
    return whole;
}

void json_write_base64(struct buf *b, struct slice bytes)
{
    size_t n = base64_encoded_size(bytes.n);
    buf_char(b, '"');
    char *room = buf_reserve(b, n);
    if (room) {
        base64_encode(bytes.p, bytes.n, room);
        buf_commit(b, n);
    }
    buf_char(b, '"');
}

static void comma_unless_after(struct buf *b, const char *these)
{
    if (b->n && !strchr(these, b->p[b->n - 1]))
        buf_char(b, ',');
}

void json_comma(struct buf *b)
{
    comma_unless_after(b, "{[:");
}

void json_key(struct buf *b, const char *key)
{
    comma_unless_after(b, "{[");
    json_write_string(b, slice_of(key));
    buf_char(b, ':');
}

void json_put_string(struct buf *b, const char *key, struct slice utf8)
{
    json_key(b, key);
    json_write_string(b, utf8);
}

void json_put_i64(struct buf *b, const char *key, int64_t v)
{
    json_key(b, key);
    buf_i64(b, v);
}

void json_put_bool(struct buf *b, const char *key, bool v)
{
    json_key(b, key);
    buf_text(b, v ? "true" : "false");
}
