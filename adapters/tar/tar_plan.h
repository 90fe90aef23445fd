/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a batch's archive holds, worked out before the first byte is written: a tar member's size
 * stands before its data. The plan lies in two unnamed scratch files, so memory does not grow with
 * the batch: the manifest's text, and a fixed-size entry for each member of records.
 *
 * Layout of the archive: README.txt, manifest.json, records/<room>.ndjson for each room (its
 * records as first written, one a line), then exceptions/<partition>-<position>-<index>.bin for
 * each record that was unreadable or would not stay on one line.
 */
#ifndef ADAPTERS_TAR_PLAN_H
#define ADAPTERS_TAR_PLAN_H

#include "adapters/kit/kit.h"

#include <stdbool.h>
#include <stdio.h>

#define TAR_README   "README.txt"
#define TAR_MANIFEST "manifest.json"
extern const char tar_readme[];

struct tar_member {
    char name[160];
    uint64_t bytes;
    uint8_t sha256[SHA256_SIZE];
};

struct tar_plan {
    FILE *manifest;
    FILE *members;
    uint64_t manifest_bytes;
    uint64_t count;      /* of members */
    uint64_t exceptions; /* how many of them are exceptions */
    uint8_t manifest_sha256[SHA256_SIZE];
};

/* Reads the batch once, and once more when it holds exceptions. ERR_RETRY: scratch space. */
int tar_plan_make(struct tar_plan *p, struct kit_source *s, struct err *e);
void tar_plan_done(struct tar_plan *p);
/* Both streams back to their start. */
int tar_plan_rewind(struct tar_plan *p, struct err *e);
/* The next member's entry, in the archive's order. */
int tar_plan_next(struct tar_plan *p, struct tar_member *m, struct err *e);

/* True: the record is a line of its room's member. False: an exception, a member of its own. */
bool tar_is_line(const struct mgc_record *r);

static inline void own_tar_plan(struct tar_plan *p)
{
    tar_plan_done(p);
}

#endif
