/* SPDX-License-Identifier: Apache-2.0 */
/* The relay's incidents, which live in the store, told like those of mgccomp: "L4" is a changed
 * log, "P4.17" record 17 of the store's stream 4, which the queue refused. */
#ifndef AUDIT_RELAY_INCIDENTS_H
#define AUDIT_RELAY_INCIDENTS_H

#include "chat-server/store/store.h"
#include "mgccomp/incident.h"

/* For incident_others: arg is the struct store, read only. A refused record whose loss people have
 * accepted in mgccomp counts as closed. */
int relay_incidents_each(void *store, struct db *staging, bool all, incident_visit_fn *visit,
                         void *arg, struct err *e);
/* mgccomp's open gap that a refused record, "P4.17", leaves. ERR_NOT_FOUND: there is no such
 * record, or nothing misses it yet. */
int relay_incident_gap(struct store *s, struct db *staging, const char *name, int64_t *incident,
                       struct err *e);

#endif
