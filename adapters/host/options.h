/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an instance is set up with: the options that every adapter has, and those of its module,
 * whose table a worker process reads out of the module. No module is ever loaded into the caller.
 */
#ifndef ADAPTERS_HOST_OPTIONS_H
#define ADAPTERS_HOST_OPTIONS_H

#include "adapters/host/wire.h"
#include "base/own.h"
#include "mgccomp/ledger.h"

#include <limits.h>

struct adapter_options {
    struct arena arena; /* owns the module's texts */
    struct wire_module module;
    char module_name[64];
    char path[PATH_MAX]; /* of the module */
    struct conf_value values[WIRE_MAX_OPTIONS];
    struct ledger_due due;
    int64_t deadline_ms;
    bool required;
};
void adapter_options_free(struct adapter_options *o); /* NULL allowed */

/* Reads section [adapter NAME] of conf; takes up to 10 s when the module hangs. program: for
 * `worker`. ERR_NOT_FOUND: no such section; ERR_CONFIG: file, line and what is wrong. Values point
 * into conf. Any thread. */
int adapter_options_load(struct adapter_options **out, struct conf *conf, const char *name,
                         const char *modules_dir, const char *program, struct err *e);

/* Asks a module what it is: module is its name, or with a '/' the path of a file. Only module,
 * module_name and path are filled in. Errors as above. */
int adapter_options_describe(struct adapter_options **out, const char *module,
                             const char *modules_dir, const char *program, struct err *e);

/* A digest of what decides where and how a batch is delivered: the module and its own options, but
 * no secrets. */
void adapter_options_digest(const struct adapter_options *o, uint8_t out[SHA256_SIZE]);

/* Fills a task's options. */
void adapter_options_task(const struct adapter_options *o, struct wire_task *t);

static inline void own_adapter_options(struct adapter_options **o)
{
    adapter_options_free(*o);
}

#endif
