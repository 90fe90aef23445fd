/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a planned batch as a pax archive under zstd. */
#ifndef ADAPTERS_TAR_WRITE_H
#define ADAPTERS_TAR_WRITE_H

#include "adapters/tar/tar_plan.h"

#include <stddef.h>

/* Bytes that went to the file, and their digest. */
struct tar_written {
    uint64_t bytes;
    uint8_t sha256[SHA256_SIZE];
};

/* Into fd, from its current position; the caller syncs and publishes. The uncompressed content
 * depends on the batch alone. */
int tar_write(int fd, int level, struct tar_plan *p, struct kit_source *s, struct tar_written *w,
              struct err *e);

#endif
