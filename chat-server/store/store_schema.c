/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's tables, one step for each version and kind of database. Texts that people choose are
 * never part of a wide key: PostgreSQL refuses index rows above 2.7 KB, so that presence is keyed
 * by a hash.
 */
#include "chat-server/store/store_schema.h"

static const char first_sqlite[] =
    "CREATE TABLE stream (id INTEGER PRIMARY KEY, source TEXT NOT NULL, epoch INTEGER NOT NULL,"
    " subject TEXT NOT NULL, relayed INTEGER NOT NULL DEFAULT 0,"
    " owner TEXT, term INTEGER NOT NULL DEFAULT 0,"
    " UNIQUE (source, subject, epoch)) STRICT;"
    /* Of sources that were restored from a backup; all others are in their first. */
    "CREATE TABLE epoch (source TEXT PRIMARY KEY, epoch INTEGER NOT NULL,"
    " since_us INTEGER NOT NULL, reason TEXT NOT NULL) STRICT;"
    /* prior: sequence of the stream's newest post before this row, by which posts are found
     * without an index that every post would touch; record_chat says where to begin.
     * AUTOINCREMENT: a position is never given out twice, whatever was deleted. */
    "CREATE TABLE record (pos INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL,"
    " sequence INTEGER NOT NULL, kind INTEGER NOT NULL, chat_id INTEGER, prior INTEGER NOT NULL, "
    "once BLOB,"
    " producer BLOB, hash BLOB NOT NULL, raw BLOB NOT NULL, UNIQUE (stream, sequence)) STRICT;"
    "CREATE UNIQUE INDEX record_producer ON record (producer) WHERE producer IS NOT NULL;"
    "CREATE INDEX record_chat ON record (stream, chat_id) WHERE chat_id % 64 = 0;"
    "CREATE TABLE session (uri TEXT PRIMARY KEY, source TEXT NOT NULL, details TEXT NOT NULL,"
    " started_us INTEGER NOT NULL, ended_us INTEGER,"
    " lease_us INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE INDEX session_open ON session (source) WHERE ended_us IS NULL;"
    "CREATE TABLE writer (source TEXT PRIMARY KEY, session TEXT) STRICT;"
    "CREATE TABLE participant (key BLOB PRIMARY KEY, session TEXT NOT NULL, room TEXT NOT NULL,"
    " uri TEXT NOT NULL, endpoint TEXT NOT NULL, name TEXT NOT NULL, joined_us INTEGER NOT NULL)"
    " STRICT;"
    "CREATE INDEX participant_room ON participant (room);"
    "CREATE INDEX participant_session ON participant (session);"
    "CREATE TABLE parked (stream INTEGER NOT NULL, sequence INTEGER NOT NULL,"
    " since_us INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (stream, sequence)) STRICT;"
    "CREATE TABLE queue_end (source TEXT NOT NULL, part INTEGER NOT NULL, last INTEGER NOT NULL,"
    " PRIMARY KEY (source, part)) STRICT;"
    "CREATE TABLE log_change (id INTEGER PRIMARY KEY, source TEXT NOT NULL, part INTEGER NOT NULL,"
    " before_offset INTEGER NOT NULL, after_offset INTEGER NOT NULL, opened_us INTEGER NOT NULL,"
    " closed_us INTEGER, closed_how TEXT) STRICT;"
    "CREATE UNIQUE INDEX log_change_open ON log_change (source, part) WHERE closed_us IS NULL;"
    "CREATE TABLE room (uri TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " description TEXT NOT NULL, members TEXT NOT NULL, created_us INTEGER NOT NULL,"
    " by_queue INTEGER NOT NULL) STRICT;"
    "CREATE TABLE chat_user (uri TEXT PRIMARY KEY, name TEXT NOT NULL,"
    " created_us INTEGER NOT NULL) STRICT;";

static const char first_postgres[] =
    "CREATE TABLE stream (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, source text NOT NULL,"
    " epoch bigint NOT NULL, subject text NOT NULL, relayed bigint NOT NULL DEFAULT 0,"
    " owner text, term bigint NOT NULL DEFAULT 0,"
    " UNIQUE (source, subject, epoch)) WITH (fillfactor = 70);"
    "CREATE TABLE epoch (source text PRIMARY KEY, epoch bigint NOT NULL,"
    " since_us bigint NOT NULL, reason text NOT NULL);"
    "CREATE TABLE record (stream bigint NOT NULL, sequence bigint NOT NULL, kind bigint NOT NULL,"
    " chat_id bigint, prior bigint NOT NULL, once bytea, producer bytea, hash bytea NOT NULL, raw "
    "bytea NOT NULL,"
    " PRIMARY KEY (stream, sequence));"
    "CREATE UNIQUE INDEX record_producer ON record (producer) WHERE producer IS NOT NULL;"
    "CREATE INDEX record_chat ON record (stream, chat_id) WHERE chat_id % 64 = 0;"
    "CREATE TABLE session (uri text PRIMARY KEY, source text NOT NULL, details text NOT NULL,"
    " started_us bigint NOT NULL, ended_us bigint,"
    " lease_us bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50);"
    "CREATE INDEX session_open ON session (source) WHERE ended_us IS NULL;"
    "CREATE TABLE writer (source text PRIMARY KEY, session text) WITH (fillfactor = 50);"
    "CREATE TABLE participant (key bytea PRIMARY KEY, session text NOT NULL, room text NOT NULL,"
    " uri text NOT NULL, endpoint text NOT NULL, name text NOT NULL, joined_us bigint NOT NULL);"
    "CREATE INDEX participant_room ON participant (room);"
    "CREATE INDEX participant_session ON participant (session);"
    "CREATE TABLE parked (stream bigint NOT NULL, sequence bigint NOT NULL,"
    " since_us bigint NOT NULL, reason text NOT NULL, PRIMARY KEY (stream, sequence));"
    "CREATE TABLE queue_end (source text NOT NULL, part bigint NOT NULL, last bigint NOT NULL,"
    " PRIMARY KEY (source, part)) WITH (fillfactor = 50);"
    "CREATE TABLE log_change (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " source text NOT NULL, part bigint NOT NULL, before_offset bigint NOT NULL,"
    " after_offset bigint NOT NULL, opened_us bigint NOT NULL, closed_us bigint, closed_how text);"
    "CREATE UNIQUE INDEX log_change_open ON log_change (source, part) WHERE closed_us IS NULL;"
    "CREATE TABLE room (uri text PRIMARY KEY, name text NOT NULL UNIQUE,"
    " description text NOT NULL, members text NOT NULL, created_us bigint NOT NULL,"
    " by_queue bigint NOT NULL);"
    "CREATE TABLE chat_user (uri text PRIMARY KEY, name text NOT NULL,"
    " created_us bigint NOT NULL);";

/* Tables of ours and of the staging database have the same plain names; where both share a
 * PostgreSQL database each part has a schema of its own. */
static int own_schema(struct db *db, int flags, struct err *e)
{
    int64_t found = 1;
    int rc = 0;
    if (!(flags & DB_READ_ONLY))
        rc = db_int(db, "SELECT count(*) FROM pg_namespace WHERE nspname = 'chat'", DB_NO_ARGS, 0,
                    &found, e);
    if (rc < 0)
        return rc;
    if (!found) {
        rc = db_script(db, "CREATE SCHEMA IF NOT EXISTS chat", e);
        /* Two first starts at once: the other one made it. */
        if (rc < 0 && rc != ERR_CONFLICT)
            return rc;
    }
    return db_script(db, "SET search_path TO chat, public", e);
}

int store_schema_migrate(struct db *db, int flags, struct err *e)
{
    static const struct db_step steps[] = {{first_sqlite, first_postgres}};

    int rc = db_kind(db) == DB_POSTGRES ? own_schema(db, flags, e) : 0;
    if (rc < 0)
        return rc;
    return db_migrate(db, "store", steps, sizeof steps / sizeof steps[0], e);
}
