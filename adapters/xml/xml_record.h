/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How one record looks in the document; each is one line, so that the file can be read back in
 * small pieces. Pure: appends to a buffer.
 *
 * The element and attribute names without prefix are the original's. What it has no place for is in
 * the namespace urn:holdfast:xml:1, here with the prefix hf. An attribute that XML can't carry as
 * it is holds U+FFFD in the places in question, and hf:...Bytes beside it the exact bytes in
 * base64.
 */
#ifndef ADAPTERS_XML_RECORD_H
#define ADAPTERS_XML_RECORD_H

#include "adapters/mgc_adapter.h"
#include "base/buf.h"

#define XML_NAMESPACE "urn:holdfast:xml:1"
/* An oversize record, kept as an exception, is far above what a record may be. */
enum { XML_LINE_MAX = 256 * 1024 * 1024 };

/* True: a kind that the original's Message has: JOIN, PART, CHAT, BACKCHAT. */
bool xml_is_message(const struct mgc_record *r);

/* <Channel>, and who was present before the first record: a JOIN with the time of the real join,
 * marked hf:roster="true". */
void xml_put_channel(struct buf *b, const struct mgc_room *room);
void xml_put_present(struct buf *b, const char *element, const struct mgc_participant *who);
/* element Message: with everything. element FirstMessage: the original's attributes alone, since
 * it only repeats. */
void xml_put_message(struct buf *b, const char *element, const struct mgc_record *r);
/* <hf:Record> with the exact record inside, or <hf:Exception> for what could not be read. */
void xml_put_other(struct buf *b, const struct mgc_record *r);
/* StartTimeUTC, EndTimeUTC, DateTimeUTC: the same instant in the original's three forms. */
void xml_put_time(struct buf *b, const char *element, int64_t us);

void xml_put_base64(struct buf *b, struct slice bytes);
/* ` name="digits"` */
void xml_put_digest(struct buf *b, const char *name, const uint8_t digest[32]);
void xml_put_number(struct buf *b, const char *name, int64_t v);
void xml_put_clock(struct buf *b, const char *name, int64_t us);

#endif
