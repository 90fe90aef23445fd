/* SPDX-License-Identifier: Apache-2.0 */
/* One typed option value: read, checked, and printed. Private to conf. */
#ifndef BASE_CONF_VALUE_H
#define BASE_CONF_VALUE_H

#include "base/conf.h"

/* Checks text against the option; *number as in struct conf_value (0 for texts). ERR_CONFIG says
 * what is allowed; it never quotes a secret. */
int conf_value_read(const struct conf_option *o, struct slice text, int64_t *number, struct err *e);
/* "duration, 1s to 1h", "one of a, b". */
void conf_value_kind(const struct conf_option *o, struct buf *out);
/* The option of that name in a table (which may be NULL), or NULL. */
const struct conf_option *conf_value_option(const struct conf_option *table, struct slice name);

#endif
