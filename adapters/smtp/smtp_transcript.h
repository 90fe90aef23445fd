/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The readable side of a mail: each record as a line of text (more for a text of several lines:
 * those are indented behind a bar, so that no text can pass for another record). Pure.
 */
#ifndef ADAPTERS_SMTP_TRANSCRIPT_H
#define ADAPTERS_SMTP_TRANSCRIPT_H

#include "adapters/mgc_adapter.h"
#include "base/buf.h"

enum { SMTP_ENTRY_MAX = 256 * 1024 * 1024 };

/* Lines end in LF. */
void smtp_entry(struct buf *out, const struct mgc_record *r);
/* Who was present before the first record; nothing when nobody was. */
void smtp_present(struct buf *out, const struct mgc_participant *who);

#endif
