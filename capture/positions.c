/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/positions.h"

#include <stdlib.h>

void positions_done(struct positions *p)
{
    free(p->at);
    *p = (struct positions){0};
}

void positions_drop(struct positions *p, const int32_t *parts, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < p->n; i++) {
            if (p->at[i].part == parts[k])
                p->at[i--] = p->at[--p->n];
        }
    }
}

int positions_add(struct positions *p, const struct staging_position *at, size_t n, struct err *e)
{
    struct staging_position *more = realloc(p->at, (p->n + n + 1) * sizeof *more);
    if (!more)
        return err_memory(e, "noting positions");
    p->at = more;
    for (size_t i = 0; i < n; i++) {
        positions_drop(p, &at[i].part, 1);
        p->at[p->n++] = at[i];
    }
    return 0;
}
