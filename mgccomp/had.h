/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an instance's archive holds beyond the ledger, after mgccomp was restored from an older
 * copy: by their hashes, records that the instance must not get again. They are passed over when
 * they come up for a batch, wherever in the queue they lie now, and then count as archived.
 *
 * Proved is what the archive's bytes proved, or a person vouches for. What it only lists is passed
 * over likewise, but that is no read-back: the cursor's full_from moves behind it.
 */
#ifndef MGCCOMP_HAD_H
#define MGCCOMP_HAD_H

#include "mgccomp/ledger.h"

/* A batch found in the archive. */
struct had_batch {
    char id[37], stem[112];
    int64_t instance, number, cut_us, records, bytes;
    uint8_t digest[SHA256_SIZE];
};

/* Within one transaction: each record of a batch, then the batch, which enters the ledger as
 * verified. ERR_CONFLICT: it is there already, or another batch of that number. */
int had_add(struct staging_txn *t, int64_t instance, const uint8_t hash[SHA256_SIZE], bool proved,
            struct err *e);
/* Somebody says that the instance has the record, too. Any number of times. */
int had_trust(struct staging_txn *t, int64_t instance, const uint8_t hash[SHA256_SIZE],
              struct err *e);
/* The same of what is staged here, and another instance has cut already and it has not. */
int had_trust_staged(struct staging_txn *t, int64_t instance, int64_t other, struct err *e);
int had_adopt(struct staging_txn *t, const struct had_batch *b, struct err *e);
int had_adopted(struct db *db, int64_t instance, int64_t number, bool *yes, struct err *e);
/* The instance's next batch gets a number above this one; what was wrong with it is mended. */
int had_number(struct staging_txn *t, int64_t instance, int64_t number, struct err *e);

/* How many records an instance has not passed yet. */
int had_left(struct db *db, int64_t instance, int64_t *records, struct err *e);
/* Within a cut, for r from the instance's cursor on: counts the leading records that the instance
 * had as archived; *r becomes what is to be cut, up to the next one that it had. The caller moves
 * the cursor to r->from, and full_from too unless all of them are *proved. */
int had_pass(struct staging_txn *t, int64_t instance, struct ledger_range *r, bool *proved,
             struct err *e);

#endif
