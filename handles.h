/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command works on. Inside `up` and the services the parts are open already and shared; a
 * command that runs by itself opens what it asks for, in the embedded set-up under the data
 * folder's lock, so that one process at a time writes a database file.
 */
#ifndef HANDLES_H
#define HANDLES_H

#include "adapters/host/archiver.h"
#include "capture/capture.h"
#include "chat-server/server.h"
#include "chat-server/store/relay.h"
#include "retention/sweep.h"
#include "settings.h"

struct handles {
    struct settings *settings;
    bool running; /* the parts below belong to `up` or a service; else to this command */
    int lock_fd;  /* -1: not held */
    int64_t started_ms, started_free; /* a service: disk space at its start */
    struct staging *staging;
    struct writer *writer;
    struct relay *relay;
    struct capture *capture;
    struct archiver *archiver;
    struct sweep *sweep;
    struct chat_server *chat;
};

void handles_init(struct handles *h, struct settings *s);
void handles_done(struct handles *h); /* closes what a command opened for itself */

/* Makes the data folder, when this is `up`, and locks it (embedded). ERR_CONFLICT: another process
 * has it. ERR_CONFIG: there is none, and this is another command. */
int handles_lock(struct handles *h, struct err *e);
/* As above, waiting up to ms for a command that is just at work; not for another service. */
int handles_lock_patiently(struct handles *h, int64_t ms, struct err *e);
int handles_staging(struct handles *h, struct staging **out, struct err *e);
int handles_writer(struct handles *h, struct writer **out, struct err *e);
/* services: relays what the writer stores for this source; embedded: NULL. Starts the writer too.
 */
int handles_relay(struct handles *h, struct slice source, struct relay **out, struct err *e);
/* Runs fn with the writing store handle, in the writer's thread. */
int handles_with_store(struct handles *h, int (*fn)(struct store *s, void *arg, struct err *e),
                       void *arg, struct err *e);
/* ERR_CONFLICT: the store was restored from an older copy and must not give out numbers of this
 * source. Any other error: mgccomp can't be asked. all: as of store_copy_check. */
int handles_check_copy(struct handles *h, struct slice source, bool all, struct err *e);
/* A reading store handle for the caller, to be closed by store_close. */
int handles_store_reader(struct handles *h, struct store **out, struct err *e);

#endif
