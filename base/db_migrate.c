/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schemas and their versions. Beside the version a database keeps a digest of the steps that made
 * it, so that tables of another version of this program are recognised and not taken for ours.
 */
#include "base/db.h"

#include "base/db_driver.h"
#include "base/digest.h"
#include "base/own.h"

#include <inttypes.h>
#include <string.h>

/* The steps of a part, as this program has them. */
struct schema {
    const char *part;
    const struct db_step *steps;
    size_t n;
};

/* What the first steps say, so that tables that others made are told from ours. */
static void steps_digest(const struct db *db, const struct schema *s, size_t n,
                         char hex[SHA256_HEX])
{
    uint8_t all[SHA256_SIZE] = {0};
    for (size_t i = 0; i < n; i++) {
        const char *step = db->kind == DB_POSTGRES ? s->steps[i].postgres : s->steps[i].sqlite;
        uint8_t chained[2 * SHA256_SIZE];
        memcpy(chained, all, sizeof all);
        sha256(step, strlen(step), chained + SHA256_SIZE);
        sha256(chained, sizeof chained, all);
    }
    hex_encode(all, sizeof all, hex);
}

static int other_version(const struct db *db, const struct schema *s, struct err *e)
{
    return err_set(
        e, ERR_CONFIG,
        "%s: the tables of schema %s were made by another version of this program, and this"
        " one can't change them into its own. Go on with that version, or begin with a new"
        " data folder or database; nothing was changed",
        db->name, s->part);
}

/* 1: the table of versions is there; 0: not yet. */
static int find_versions(struct db *db, const struct schema *s, struct err *e)
{
    static const char *const table[] = {
        [DB_SQLITE] = "SELECT count(*) FROM sqlite_schema WHERE name = 'holdfast_schema'",
        [DB_POSTGRES] = "SELECT count(*) FROM pg_catalog.pg_class"
                        " WHERE oid = pg_catalog.to_regclass('holdfast_schema')",
    };
    static const char *const column[] = {
        [DB_SQLITE] = "SELECT count(*) FROM pragma_table_info('holdfast_schema')"
                      " WHERE name = 'digest'",
        [DB_POSTGRES] = "SELECT count(*) FROM pg_catalog.pg_attribute"
                        " WHERE attrelid = pg_catalog.to_regclass('holdfast_schema')"
                        " AND attname = 'digest' AND NOT attisdropped",
    };
    int64_t tables = 0;
    int64_t columns = 0;
    int rc = db_int(db, table[db->kind], DB_NO_ARGS, 0, &tables, e);
    if (rc == 0 && tables)
        rc = db_int(db, column[db->kind], DB_NO_ARGS, 0, &columns, e);
    if (rc < 0 || !tables)
        return rc;
    return columns ? 1 : other_version(db, s, e);
}

/* Version 0: the part is not there. */
static int schema_version(struct db *db, const struct schema *s, int64_t *version, struct err *e)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    char hex[SHA256_HEX];
    *version = 0;
    int rc = db_first(db, "SELECT version, digest FROM holdfast_schema WHERE part = $1",
                      DB_ARGS(DB_T(slice_of(s->part))), &r, e);
    if (rc != 1)
        return rc;
    *version = db_rows_int(r, 0);
    if (*version < 0 || *version > (int64_t)s->n)
        return err_set(e, ERR_CONFIG,
                       "%s: schema %s has version %" PRId64 ", this program knows %zu. Use the"
                       " newer program",
                       db->name, s->part, *version, s->n);
    steps_digest(db, s, (size_t)*version, hex);
    return slice_is(db_rows_slice(r, 1), hex) ? 0 : other_version(db, s, e);
}

static int migrate_lock(struct db *db, struct err *e)
{
    static const char create[] =
        "CREATE TABLE IF NOT EXISTS holdfast_schema"
        " (part text PRIMARY KEY, version bigint NOT NULL, digest text NOT NULL)";
    if (db->kind == DB_POSTGRES) {
        static const char lock[] = "SELECT 1 FROM (SELECT pg_advisory_xact_lock($1)) AS held";
        int64_t one;
        int rc = db_int(db, lock, DB_ARGS(DB_I(db_lock_key(SLICE("schema")))), 0, &one, e);
        if (rc < 0)
            return rc;
    }
    return db_script(db, create, e);
}

/* 1: a step was made; 0: nothing is left to do. */
static int migrate_step(struct db *db, const struct schema *s, struct err *e)
{
    OWN(own_db_rollback) struct db *txn = NULL;
    char hex[SHA256_HEX];
    int64_t version = 0;
    int rc = db_begin(db, e);
    if (rc < 0)
        return rc;
    txn = db;
    rc = migrate_lock(db, e);
    if (rc == 0)
        rc = find_versions(db, s, e);
    if (rc >= 0)
        rc = schema_version(db, s, &version, e);
    if (rc < 0 || version == (int64_t)s->n)
        return rc;
    const struct db_step *step = &s->steps[version];
    rc = db_script(db, db->kind == DB_POSTGRES ? step->postgres : step->sqlite, e);
    if (rc < 0)
        return rc;
    steps_digest(db, s, (size_t)version + 1, hex);
    rc = db_run(db,
                "INSERT INTO holdfast_schema (part, version, digest) VALUES ($1, $2, $3)"
                " ON CONFLICT (part) DO UPDATE SET version = excluded.version,"
                " digest = excluded.digest",
                DB_ARGS(DB_T(slice_of(s->part)), DB_I(version + 1), DB_T(slice_of(hex))), NULL, e);
    if (rc < 0)
        return rc;
    txn = NULL; /* a failed commit rolls back by itself */
    rc = db_commit(db, e);
    return rc < 0 ? rc : 1;
}

int db_migrate(struct db *db, const char *part, const struct db_step *steps, size_t n,
               struct err *e)
{
    const struct schema s = {part, steps, n};
    int rc;
    if (db->flags & DB_READ_ONLY) {
        int64_t version = 0;
        rc = find_versions(db, &s, e);
        if (rc == 0)
            return err_set(e, ERR_NOT_FOUND, "%s: no schema yet", db->name);
        if (rc == 1)
            rc = schema_version(db, &s, &version, e);
        if (rc == 0 && version != (int64_t)n)
            return err_set(e, ERR_CONFIG, "%s: schema %s has version %" PRId64 ", not %zu",
                           db->name, part, version, n);
        return rc;
    }
    do {
        rc = migrate_step(db, &s, e);
    } while (rc > 0);
    if (rc < 0)
        return err_wrap(e, "schema %s", part), rc;
    return 0;
}
