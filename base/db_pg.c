/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/db.h on PostgreSQL: libpq, statements prepared on the server, values in binary both ways,
 * rows one at a time, COPY in binary. Opening a connection: base/db_pg_open.c;
 * waiting for the server: base/db_pg_wait.c.
 */
#include "base/db_pg.h"
#include "base/own.h"

#include <inttypes.h>
#include <string.h>

enum { COPY_BUFFER = 256 * 1024 };
enum { OID_BOOL = 16, OID_INT2 = 21, OID_INT4 = 23, OID_NAME = 19, OID_VARCHAR = 1043 };

struct pg_statement {
    struct db_statement base;
    unsigned number; /* 0: not prepared */
    size_t n;
    Oid types[DB_MAX_ARGS]; /* 0: left to the server, as only NULL was given so far */
};

int db_pg_class(const char *s)
{
    static const struct {
        char start[6];
        int class;
    } map[] = {
        {"23505", ERR_CONFLICT}, {"40", ERR_RETRY},     {"55P03", ERR_RETRY},  {"55006", ERR_RETRY},
        {"57", ERR_RETRY},       {"53", ERR_RETRY},     {"08", ERR_RETRY},     {"58", ERR_RETRY},
        {"22", ERR_REJECTED},    {"23", ERR_REJECTED},  {"54", ERR_REJECTED},  {"0A", ERR_REJECTED},
        {"42501", ERR_CONFIG},   {"3D000", ERR_CONFIG}, {"3F000", ERR_CONFIG}, {"28", ERR_CONFIG},
        {"25006", ERR_CONFIG},
    };
    if (!*s)
        return ERR_RETRY;
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++) {
        if (strncmp(s, map[i].start, strlen(map[i].start)) == 0)
            return map[i].class;
    }
    return ERR_FAULT;
}

void pg_one_line(const char *text, char *out, size_t size)
{
    size_t n = 0;
    for (; *text && n + 1 < size; text++) {
        if (*text != '\n' && *text != '\t')
            out[n++] = *text;
        else if (n > 0 && out[n - 1] != ' ')
            out[n++] = ' ';
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
}

static const char *advice_of(const char *state)
{
    bool absent = strcmp(state, "42P01") == 0 || strcmp(state, "42703") == 0;
    return absent ? DB_ABSENT_ADVICE : "";
}

/* Only the primary text: the detail quotes the data. */
int pg_failed(struct pg *pg, const PGresult *r, struct err *e)
{
    char text[256];
    const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    const char *primary = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    const char *constraint = r ? PQresultErrorField(r, PG_DIAG_CONSTRAINT_NAME) : NULL;

    if (PQstatus(pg->conn) == CONNECTION_BAD)
        pg->base.broken = true;
    if (pg->silent)
        return err_set(e, ERR_RETRY, "%s: no answer within %" PRId64 " ms", pg->base.name,
                       pg->patience_ms);
    pg_one_line(primary ? primary : PQerrorMessage(pg->conn), text, sizeof text);
    int class = pg->base.broken ? ERR_RETRY : db_pg_class(state ? state : "");
    return err_set(e, class, "%s: %s%s%s%s%s%s", pg->base.name, text, constraint ? ", " : "",
                   constraint ? constraint : "", state ? ", " : "", state ? state : "",
                   state ? advice_of(state) : "");
}

/* Reads what is left of the answer, so that the next command finds an idle connection. */
static void drain(struct pg *pg)
{
    PGresult *r = pg_result(pg);
    while (r) {
        ExecStatusType status = PQresultStatus(r);
        PQclear(r);
        if (PQstatus(pg->conn) == CONNECTION_BAD) {
            pg->base.broken = true;
            return;
        }
        if (status == PGRES_COPY_IN && PQputCopyEnd(pg->conn, "given up") < 0)
            return;
        r = pg_result(pg);
    }
}

bool pg_succeeded(const PGresult *r)
{
    ExecStatusType status = PQresultStatus(r);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

int pg_script(struct db *db, const char *sql, struct err *e)
{
    struct pg *pg = pg_of(db);
    OWN(own_result) PGresult *r = pg_last(pg, PQsendQuery(pg->conn, sql));
    return pg_succeeded(r) ? 0 : pg_failed(pg, r, e);
}

static int pg_commit(struct db *db, struct err *e)
{
    struct pg *pg = pg_of(db);
    OWN(own_result) PGresult *r = pg_last(pg, PQsendQuery(pg->conn, "COMMIT"));
    if (PQresultStatus(r) == PGRES_COMMAND_OK) {
        if (strcmp(PQcmdStatus(r), "COMMIT") == 0)
            return 0;
        return err_set(e, ERR_FAULT, "%s: the server rolled back instead of committing", db->name);
    }
    int rc = pg_failed(pg, r, e);
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    bool unknown = state && (strcmp(state, "40003") == 0 || strcmp(state, "08007") == 0);
    if (!db->broken && !unknown)
        return rc;
    return err_set(e, ERR_DOUBT, "%s: %s while committing", db->name,
                   pg->silent ? "no answer" : "the connection broke");
}

static void pg_rollback(struct db *db)
{
    struct pg *pg = pg_of(db);
    OWN(own_result) PGresult *r = pg_last(pg, PQsendQuery(pg->conn, "ROLLBACK"));
    if (PQresultStatus(r) != PGRES_COMMAND_OK)
        db->broken = true;
}

static void pg_close(struct db *db)
{
    PQfinish(pg_of(db)->conn);
    free(db);
}

Oid pg_oid_of(enum db_type type)
{
    switch (type) {
    case DB_INT:
        return OID_INT8;
    case DB_TEXT:
        return OID_TEXT;
    case DB_BYTES:
        return OID_BYTEA;
    case DB_NULL:
        break;
    }
    return 0;
}

static void name_of(const struct pg_statement *st, char out[16])
{
    (void)snprintf(out, 16, "s%u", st->number);
}

static void pg_drop(struct db *db, struct db_statement *st)
{
    (void)db; /* the server forgets its statements with the connection */
    (void)st;
}

/* A parameter's type is fixed when the statement is prepared. One that was NULL then was left to
 * the server, which may have chosen another binary form than ours: prepared again when it comes
 * with a value. */
static bool fits(const struct pg_statement *st, const struct db_value *args, size_t n)
{
    if (st->number == 0 || st->n != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (args[i].type != DB_NULL && st->types[i] != pg_oid_of(args[i].type))
            return false;
    }
    return true;
}

static int pg_prepare(struct db *db, struct db_statement *statement, const struct db_value *args,
                      size_t n, struct err *e)
{
    struct pg *pg = pg_of(db);
    struct pg_statement *st = (struct pg_statement *)statement;
    char name[16];
    if (fits(st, args, n))
        return 0;
    if (st->number) {
        char sql[40];
        (void)snprintf(sql, sizeof sql, "DEALLOCATE s%u", st->number);
        int rc = pg_script(db, sql, e);
        if (rc < 0)
            return rc;
        st->number = 0;
    }
    for (size_t i = 0; i < n; i++) {
        if (args[i].type != DB_NULL)
            st->types[i] = pg_oid_of(args[i].type);
    }
    st->n = n;
    st->number = ++pg->numbers;
    name_of(st, name);
    OWN(own_result)
    PGresult *r = pg_last(pg, PQsendPrepare(pg->conn, name, st->base.text, (int)n, st->types));
    if (PQresultStatus(r) == PGRES_COMMAND_OK)
        return 0;
    st->number = 0;
    return pg_failed(pg, r, e);
}

static void put_be(char *out, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (char)(v >> (8 * (bytes - 1 - i)));
}

static uint64_t get_be(const char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

struct parameters {
    const char *values[DB_MAX_ARGS];
    int lengths[DB_MAX_ARGS];
    int formats[DB_MAX_ARGS];
    char ints[DB_MAX_ARGS][8];
};

static void parameters_fill(struct parameters *p, const struct db_value *args, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p->formats[i] = 1;
        switch (args[i].type) {
        case DB_NULL:
            p->values[i] = NULL;
            p->lengths[i] = 0;
            break;
        case DB_INT:
            put_be(p->ints[i], (uint64_t)args[i].i, 8);
            p->values[i] = p->ints[i];
            p->lengths[i] = 8;
            break;
        case DB_TEXT:
        case DB_BYTES:
            p->values[i] = args[i].s.p ? args[i].s.p : "";
            p->lengths[i] = (int)args[i].s.n;
            break;
        }
    }
}

static int pg_run(struct db *db, struct db_statement *statement, const struct db_value *args,
                  size_t n, int64_t *changed, struct err *e)
{
    struct pg *pg = pg_of(db);
    struct parameters p;
    char name[16];
    name_of((struct pg_statement *)statement, name);
    parameters_fill(&p, args, n);
    OWN(own_result)
    PGresult *r =
        pg_last(pg, PQsendQueryPrepared(pg->conn, name, (int)n, p.values, p.lengths, p.formats, 1));
    if (!pg_succeeded(r))
        return pg_failed(pg, r, e);
    *changed = 0;
    (void)text_i64(slice_of(PQcmdTuples(r)), changed);
    return 0;
}

int pg_row_by_row(struct pg *pg, struct err *e)
{
    if (PQsetSingleRowMode(pg->conn))
        return 0;
    drain(pg);
    return err_set(e, ERR_FAULT, "%s: single-row mode refused", pg->base.name);
}

static int pg_query(struct db *db, struct db_statement *statement, const struct db_value *args,
                    size_t n, struct db_rows *rows, struct err *e)
{
    struct pg *pg = pg_of(db);
    struct parameters p;
    char name[16];
    (void)rows;
    name_of((struct pg_statement *)statement, name);
    parameters_fill(&p, args, n);
    if (!PQsendQueryPrepared(pg->conn, name, (int)n, p.values, p.lengths, p.formats, 1))
        return pg_failed(pg, NULL, e);
    return pg_row_by_row(pg, e);
}

static bool known_type(Oid type)
{
    switch (type) {
    case OID_BOOL:
    case OID_BYTEA:
    case OID_INT8:
    case OID_INT2:
    case OID_INT4:
    case OID_TEXT:
    case OID_NAME:
    case OID_VARCHAR:
        return true;
    default:
        return false;
    }
}

static int check_columns(const struct db *db, const PGresult *r, struct err *e)
{
    for (int i = 0; i < PQnfields(r); i++) {
        if (!known_type(PQftype(r, i)))
            return err_set(e, ERR_FAULT,
                           "%s: column %d of a result has type %u. Cast it to bigint, text or"
                           " bytea",
                           db->name, i, PQftype(r, i));
    }
    return 0;
}

static int pg_next(struct db_rows *rows, struct err *e)
{
    struct pg *pg = pg_of(rows->db);
    bool first = rows->state == NULL;
    PQclear(rows->state);
    PGresult *r = pg_result(pg);
    rows->state = r;
    if (PQresultStatus(r) == PGRES_SINGLE_TUPLE) {
        int rc = first ? check_columns(rows->db, r, e) : 0;
        return rc < 0 ? rc : 1;
    }
    return pg_succeeded(r) ? 0 : pg_failed(pg, r, e);
}

static void pg_end(struct db_rows *rows)
{
    PQclear(rows->state);
    rows->state = NULL;
    drain(pg_of(rows->db));
}

static bool pg_is_null(const struct db_rows *rows, int column)
{
    const PGresult *r = rows->state;
    return column >= PQnfields(r) || PQgetisnull(r, 0, column);
}

static int64_t pg_get_int(const struct db_rows *rows, int column)
{
    const PGresult *r = rows->state;
    const char *p = PQgetvalue(r, 0, column);
    switch (PQftype(r, column)) {
    case OID_INT8:
        return (int64_t)get_be(p, 8);
    case OID_INT4:
        return (int32_t)get_be(p, 4);
    case OID_INT2:
        return (int16_t)get_be(p, 2);
    case OID_BOOL:
        return p[0];
    default:
        return 0;
    }
}

static struct slice pg_get_slice(const struct db_rows *rows, int column)
{
    const PGresult *r = rows->state;
    return (struct slice){PQgetvalue(r, 0, column), (size_t)PQgetlength(r, 0, column)};
}

static int copy_flush(struct db_copy *c, const char *bytes, size_t n, struct err *e)
{
    struct pg *pg = pg_of(c->db);
    while (n > 0) {
        size_t part = n < COPY_BUFFER ? n : COPY_BUFFER;
        int rc = PQputCopyData(pg->conn, bytes, (int)part) == 1 ? pg_flush(pg, e)
                                                                : pg_failed(pg, NULL, e);
        if (rc < 0)
            return rc;
        bytes += part;
        n -= part;
    }
    return 0;
}

static int copy_put(struct db_copy *c, const char *bytes, size_t n, struct err *e)
{
    if (n > COPY_BUFFER - c->used) {
        int rc = copy_flush(c, c->out, c->used, e);
        if (rc < 0)
            return rc;
        c->used = 0;
        if (n > COPY_BUFFER)
            return copy_flush(c, bytes, n, e);
    }
    memcpy(c->out + c->used, bytes, n);
    c->used += n;
    return 0;
}

static int pg_copy_begin(struct db_copy *c, const char *table, const char *columns, struct err *e)
{
    static const char head[19] = "PGCOPY\n\377\r\n"; /* flags and length of extension are 0 */
    struct pg *pg = pg_of(c->db);
    char sql[1024];
    int n = snprintf(sql, sizeof sql, "COPY %s (%s) FROM STDIN (FORMAT binary)", table, columns);
    if (n < 0 || (size_t)n >= sizeof sql)
        return err_set(e, ERR_FAULT, "%s: copy into %.40s has too many columns", c->db->name,
                       table);
    OWN(own_mem) char *out = malloc(COPY_BUFFER);
    if (!out)
        return err_memory(e, "copying rows");
    OWN(own_result) PGresult *r = pg_last(pg, PQsendQuery(pg->conn, sql));
    if (PQresultStatus(r) != PGRES_COPY_IN)
        return pg_failed(pg, r, e);
    memcpy(out, head, sizeof head);
    c->used = sizeof head;
    c->out = out;
    out = NULL;
    return 0;
}

static int pg_copy_row(struct db_copy *c, const struct db_value *v, struct err *e)
{
    char field[12];
    put_be(field, c->n, 2);
    int rc = copy_put(c, field, 2, e);
    for (size_t i = 0; rc == 0 && i < c->n; i++) {
        switch (v[i].type) {
        case DB_NULL:
            put_be(field, UINT32_MAX, 4);
            rc = copy_put(c, field, 4, e);
            break;
        case DB_INT:
            put_be(field, 8, 4);
            put_be(field + 4, (uint64_t)v[i].i, 8);
            rc = copy_put(c, field, 12, e);
            break;
        case DB_TEXT:
        case DB_BYTES:
            put_be(field, v[i].s.n, 4);
            rc = copy_put(c, field, 4, e);
            if (rc == 0 && v[i].s.n > 0)
                rc = copy_put(c, v[i].s.p, v[i].s.n, e);
            break;
        }
    }
    return rc;
}

static void pg_copy_abort(struct db_copy *c)
{
    struct pg *pg = pg_of(c->db);
    free(c->out);
    c->out = NULL;
    if (PQputCopyEnd(pg->conn, "given up") < 0 && PQstatus(pg->conn) == CONNECTION_BAD)
        pg->base.broken = true;
    drain(pg);
}

static int pg_copy_end(struct db_copy *c, struct err *e)
{
    struct pg *pg = pg_of(c->db);
    OWN(own_mem) char *out = c->out;
    int rc = copy_put(c, "\377\377", 2, e);
    if (rc == 0)
        rc = copy_flush(c, out, c->used, e);
    if (rc == 0 && PQputCopyEnd(pg->conn, NULL) != 1)
        rc = pg_failed(pg, NULL, e);
    if (rc < 0) {
        drain(pg);
        return rc;
    }
    OWN(own_result) PGresult *r = pg_result(pg);
    rc = PQresultStatus(r) == PGRES_COMMAND_OK ? 0 : pg_failed(pg, r, e);
    drain(pg);
    return rc;
}

static int pg_lock(struct db *db, int64_t key, const char *name, struct err *e)
{
    int64_t got;
    int rc = db_int(db, "SELECT pg_try_advisory_lock($1)", DB_ARGS(DB_I(key)), 0, &got, e);
    if (rc < 0)
        return rc;
    if (!got)
        return err_set(e, ERR_CONFLICT, "%s: another process holds the lock %s", db->name, name);
    return 0;
}

static int pg_now_us(struct db *db, int64_t *us, struct err *e)
{
    return db_int(db, "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
                  DB_NO_ARGS, 0, us, e);
}

const struct db_driver pg_driver = {
    .begin = "BEGIN ISOLATION LEVEL READ COMMITTED",
    .begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    .statement_size = sizeof(struct pg_statement),
    .close = pg_close,
    .patience = pg_patience,
    .script = pg_script,
    .commit = pg_commit,
    .rollback = pg_rollback,
    .prepare = pg_prepare,
    .run = pg_run,
    .run_all = pg_run_all,
    .query_all = pg_query_all,
    .query = pg_query,
    .drop = pg_drop,
    .next = pg_next,
    .end = pg_end,
    .is_null = pg_is_null,
    .get_int = pg_get_int,
    .get_slice = pg_get_slice,
    .copy_begin = pg_copy_begin,
    .copy_row = pg_copy_row,
    .copy_end = pg_copy_end,
    .copy_abort = pg_copy_abort,
    .lock = pg_lock,
    .now_us = pg_now_us,
};
