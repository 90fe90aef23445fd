/* SPDX-License-Identifier: Apache-2.0 */
/* Locks of a writing connection and the row that says who writes. */
#include "chat-server/store/claim.h"

#include "base/clock.h"
#include "base/own.h"
#include "base/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

enum { LEAVE_MS = 2000, LEAVE_PAUSE_MS = 20 };

static size_t find(const struct claims *c, struct slice source)
{
    size_t i = 0;
    while (i < c->count && !slice_is(source, c->sources[i]))
        i++;
    return i;
}

bool claims_has(const struct claims *c, struct slice source)
{
    return find(c, source) < c->count;
}

int64_t claims_epoch(const struct claims *c, struct slice source)
{
    return c->epochs[find(c, source)];
}

void claims_set_epoch(struct claims *c, struct slice source, int64_t epoch)
{
    c->epochs[find(c, source)] = epoch;
}

/* flock belongs to the open file, so that two handles of one process exclude each other too. It is
 * a file of its own: closing another descriptor of the database would drop SQLite's own locks. */
static int lock_file(struct claims *c, const char *url, struct err *e)
{
    char path[4096];

    if (c->lock_fd >= 0)
        return 0;
    int n = snprintf(path, sizeof path, "%s-writer", url + strlen("sqlite:"));
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(e, ERR_CONFIG, "the path of the store is too long");
    OWN(own_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, ERR_CONFIG, "open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return err_set(e, ERR_CONFLICT, "%s is locked: another writer has this store", path);
        return err_errno(e, ERR_RETRY, "lock %s", path);
    }
    c->lock_fd = fd;
    fd = -1;
    return 0;
}

static int lock_source(struct db *db, struct slice source, struct err *e)
{
    char name[600];
    int n = snprintf(name, sizeof name, "store writer %.*s", SLICE_ARG(source));
    if (n < 0 || (size_t)n >= sizeof name)
        return err_set(e, ERR_REJECTED, "source has %zu bytes, too many", source.n);
    /* The database may still be taking leave of a writer that has just ended or died. */
    int64_t end = clock_mono_ms() + LEAVE_MS;
    int rc = db_lock(db, slice_of(name), e);
    while (rc == ERR_CONFLICT && clock_mono_ms() < end && !stop_wait(LEAVE_PAUSE_MS))
        rc = db_lock(db, slice_of(name), e);
    if (rc == ERR_CONFLICT)
        return err_set(e, rc, "another writer has the source %.*s", SLICE_ARG(source));
    return rc;
}

static int check_source(const struct claims *c, struct slice source, struct err *e)
{
    if (source.n == 0 || source.n > 512)
        return err_set(e, ERR_REJECTED, "a source has 1 to 512 bytes, not %zu", source.n);
    if (c->count == CLAIMS_MAX)
        return err_set(e, ERR_REJECTED, "a writer has at most %d sources", CLAIMS_MAX);
    return 0;
}

int claims_note(struct claims *c, struct slice source, struct err *e)
{
    if (claims_has(c, source))
        return 0;
    int rc = check_source(c, source, e);
    if (rc < 0)
        return rc;
    char *copy = slice_dup(source);
    if (!copy)
        return err_memory(e, "claiming a source");
    c->sources[c->count++] = copy;
    return 0;
}

int claims_add(struct claims *c, struct db *db, const char *url, struct slice source, struct err *e)
{
    if (claims_has(c, source))
        return 0;
    int rc = check_source(c, source, e);
    if (rc < 0)
        return rc;
    rc = db_kind(db) == DB_SQLITE ? lock_file(c, url, e) : lock_source(db, source, e);
    return rc < 0 ? rc : claims_note(c, source, e);
}

int claims_set_session(struct claims *c, struct slice source, struct slice session, struct err *e)
{
    OWN(own_mem) char *a = slice_dup(source);
    OWN(own_mem) char *b = slice_dup(session);
    if (!a || !b)
        return err_memory(e, "beginning a session");
    claims_forget_session(c);
    c->session_source = a;
    c->session = b;
    a = b = NULL;
    return 0;
}

void claims_forget_session(struct claims *c)
{
    free(c->session_source);
    free(c->session);
    c->session_source = c->session = NULL;
    c->lease_ms = 0;
}

/* Locks the session's row for the transaction: whoever closes the session waits for it, and after
 * that finds nothing left open. A lapsed lease that nobody has noticed is as good as a new one. */
static int renew(const struct claims *c, struct db *db, struct err *e)
{
    static const char sql[] =
        "UPDATE session SET lease_us = $1 + (extract(epoch FROM clock_timestamp()) * 1000000)"
        "::bigint WHERE uri = $2 AND ended_us IS NULL AND lease_us > 0";
    int64_t changed = 0;
    int rc =
        db_run(db, sql, DB_ARGS(DB_I(c->lease_ms * 1000), DB_T(slice_of(c->session))), &changed, e);
    if (rc == 0 && changed == 0)
        return err_set(e, ERR_STOPPED, "another server session has closed %s", c->session);
    return rc;
}

int claims_check(const struct claims *c, struct db *db, struct err *e)
{
    static const char lock_postgres[] = "SELECT session FROM writer WHERE source = $1 FOR UPDATE";
    static const char read_sqlite[] = "SELECT session FROM writer WHERE source = $1";
    OWN(own_db_rows) struct db_rows *rows = NULL;

    if (!c->session)
        return 0;
    if (c->lease_ms > 0)
        return renew(c, db, e);
    int rc = db_query(db, db_kind(db) == DB_POSTGRES ? lock_postgres : read_sqlite,
                      DB_ARGS(DB_T(slice_of(c->session_source))), &rows, e);
    if (rc == 0)
        rc = db_rows_next(rows, e);
    if (rc < 0)
        return rc;
    if (rc == 0 || !slice_is(db_rows_slice(rows, 0), c->session))
        return err_set(e, ERR_STOPPED, "another server session writes %s now", c->session_source);
    return 0;
}

void claims_done(struct claims *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->sources[i]);
    c->count = 0;
    claims_forget_session(c);
    if (c->lock_fd >= 0)
        (void)close(c->lock_fd);
    c->lock_fd = -1;
}
