/* SPDX-License-Identifier: Apache-2.0 */
/* The wish is one row beside the counts. */
#include "mgccomp/drain_request.h"

#include "base/fault.h"
#include "base/own.h"

int drain_request(struct staging *st, int64_t until_us, struct err *e)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int err = staging_begin(st, &t, e);

    if (!err)
        err = db_run(t.db,
                     "INSERT INTO tally (name, value) VALUES ('drain_until_us', $1)"
                     " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                     DB_ARGS(DB_I(until_us)), NULL, e);
    FAULT("drain.commit.before");
    if (!err)
        err = staging_commit(&t, e);
    FAULT("drain.commit.after");
    return err;
}

int drain_requested(struct db *db, int64_t now_us, bool *out, struct err *e)
{
    int64_t until = 0;
    int err = db_int(db, "SELECT value FROM tally WHERE name = 'drain_until_us'", DB_NO_ARGS, 0,
                     &until, e);

    if (err && err != ERR_NOT_FOUND)
        return err;
    *out = err == 0 && until > now_us;
    return 0;
}
