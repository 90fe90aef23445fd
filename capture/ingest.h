/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other producers' records, newline-delimited JSON, into the store: `holdfast ingest --source NAME
 * FILE...`. Each line is durable in the store before the next group is read; repeated lines (same
 * source and id) are recognised. A bad line is named with file, line and reason; the rest goes on.
 */
#ifndef CAPTURE_INGEST_H
#define CAPTURE_INGEST_H

#include "base/app.h"
#include "base/sign.h"
#include "chat-server/store/limit.h"
#include "chat-server/store/relay.h"
#include "chat-server/store/writer.h"

struct ingest_counts {
    int64_t lines, stored, known, bad;
};
/* Where records go. */
struct ingest_into {
    struct writer *writer;
    struct relay *relay; /* services; else NULL */
    const struct store_limit *limit;
    const struct sign_key *key; /* the source's, for control totals; or NULL */
    const char *store_url;      /* where its heads are read for them */
};
/* Reads in to its end. name: for messages. Lines up to RECORD_MAX_BYTES. bad lines go to io->err.
 * Returns < 0 when the store is lost, or its limit did not end within a minute. */
int ingest_stream(struct app_io *io, const struct ingest_into *into, struct slice source,
                  const char *name, struct ingest_counts *counts, struct err *e);

/* The command over an open writer; waits for relay's confirmation when there is one. argv holds
 * --source NAME and operands as the client left them; data comes from io->in. With a key, signed
 * totals of everything the source has in the store follow the input. Exit 0 only when every line
 * was stored or known, the totals are written, and the queue confirmed. */
int ingest_command(struct app_io *io, const struct ingest_into *into, int argc, char **argv);

#endif
