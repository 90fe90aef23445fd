/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of the control topic as JSON. */
#include "base/json.h"
#include "chat-server/store/heal_line.h"

#include <string.h>

static const char *const names[] = {"here", "ask",      "offer",  "offer-end",
                                    "want", "want-end", "answer", "healed"};

static void put(struct buf *out, const char *key, struct slice text)
{
    if (text.p)
        json_put_string(out, key, text);
}

void heal_write(struct buf *out, const struct heal_message *m)
{
    buf_char(out, '{');
    json_put_string(out, "type", slice_of(names[m->type]));
    put(out, "token", m->token);
    put(out, "source", m->source);
    put(out, "subject", m->subject);
    if (m->subject.p) {
        json_put_i64(out, "epoch", m->epoch);
        json_put_i64(out, "first", m->first);
        json_put_i64(out, "last", m->last);
    }
    put(out, "result", m->result);
    buf_char(out, '}');
}

static int bad(struct err *e)
{
    return err_set(e, ERR_REJECTED, "not a message of the control topic");
}

static bool of_stream(const struct json *o, struct heal_message *m)
{
    return m->subject.n > 0 && json_i64(o, "epoch", &m->epoch) && json_i64(o, "first", &m->first) &&
           json_i64(o, "last", &m->last) && m->epoch > 0 && m->first > 0 && m->last >= m->first;
}

/* What a message of each type can't do without. */
static bool complete(const struct json *o, struct heal_message *m)
{
    switch (m->type) {
    case HEAL_HERE:
        return m->source.n > 0;
    case HEAL_ASK:
        return m->token.n > 0;
    case HEAL_OFFER_END:
    case HEAL_WANT_END:
    case HEAL_HEALED:
        return m->token.n > 0 && m->source.n > 0;
    case HEAL_OFFER:
    case HEAL_WANT:
        return m->source.n > 0 && of_stream(o, m);
    case HEAL_ANSWER:
        return m->source.n > 0 && m->result.n > 0 && of_stream(o, m);
    }
    return false;
}

int heal_read(struct json_doc *d, struct slice text, struct heal_message *m, struct err *e)
{
    static const struct json_limits limits = {.bytes = 64 * 1024, .depth = 2, .nodes = 32};
    const struct json *o = NULL;
    int rc = json_parse(d, text, &limits, &o, e);
    if (rc < 0)
        return rc;
    if (o->type != JSON_OBJECT)
        return bad(e);
    struct slice type = json_string(o, "type");
    *m = (struct heal_message){
        .token = json_string(o, "token"),
        .source = json_string(o, "source"),
        .subject = json_string(o, "subject"),
        .result = json_string(o, "result"),
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        m->type = (enum heal_type)i;
        if (slice_is(type, names[i]))
            return complete(o, m) ? 0 : bad(e);
    }
    return bad(e);
}
