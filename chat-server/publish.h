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

struct published {
    int class; /* 0: durable. ERR_DOUBT: unknown, say nothing. Else not recorded. */
    int64_t sequence, chat_id, time_us;
};
/* In the loop, in the order of the commits. */
typedef void publish_fn(void *arg, const struct published *p);

struct publish_range {
    int64_t first, last; /* chat ids */
};

/* Each hands one event to the writer; done is called once unless the return is < 0 (503). The
 * connection and the room's URI must stay until then. A leave or a sign-out that is tried again is
 * the same event: it is recorded once. */
int publish_join(struct conn *c, struct slice room, struct slice name, publish_fn *done, void *arg,
                 struct err *e);
int publish_leave(const struct member *m, const char *reason, publish_fn *done, void *arg,
                  struct err *e);
int publish_read(struct conn *c, struct slice room, const struct publish_range *ranges, size_t n,
                 int64_t count, publish_fn *done, void *arg, struct err *e);
int publish_sign(struct conn *c, enum record_kind kind, const char *reason, publish_fn *done,
                 void *arg, struct err *e);

/* A post, the whole way: takes q, whose sender is joined in q->x.rooms[0]. */
void publish_post(struct request *q);

#endif
