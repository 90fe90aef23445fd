/* SPDX-License-Identifier: Apache-2.0 */
/* Incidents and accepted losses in status: seen, told, and as JSON. Private to audit/. */
#ifndef AUDIT_STATUS_INCIDENTS_H
#define AUDIT_STATUS_INCIDENTS_H

#include "audit/status_look.h"

int status_look_incidents(struct look *k, const struct status_input *in, struct err *e);
void status_print_incidents(FILE *f, const struct look *k);
/* "incidents" and "losses". */
void status_json_incidents(struct buf *b, const struct look *k);

#endif
