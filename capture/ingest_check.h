/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `holdfast ingest --check FILE...`: would these records be taken, and do they keep to the
 * specification? Reads only; needs no store. Bounded memory whatever the input.
 */
#ifndef CAPTURE_INGEST_CHECK_H
#define CAPTURE_INGEST_CHECK_H

#include "base/app.h"

struct ingest_check_counts {
    int64_t files, lines, bad, repeated;
    bool ids_full; /* more records than ids are remembered of: the rest was not compared */
};

/* Operands are paths, "-" is io->in. Each problem goes to io->out as "FILE:LINE: text (section)".
 * Exit 0 only when every line conforms. */
int ingest_check_command(struct app_io *io, int argc, char **argv);

#endif
