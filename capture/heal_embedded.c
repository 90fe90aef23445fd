/* SPDX-License-Identifier: Apache-2.0 */
#include "capture/heal_embedded.h"

#include "base/own.h"
#include "chat-server/store/heal_store.h"

int heal_embedded_find(const char *store_url, const struct heal_gap *g, int64_t *pos, struct err *e)
{
    OWN(own_store) struct store *s = NULL;
    int64_t stream = 0;
    int rc = store_open_reader(&s, store_url, e);
    if (rc == 0)
        rc = store_find_stream(s, slice_of(g->source), g->epoch, slice_of(g->subject), &stream, e);
    if (rc == 0)
        rc = store_first_pos(s, stream, g->first, g->last, pos, e);
    return rc;
}
