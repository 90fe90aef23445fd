/* SPDX-License-Identifier: Apache-2.0 */
#include "audit/status_incidents.h"

#include "audit/relay_incidents.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "mgccomp/incident_text.h"

#include <string.h>

typedef void say_fn(struct buf *b, const struct incident *i);

/* Cut where it is longer than the room for it, not within a character. */
static void keep(char *out, size_t size, struct slice text)
{
    size_t n = text.n < size ? text.n : size - 1;
    while (n < text.n && n > 0 && ((unsigned char)text.p[n] & 0xC0) == 0x80)
        n--;
    (void)snprintf(out, size, "%.*s", (int)n, text.p ? text.p : "");
}

static void keep_said(char *out, size_t size, const struct incident *i, say_fn *say)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, 16 * 1024);
    say(&b, i);
    keep(out, size, buf_view(&b));
}

static void say_state(struct buf *b, const struct incident *i)
{
    incident_put_state(b, i, clock_wall_us());
}

static void say_cited(struct buf *b, const struct incident *i)
{
    incident_put_place(b, i);
    if (i->subject.p && i->source.p) {
        buf_text(b, " of source ");
        buf_slice(b, i->source);
    }
}

static void take_loss(struct look *k, const struct incident *i)
{
    if (k->loss_count == STATUS_LOSSES || i->lost == 0)
        return;
    struct seen_loss *s = &k->loss[k->loss_count++];
    *s = (struct seen_loss){.id = i->id, .lost = i->lost, .accepted_us = i->closed_us};
    keep(s->kind, sizeof s->kind, slice_of(i->kind));
    keep_said(s->cited, sizeof s->cited, i, say_cited);
    keep(s->by, sizeof s->by, i->accepted_by);
    keep(s->proposed_by, sizeof s->proposed_by, i->proposed_by);
    keep(s->why, sizeof s->why, i->proposed_why);
}

static int take_incident(void *arg, const struct incident *i, struct err *e)
{
    struct look *k = arg;
    (void)e;
    if (i->closed_us) {
        take_loss(k, i);
        return 0;
    }
    k->incidents_open++;
    k->backlogs_open += strcmp(i->kind, INCIDENT_BACKLOG) == 0;
    if (k->incident_count == STATUS_INCIDENTS)
        return 0;
    struct seen_incident *s = &k->incidents[k->incident_count++];
    *s = (struct seen_incident){
        .id = i->id, .first = i->first, .last = i->last, .opened_us = i->opened_us};
    if (i->elsewhere)
        (void)snprintf(s->name, sizeof s->name, "%s", i->elsewhere);
    else
        (void)snprintf(s->name, sizeof s->name, "%lld", (long long)i->id);
    keep(s->kind, sizeof s->kind, slice_of(i->kind));
    keep(s->place, sizeof s->place,
         i->subject.p    ? i->subject
         : i->instance.p ? i->instance
                         : i->source);
    keep(s->source, sizeof s->source, i->source);
    keep(s->detail, sizeof s->detail, i->detail);
    keep_said(s->cited, sizeof s->cited, i, say_cited);
    keep_said(s->state, sizeof s->state, i, say_state);
    keep_said(s->stake, sizeof s->stake, i, incident_put_stake);
    keep_said(s->command, sizeof s->command, i, incident_put_command);
    return 0;
}

int status_look_incidents(struct look *k, const struct status_input *in, struct err *e)
{
    int err = incident_each(in->staging, k->losses > 0, take_incident, k, e);
    return err ? err : relay_incidents_each(in->store, in->staging, false, take_incident, k, e);
}

static void print_losses(FILE *f, const struct look *k)
{
    char at[CLOCK_TEXT_SIZE];

    fprintf(f, "\nlosses accepted, ever: %lld record%s\n", (long long)k->losses,
            k->losses == 1 ? "" : "s");
    for (size_t i = 0; i < k->loss_count; i++) {
        const struct seen_loss *s = &k->loss[i];
        clock_format(s->accepted_us, at);
        fprintf(f, "%5lld  %s %s, %lld lost, accepted %.19sZ\n", (long long)s->id, s->kind,
                s->cited, (long long)s->lost, at);
        fprintf(f, "       by        %s, proposed by %s\n       because   %s\n", s->by,
                s->proposed_by, s->why);
    }
}

void status_print_incidents(FILE *f, const struct look *k)
{
    char since[CLOCK_TEXT_SIZE], age[CLOCK_TEXT_SIZE];

    if (k->disagree)
        fprintf(f, "\n%s\n", k->disagreement);
    fprintf(f, "\nincidents: %lld open\n", (long long)k->incidents_open);
    for (size_t i = 0; i < k->incident_count; i++) {
        const struct seen_incident *s = &k->incidents[i];
        clock_format(s->opened_us, since);
        clock_age((k->now_us - s->opened_us) / 1000, age);
        fprintf(f, "%5s  %s %s since %.19sZ (%s)\n", s->name, s->kind, s->cited, since, age);
        fprintf(f, "       what      %s\n       now       %s\n", s->detail, s->state);
        fprintf(f, "       at stake  %s\n       type      %s\n", s->stake, s->command);
    }
    if ((size_t)k->incidents_open > k->incident_count)
        fprintf(f, "       and more. Type: holdfast incident list\n");
    print_losses(f, k);
}

static void put_time(struct buf *b, const char *key, int64_t us)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format(us, text);
    json_put_string(b, key, slice_of(text));
}

static void json_incident(struct buf *b, const struct seen_incident *s)
{
    json_comma(b);
    buf_char(b, '{');
    if (s->id)
        json_put_i64(b, "id", s->id);
    else
        json_put_string(b, "id", slice_of(s->name));
    json_put_string(b, "kind", slice_of(s->kind));
    json_put_string(b, "place", slice_of(s->place));
    json_put_string(b, "source", slice_of(s->source));
    json_put_i64(b, "first", s->first);
    json_put_i64(b, "last", s->last);
    put_time(b, "since", s->opened_us);
    json_put_string(b, "detail", slice_of(s->detail));
    json_put_string(b, "state", slice_of(s->state));
    json_put_string(b, "at_stake", slice_of(s->stake));
    json_put_string(b, "command", slice_of(s->command));
    buf_char(b, '}');
}

static void json_loss(struct buf *b, const struct seen_loss *s)
{
    json_comma(b);
    buf_char(b, '{');
    json_put_i64(b, "id", s->id);
    json_put_string(b, "kind", slice_of(s->kind));
    json_put_string(b, "what", slice_of(s->cited));
    json_put_i64(b, "records", s->lost);
    put_time(b, "accepted", s->accepted_us);
    json_put_string(b, "accepted_by", slice_of(s->by));
    json_put_string(b, "proposed_by", slice_of(s->proposed_by));
    json_put_string(b, "why", slice_of(s->why));
    buf_char(b, '}');
}

void status_json_incidents(struct buf *b, const struct look *k)
{
    json_put_i64(b, "incidents_open", k->incidents_open);
    json_key(b, "incidents");
    buf_char(b, '[');
    for (size_t i = 0; i < k->incident_count; i++)
        json_incident(b, &k->incidents[i]);
    buf_char(b, ']');
    json_key(b, "losses");
    buf_char(b, '[');
    for (size_t i = 0; i < k->loss_count; i++)
        json_loss(b, &k->loss[i]);
    buf_char(b, ']');
}
