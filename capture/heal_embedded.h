/* SPDX-License-Identifier: Apache-2.0 */
/* The embedded set-up's store asked directly for what a stream lacks. */
#ifndef CAPTURE_HEAL_EMBEDDED_H
#define CAPTURE_HEAL_EMBEDDED_H

#include "capture/heal_incident.h"

/* The store's position of the first record of the gap that it holds. ERR_NOT_FOUND: none. */
int heal_embedded_find(const char *store_url, const struct heal_gap *g, int64_t *pos,
                       struct err *e);

#endif
