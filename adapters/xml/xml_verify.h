/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a document back: its digest, and every record's line through an XML parser, compared with
 * the records of the batch. Memory holds one line.
 */
#ifndef ADAPTERS_XML_VERIFY_H
#define ADAPTERS_XML_VERIFY_H

#include "adapters/mgc_adapter.h"
#include "base/buf.h"
#include "base/xml.h"

#include <stdio.h>

struct xml_lines {
    FILE *file;
    struct buf line;
    bool ended; /* the root's end was the last line */
};
struct xml_check {
    struct xml_lines messages, others; /* two readers of the same file */
    struct xml_doc *parser;
    const char *path;
};

/* Opens path, which must outlive the check. want_sha256: hexadecimal, or absent when not known.
 * ERR_FAULT: no such file, or other content. */
int xml_check_begin(struct xml_check *c, const char *path, struct slice want_sha256, struct err *e);
/* The document's next record of its sort must be r. */
int xml_check_record(struct xml_check *c, const struct mgc_record *r, struct err *e);
/* There must be no further record, and the document must be whole. */
int xml_check_end(struct xml_check *c, struct err *e);
void xml_check_done(struct xml_check *c);

static inline void own_xml_check(struct xml_check *c)
{
    xml_check_done(c);
}

#endif
