/* SPDX-License-Identifier: Apache-2.0 */
/* Private to base/db_pg*.c, the pair of files on libpq. */
#ifndef BASE_DB_PG_H
#define BASE_DB_PG_H

#include "base/db_driver.h"

#include <libpq-fe.h>

struct pg {
    struct db base;
    PGconn *conn;
    unsigned numbers; /* of prepared statements */
};

static inline struct pg *pg_of(struct db *db)
{
    return (struct pg *)db;
}

static inline void own_result(PGresult **r)
{
    PQclear(*r);
}

extern const struct db_driver pg_driver;

int pg_script(struct db *db, const char *sql, struct err *e);
/* What libpq says on one line: its texts end in newlines and may have several. */
void pg_one_line(const char *text, char *out, size_t size);

#endif
