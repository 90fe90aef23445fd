/* SPDX-License-Identifier: Apache-2.0 */
/* The store's tables. */
#ifndef CHAT_STORE_STORE_SCHEMA_H
#define CHAT_STORE_STORE_SCHEMA_H

#include "base/db.h"

/* Brings the store's part of the database to this program's version; with DB_READ_ONLY in flags
 * only checks it. */
int store_schema_migrate(struct db *db, int flags, struct err *e);

#endif
