/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of mgccomp. One text for both databases; what differs is the key that numbers
 * itself and the type of bytes. Times are microseconds since 1970 UTC.
 *
 * Who owns which state:
 *   capture   position, stream, record, presence, incident (opens), totals, source,
 *             tally captured/duplicates
 *   archiver  instance, cursor, batch, batch_range, settlement, archived, had (passes)
 *   reconcile had, batch (adopted), instance (batches)
 *   lease     whoever archives and deletes: archiver and sweep of one process
 *   sweep     gate, deleted, swept, record (deletes), kept, instance (missed), tally deleted
 */
#include "mgccomp/schema.h"

#define STEP_1(KEY, BYTES, ROOM)                                                                   \
    /* Which log the positions belong to; a re-created topic is a new generation. */               \
    "CREATE TABLE queue ("                                                                         \
    " id BIGINT PRIMARY KEY CHECK (id = 1),"                                                       \
    " driver TEXT NOT NULL, identity TEXT NOT NULL, generation BIGINT NOT NULL);"                  \
    /* pos: the next position to be captured; less shift it is the queue's own offset (a log made  */ \
    /* again begins anew, positions go on). hash: of the record before it, to recognise the log. */ \
    "CREATE TABLE position ("                                                                      \
    " part BIGINT PRIMARY KEY, pos BIGINT NOT NULL, hash " BYTES ", captured_us BIGINT NOT NULL,"   \
    " shift BIGINT NOT NULL DEFAULT 0);"                                                           \
    /* sequence and hash: the captured head. ahead: the lowest number that was kept far ahead of */ \
    /* it and is not reached, 0: none. A row changes with each batch: PostgreSQL leaves */        \
    /* room beside it, so that no index is touched. */                                             \
    "CREATE TABLE stream ("                                                                        \
    " id " KEY ", source TEXT NOT NULL, epoch BIGINT NOT NULL, subject TEXT NOT NULL,"             \
    " sequence BIGINT NOT NULL, hash " BYTES " NOT NULL, name TEXT,"                               \
    " captured BIGINT NOT NULL, last_us BIGINT NOT NULL, ahead BIGINT NOT NULL DEFAULT 0,"         \
    " UNIQUE (source, epoch, subject))" ROOM ";"                                                   \
    /* stream and sequence are NULL for what could not be read; sequence alone for unsequenced */  \
    /* records. flags: enum staging_flag. note: why it is an exception. */                         \
    "CREATE TABLE record ("                                                                        \
    " generation BIGINT NOT NULL, part BIGINT NOT NULL, pos BIGINT NOT NULL,"                      \
    " stream BIGINT, sequence BIGINT, kind BIGINT NOT NULL, flags BIGINT NOT NULL,"                \
    " time_us BIGINT NOT NULL, queued_us BIGINT NOT NULL, captured_us BIGINT NOT NULL,"            \
    " hash " BYTES " NOT NULL, raw " BYTES " NOT NULL, note TEXT,"                                 \
    " PRIMARY KEY (generation, part, pos));"                                                       \
    "CREATE INDEX record_stream ON record (stream, sequence);"                                     \
    /* Records that are archived and may not go yet, out of the way of those behind them: an */    \
    /* incident shuts their place, or an adapter that is not required has them in hand. */         \
    "CREATE TABLE kept ("                                                                          \
    " generation BIGINT NOT NULL, part BIGINT NOT NULL, pos BIGINT NOT NULL,"                      \
    " stream BIGINT, sequence BIGINT, kind BIGINT NOT NULL, flags BIGINT NOT NULL,"                \
    " time_us BIGINT NOT NULL, queued_us BIGINT NOT NULL, captured_us BIGINT NOT NULL,"            \
    " hash " BYTES " NOT NULL, raw " BYTES " NOT NULL, note TEXT,"                                 \
    " PRIMARY KEY (generation, part, pos));"                                                       \
    "CREATE INDEX kept_stream ON kept (stream, sequence);"                                         \
    /* Who was in a room from which record to which; gone once the leave is deleted. */            \
    "CREATE TABLE presence ("                                                                      \
    " stream BIGINT NOT NULL, participant TEXT NOT NULL, endpoint TEXT NOT NULL,"                  \
    " joined BIGINT NOT NULL, joined_us BIGINT NOT NULL, left_at BIGINT, name TEXT,"               \
    " PRIMARY KEY (stream, participant, endpoint, joined));"                                       \
    /* Hashes of deleted records, 32 bytes each, first..last. */                                   \
    "CREATE TABLE deleted ("                                                                       \
    " stream BIGINT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL,"                        \
    " hashes " BYTES " NOT NULL, deleted_us BIGINT NOT NULL, PRIMARY KEY (stream, first));"        \
    "CREATE INDEX deleted_age ON deleted (deleted_us);"                                            \
    /* How many of a stream's records were deleted. Not in the stream's row, which capture locks. */ \
    "CREATE TABLE swept (stream BIGINT PRIMARY KEY, records BIGINT NOT NULL)" ROOM ";"             \
    /* object: what two incidents of the same thing share, so that it is opened once. */           \
    "CREATE TABLE incident ("                                                                      \
    " id " KEY ", kind TEXT NOT NULL, object TEXT NOT NULL,"                                       \
    " stream BIGINT, source TEXT, subject TEXT, part BIGINT,"                                      \
    " first BIGINT, last BIGINT, batch TEXT, instance TEXT,"                                       \
    " opened_us BIGINT NOT NULL, closed_us BIGINT, closed_how TEXT, detail TEXT NOT NULL,"         \
    /* Accepting a loss: one person proposes, another one accepts. lost: records that count as */  \
    /* lost by that and by no other. */                                                            \
    " proposed_us BIGINT, proposed_by TEXT, proposed_why TEXT,"                                    \
    " accepted_by TEXT, accepted_why TEXT, lost BIGINT NOT NULL DEFAULT 0,"                        \
    /* When the source's store was last asked for what is missing, until when its answer is */     \
    /* waited for, and what it said. */                                                            \
    " asked_us BIGINT NOT NULL DEFAULT 0, waits_us BIGINT NOT NULL DEFAULT 0, answer TEXT);"       \
    "CREATE UNIQUE INDEX incident_open ON incident (kind, object) WHERE closed_us IS NULL;"        \
    "CREATE INDEX incident_place ON incident (stream, source, part) WHERE closed_us IS NULL;"      \
    /* Control totals that are not settled yet, and what is known of their sources: complete to */ \
    /* which time, when the newest totals were, when the next are due (0: stopped in order). */    \
    "CREATE TABLE totals ("                                                                        \
    " stream BIGINT NOT NULL, sequence BIGINT NOT NULL, raw " BYTES " NOT NULL,"                   \
    " noted_us BIGINT NOT NULL, looked_us BIGINT NOT NULL, PRIMARY KEY (stream, sequence));"       \
    "CREATE TABLE source ("                                                                        \
    " name TEXT PRIMARY KEY, totals_us BIGINT NOT NULL, due_us BIGINT NOT NULL,"                   \
    " complete_us BIGINT NOT NULL, part_us BIGINT NOT NULL, parts BIGINT NOT NULL,"                \
    " stream BIGINT NOT NULL, sequence BIGINT NOT NULL);"                                          \
    /* state: active, paused, failed, retired. base: tally deleted when it was added. missed: */   \
    /* records deleted before it, not being required, took them. */                                \
    "CREATE TABLE instance ("                                                                      \
    " id " KEY ", name TEXT NOT NULL UNIQUE, module TEXT NOT NULL, required BIGINT NOT NULL,"      \
    " readback BIGINT NOT NULL, state TEXT NOT NULL, reason TEXT, base BIGINT NOT NULL,"           \
    " archived BIGINT NOT NULL, batches BIGINT NOT NULL, added_us BIGINT NOT NULL,"                \
    " failures BIGINT NOT NULL, last_error TEXT, next_try_us BIGINT NOT NULL,"                     \
    " missed BIGINT NOT NULL DEFAULT 0);"                                                          \
    /* full_from: below it the instance verified, or passed over, without reading every byte. */   \
    "CREATE TABLE cursor ("                                                                        \
    " instance BIGINT NOT NULL, generation BIGINT NOT NULL, part BIGINT NOT NULL,"                 \
    " pos BIGINT NOT NULL, full_from BIGINT NOT NULL DEFAULT 0,"                                   \
    " PRIMARY KEY (instance, generation, part));"                                                  \
    /* state: frozen, settled, verified, parked. roster: JSON of rooms and who was in them, none */ \
    /* once it is verified. options: digest of those that the last attempt used. */                \
    "CREATE TABLE batch ("                                                                         \
    " id TEXT PRIMARY KEY, instance BIGINT NOT NULL, number BIGINT NOT NULL,"                      \
    " purpose TEXT NOT NULL, state TEXT NOT NULL, stem TEXT NOT NULL, cut_us BIGINT NOT NULL,"     \
    " records BIGINT NOT NULL, bytes BIGINT NOT NULL, digest " BYTES " NOT NULL,"                  \
    " format BIGINT NOT NULL, roster " BYTES " NOT NULL, attempts BIGINT NOT NULL,"                \
    " last_error TEXT, changed_us BIGINT NOT NULL, options " BYTES ", UNIQUE (instance, number));" \
    "CREATE INDEX batch_open ON batch (instance, number) WHERE state <> 'verified';"               \
    "CREATE TABLE batch_range ("                                                                   \
    " batch TEXT NOT NULL, generation BIGINT NOT NULL, part BIGINT NOT NULL,"                      \
    " from_pos BIGINT NOT NULL, to_pos BIGINT NOT NULL, PRIMARY KEY (batch, generation, part));"   \
    /* first..last: record indexes in the batch. verdict: done, rejected. receipt: JSON. */        \
    "CREATE TABLE settlement ("                                                                    \
    " batch TEXT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, verdict TEXT NOT NULL,"    \
    " receipt TEXT NOT NULL, note TEXT, settled_us BIGINT NOT NULL, PRIMARY KEY (batch, first));"  \
    "CREATE TABLE archived ("                                                                      \
    " instance BIGINT NOT NULL, stream BIGINT NOT NULL, records BIGINT NOT NULL,"                  \
    " PRIMARY KEY (instance, stream));"                                                            \
    /* After a restore from an older copy: by their hashes, records that an instance's archive */   \
    /* holds and that it has not passed over yet. proved: by their bytes, or a person's word. */   \
    "CREATE TABLE had ("                                                                           \
    " instance BIGINT NOT NULL, hash " BYTES " NOT NULL, copies BIGINT NOT NULL,"                  \
    " proved BIGINT NOT NULL, PRIMARY KEY (instance, hash));"                                      \
    /* Locked first by whoever deletes, and by whatever may forbid a deletion. released: rises */  \
    /* when something that kept records back has ended. */                                         \
    "CREATE TABLE gate (id BIGINT PRIMARY KEY CHECK (id = 1), version BIGINT NOT NULL,"            \
    " released BIGINT NOT NULL);"                                                                  \
    "INSERT INTO gate VALUES (1, 0, 0);"                                                           \
    /* Who may archive and delete, until when by the database's clock. process: base/process.h. */ \
    "CREATE TABLE lease (name TEXT PRIMARY KEY, holder TEXT NOT NULL, process TEXT NOT NULL,"      \
    " term BIGINT NOT NULL, since_us BIGINT NOT NULL, until_us BIGINT NOT NULL);"                  \
    "INSERT INTO lease VALUES ('archiver', '', '', 0, 0, 0);"                                      \
    "CREATE TABLE tally (name TEXT PRIMARY KEY, value BIGINT NOT NULL);"                           \
    "INSERT INTO tally VALUES ('captured', 0), ('duplicates', 0), ('exceptions', 0),"              \
    " ('deleted', 0), ('accepted_losses', 0);"

static const struct db_step steps[] = {
    {STEP_1("INTEGER PRIMARY KEY", "BLOB", ""),
     STEP_1("BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", "BYTEA",
            " WITH (fillfactor = 40)")},
};

int schema_migrate(struct db *db, struct err *e)
{
    return db_migrate(db, "mgccomp", steps, sizeof steps / sizeof *steps, e);
}
