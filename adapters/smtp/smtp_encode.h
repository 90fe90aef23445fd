/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text as a mail carries it: quoted-printable and base64 bodies (RFC 2045), header fields with
 * encoded words (RFC 2047), and hostile characters made visible. The same input gives the same
 * bytes. Pure: appends to buffers.
 */
#ifndef ADAPTERS_SMTP_ENCODE_H
#define ADAPTERS_SMTP_ENCODE_H

#include "base/buf.h"
#include "base/text.h"

/* Appends text with control characters as their pictures (U+2400...), invisible and direction
 * changing ones as \u{202E}, what is not UTF-8 as U+FFFD. newline is what stands for a line feed:
 * NULL for its picture, to stay on one line. */
void smtp_visible(struct buf *out, struct slice text, const char *newline);
/* As smtp_visible on one line, cut with "..." to at most max bytes. */
void smtp_visible_short(struct buf *out, struct slice text, size_t max);

/* Quoted-printable. Lines of text end in LF and become CRLF; text must end in one. No line begins
 * with a dot, none is longer than 76. */
void smtp_quoted(struct buf *out, struct slice text);

/* Base64 in lines of 76, over any number of pieces. A zeroed struct is a start. */
struct smtp_base64 {
    char held[57];
    size_t n;
};
void smtp_base64_add(struct smtp_base64 *s, struct buf *out, struct slice bytes);
void smtp_base64_end(struct smtp_base64 *s, struct buf *out);

/* "name: value" CRLF, folded; value is made visible first, and becomes encoded words unless it is
 * plain ASCII. Nothing in value can start another field. */
void smtp_header(struct buf *out, const char *name, struct slice value);

#endif
