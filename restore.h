/* SPDX-License-Identifier: Apache-2.0 */
/* `holdfast staging reconcile` with what it needs from the parts that know it: the queue's name,
 * the adapters' folders, the reader of their archives. */
#ifndef RESTORE_H
#define RESTORE_H

#include "handles.h"

int restore_reconcile(struct app_io *io, struct handles *h, int argc, char **argv);

#endif
