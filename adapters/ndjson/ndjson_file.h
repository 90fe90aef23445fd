/* SPDX-License-Identifier: Apache-2.0 */
/* A batch's lines written to an open file, or compared with one, both through one large buffer. */
#ifndef ADAPTERS_NDJSON_FILE_H
#define ADAPTERS_NDJSON_FILE_H

#include "adapters/kit/kit.h"

/* The whole file, as written or as found. */
struct ndjson_written {
    uint64_t bytes;
    uint8_t sha256[SHA256_SIZE];
};

int ndjson_write(int fd, struct kit_source *s, struct ndjson_written *out, struct err *e);
/* ERR_FAULT says at which byte the file is not the batch's, or that it is too short or too long. */
int ndjson_compare(int fd, struct kit_source *s, struct ndjson_written *out, struct err *e);

#endif
