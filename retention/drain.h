/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `holdfast drain`: waits until everything accepted before the command (the store's heads and the
 * queue's ends, noted at its start) is archived and deleted from staging, or says what holds it
 * back.
 */
#ifndef RETENTION_DRAIN_H
#define RETENTION_DRAIN_H

#include "base/app.h"
#include "base/kafka.h"
#include "chat-server/store/store.h"
#include "mgccomp/staging.h"

struct drain_input {
    struct store *store; /* a reading handle */
    struct staging *staging;
    const struct kafka_target *kafka; /* NULL: embedded */
};

/* Exit 0: drained. 1: not within --timeout (default 5m), or something a person must see to holds
 * it. */
int drain_command(struct app_io *io, const struct drain_input *in, int argc, char **argv);

#endif
