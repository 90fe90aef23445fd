/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the staging database and their versions. */
#ifndef MGCCOMP_SCHEMA_H
#define MGCCOMP_SCHEMA_H

#include "base/db.h"

/* Brings the database to this program's version. ERR_CONFIG when it is newer. */
int schema_migrate(struct db *db, struct err *e);

#endif
