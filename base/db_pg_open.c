/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a connection to PostgreSQL: within a time, with the class of a refusal, safely set. */
#include "base/clock.h"
#include "base/db_pg.h"
#include "base/own.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

enum { CONNECT_MS = 10000, PATIENCE_MS = 60000 };

static void quiet(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

static void own_options(PQconninfoOption **o)
{
    PQconninfoFree(*o);
}

struct address {
    const char *keys[64];
    const char *values[64];
    size_t n;
    int64_t connect_ms;
};

static void address_add(struct address *a, const char *key, const char *value)
{
    if (a->n + 1 < sizeof a->keys / sizeof a->keys[0]) {
        a->keys[a->n] = key;
        a->values[a->n] = value;
        a->n++;
    }
}

/* What the URL says goes before our defaults. */
static void address_fill(struct address *a, const PQconninfoOption *options)
{
    static const char *const defaults[][2] = {
        {"application_name", "holdfast"}, {"keepalives_idle", "30"},
        {"keepalives_interval", "10"},    {"keepalives_count", "3"},
        {"tcp_user_timeout", "30000"},
    };
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++)
        address_add(a, defaults[i][0], defaults[i][1]);
    a->connect_ms = CONNECT_MS;
    for (const PQconninfoOption *o = options; o->keyword; o++) {
        int64_t seconds;
        if (!o->val)
            continue;
        address_add(a, o->keyword, o->val);
        if (strcmp(o->keyword, "connect_timeout") == 0 && text_i64(slice_of(o->val), &seconds) &&
            seconds > 0 && seconds < 3600)
            a->connect_ms = seconds * 1000;
    }
    address_add(a, "client_encoding", "UTF8");
}

/* libpq keeps no code for a refused connection; asked to be verbose it puts the code in the text,
 * as in "FATAL:  28P01: ...". The severity before it may be translated. */
static void refused_state(const char *message, char state[6])
{
    state[0] = '\0';
    for (const char *p = strstr(message, ":  "); p; p = strstr(p + 1, ":  ")) {
        if (strspn(p + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 || p[8] != ':')
            continue;
        memcpy(state, p + 3, 5);
        state[5] = '\0';
    }
}

static int connect_wait(struct pg *pg, int64_t ms, struct err *e)
{
    int64_t until = clock_mono_ms() + ms;
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;
    (void)PQsetErrorVerbosity(pg->conn, PQERRORS_VERBOSE);
    while (PQstatus(pg->conn) != CONNECTION_BAD && step != PGRES_POLLING_FAILED) {
        int64_t left = until - clock_mono_ms();
        struct pollfd fd = {.fd = PQsocket(pg->conn),
                            .events = step == PGRES_POLLING_READING ? POLLIN : POLLOUT};
        int n = left > 0 ? poll(&fd, 1, (int)left) : 0;
        if (n == 0)
            return err_set(e, ERR_RETRY, "%s: no connection within %" PRId64 " ms", pg->base.name,
                           ms);
        if (n < 0 && errno != EINTR)
            return err_errno(e, ERR_RETRY, "%s: poll", pg->base.name);
        step = n > 0 ? PQconnectPoll(pg->conn) : step;
        if (step == PGRES_POLLING_OK)
            return 0;
    }
    char state[6];
    char text[256];
    refused_state(PQerrorMessage(pg->conn), state);
    pg_one_line(PQerrorMessage(pg->conn), text, sizeof text);
    int class = PQconnectionNeedsPassword(pg->conn) ? ERR_CONFIG : db_pg_class(state);
    return err_set(e, class, "%s: %s", pg->base.name, text);
}

/* A weaker durability than "on" is raised, a stronger one left. The server ends a statement whose
 * connection we gave up, which no time limit of its own may do: it would end a commit's wait for a
 * standby with success. A batch (4 MiB) is sorted in memory. Statements are short: compiling one
 * takes longer than it runs. */
static int session_settings(struct pg *pg, int flags, struct err *e)
{
    static const char settings[] =
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') IN ('off', 'local');"
        "SELECT set_config('jit', 'off', false) WHERE current_setting('jit', true) = 'on';"
        "SELECT set_config('client_connection_check_interval', '5s', false)"
        " WHERE current_setting('client_connection_check_interval', true) = '0';"
        "SET standard_conforming_strings = on; SET work_mem = '16MB'";
    int rc = pg_patience(&pg->base, PATIENCE_MS, e);
    if (rc == 0)
        rc = pg_script(&pg->base, settings, e);
    if (rc == 0 && flags & DB_READ_ONLY)
        rc = pg_script(&pg->base, "SET default_transaction_read_only = on", e);
    return rc;
}

int db_pg_open(struct db **out, const char *url, int flags, struct err *e)
{
    /* libpq's complaint about a bad URL quotes it, with the password. */
    OWN(own_options) PQconninfoOption *options = PQconninfoParse(url, NULL);
    if (!options)
        return err_set(e, ERR_CONFIG, "the database address is not a valid postgresql:// URL");
    OWN(own_db) struct db *db = calloc(1, sizeof(struct pg));
    if (!db)
        return err_memory(e, "opening a database");
    struct pg *pg = pg_of(db);
    struct address address = {.n = 0};
    address_fill(&address, options);
    db->driver = &pg_driver;
    db->kind = DB_POSTGRES;
    db->flags = flags;
    (void)snprintf(db->name, sizeof db->name, "PostgreSQL");
    pg->conn = PQconnectStartParams(address.keys, address.values, 0);
    if (!pg->conn)
        return err_memory(e, "opening a database");
    (void)PQsetNoticeProcessor(pg->conn, quiet, NULL);
    (void)snprintf(db->name, sizeof db->name, "PostgreSQL %s",
                   PQdb(pg->conn) ? PQdb(pg->conn) : "");
    int rc = connect_wait(pg, address.connect_ms, e);
    if (rc == 0 && PQsetnonblocking(pg->conn, 1) < 0)
        rc = pg_failed(pg, NULL, e);
    if (rc == 0)
        rc = session_settings(pg, flags, e);
    if (rc < 0)
        return rc;
    *out = db;
    db = NULL;
    return 0;
}
