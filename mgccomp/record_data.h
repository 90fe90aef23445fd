/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `data` holds in each kind of record (docs/record-format.md, 3): checked against one table,
 * and copied into the record's fields.
 */
#ifndef MGCCOMP_RECORD_DATA_H
#define MGCCOMP_RECORD_DATA_H

#include "mgccomp/record.h"

/* data may be NULL. Reads r->kind, fills r->data and what stands below it. Of a kind that is not
 * known, what does not fit stays absent. ERR_REJECTED names the member; *section gets the part of
 * the specification that was broken. */
int record_data(const struct json *data, struct record *r, const char **section, struct err *e);

/* 20 digits, from 1 to RECORD_MAX_SEQUENCE. name: for the message. */
int record_parse_sequence(struct slice text, const char *name, int64_t *out, struct err *e);
bool record_plain(struct slice s); /* no control character */

#endif
