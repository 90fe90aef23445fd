/* SPDX-License-Identifier: Apache-2.0 */
/* The sources that write signed control totals: the chat server of this data folder, and what the
 * configuration declares in sections [source NAME]. */
#ifndef SOURCES_H
#define SOURCES_H

#include "base/app.h"
#include "handles.h"
#include "mgccomp/totals.h"

enum { SOURCES_MAX = 64 };

struct sources {
    struct totals_source list[SOURCES_MAX]; /* names belong to the settings */
    size_t n;
    struct sign_key key; /* the chat server's own */
    bool has_key;
    int64_t cadence_ms;
};

/* The key lies in the data folder, mode 0600. make_key: it is made when it is not there. */
int sources_load(struct sources *out, const struct settings *s, bool make_key, struct err *e);

/* The private key that the configuration gives an ingested source; *has: it gives one. */
int sources_signing_key(const struct settings *s, struct slice source, struct sign_key *out,
                        bool *has, struct err *e);

/* `holdfast source list [--json]`: name, cadence, public key, complete to which time. */
int source_list_command(struct app_io *io, struct handles *h, int argc, char **argv);

#endif
