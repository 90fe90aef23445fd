/* SPDX-License-Identifier: Apache-2.0 */
/* Reads an archive back and compares it with what the batch's archive has to hold. */
#ifndef ADAPTERS_TAR_READ_H
#define ADAPTERS_TAR_READ_H

#include "adapters/tar/tar_write.h"

/* Every member must be there, in order, with the planned name, size and content, and nothing else;
 * what the compressed file holds is written to *w. ERR_FAULT says what differs. */
int tar_read_compare(int fd, struct tar_plan *p, struct tar_written *w, struct err *e);

#endif
