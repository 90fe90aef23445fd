/* SPDX-License-Identifier: Apache-2.0 */
/* In which epoch a source is, and what this copy of the store knows of it. */
#include "chat-server/store/epoch.h"

#include "base/own.h"
#include "chat-server/store/store_inside.h"

#include <string.h>

int store_epoch(struct store *s, struct slice source, int64_t *epoch, struct err *e)
{
    return db_int(s->db, "SELECT COALESCE(max(epoch), 1) FROM epoch WHERE source = $1",
                  DB_ARGS(DB_T(source)), 0, epoch, e);
}

int epoch_load(struct store *s, struct slice source, struct err *e)
{
    int64_t epoch = 1;
    int rc = store_epoch(s, source, &epoch, e);
    if (rc == 0)
        claims_set_epoch(&s->claims, source, epoch);
    return rc;
}

int store_epochs(struct store *s, store_epoch_fn *visit, void *arg, struct err *e)
{
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(s->db, "SELECT source, reason, epoch, since_us FROM epoch ORDER BY source",
                      DB_NO_ARGS, &rows, e);
    while (rc == 0) {
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            return rc;
        const struct store_epoch p = {
            .source = db_rows_slice(rows, 0),
            .note = db_rows_slice(rows, 1),
            .epoch = db_rows_int(rows, 2),
            .since_us = db_rows_int(rows, 3),
        };
        rc = visit(arg, &p, e);
    }
    return rc;
}

int store_sources(struct store *s, store_source_fn *visit, void *arg, struct err *e)
{
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc =
        db_query(s->db, "SELECT DISTINCT source FROM stream ORDER BY source", DB_NO_ARGS, &rows, e);
    while (rc == 0) {
        rc = db_rows_next(rows, e);
        if (rc <= 0)
            return rc;
        rc = visit(arg, db_rows_slice(rows, 0), e);
    }
    return rc;
}

int store_head(struct store *s, struct slice source, int64_t epoch, struct slice subject,
               int64_t *sequence, struct err *e)
{
    return db_int(s->db,
                  "SELECT COALESCE(max(r.sequence), 0) FROM stream s JOIN record r"
                  " ON r.stream = s.id WHERE s.source = $1 AND s.epoch = $2 AND s.subject = $3",
                  DB_ARGS(DB_T(source), DB_I(epoch), DB_T(subject)), 0, sequence, e);
}

int store_hash_at(struct store *s, struct slice source, int64_t epoch, struct slice subject,
                  int64_t sequence, uint8_t hash[SHA256_SIZE], struct err *e)
{
    static const char find[] = "SELECT r.hash FROM stream s JOIN record r ON r.stream = s.id"
                               " AND r.sequence = $4 WHERE s.source = $1 AND s.epoch = $2"
                               " AND s.subject = $3";
    OWN(own_db_rows) struct db_rows *rows = NULL;
    int rc = db_query(s->db, find,
                      DB_ARGS(DB_T(source), DB_I(epoch), DB_T(subject), DB_I(sequence)), &rows, e);
    if (rc == 0)
        rc = db_rows_next(rows, e);
    if (rc < 0)
        return rc;
    struct slice found = rc == 1 ? db_rows_slice(rows, 0) : (struct slice){NULL, 0};
    if (found.n != SHA256_SIZE)
        return err_set(e, ERR_NOT_FOUND, "no such record");
    memcpy(hash, found.p, SHA256_SIZE);
    return 0;
}
