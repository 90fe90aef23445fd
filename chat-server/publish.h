/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heart: what happened becomes an event, the event a record in the store, and only then are
 * people told. Commit, SIP 200, reply, fan-out, in this order; what can't be recorded is answered
 * 503 and nobody sees it.
 */
#ifndef CHAT_PUBLISH_H
#define CHAT_PUBLISH_H

#include "chat-server/dispatch.h"
#include "mgccomp/record.h"

struct published_later;
struct published {
    /* 0: durable. ERR_DOUBT: unknown, say nothing. ERR_AGAIN: the store has it and keeps it, but
     * the queue did not confirm it in time, which it must in this room. Else not recorded. */
    int class;
    int64_t sequence, chat_id, time_us;
    struct published_later *later; /* with ERR_AGAIN; may be NULL */
};
/* In the loop, in the order of the commits. */
typedef void publish_fn(void *arg, const struct published *p);
/* Set by a handler that was told ERR_AGAIN and given one: called once more, when the queue has the
 * record after all (class 0) or will not say so any more. */
struct published_later {
    publish_fn *fn;
    void *arg;
};

struct lookup_room;
struct publish_range {
    int64_t first, last; /* chat ids */
};

/* Each hands one event to the writer; done is called once unless the return is < 0 (503). The
 * connection and the room's URI must stay until then. A leave or a sign-out that is tried again is
 * the same event: it is recorded once. */
int publish_join(struct conn *c, const struct lookup_room *room, publish_fn *done, void *arg,
                 struct err *e);
/* Ends a join that is on record and was not confirmed: nobody was told of it. */
int publish_unjoin(struct conn *c, struct slice room, publish_fn *done, void *arg, struct err *e);
int publish_leave(const struct member *m, const char *reason, publish_fn *done, void *arg,
                  struct err *e);
int publish_read(struct conn *c, struct slice room, const struct publish_range *ranges, size_t n,
                 int64_t count, publish_fn *done, void *arg, struct err *e);
int publish_sign(struct conn *c, enum record_kind kind, const char *reason, publish_fn *done,
                 void *arg, struct err *e);

#endif
