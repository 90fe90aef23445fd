/* SPDX-License-Identifier: Apache-2.0 */
/* Slices, strict numbers and encodings over borrowed bytes. */
#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct slice slice_of(const char *text)
{
    return text ? (struct slice){text, strlen(text)} : (struct slice){NULL, 0};
}

bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool slice_is(struct slice a, const char *text)
{
    return slice_eq(a, slice_of(text));
}

bool slice_starts(struct slice a, const char *prefix)
{
    size_t n = strlen(prefix);
    return a.n >= n && (n == 0 || memcmp(a.p, prefix, n) == 0);
}

static char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool slice_eq_nocase(struct slice a, struct slice b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
            return false;
    return true;
}

int slice_cmp(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    if (order)
        return order;
    return (a.n > b.n) - (a.n < b.n);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice slice_trim(struct slice a)
{
    while (a.n && is_blank(a.p[a.n - 1]))
        a.n--;
    while (a.n && is_blank(a.p[0])) {
        a.p++;
        a.n--;
    }
    return a;
}

struct slice slice_cut(struct slice *rest, char at)
{
    struct slice all = *rest;
    const char *hit = all.n ? memchr(all.p, at, all.n) : NULL;
    if (!hit) {
        *rest = (struct slice){NULL, 0};
        return all;
    }
    size_t before = (size_t)(hit - all.p);
    *rest = (struct slice){hit + 1, all.n - before - 1};
    return (struct slice){all.p, before};
}

char *slice_dup(struct slice a)
{
    char *copy = a.n < SIZE_MAX ? malloc(a.n + 1) : NULL;
    if (!copy)
        return NULL;
    if (a.n)
        memcpy(copy, a.p, a.n);
    copy[a.n] = '\0';
    return copy;
}

bool slice_copy(struct slice a, char *out, size_t size)
{
    if (!size)
        return false;
    out[0] = '\0';
    if (a.n >= size || (a.n && memchr(a.p, '\0', a.n)))
        return false;
    if (a.n)
        memcpy(out, a.p, a.n);
    out[a.n] = '\0';
    return true;
}

bool text_u64(struct slice a, uint64_t *out)
{
    uint64_t value = 0;
    if (!a.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (a.p[i] < '0' || a.p[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(a.p[i] - '0');
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *out = value;
    return true;
}

bool text_i64(struct slice a, int64_t *out)
{
    bool negative = a.n && a.p[0] == '-';
    uint64_t value = 0;
    if (negative) {
        a.p++;
        a.n--;
    }
    if (!text_u64(a, &value))
        return false;
    if (value > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    if (!negative)
        *out = (int64_t)value;
    else
        *out = value ? -(int64_t)(value - 1) - 1 : 0;
    return true;
}

static struct slice take_digits(struct slice *rest)
{
    size_t n = 0;
    while (n < rest->n && rest->p[n] >= '0' && rest->p[n] <= '9')
        n++;
    struct slice digits = {rest->p, n};
    rest->p = rest->p ? rest->p + n : NULL;
    rest->n -= n;
    return digits;
}

bool text_duration_ms(struct slice a, int64_t *out)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    int64_t total = 0;
    int64_t above = INT64_MAX; /* units must get smaller: "1h30m", never "30m1h" or "1h1h" */

    if (!a.n)
        return false;
    while (a.n) {
        int64_t number = 0;
        if (!text_i64(take_digits(&a), &number))
            return false;
        size_t n = 0;
        while (n < a.n && a.p[n] >= 'a' && a.p[n] <= 'z')
            n++;
        int64_t unit = 0;
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
            if (slice_is((struct slice){a.p, n}, units[i].name))
                unit = units[i].ms;
        if (!unit || unit >= above)
            return false;
        if (__builtin_mul_overflow(number, unit, &number) ||
            __builtin_add_overflow(total, number, &total))
            return false;
        above = unit;
        a.p += n;
        a.n -= n;
    }
    *out = total;
    return true;
}

bool text_size(struct slice a, int64_t *out)
{
    static const struct {
        const char *name;
        int64_t bytes;
    } units[] = {{"", 1},
                 {"KiB", INT64_C(1) << 10},
                 {"MiB", INT64_C(1) << 20},
                 {"GiB", INT64_C(1) << 30},
                 {"TiB", INT64_C(1) << 40}};
    int64_t number = 0;
    if (!text_i64(take_digits(&a), &number))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (slice_is(a, units[i].name)) {
            if (__builtin_mul_overflow(number, units[i].bytes, &number))
                return false;
            *out = number;
            return true;
        }
    return false;
}

enum { NEAR_MAX = 64 };

/* Edit distance where a swap of neighbours counts once (optimal string alignment). */
static size_t edit_distance(struct slice a, struct slice b)
{
    size_t rows[3][NEAR_MAX + 1];
    size_t *before = rows[0];
    size_t *last = rows[1];
    size_t *now = rows[2];
    for (size_t j = 0; j <= b.n; j++)
        last[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t cost = last[j - 1] + (a.p[i - 1] != b.p[j - 1]);
            if (last[j] + 1 < cost)
                cost = last[j] + 1;
            if (now[j - 1] + 1 < cost)
                cost = now[j - 1] + 1;
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] &&
                before[j - 2] + 1 < cost)
                cost = before[j - 2] + 1;
            now[j] = cost;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.n];
}

bool text_nearer(struct slice word, struct slice candidate, size_t *best)
{
    if (word.n > NEAR_MAX || candidate.n > NEAR_MAX)
        return false;
    size_t distance = edit_distance(word, candidate);
    if (distance > 1 + candidate.n / 4 || distance >= *best)
        return false;
    *best = distance;
    return true;
}

size_t utf8_sequence(struct slice a)
{
    if (!a.n)
        return 0;
    const unsigned char *s = (const unsigned char *)a.p;
    if (s[0] < 0x80)
        return 1;
    /* RFC 3629 section 4: the second byte's range rules out overlongs, surrogates and > 10FFFF. */
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    size_t n = 0;
    if (s[0] >= 0xC2 && s[0] <= 0xDF)
        n = 2;
    else if (s[0] >= 0xE0 && s[0] <= 0xEF)
        n = 3;
    else if (s[0] >= 0xF0 && s[0] <= 0xF4)
        n = 4;
    else
        return 0;
    if (s[0] == 0xE0)
        low = 0xA0;
    else if (s[0] == 0xED)
        high = 0x9F;
    else if (s[0] == 0xF0)
        low = 0x90;
    else if (s[0] == 0xF4)
        high = 0x8F;
    if (a.n < n || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return n;
}

bool utf8_valid(struct slice a)
{
    size_t i = 0;
    while (i < a.n) {
        /* Eight ASCII bytes at a time: nearly all text is. */
        uint64_t word = 0;
        while (a.n - i >= sizeof word) {
            memcpy(&word, a.p + i, sizeof word);
            if (word & UINT64_C(0x8080808080808080))
                break;
            i += sizeof word;
        }
        if (i == a.n)
            break;
        size_t n = utf8_sequence((struct slice){a.p + i, a.n - i});
        if (!n)
            return false;
        i += n;
    }
    return true;
}

void hex_encode(const void *bytes, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *in = bytes;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * n] = '\0';
}

/* The digit's value and 1; 0: no digit. Every record has a hash to be read. */
static const uint8_t hex_values[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

bool hex_decode(struct slice hex, void *out, size_t n)
{
    const unsigned char *from = (const unsigned char *)hex.p;
    unsigned char *to = out;
    if (hex.n % 2 || hex.n / 2 != n)
        return false;
    for (size_t i = 0; i < hex.n; i++)
        if (!hex_values[from[i]])
            return false;
    for (size_t i = 0; i < n; i++)
        to[i] =
            (unsigned char)((hex_values[from[2 * i]] - 1) << 4 | (hex_values[from[2 * i + 1]] - 1));
    return true;
}

size_t base64_encoded_size(size_t n)
{
    return (n / 3 + (n % 3 ? 1 : 0)) * 4;
}

void base64_encode(const void *bytes, size_t n, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = bytes;
    for (; n >= 3; n -= 3, in += 3) {
        *out++ = digits[in[0] >> 2];
        *out++ = digits[(in[0] & 3) << 4 | in[1] >> 4];
        *out++ = digits[(in[1] & 15) << 2 | in[2] >> 6];
        *out++ = digits[in[2] & 63];
    }
    if (n) {
        unsigned second = n == 2 ? in[1] : 0;
        *out++ = digits[in[0] >> 2];
        *out++ = digits[(in[0] & 3u) << 4 | second >> 4];
        *out++ = n == 2 ? digits[(second & 15) << 2] : '=';
        *out++ = '=';
    }
    *out = '\0';
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct slice text, void *out, size_t *out_n)
{
    unsigned char *to = out;
    size_t n = 0;
    if (text.n % 4)
        return false;
    for (size_t i = 0; i < text.n; i += 4) {
        int v[4];
        size_t pad = 0;
        for (size_t j = 0; j < 4; j++) {
            char c = text.p[i + j];
            bool last = i + 4 == text.n;
            if (c == '=' && last && j >= 2) {
                pad++;
                v[j] = 0;
                continue;
            }
            v[j] = base64_value(c);
            if (v[j] < 0 || pad)
                return false;
        }
        /* The bits behind the padding must be zero: one byte string has one encoding. */
        if ((pad == 2 && v[1] & 15) || (pad == 1 && v[2] & 3))
            return false;
        to[n++] = (unsigned char)(v[0] << 2 | v[1] >> 4);
        if (pad < 2)
            to[n++] = (unsigned char)((v[1] & 15) << 4 | v[2] >> 2);
        if (pad < 1)
            to[n++] = (unsigned char)((v[2] & 3) << 6 | v[3]);
    }
    *out_n = n;
    return true;
}
