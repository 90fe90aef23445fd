/* SPDX-License-Identifier: Apache-2.0 */
/* What concerns the server as a whole and is decided below it: when it refuses, and when it is
 * over. */
#include "chat-server/chat.h"

#include "base/log.h"
#include "chat-server/conn.h"

/* A store that is slow, or hangs, gets no more to do than it can finish; what is dearest to people
 * is taken longest. */
bool chat_refuses(const struct chat_server *s, enum chat_act act)
{
    static const int64_t patience_ms[] = {
        [CHAT_READ] = CHAT_READ_MS, [CHAT_JOIN] = CHAT_JOIN_MS, [CHAT_POST] = CHAT_POST_MS};

    return s->store_age_ms > patience_ms[act] ||
           (s->must_refuse && s->must_refuse(s->must_refuse_arg));
}

/* What waits will take as long again as it has waited, a thousand records a second at least. */
int64_t chat_retry_after(const struct chat_server *s)
{
    int64_t seconds = 5 + (s->store_age_ms + (int64_t)s->store_waiting) / 1000;

    return seconds < CHAT_MAX_RETRY_AFTER ? seconds : CHAT_MAX_RETRY_AFTER;
}

void chat_lost(struct chat_server *s)
{
    if (s->lost)
        return;
    s->lost = true;
    atomic_store(&s->shown_lost, true);
    log_event(LOG_ERROR, "chat.lost", "source=%s", s->pool);
    if (s->lost_fn)
        s->lost_fn(s->lost_arg);
    for (struct conn *c = s->conns; c; c = c->next)
        conn_cut(c, "server-stopped");
}
