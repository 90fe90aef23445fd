/* SPDX-License-Identifier: Apache-2.0 */
/* The store's tables. */
#ifndef CHAT_STORE_STORE_SCHEMA_H
#define CHAT_STORE_STORE_SCHEMA_H

#include "base/db.h"

/* Brings the store's part of the database to this program's version. */
int store_schema_migrate(struct db *db, struct err *e);

#endif
