/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch as lines, made while its records pass by: line i is record i as first written; what can't
 * be a line (unreadable, or with a line feed in it) is an exception with its bytes in base64; the
 * last line is the manifest. Writing a file and comparing one are two takers of the same bytes.
 */
#ifndef ADAPTERS_NDJSON_LINES_H
#define ADAPTERS_NDJSON_LINES_H

#include "adapters/kit/kit.h"

/* Gets the next n bytes. What it fails with ends the pass. */
typedef int ndjson_take(void *arg, const void *bytes, size_t n, struct err *e);

/* One pass over the batch's records. The same batch gives the same bytes. ERR_REJECTED: so many
 * marked records that the manifest would pass 16 MiB. */
int ndjson_lines(struct kit_source *s, ndjson_take *take, void *arg, struct err *e);

#endif
