/* SPDX-License-Identifier: Apache-2.0 */
/* Private to mgccomp/incident*.c: what the commands share. */
#ifndef MGCCOMP_INCIDENT_PRIVATE_H
#define MGCCOMP_INCIDENT_PRIVATE_H

#include "mgccomp/incident.h"

/* Until when a store that is asked now is waited for. */
int64_t incident_waits_us(void);
/* The one operand, a number above 0. */
int incident_number(int operands, char **argv, int64_t *id, struct err *e);
/* ERR_NOT_FOUND with what to type. */
int incident_absent(int64_t id, struct err *e);
/* May people accept it as it is? *lost, unless NULL, gets how many records are gone by that. */
bool incident_acceptable(const char *kind, int64_t first, int64_t last, int64_t *lost);

#endif
