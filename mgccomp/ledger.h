/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: which instances must have what, what was cut into which batch, what was settled with
 * which receipt, and from it the low water up to which everything is archived. Used by the
 * archiver, the sweep and status.
 *
 * An instance has one batch in hand at most, and cuts the next one when that is verified, or parked
 * for a person; with LEDGER_MAX_PARKED of those it waits.
 *
 * What the archiver alone changes it changes under its lease (mgccomp/lease.h), or ERR_STOPPED:
 * from ledger_instance_state on to ledger_failed.
 */
#ifndef MGCCOMP_LEDGER_H
#define MGCCOMP_LEDGER_H

#include "mgccomp/staging.h"

#define LEDGER_NO_ROSTER "{\"rooms\":[],\"rosters\":[]}" /* of a batch that is verified */

enum {
    LEDGER_MAX_RANGES = 256,
    LEDGER_MAX_INSTANCES = 64,
    LEDGER_MAX_PARKED = 10, /* batches of an instance */
    LEDGER_MAX_NAME = 40,   /* of an instance: with "adapter " the longest name of a section */
    LEDGER_MAX_MODULE = 63,
    LEDGER_MAX_ROSTER = 32 << 20, /* bytes of a batch's rooms and rosters */
    LEDGER_READBACK_FULL = 2,     /* MGC_READBACK_FULL */
};

struct ledger_instance {
    int64_t id;
    char name[64], module[64], state[16];
    bool required;
    int32_t readback; /* MGC_READBACK_* of the module */
    int64_t base;     /* records deleted before it was added */
    int64_t archived; /* records in its verified batches */
    int64_t batches, failures, next_try_us;
    int64_t missed; /* not required: records deleted before it took them; and what was given up */
    char last_error[300], reason[300]; /* reason: why it is paused or retired */
};
/* visit must not use db. In order of name. */
typedef int ledger_instance_fn(void *arg, const struct ledger_instance *i, struct err *e);
int ledger_instances(struct db *db, bool retired_too, ledger_instance_fn *visit, void *arg,
                     struct err *e);
/* Adds an instance that starts at the oldest staged record, under the gate's lock. ERR_CONFLICT:
 * the name is taken (also by a retired one). ERR_CONFIG: a name of other characters than ASCII
 * letters, digits, '.', '_', '-', or too long; or LEDGER_MAX_INSTANCES are there. */
int ledger_add(struct staging *st, struct slice name, struct slice module, bool required,
               int32_t readback, struct err *e);
/* The first start: adds all of them or, when there is any instance already, none. */
struct ledger_new {
    struct slice name, module;
    bool required;
    int32_t readback;
};
int ledger_add_first(struct staging *st, const struct ledger_new *all, size_t n, bool *added,
                     struct err *e);
/* Its open batches count no longer, their incidents are closed. ERR_NOT_FOUND. */
int ledger_retire(struct staging *st, struct slice name, struct slice reason, struct err *e);
/* No new attempts until it is resumed; an attempt that runs ends as it ends. What it has not got
 * waits for it when it is required. ERR_NOT_FOUND; ERR_CONFLICT: it is paused already. */
int ledger_pause(struct staging *st, struct slice name, struct slice reason, struct err *e);
/* A paused or failed instance is tried again at once. ERR_NOT_FOUND; ERR_CONFLICT: it is active. */
int ledger_resume(struct staging *st, struct slice name, struct err *e);
/* "active" or "failed" with the reason, of an instance that is not retired; a paused one stays
 * paused. */
int ledger_instance_state(struct staging *st, int64_t instance, const char *state, struct slice why,
                          struct err *e);
/* A person has mended a failed one, which a restart says: it is active. Needs no lease. */
int ledger_instance_mended(struct staging *st, int64_t instance, struct err *e);
/* What the module says now about its read-back: an update may change it. */
int ledger_instance_readback(struct staging *st, int64_t instance, int32_t readback, struct err *e);

/* A frozen batch. */
struct ledger_range {
    int64_t generation;
    int32_t part;
    int64_t from, to; /* [from, to) */
};
struct ledger_batch {
    char id[37], stem[112], state[16];
    int64_t instance, number, cut_us, records, bytes, attempts;
    uint8_t digest[SHA256_SIZE];
    uint8_t options[SHA256_SIZE]; /* what ledger_attempt is told: a digest of the adapter's; zeros:
                                     nothing */
    struct ledger_range ranges[LEDGER_MAX_RANGES];
    size_t range_count;
};

/* When a batch is due: so many records, or so many bytes, or the oldest uncut record was captured
 * so long ago (the interval is cut at UTC multiples). */
struct ledger_due {
    int64_t records, bytes, interval_ms;
    bool now; /* drain: cut whatever there is */
};
/* A record as staged. */
struct ledger_record {
    struct slice raw, note;
    const uint8_t *hash;
    int64_t stream, sequence, flags, time_us, captured_us, queued_us; /* stream 0: none */
    int32_t part;
    int64_t pos;
};
typedef int ledger_record_fn(void *arg, const struct ledger_record *r, struct err *e);
/* Gets a batch's records while it is frozen, in the batch's order; worth something only when the
 * cut succeeds. */
struct ledger_sink {
    ledger_record_fn *visit; /* must not use the staging handle */
    void *arg;
};
/* Freezes the next batch of an instance in one transaction: ranges up to the positions read in it,
 * order, roster, digest. ERR_NOT_FOUND: nothing is due, or the instance is not active, or it has a
 * batch in hand, or too many parked. The batch's records are in order of (stream, sequence,
 * partition, position); exceptions without a stream come last. sink: may be NULL. */
int ledger_cut(struct staging *st, const struct ledger_instance *i, const struct ledger_due *due,
               const struct ledger_sink *sink, struct ledger_batch *out, struct err *e);
/* The oldest batch of the instance that is frozen or settled (to be verified). ERR_NOT_FOUND. */
int ledger_open_batch(struct staging *st, int64_t instance, struct ledger_batch *out,
                      struct err *e);

/* The records of a batch in its order. */
int ledger_batch_records(struct db *db, const struct ledger_batch *b, ledger_record_fn *visit,
                         void *arg, struct err *e);
/* The batch's frozen rooms and rosters, until it is verified, as JSON (private to adapters/host):
 * {"rooms":[{"stream","source","epoch","subject","name","first","records"}...],
 *  "rosters":[[room index, participant, name, joined_us]...]}, rooms in the records' order. */
int ledger_batch_roster(struct db *db, const struct ledger_batch *b, struct buf *out,
                        struct err *e);

/* Durable when it returns. Repeating the same range with the same verdict is success; another
 * verdict, or a range that overlaps a settled one, is ERR_CONFLICT; outside the batch ERR_REJECTED.
 * verdict: "done" or "rejected". receipt: JSON. */
int ledger_settle(struct staging *st, const struct ledger_batch *b, int64_t first, int64_t last,
                  const char *verdict, struct slice receipt, struct slice note, struct err *e);
struct ledger_settlement {
    int64_t first, last;
    struct slice verdict, receipt, note;
};
/* In order of first. visit must not use db. */
typedef int ledger_settlement_fn(void *arg, const struct ledger_settlement *s, struct err *e);
int ledger_settlements(struct db *db, const struct ledger_batch *b, ledger_settlement_fn *visit,
                       void *arg, struct err *e);
/* After every record is settled as done: "settled" (ERR_CONFLICT when some are not); after
 * read-back (or when the module has none): "verified", which counts the records as archived;
 * "parked" opens the incident, and when the batch was settled its receipts count no longer;
 * ERR_NOT_FOUND: the adapter is retired. */
int ledger_batch_state(struct staging *st, struct ledger_batch *b, const char *state,
                       struct slice why, struct err *e);
/* Counts an attempt of a frozen batch, and forgets rejected and refuted settlements. When the
 * attempt before had other options that is noted for ever, as the incident `options`, closed. */
int ledger_attempt(struct staging *st, struct ledger_batch *b, struct err *e);
/* A failed try: keeps the text and when to try next. */
int ledger_failed(struct staging *st, int64_t instance, struct slice why, int64_t next_try_us,
                  struct err *e);

/* How far each required instance (not retired) is in a partition: all before pos is in batches that
 * are verified or parked. What a parked one holds is kept (mgccomp/kept.h). */
struct ledger_holder {
    int64_t instance;
    char name[64];
    int32_t readback;
    int64_t pos, full_from; /* below full_from nothing counts as read back in full */
};
int ledger_holders(struct db *db, int64_t generation, int32_t part,
                   struct ledger_holder out[LEDGER_MAX_INSTANCES], size_t *n, struct err *e);
/* The same of those that are not required: all before pos is in batches they cut. */
int ledger_optional(struct db *db, int64_t generation, int32_t part,
                    struct ledger_holder out[LEDGER_MAX_INSTANCES], size_t *n, struct err *e);
/* Within the transaction in which people accept that its adapter never gets a parked batch, under
 * the gate's lock: its records may go without that, and are counted as missed. ERR_CONFLICT: it is
 * not parked; or the adapter is required and no other required one has read all of it back. */
int ledger_give_up(struct staging_txn *t, struct slice batch, struct err *e);
/* Within the transaction that deletes them: so many records went before the instance took them. */
int ledger_missed(struct staging_txn *t, int64_t instance, int64_t records, struct err *e);

#endif
