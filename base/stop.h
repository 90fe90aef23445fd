/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orderly stop: SIGINT and SIGTERM set a flag and make a descriptor readable; loops poll it with
 * their other descriptors or wait on it. A second signal ends the process at once.
 */
#ifndef BASE_STOP_H
#define BASE_STOP_H

#include <stdbool.h>
#include <stdint.h>

void stop_install(void);   /* once, before threads are started; also ignores SIGPIPE */
bool stop_requested(void); /* async-signal-safe, any thread */
void stop_request(void);   /* any thread; as if a signal had come */
int stop_fd(void);         /* readable once stop was requested; never read it */
/* Waits up to ms; true when stop was requested. */
bool stop_wait(int64_t ms);

#endif
