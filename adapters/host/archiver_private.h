/* SPDX-License-Identifier: Apache-2.0 */
/* Private to archiver*.c and the adapter commands. */
#ifndef ADAPTERS_HOST_ARCHIVER_PRIVATE_H
#define ADAPTERS_HOST_ARCHIVER_PRIVATE_H

#include "adapters/host/archiver.h"
#include "adapters/host/older_copy.h"
#include "adapters/host/runner.h"

#include <pthread.h>
#include <stdatomic.h>

struct archiver {
    struct archiver_options o;
    struct runner_context context;
    struct older_copy *older;
    struct wake own;
    pthread_t thread;
    _Atomic bool stop;
    bool leading;
    int64_t look_ms, backlog_ms;
    struct runner *runners[LEDGER_MAX_INSTANCES];
    size_t runner_count;
    char last_trouble[512];
};

void *archiver_run_thread(void *arg);
/* Options of an instance's section; ERR_CONFIG when the section names another module than the row.
 */
int archiver_options_of(const struct archiver_options *o, const struct ledger_instance *row,
                        struct adapter_options **out, struct err *e);

#endif
