/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stem of a batch: what every name that an adapter publishes begins with. It sorts by the
 * clock's time and says instance, the batch's number, which is the order whatever the clock did,
 * and digits of its id, so that a folder of archives tells how far a ledger had come.
 */
#ifndef MGCCOMP_STEM_H
#define MGCCOMP_STEM_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { STEM_SIZE = 112, STEM_FILE = 256 };

/* id: of the batch, 36 characters. */
void stem_make(char out[STEM_SIZE], int64_t cut_us, const char *instance, int64_t number,
               const char *id);
/* Is that file name one of a batch of the instance? Temporary names are not. rest, unless NULL,
 * gets what is behind the stem. */
bool stem_of(const char *file, const char *instance, int64_t *number, const char **rest);
/* The highest batch number of the instance in a folder and the file that has it; 0 and "" when
 * there is none, or no such folder. */
int stem_newest(const char *folder, const char *instance, int64_t *number, char file[STEM_FILE],
                struct err *e);

#endif
