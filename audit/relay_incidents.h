/* SPDX-License-Identifier: Apache-2.0 */
/* The relay's incidents, which live in the store, as lines below those of mgccomp. */
#ifndef AUDIT_RELAY_INCIDENTS_H
#define AUDIT_RELAY_INCIDENTS_H

#include "base/app.h"
#include "chat-server/store/store.h"

int relay_incidents_print(struct app_io *io, struct store *s, struct err *e);

#endif
