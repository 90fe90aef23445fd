/* SPDX-License-Identifier: Apache-2.0 */
/* `holdfast queue heal`: what capture misses is asked for from every store here, also from those of
 * sources that only `holdfast ingest` feeds, for which it relays meanwhile. */
#ifndef CAPTURE_QUEUE_HEAL_H
#define CAPTURE_QUEUE_HEAL_H

#include "base/app.h"
#include "base/kafka.h"
#include "chat-server/store/store.h"
#include "mgccomp/staging.h"

struct queue_heal_input {
    struct staging *staging;
    struct store *store; /* a reading handle */
    const char *store_url;
    const struct kafka_target *kafka; /* services; else NULL */
};
/* Exit 0: nothing is missed any more; APP_FAILED: what still is is said, with what to do. */
int queue_heal_command(struct app_io *io, const struct queue_heal_input *in, int argc, char **argv);

#endif
