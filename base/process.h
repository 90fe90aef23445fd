/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A name for a process that no other one ever has: the boot it ran in, its pid namespace, its
 * number, and when it started. Who holds such a name can tell that the process is gone.
 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

enum { PROCESS_NAME_SIZE = 128 };

/* "BOOT NAMESPACE PID START"; "" when the system does not say. */
void process_name(char out[PROCESS_NAME_SIZE]);
/* True only when that is certain: it ran in this boot and pid namespace and runs no more. Words
 * behind the fourth are ignored. */
bool process_gone(const char *name);

#endif
