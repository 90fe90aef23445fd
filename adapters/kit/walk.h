/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the walkers share: <module>_walk.c reads an archive of its module without the batch it was
 * made of. They are no part of the modules; the program itself is linked with them.
 */
#ifndef ADAPTERS_KIT_WALK_H
#define ADAPTERS_KIT_WALK_H

#include "base/digest.h"
#include "base/err.h"
#include "base/text.h"

#include <stdbool.h>

/* What an archive says of its batch. */
struct kit_walked {
    char batch[37], instance[64];
    int64_t number, records, bytes, cut_us; /* bytes 0: not said */
    uint8_t sha256[SHA256_SIZE];            /* the batch's digest */
};
struct kit_walk_record {
    struct slice raw; /* as first written, or received; absent where the archive has none */
    const uint8_t *hash;
    bool exception;
};
/* The record is valid during the call. */
typedef int kit_walk_fn(void *arg, const struct kit_walk_record *r, struct err *e);

/* The walkers. Records are told before the archive was checked to its end: what visit did counts
 * only when this returns 0, and *out only then. ERR_FAULT says what is wrong with the file. */
/* Every member is there as the manifest says, and nothing else. LC_CTYPE must be one of UTF-8. */
int tar_walk(const char *path, struct kit_walked *out, kit_walk_fn *visit, void *arg,
             struct err *e);
/* All records have the batch's digest. */
int ndjson_walk(const char *path, struct kit_walked *out, kit_walk_fn *visit, void *arg,
                struct err *e);
/* One document a batch: it is whole and lists as many records as it says, by their digests. */
int xml_walk(const char *path, struct kit_walked *out, kit_walk_fn *visit, void *arg,
             struct err *e);

/* Reads a file line by line, each without its end and of at most max bytes. ERR_FAULT: the last one
 * has no end. */
typedef int kit_line_fn(void *arg, struct slice line, struct err *e);
int kit_lines(const char *path, size_t max, kit_line_fn *visit, void *arg, struct err *e);

#endif
