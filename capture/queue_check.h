/* SPDX-License-Identifier: Apache-2.0 */
/* `holdfast queue check`: is the queue fit, and is it the one that was captured? */
#ifndef CAPTURE_QUEUE_CHECK_H
#define CAPTURE_QUEUE_CHECK_H

#include "base/app.h"
#include "base/kafka.h"
#include "mgccomp/staging.h"

struct queue_check_input {
    struct staging *staging;
    const struct kafka_target *kafka; /* services; else NULL and the store's URL */
    const char *store_url;
};
/* Exit 0: all is well; APP_FAILED: what is not is said, each line with what to do. */
int queue_check_command(struct app_io *io, const struct queue_check_input *in, int argc,
                        char **argv);

#endif
