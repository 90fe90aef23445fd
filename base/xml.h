/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XML 1.0 through libxml2, the only pair of files on it: entities, DTDs and the network are off.
 * The reader makes a small tree of one hostile document within limits; the writer appends to a
 * buffer and never emits a character XML can't carry.
 */
#ifndef BASE_XML_H
#define BASE_XML_H

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"

struct xml_attr {
    struct slice name; /* local name */
    struct slice value;
    struct xml_attr *next;
};
struct xml_node {
    struct slice name; /* local name, prefix dropped */
    struct slice ns;   /* namespace URI, absent when none */
    struct slice text; /* all character data directly inside, joined */
    struct xml_attr *attrs;
    struct xml_node *child, *next;
};
struct xml_limits {
    size_t bytes;
    int depth;
    size_t nodes; /* elements and attributes together */
};

struct xml_doc; /* parser and memory, reused from document to document */
struct xml_doc *xml_doc_new(void);
void xml_doc_free(struct xml_doc *d);
/* Everything is valid until the next parse or free. ERR_REJECTED: not well-formed, a DOCTYPE, over
 * a limit; the text says what and where. */
int xml_parse(struct xml_doc *d, struct slice text, const struct xml_limits *limits,
              const struct xml_node **root, struct err *e);
const struct xml_node *xml_child(const struct xml_node *n,
                                 const char *name); /* first of that name */
const struct xml_node *xml_next(const struct xml_node *n,
                                const char *name);                /* next sibling of that name */
struct slice xml_get(const struct xml_node *n, const char *name); /* absent slice when none */

/* Writer: escapes & < > " ' and, in attributes, TAB LF CR as character references. Bytes that are
 * not UTF-8 and characters XML 1.0 (section 2.2) excludes become U+FFFD. True when nothing was
 * replaced. */
bool xml_write_text(struct buf *b, struct slice s);
bool xml_write_attr(struct buf *b, const char *name, struct slice value); /* ` name="value"` */
bool xml_representable(struct slice s); /* would be written without a replacement */

static inline void own_xml_doc(struct xml_doc **d)
{
    xml_doc_free(*d);
}

#endif
