/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Borrowed text: slices, strict numbers, UTF-8, hexadecimal and base64. Nothing here allocates.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A run of bytes somebody else owns. Not NUL-terminated. {NULL, 0} means absent. */
struct slice {
    const char *p;
    size_t n;
};

#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})
/* printf("%.*s", SLICE_ARG(s)) */
#define SLICE_ARG(s) (int)(s).n, (s).p ? (s).p : ""

struct slice slice_of(const char *text); /* NULL gives the absent slice */
bool slice_eq(struct slice a, struct slice b);
bool slice_is(struct slice a, const char *text);
bool slice_starts(struct slice a, const char *prefix);
bool slice_eq_nocase(struct slice a, struct slice b); /* ASCII only */
int slice_cmp(struct slice a, struct slice b);        /* bytewise, shorter first */
struct slice slice_trim(struct slice a); /* ASCII blanks, tabs, CR and LF at both ends */
/* Splits at the first `at`: returns what is before, leaves the rest behind it in *rest. Without
 * `at` returns everything and leaves *rest absent. */
struct slice slice_cut(struct slice *rest, char at);

/* Copies into a new NUL-terminated string; NULL when out of memory. Bytes after a NUL are kept. */
char *slice_dup(struct slice a);
/* Copies into out[size] with a final NUL; false when it does not fit or holds a NUL (out is ""). */
bool slice_copy(struct slice a, char *out, size_t size);

/* Strict decimal: optional '-', digits only, no blanks, no overflow. False leaves *out alone. */
bool text_i64(struct slice a, int64_t *out);
bool text_u64(struct slice a, uint64_t *out);
/* "15m", "1h30m", "10s", "250ms", "30d", into milliseconds. */
bool text_duration_ms(struct slice a, int64_t *out);
/* "4MiB", "512KiB", "1GiB", "100" (bytes). */
bool text_size(struct slice a, int64_t *out);

/* For "did you mean": true when candidate is near enough to word to be proposed and nearer than
 * *best, which is then lowered. Start with *best = SIZE_MAX. */
bool text_nearer(struct slice word, struct slice candidate, size_t *best);

/* Well-formed UTF-8 by RFC 3629 (no surrogates, no overlongs, up to U+10FFFF). NUL is allowed. */
bool utf8_valid(struct slice a);
/* Length of the well-formed sequence at the start of a, or 0 when it is not well-formed. */
size_t utf8_sequence(struct slice a);

void hex_encode(const void *bytes, size_t n, char *out); /* writes 2n lower-case digits and a NUL */
bool hex_decode(struct slice hex, void *out, size_t n);  /* exactly 2n digits, lower or upper */

size_t base64_encoded_size(size_t n);                       /* without the final NUL */
void base64_encode(const void *bytes, size_t n, char *out); /* RFC 4648 with padding, and a NUL */
/* Strict RFC 4648; out must hold 3 * (n / 4) bytes. False when malformed. */
bool base64_decode(struct slice text, void *out, size_t *out_n);

#endif
