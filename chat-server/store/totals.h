/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source's signed control totals: a thread that writes, through the writer, what the head of
 * every stream is. At its start all of them; then, at each beat, those that moved; and at an
 * orderly stop once more, saying that no more will come.
 */
#ifndef CHAT_STORE_TOTALS_H
#define CHAT_STORE_TOTALS_H

#include "base/sign.h"
#include "chat-server/store/writer.h"

struct totals_options {
    const char *store_url; /* for a reading handle of its own */
    struct writer *writer;
    struct slice source;  /* claimed by the writer */
    struct slice subject; /* of the records: the session's URI */
    struct sign_key key;
    int64_t cadence_ms;
    size_t part_bytes; /* of a statement. 0: 256 KiB */
};

struct totals;
int totals_start(struct totals **out, const struct totals_options *o, struct err *e);
void totals_stop(struct totals *t); /* writes the last ones; before writer_stop */
/* Without a thread: all heads at once, as of a source that stops in order. Cadence is not used. */
int totals_write_once(const struct totals_options *o, struct err *e);

#endif
