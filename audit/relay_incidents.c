/* SPDX-License-Identifier: Apache-2.0 */
#include "audit/relay_incidents.h"

#include "base/clock.h"
#include "base/own.h"
#include "chat-server/store/heal_store.h"

static int change_line(void *arg, const struct store_log_change *c, struct err *e)
{
    struct app_io *io = arg;
    char at[CLOCK_TEXT_SIZE];

    (void)e;
    clock_format(c->opened_us, at);
    fprintf(io->out,
            "store  log-changed partition %d, offset fell from %lld to %lld  since %.19sZ"
            "  holdfast queue check\n",
            (int)c->part, (long long)c->before, (long long)c->after, at);
    return 0;
}

static int parked_line(void *arg, const struct store_parked *p, struct err *e)
{
    struct app_io *io = arg;
    char at[CLOCK_TEXT_SIZE];

    (void)e;
    clock_format(p->since_us, at);
    fprintf(io->out,
            "store  parked      %.*s#%lld  since %.19sZ  the relay passed over it: %.*s"
            "  holdfast status\n",
            SLICE_ARG(p->subject), (long long)p->sequence, at, SLICE_ARG(p->reason));
    return 0;
}

int relay_incidents_print(struct app_io *io, struct store *s, struct err *e)
{
    int err = store_log_changes(s, false, change_line, io, e);

    return err ? err : store_parked(s, parked_line, io, e);
}
