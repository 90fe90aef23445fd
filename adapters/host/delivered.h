/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far this machine has delivered for each instance, kept outside mgccomp, which forgets it when
 * it is restored from an older copy: a small file an instance with the highest batch number that
 * was ever begun. It proves nothing but that a ledger which ends before it is an older copy.
 */
#ifndef ADAPTERS_HOST_DELIVERED_H
#define ADAPTERS_HOST_DELIVERED_H

#include "base/err.h"

#include <stdint.h>

/* Durable when it returns, before anything of the batch goes out; a lower number than noted before
 * changes nothing. The folder must exist. */
int delivered_note(const char *folder, const char *instance, int64_t number, struct err *e);
/* 0: nothing was ever noted. ERR_CONFIG: the file was changed by hand. */
int delivered_read(const char *folder, const char *instance, int64_t *number, struct err *e);

#endif
