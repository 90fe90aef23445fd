/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way from capture to deletion (path_steps.h) with everything failing once that may fail
 * (way.h): each failure is a clean error, the step that failed can be done again, and in the end
 * mgccomp holds the same as without any fault.
 */
#include "base/own.h"
#include "tests/contract/faults/path_steps.h"
#include "tests/contract/faults/way.h"
#include "tests/contract/feed.h"

#include <stdio.h>

static const char *const told[] = {
    "SELECT count(*) FROM record",
    "SELECT CAST(sum(flags * 1000 + pos) AS bigint) FROM record",
    "SELECT count(*) FROM kept",
    "SELECT CAST(sum(flags * 1000 + pos) AS bigint) FROM kept",
    "SELECT count(*) FROM deleted",
    "SELECT CAST(sum(sequence) AS bigint) FROM stream",
    "SELECT CAST(sum(records) AS bigint) FROM swept",
    "SELECT pos FROM position",
    "SELECT count(*) FROM presence",
    "SELECT count(*) FROM presence WHERE left_at IS NULL",
    "SELECT count(*) FROM incident WHERE kind = 'gap'",
    "SELECT count(*) FROM incident WHERE kind = 'gap' AND closed_us IS NULL",
    "SELECT count(*) FROM incident WHERE kind = 'altered'",
    "SELECT count(*) FROM incident WHERE kind = 'fork'",
    "SELECT count(*) FROM incident WHERE kind = 'far-ahead'",
    "SELECT count(*) FROM incident WHERE kind = 'unreadable'",
    "SELECT count(*) FROM incident WHERE kind = 'parked' AND closed_us IS NOT NULL",
    "SELECT count(*) FROM incident WHERE closed_us IS NULL",
    "SELECT count(*) FROM batch WHERE state = 'verified'",
    "SELECT count(*) FROM batch WHERE state = 'parked'",
    "SELECT count(*) FROM settlement",
    "SELECT CAST(sum(archived) AS bigint) FROM instance",
    "SELECT CAST(sum(missed) AS bigint) FROM instance",
    "SELECT value FROM tally WHERE name = 'captured'",
    "SELECT value FROM tally WHERE name = 'duplicates'",
    "SELECT value FROM tally WHERE name = 'exceptions'",
    "SELECT value FROM tally WHERE name = 'deleted'",
};
enum { TOLD = sizeof told / sizeof told[0] };

static void tell(const struct path *p, int64_t *out)
{
    OWN(own_db) struct db *db = NULL;
    struct err e = {0};
    ok(db_open(&db, p->url, DB_READ_ONLY, &e), &e);
    for (size_t i = 0; i < TOLD; i++) {
        int rc = db_int(db, told[i], DB_NO_ARGS, 0, &out[i], &e);
        if (rc == ERR_NOT_FOUND)
            out[i] = -1;
        else
            ok(rc, &e);
    }
}

static void walk(const struct parts *parts, const char *postgres, enum fault_kind kind,
                 int64_t *out)
{
    struct path p = {0};
    (void)snprintf(p.url, sizeof p.url, "%s", feed_database(postgres, parts->scratch));
    for (size_t i = 0; i < path_step_count; i++)
        faults_sweep(kind, &path_steps[i], &p);
    path_close(&p);
    tell(&p, out);
}

static bool worth(const int64_t *out)
{
    return out[TOLD - 1] > 15;
}

int main(void)
{
    static const struct way way = {walk, told, TOLD, worth};
    path_records();
    int code = way_main(&way);
    path_records_done();
    return code;
}
