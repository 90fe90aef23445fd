/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/smtp/smtp_encode.h"

#include "base/own.h"

#include <string.h>

static uint32_t code_point(const unsigned char *p, size_t n)
{
    if (n == 1)
        return p[0];
    uint32_t c = p[0] & (0xffU >> (n + 1));
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3fU);
    return c;
}

/* Characters that change how others look, or look like nothing themselves. */
static bool is_hidden(uint32_t c)
{
    return (c >= 0x80 && c < 0xa0) || c == 0xad || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
           (c >= 0xfff9 && c <= 0xfffb) || (c & 0xfffe) == 0xfffe || (c >> 8) == 0xe00;
}

static void visible_one(struct buf *out, struct slice one, const char *newline)
{
    uint32_t c = code_point((const unsigned char *)one.p, one.n);
    if (c == '\n' && newline)
        buf_text(out, newline);
    else if (c < ' ' || c == 0x7f) {
        const char picture[3] = {(char)0xe2, (char)0x90,
                                 (char)(0x80 + (c == 0x7f ? 0x21 : (int)c))};
        buf_add(out, picture, sizeof picture);
    } else if (is_hidden(c))
        buf_format(out, "\\u{%04X}", (unsigned)c);
    else
        buf_slice(out, one);
}

void smtp_visible(struct buf *out, struct slice text, const char *newline)
{
    while (text.n) {
        size_t n = utf8_sequence(text);
        if (n)
            visible_one(out, (struct slice){text.p, n}, newline);
        else
            buf_text(out, "\xef\xbf\xbd");
        n = n ? n : 1;
        text.p += n;
        text.n -= n;
    }
}

void smtp_visible_short(struct buf *out, struct slice text, size_t max)
{
    size_t start = out->n;
    while (text.n) {
        size_t n = utf8_sequence(text);
        n = n ? n : 1;
        size_t before = out->n;
        smtp_visible(out, (struct slice){text.p, n}, NULL);
        if (out->n - start > max) {
            out->n = before;
            buf_text(out, "...");
            return;
        }
        text.p += n;
        text.n -= n;
    }
}

static const char hex_digits[] = "0123456789ABCDEF";

void smtp_quoted(struct buf *out, struct slice text)
{
    size_t column = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c == '\n') {
            buf_add(out, "\r\n", 2);
            column = 0;
            continue;
        }
        bool last = i + 1 == text.n || text.p[i + 1] == '\n';
        bool plain = c > ' ' && c < 0x7f && c != '=';
        if (c == ' ')
            plain = !last;
        size_t width = plain ? 1 : 3;
        if (column + width > 75) {
            buf_add(out, "=\r\n", 3);
            column = 0;
        }
        /* A dot at the start of a line would be doubled on its way; some relays get that wrong. */
        if (plain && c == '.' && column == 0) {
            plain = false;
            width = 3;
        }
        if (plain)
            buf_char(out, (char)c);
        else {
            const char code[3] = {'=', hex_digits[c >> 4], hex_digits[c & 15]};
            buf_add(out, code, sizeof code);
        }
        column += width;
    }
}

static void base64_line(struct buf *out, const char *bytes, size_t n)
{
    char line[80];
    base64_encode(bytes, n, line);
    buf_add(out, line, base64_encoded_size(n));
    buf_add(out, "\r\n", 2);
}

void smtp_base64_add(struct smtp_base64 *s, struct buf *out, struct slice bytes)
{
    while (bytes.n) {
        size_t n = sizeof s->held - s->n;
        if (n > bytes.n)
            n = bytes.n;
        memcpy(s->held + s->n, bytes.p, n);
        s->n += n;
        bytes.p += n;
        bytes.n -= n;
        if (s->n == sizeof s->held) {
            base64_line(out, s->held, s->n);
            s->n = 0;
        }
    }
}

void smtp_base64_end(struct smtp_base64 *s, struct buf *out)
{
    if (s->n)
        base64_line(out, s->held, s->n);
    s->n = 0;
}

static bool is_plain(struct slice value)
{
    size_t word = 0;
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if (c < ' ' || c > '~')
            return false;
        if (c == '=' && i + 1 < value.n && value.p[i + 1] == '?')
            return false;
        word = c == ' ' ? 0 : word + 1;
        if (word > 60 || (c == ' ' && (i == 0 || i + 1 == value.n || value.p[i + 1] == ' ')))
            return false;
    }
    return true;
}

static void fold_plain(struct buf *out, size_t column, struct slice value)
{
    while (value.n) {
        struct slice word = slice_cut(&value, ' ');
        if (column + word.n + 1 > 76) {
            buf_add(out, "\r\n", 2);
            column = 0;
        }
        buf_char(out, ' ');
        buf_slice(out, word);
        column += word.n + 1;
    }
}

static void fold_encoded(struct buf *out, struct slice value)
{
    while (value.n) {
        size_t n = 0;
        while (n < value.n) {
            size_t one = utf8_sequence((struct slice){value.p + n, value.n - n});
            if (n && n + one > 39)
                break;
            n += one ? one : 1;
        }
        char word[64];
        base64_encode(value.p, n, word);
        buf_format(out, " =?utf-8?B?%s?=", word);
        value.p += n;
        value.n -= n;
        if (value.n)
            buf_add(out, "\r\n", 2);
    }
}

void smtp_header(struct buf *out, const char *name, struct slice value)
{
    OWN(own_buf) struct buf shown;
    buf_init(&shown, out->max);
    smtp_visible(&shown, value, NULL);
    if (shown.failed) {
        out->failed = true;
        return;
    }
    buf_format(out, "%s:", name);
    if (is_plain(buf_view(&shown)))
        fold_plain(out, strlen(name) + 1, buf_view(&shown));
    else
        fold_encoded(out, buf_view(&shown));
    buf_add(out, "\r\n", 2);
}
