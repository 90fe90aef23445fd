/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the runner: what the end of a worker means for batch and instance. */
#ifndef ADAPTERS_HOST_RUNNER_END_H
#define ADAPTERS_HOST_RUNNER_END_H

#include "adapters/host/runner.h"

/* The worker is gone; why: how it ended. Writes the outcome to the ledger. */
int runner_ended(struct runner *r, struct runner_context *c, enum runner_state was, const char *why,
                 struct err *e);
/* The batch counts as archived. */
int runner_verified(struct runner *r, struct runner_context *c, struct err *e);
/* The batch itself can't be given to a worker: e says why. Parks it. */
int runner_unfit(struct runner *r, struct runner_context *c, struct err *e);
/* The worker broke the protocol: kills it. */
void runner_garbage(struct runner *r, const char *text);

#endif
