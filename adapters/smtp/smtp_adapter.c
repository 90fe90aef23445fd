/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smtp module: a mail for each room of a batch, in parts when it would be too large. First
 * pass: which records go into which mail; second pass: each mail is put together, sent and settled
 * before the next. A mail that was sent but not settled is sent again with the same bytes and
 * Message-ID.
 */
#include "adapters/kit/kit.h"
#include "adapters/smtp/smtp_mail.h"
#include "adapters/smtp/smtp_send.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/own.h"

#include <string.h>

enum { OPTION_SERVER, OPTION_FROM, OPTION_TO, OPTION_SUBJECT, OPTION_MAX_SIZE, OPTION_TIMEOUT };
static const struct mgc_option options[] = {
    {.name = "server",
     .type = MGC_OPTION_TEXT,
     .required = 1,
     .help = "Mail server that takes the mails, as HOST or HOST:PORT (25)."},
    {.name = "from",
     .type = MGC_OPTION_TEXT,
     .required = 1,
     .help = "Address the mails come from, and where refusals go."},
    {.name = "to",
     .type = MGC_OPTION_TEXT,
     .required = 1,
     .help = "Addresses the mails go to, separated by commas."},
    {.name = "subject",
     .type = MGC_OPTION_TEXT,
     .fallback = "[Holdfast]",
     .help = "What every subject starts with."},
    {.name = "max-size",
     .type = MGC_OPTION_SIZE,
     .fallback = "20MiB",
     .min = 4 * 1024 * 1024,
     .help = "A room that would make a larger mail is sent in parts."},
    {.name = "timeout",
     .type = MGC_OPTION_DURATION,
     .fallback = "1m",
     .min = 1000,
     .max = 600000,
     .help = "How long to wait for the connection, and for an answer."},
    {0},
};

enum { RECIPIENTS_MAX = 50, ADDRESS_MAX = 254 };
struct smtp {
    const struct mgc_host *host;
    struct smtp_link *link;
    uint64_t max_size;
    char from[ADDRESS_MAX + 1];
    char to[RECIPIENTS_MAX][ADDRESS_MAX + 1];
    const char *recipients[RECIPIENTS_MAX + 1];
    char subject[80];
};

static void smtp_close(struct smtp *m)
{
    if (!m)
        return;
    smtp_link_close(m->link);
    free(m);
}

OWN_DEFINE(smtp, struct smtp, smtp_close)

/* A plain mailbox: what needs quoting, and anything that could end a command or a header field, is
 * refused. */
static bool is_address(struct slice a)
{
    size_t at = 0;
    for (size_t i = 0; i < a.n; i++) {
        char c = a.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && !strchr("@.-_+=!#$%&'*/?^`{|}~", c))
            return false;
        if (c == '@' && at++ > 0)
            return false;
    }
    return a.n <= ADDRESS_MAX && at == 1 && a.p[0] != '@' && a.p[0] != '-' && a.p[a.n - 1] != '@';
}

static int take_address(struct slice a, const char *option, char out[ADDRESS_MAX + 1],
                        struct err *e)
{
    a = slice_trim(a);
    if (!is_address(a)) {
        OWN(own_buf) struct buf shown;
        buf_init(&shown, 1024);
        smtp_visible_short(&shown, a, 80);
        return err_set(e, ERR_CONFIG, "%s: '%s' is no plain address like name@example.org", option,
                       shown.p ? shown.p : "");
    }
    (void)slice_copy(a, out, ADDRESS_MAX + 1);
    return 0;
}

static int take_options(struct smtp *m, const struct mgc_value *values, struct err *e)
{
    int rc = take_address(kit_slice(values[OPTION_FROM].text), "from", m->from, e);
    struct slice rest = kit_slice(values[OPTION_TO].text);
    size_t n = 0;
    while (!rc && rest.n) {
        if (n == RECIPIENTS_MAX)
            return err_set(e, ERR_CONFIG, "to: more than %d addresses", RECIPIENTS_MAX);
        rc = take_address(slice_cut(&rest, ','), "to", m->to[n], e);
        m->recipients[n] = m->to[n];
        n++;
    }
    if (!rc && n == 0)
        return err_set(e, ERR_CONFIG, "to: no address");
    if (!rc && !slice_copy(kit_slice(values[OPTION_SUBJECT].text), m->subject, sizeof m->subject))
        return err_set(e, ERR_CONFIG, "subject: over %zu bytes", sizeof m->subject - 1);
    m->max_size = (uint64_t)values[OPTION_MAX_SIZE].number;
    return rc;
}

static int smtp_open(const struct mgc_host *host, const struct mgc_value *values, struct smtp **out,
                     struct err *e)
{
    OWN(own_smtp) struct smtp *m = calloc(1, sizeof *m);
    if (!m)
        return err_memory(e, "smtp instance");
    m->host = host;
    int rc = take_options(m, values, e);
    if (!rc)
        rc = smtp_link_open(&m->link, values[OPTION_SERVER].text.p, values[OPTION_TIMEOUT].number,
                            e);
    if (rc)
        return rc;
    *out = m;
    m = NULL;
    return 0;
}

/* Which records go into which mail. */
struct plan {
    struct smtp_unit *units;
    size_t count, room;
};

static void own_plan(struct plan *p)
{
    free(p->units);
}

static int add_unit(struct plan *p, const struct mgc_record *r, struct err *e)
{
    if (p->count == p->room) {
        size_t room = p->room ? 2 * p->room : 16;
        struct smtp_unit *units = realloc(p->units, room * sizeof *units);
        if (!units)
            return err_memory(e, "mails of a batch");
        p->units = units;
        p->room = room;
    }
    p->units[p->count++] = (struct smtp_unit){
        .first = r->index,
        .group = r->room ? r->room->index : r->index,
        .has_room = r->room != NULL,
        .part = 1,
        .parts = 1,
    };
    return 0;
}

static bool same_room(const struct smtp_unit *u, const struct mgc_record *r)
{
    return u->has_room == (r->room != NULL) && (!r->room || u->group == r->room->index);
}

/* All parts of a room learn how many they are once the next room begins. */
static void count_parts(struct plan *p)
{
    if (p->count == 0)
        return;
    uint32_t parts = p->units[p->count - 1].part;
    for (uint32_t i = 0; i < parts; i++)
        p->units[p->count - 1 - i].parts = parts;
}

/* The part a record begins, if the mail before has no place for it. */
static int place(struct plan *p, const struct mgc_record *r, uint64_t max, uint64_t *size,
                 struct err *e)
{
    uint64_t cost;
    int rc = smtp_mail_cost(r, &cost, e);
    if (rc)
        return rc;
    struct smtp_unit before = p->count ? p->units[p->count - 1] : (struct smtp_unit){0};
    bool same = p->count && same_room(&before, r);
    if (!same || *size + cost > max) {
        if (!same)
            count_parts(p);
        rc = add_unit(p, r, e);
        if (rc)
            return rc;
        *size = smtp_mail_base_cost(r);
        if (same) {
            p->units[p->count - 1].part = before.part + 1;
            p->units[p->count - 1].group = before.group;
        }
    }
    *size += cost;
    struct smtp_unit *u = &p->units[p->count - 1];
    u->last = r->index;
    u->unsettled |= !r->settled;
    return 0;
}

static int make_plan(struct plan *p, const struct smtp *m, struct kit_source *s, struct err *e)
{
    uint64_t size = 0;
    int rc = kit_source_rewind(s, e);
    while (!rc) {
        const struct mgc_record *r;
        rc = kit_source_next(s, &r, e);
        if (!rc && !r) {
            count_parts(p);
            return 0;
        }
        if (!rc)
            rc = place(p, r, m->max_size, &size, e);
    }
    return rc;
}

/* A delivery under way. */
struct delivery {
    struct smtp *instance;
    struct kit_source *source;
    int64_t deadline_ms;
    struct smtp_mail mail;
    struct err delayed; /* of the first mail that the server put off: the others go on */
};

static void own_delivery(struct delivery *d)
{
    smtp_mail_done(&d->mail);
}

static int settle(struct delivery *d, const struct smtp_unit *u, int verdict,
                  const struct smtp_outcome *o, const char *text, struct err *e)
{
    char bytes[24];
    char sha256[SHA256_HEX];
    (void)snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)d->mail.bytes);
    hex_encode(d->mail.sha256, SHA256_SIZE, sha256);
    const struct mgc_fact facts[] = {
        kit_fact("message-id", d->mail.message_id),
        kit_fact("reply", o->reply),
        kit_fact("bytes", bytes),
        kit_fact("sha256", sha256),
    };
    return kit_source_settle(d->source, u->first, u->last, verdict, facts, 4, text, e);
}

static int send_mail(struct delivery *d, const struct smtp_unit *u, struct err *e)
{
    struct smtp *m = d->instance;
    struct smtp_addresses addresses = {m->from, m->recipients, m->subject};
    struct smtp_outcome outcome = {0};
    int rc = smtp_mail_end(&d->mail, &addresses, e);
    if (rc)
        return rc;
    struct err failure = {0};
    rc = smtp_link_send(m->link, &addresses, &d->mail, d->deadline_ms, &outcome, &failure);
    FAULT("smtp.sent");
    if (rc == 0 || rc == ERR_REJECTED)
        return settle(d, u, rc, &outcome, rc ? failure.text : NULL, e);
    if (rc == ERR_RETRY && outcome.about_message) {
        if (!d->delayed.class)
            d->delayed = failure;
        return 0;
    }
    return err_set(e, rc, "%s", failure.text);
}

static int carry(struct delivery *d, const struct smtp_unit *u, const struct mgc_record *r,
                 struct err *e)
{
    int rc = 0;
    if (r->index == u->first)
        rc = smtp_mail_begin(&d->mail, d->source->batch, u, r, e);
    if (!rc)
        rc = smtp_mail_add(&d->mail, r, e);
    if (rc || r->index != u->last)
        return rc;
    rc = send_mail(d, u, e);
    smtp_mail_done(&d->mail);
    return rc;
}

static int deliver(struct smtp *m, struct kit_source *s, struct err *e)
{
    int64_t limit = s->batch->deadline_ms;
    OWN(own_delivery)
    struct delivery d = {
        .instance = m, .source = s, .deadline_ms = limit > 0 ? clock_mono_ms() + limit : 0};
    OWN(own_plan) struct plan plan = {0};
    int rc = make_plan(&plan, m, s, e);
    if (!rc)
        rc = kit_source_rewind(s, e);
    for (size_t i = 0; !rc;) {
        const struct mgc_record *r;
        rc = kit_source_next(s, &r, e);
        if (rc || !r)
            break;
        if (i < plan.count && r->index > plan.units[i].last)
            i++;
        if (i < plan.count && plan.units[i].unsettled)
            rc = carry(&d, &plan.units[i], r, e);
    }
    if (!rc && d.delayed.class)
        return err_set(e, ERR_RETRY, "%s", d.delayed.text);
    return rc;
}

static int32_t on_check(const struct mgc_value *values, struct mgc_error *out)
{
    struct err e = {0};
    OWN(own_mem) struct smtp *m = calloc(1, sizeof *m);
    int rc = m ? take_options(m, values, &e) : err_memory(&e, "smtp instance");
    if (!rc)
        rc = smtp_link_check(values[OPTION_SERVER].text.p, &e);
    return kit_result(rc, &e, out);
}

static int32_t on_open(const struct mgc_host *host, const struct mgc_value *values, void **instance,
                       struct mgc_error *out)
{
    struct err e = {0};
    struct smtp *m = NULL;
    int rc = smtp_open(host, values, &m, &e);
    if (!rc)
        *instance = m;
    return kit_result(rc, &e, out);
}

static int32_t on_deliver(void *instance, const struct mgc_batch *batch, struct mgc_error *out)
{
    struct err e = {0};
    struct smtp *m = instance;
    OWN(own_kit_source) struct kit_source s;
    int rc = kit_source_init(&s, m->host, batch, &e);
    if (!rc && batch->records > 0)
        rc = deliver(m, &s, &e);
    return kit_result(rc, &e, out);
}

static void on_close(void *instance)
{
    smtp_close(instance);
}

MGC_EXPORT const struct mgc_adapter *mgc_adapter_v0(uint32_t host_major)
{
    static const struct mgc_adapter adapter = {
        .size = sizeof adapter,
        .abi_major = MGC_ABI_MAJOR,
        .abi_minor = MGC_ABI_MINOR,
        .readback = MGC_READBACK_NONE,
        .name = "smtp",
        .version = "0.1.0",
        .summary = "a mail for each room of a batch, with a transcript and the records",
        .options = options,
        .check = on_check,
        .open = on_open,
        .deliver = on_deliver,
        .close = on_close,
    };
    return host_major == MGC_ABI_MAJOR ? &adapter : NULL;
}
