/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for PostgreSQL. libpq's own waits have no end: a server that is frozen, or behind a
 * network that swallows everything, would hold its caller for ever. Here each has one, after which
 * the connection counts as broken.
 */
#include "base/clock.h"
#include "base/db_pg.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>

/* TLS may hold back what has arrived already, which no poll tells of. */
enum { TLS_LOOK_MS = 20 };

int pg_patience(struct db *db, int64_t ms, struct err *e)
{
    struct pg *pg = pg_of(db);
    char sql[60];
    pg->patience_ms = ms;
    (void)snprintf(sql, sizeof sql, "SET lock_timeout = %" PRId64, ms / 2);
    return pg_script(db, sql, e);
}

/* Until there is something to read, or room to write. False: not in time, or no more. */
static bool wait_on(struct pg *pg, bool writing, int64_t until)
{
    struct pollfd fd = {.fd = PQsocket(pg->conn),
                        .events = (short)(writing ? POLLIN | POLLOUT : POLLIN)};
    int64_t left = until - clock_mono_ms();
    if (fd.fd < 0)
        return false;
    if (left > TLS_LOOK_MS && PQsslInUse(pg->conn))
        left = TLS_LOOK_MS;
    if (left > 0) {
        int n = poll(&fd, 1, left > INT32_MAX ? INT32_MAX : (int)left);
        if (n >= 0 || errno == EINTR)
            return PQconsumeInput(pg->conn) == 1;
    }
    pg->base.broken = true;
    pg->silent = left <= 0;
    return false;
}

PGresult *pg_result(struct pg *pg)
{
    const int64_t until = clock_mono_ms() + pg->patience_ms;
    while (!pg->base.broken) {
        int unsent = PQflush(pg->conn);
        if (unsent <= 0 && !PQisBusy(pg->conn))
            return PQgetResult(pg->conn);
        /* A connection that was lost has a result that says so. */
        if (!wait_on(pg, unsent > 0, until) && !pg->base.broken)
            return PQgetResult(pg->conn);
    }
    return NULL;
}

PGresult *pg_last(struct pg *pg, int sent)
{
    PGresult *last = NULL;
    if (!sent)
        return NULL;
    for (PGresult *r = pg_result(pg); r; r = pg_result(pg)) {
        PQclear(last);
        last = r;
        if (PQresultStatus(r) == PGRES_COPY_IN || PQstatus(pg->conn) == CONNECTION_BAD)
            return last;
    }
    if (!pg->silent)
        return last;
    PQclear(last);
    return NULL;
}

int pg_flush(struct pg *pg, struct err *e)
{
    const int64_t until = clock_mono_ms() + pg->patience_ms;
    int unsent = PQflush(pg->conn);
    while (unsent > 0) {
        if (!wait_on(pg, true, until))
            return pg_failed(pg, NULL, e);
        unsent = PQflush(pg->conn);
    }
    return unsent < 0 ? pg_failed(pg, NULL, e) : 0;
}
