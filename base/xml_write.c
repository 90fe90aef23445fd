/* SPDX-License-Identifier: Apache-2.0 */
/* The XML writer. Needs no library: libxml2's own writes control characters as they are. */
#include "base/xml.h"

/* Length of the XML 1.0 character (section 2.2) at the start of s, 0 when there is none. */
static size_t xml_char(struct slice s)
{
    size_t n = utf8_sequence(s);
    unsigned char c = n ? (unsigned char)s.p[0] : 0;
    if (n == 1 && c < 0x20 && c != '\t' && c != '\n' && c != '\r')
        return 0;
    /* U+FFFE and U+FFFF; surrogates are no UTF-8 already. */
    if (n == 3 && c == 0xEF && (unsigned char)s.p[1] == 0xBF && (unsigned char)s.p[2] >= 0xBE)
        return 0;
    return n;
}

static const char *escape_of(char c, bool attribute)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&apos;";
    case '\r': /* a reader would make a line feed of it */
        return "&#13;";
    case '\n':
        return attribute ? "&#10;" : NULL;
    case '\t':
        return attribute ? "&#9;" : NULL;
    default:
        return NULL;
    }
}

static bool write_escaped(struct buf *b, struct slice s, bool attribute)
{
    bool whole = true;
    size_t from = 0;
    for (size_t i = 0; i < s.n;) {
        size_t n = xml_char((struct slice){s.p + i, s.n - i});
        const char *instead = n ? escape_of(s.p[i], attribute) : "\xEF\xBF\xBD";
        if (!n)
            whole = false;
        size_t bad = n ? 0 : utf8_sequence((struct slice){s.p + i, s.n - i});
        size_t next = i + (n ? n : bad ? bad : 1);
        if (instead) {
            buf_add(b, s.p + from, i - from);
            buf_text(b, instead);
            from = next;
        }
        i = next;
    }
    if (from < s.n)
        buf_add(b, s.p + from, s.n - from);
    return whole;
}

bool xml_write_text(struct buf *b, struct slice s)
{
    return write_escaped(b, s, false);
}

bool xml_write_attr(struct buf *b, const char *name, struct slice value)
{
    buf_char(b, ' ');
    buf_text(b, name);
    buf_text(b, "=\"");
    bool whole = write_escaped(b, value, true);
    buf_char(b, '"');
    return whole;
}

bool xml_representable(struct slice s)
{
    for (size_t i = 0; i < s.n;) {
        size_t n = xml_char((struct slice){s.p + i, s.n - i});
        if (!n)
            return false;
        i += n;
    }
    return true;
}
