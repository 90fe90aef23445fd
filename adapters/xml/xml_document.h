/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One Conversations document, written record by record: memory holds one record at a time. The
 * records that the original has no kind for gather in a scratch file and follow the conversations.
 *
 * A Conversation is a room. Its StartTimeUTC and EndTimeUTC are the least and the greatest time of
 * its records in this document; people present before are JOIN messages with the time they joined,
 * which may be earlier.
 */
#ifndef ADAPTERS_XML_DOCUMENT_H
#define ADAPTERS_XML_DOCUMENT_H

#include "adapters/mgc_adapter.h"
#include "base/buf.h"
#include "base/digest.h"
#include "base/file.h"

#include <stdio.h>

struct xml_document {
    const char *directory;
    struct file_temp temp;
    struct sha256 *hash;
    struct buf text; /* not yet in the file */
    FILE *others;
    uint64_t bytes;
    uint64_t room; /* of the open Conversation */
    int64_t first_us, last_us;
    bool in_room, has_others;
};

struct xml_written {
    uint64_t bytes;
    uint8_t sha256[SHA256_SIZE];
};

/* Begins directory/name; directory must outlive the document. */
int xml_document_begin(struct xml_document *d, const char *directory, const char *name,
                       const struct mgc_batch *batch, struct err *e);
int xml_document_add(struct xml_document *d, const struct mgc_record *r, struct err *e);
/* Publishes the document. A file of that name with the same content is as good; with other content:
 * ERR_FAULT, and it stays as it is. */
int xml_document_end(struct xml_document *d, struct xml_written *w, struct err *e);
/* Leaves nothing of an unpublished document. */
void xml_document_done(struct xml_document *d);

static inline void own_xml_document(struct xml_document *d)
{
    xml_document_done(d);
}

#endif
