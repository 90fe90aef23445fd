/* SPDX-License-Identifier: Apache-2.0 */
/* Loading an adapter module into this process, which must be a worker: foreign code gets no other.
 */
#ifndef ADAPTERS_HOST_LOADER_H
#define ADAPTERS_HOST_LOADER_H

#include "adapters/mgc_adapter.h"
#include "base/err.h"

/* *out is a copy in this program's layout: what an older, shorter description lacks is zero. Its
 * texts and table are the module's, which is never unloaded. ERR_CONFIG says what is wrong with
 * which file. */
int loader_open(const char *path, struct mgc_adapter *out, struct err *e);
/* The checks alone. */
int loader_check(const char *path, const struct mgc_adapter *a, struct mgc_adapter *out,
                 struct err *e);

#endif
