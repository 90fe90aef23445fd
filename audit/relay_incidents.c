/* SPDX-License-Identifier: Apache-2.0 */
#include "audit/relay_incidents.h"

#include "base/own.h"
#include "chat-server/store/heal_store.h"

#include <inttypes.h>
#include <string.h>

enum { NAME_SIZE = 48 };

struct telling {
    struct db *staging;
    bool all;
    incident_visit_fn *visit;
    void *arg;
    const char *wanted; /* of relay_incident_gap */
    int64_t gap;
};

static int tell_change(void *arg, const struct store_log_change *c, struct err *e)
{
    struct telling *t = arg;
    char name[NAME_SIZE];
    char detail[160];
    (void)snprintf(name, sizeof name, "L%" PRId64, c->id);
    (void)snprintf(detail, sizeof detail,
                   "the queue was cut or made again: the offset of what it confirmed fell from"
                   " %" PRId64 " to %" PRId64,
                   c->before, c->after);
    const struct incident i = {.elsewhere = name,
                               .kind = INCIDENT_LOG_CHANGED,
                               .source = c->source,
                               .part = c->part,
                               .opened_us = c->opened_us,
                               .closed_us = c->closed_us,
                               .closed_how = SLICE("the store sent again what capture lacked"),
                               .detail = slice_of(detail)};
    return t->visit(t->arg, &i, e);
}

static int open_gap(struct db *db, const struct store_parked *p, int64_t *id, struct err *e)
{
    return db_int(db,
                  "SELECT max(i.id) FROM incident i JOIN stream s ON s.id = i.stream"
                  " WHERE i.kind = 'gap' AND i.closed_us IS NULL AND s.source = $1"
                  " AND s.epoch = $2 AND s.subject = $3 AND i.first <= $4 AND i.last >= $4",
                  DB_ARGS(DB_T(p->source), DB_I(p->epoch), DB_T(p->subject), DB_I(p->sequence)), 0,
                  id, e);
}

static void name_of(const struct store_parked *p, char out[NAME_SIZE])
{
    (void)snprintf(out, NAME_SIZE, "P%" PRId64 ".%" PRId64, p->stream, p->sequence);
}

static int tell_parked(void *arg, const struct store_parked *p, struct err *e)
{
    struct telling *t = arg;
    char name[NAME_SIZE];
    int64_t closed_us = 0;
    int rc =
        incident_given_up(t->staging, p->source, p->epoch, p->subject, p->sequence, &closed_us, e);
    if (rc < 0 || (closed_us && !t->all))
        return rc;
    name_of(p, name);
    const struct incident i = {.elsewhere = name,
                               .kind = INCIDENT_PARKED,
                               .source = p->source,
                               .subject = p->subject,
                               .part = -1,
                               .first = p->sequence,
                               .last = p->sequence,
                               .opened_us = p->since_us,
                               .closed_us = closed_us,
                               .closed_how = SLICE("the gap it leaves was accepted"),
                               .answer = p->reason,
                               .detail = SLICE("the relay passed over it")};
    return t->visit(t->arg, &i, e);
}

int relay_incidents_each(void *store, struct db *staging, bool all, incident_visit_fn *visit,
                         void *arg, struct err *e)
{
    struct telling t = {.staging = staging, .all = all, .visit = visit, .arg = arg};
    int rc = store_log_changes(store, all, tell_change, &t, e);
    return rc < 0 ? rc : store_parked(store, tell_parked, &t, e);
}

static int find_gap(void *arg, const struct store_parked *p, struct err *e)
{
    struct telling *t = arg;
    char name[NAME_SIZE];
    name_of(p, name);
    return strcmp(name, t->wanted) == 0 ? open_gap(t->staging, p, &t->gap, e) : 0;
}

int relay_incident_gap(struct store *s, struct db *staging, const char *name, int64_t *incident,
                       struct err *e)
{
    struct telling t = {.staging = staging, .wanted = name};
    int rc = store_parked(s, find_gap, &t, e);
    if (rc < 0)
        return rc;
    if (!t.gap)
        return err_set(e, ERR_NOT_FOUND,
                       "incident %.40s: mgccomp misses no such record yet, so there is no loss to"
                       " accept. Type: holdfast queue heal",
                       name);
    *incident = t.gap;
    return 0;
}
