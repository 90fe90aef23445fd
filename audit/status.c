/* SPDX-License-Identifier: Apache-2.0 */
/* Judging what was seen, and printing it as text or JSON. */
#include "audit/status.h"

#include "audit/status_incidents.h"
#include "base/clock.h"
#include "base/own.h"

#include <string.h>

static const char *const verdict_names[] = {"COMPLETE", "BEHIND", "INCOMPLETE", "UNKNOWN"};

static int required_count(const struct look *k)
{
    int n = 0;

    for (size_t i = 0; i < k->instance_count; i++)
        n += k->instances[i].required;
    return n;
}

static bool all_archived(const struct look *k)
{
    for (size_t i = 0; i < k->instance_count; i++) {
        const struct ledger_instance *in = &k->instances[i];
        if (in->required && in->base + in->archived + in->missed != k->captured)
            return false;
    }
    return k->deleted == k->captured;
}

/* Records that a required archive never gets, as people accepted. */
static int64_t given_up(const struct look *k)
{
    int64_t n = 0;

    for (size_t i = 0; i < k->instance_count; i++)
        n += k->instances[i].required ? k->instances[i].missed : 0;
    return n;
}

static enum status_verdict judge(struct look *k)
{
    if (k->unknown[0])
        return STATUS_UNKNOWN;
    if (k->incidents_open > k->backlogs_open || k->disagree || k->losses || given_up(k))
        return STATUS_INCOMPLETE;
    if (!required_count(k)) {
        snprintf(k->unknown, sizeof k->unknown,
                 "no adapter is required, so nothing is archived. Type: holdfast adapter add NAME");
        return STATUS_UNKNOWN;
    }
    if (k->uncaptured || !all_archived(k))
        return STATUS_BEHIND;
    return STATUS_COMPLETE;
}

/* What it has still to get: not what was deleted before it came, or before it took it. */
static int64_t waiting_for(const struct look *k, const struct ledger_instance *in)
{
    return k->captured - in->base - in->archived - in->missed;
}

static void age_text(const struct look *k, int64_t since_us, char out[CLOCK_TEXT_SIZE])
{
    clock_age((k->now_us - since_us) / 1000, out);
}

static void print_headline(FILE *f, const struct look *k, enum status_verdict v)
{
    char now[CLOCK_TEXT_SIZE], age[CLOCK_TEXT_SIZE];

    clock_format(k->now_us, now);
    fprintf(f, "%s", verdict_names[v]);
    if (v == STATUS_UNKNOWN)
        fprintf(f, ": %s\n", k->unknown);
    else if (v == STATUS_COMPLETE)
        fprintf(f,
                " to %s: stored %lld, captured, archived and deleted from staging; heads agree%s\n",
                now, (long long)k->stored,
                k->unproved ? "; the ends of other streams are not proved: see below" : "");
    else if (v == STATUS_BEHIND)
        fprintf(f, " at %s: everything is on record, not everything is archived\n", now);
    else
        fprintf(f,
                " at %s: open incidents %lld, streams whose heads disagree %lld, records accepted "
                "as lost %lld, given up for an archive %lld\n",
                now, (long long)k->incidents_open, (long long)k->disagree, (long long)k->losses,
                (long long)given_up(k));
    if (k->oldest_us) {
        age_text(k, k->oldest_us, age);
        fprintf(f, "oldest record not yet archived: %s old\n", age);
    } else if (v != STATUS_UNKNOWN) {
        fprintf(f, "oldest record not yet archived: none\n");
    }
}

static void print_stages(FILE *f, const struct look *k)
{
    char age[CLOCK_TEXT_SIZE] = "-";

    fprintf(f, "\n%-20s %12s %12s  %s\n", "stage", "records", "waiting", "oldest waiting");
    if (k->oldest_uncaptured_us)
        age_text(k, k->oldest_uncaptured_us, age);
    fprintf(f, "%-20s %12lld %12s  -\n", "store", (long long)k->stored, "-");
    fprintf(f, "%-20s %12lld %12lld  %s\n", "captured", (long long)k->captured,
            (long long)k->uncaptured, age);
    for (size_t i = 0; i < k->instance_count; i++) {
        const struct ledger_instance *in = &k->instances[i];
        fprintf(f, "adapter %-12s %12lld %12lld  %s%s%s%s%s", in->name,
                (long long)(in->base + in->archived), (long long)waiting_for(k, in), in->state,
                in->reason[0] ? " because " : "", in->reason, in->last_error[0] ? ": " : "",
                in->last_error);
        if (in->missed)
            fprintf(f, "; %s %lld records: %s", in->required ? "lacks" : "missed",
                    (long long)in->missed,
                    in->required ? "two people gave them up" : "it is not required");
        fprintf(f, "\n");
    }
    fprintf(f, "%-20s %12lld %12lld\n", "deleted", (long long)k->deleted,
            (long long)(k->captured - k->deleted));
    if (k->kept)
        fprintf(f,
                "kept %lld: kept in staging by an open incident, a parked batch, or an adapter that"
                " is not required\n",
                (long long)k->kept);
    fprintf(f, "%lld rooms and sessions in the store, exceptions %lld, duplicates dropped %lld\n",
            (long long)k->streams, (long long)k->exceptions, (long long)k->duplicates);
}

static void print_sources(FILE *f, const struct look *k)
{
    char complete[CLOCK_TEXT_SIZE], totals[CLOCK_TEXT_SIZE];

    for (size_t i = 0; i < k->source_count; i++) {
        const struct seen_source *s = &k->sources[i];
        clock_format(s->totals_us, totals);
        if (s->complete_us)
            clock_format(s->complete_us, complete);
        fprintf(f, "source %s: complete to %s by its signed totals%s%s%s\n", s->name,
                s->complete_us ? complete : "no time yet",
                s->totals_us > s->complete_us ? "; newest totals " : "",
                s->totals_us > s->complete_us ? totals : "",
                s->due_us ? "" : "; it stopped in order");
    }
}

static bool somebody_leads(const struct look *k)
{
    return k->leader.until_us >= k->leader.now;
}

static void print_leader(FILE *f, const struct look *k)
{
    char since[CLOCK_TEXT_SIZE];

    if (!k->leader.holder[0])
        return;
    clock_format(k->leader.since_us, since);
    if (somebody_leads(k))
        fprintf(f, "archiver: %s leads since %s\n", k->leader.holder, since);
    else
        fprintf(f, "archiver: none leads; the last one was %s. Type: holdfast archiver\n",
                k->leader.holder);
}

static void print_epochs(FILE *f, const struct look *k)
{
    char since[CLOCK_TEXT_SIZE];

    for (size_t i = 0; i < k->epoch_count; i++) {
        clock_format(k->epochs[i].since_us, since);
        fprintf(f, "source %s: epoch %lld since its store was restored at %s\n",
                k->epochs[i].source, (long long)k->epochs[i].epoch, since);
    }
    if (k->beyond)
        fprintf(f,
                "restored: %lld records of earlier epochs are captured and no longer in the "
                "store: archived, not shown in rooms\n",
                (long long)k->beyond);
}

static bool chat_refused(const struct look *k, const struct store_limit *l)
{
    return limit_of_records(l, k->uncaptured) || limit_of_disk(l, k->disk_free);
}

static void print_limit(FILE *f, const struct look *k, const struct store_limit *l)
{
    fprintf(f, "chat: %s at %lld waiting records (now %lld) or below %lld MiB of free disk (now ",
            chat_refused(k, l) ? "POSTS ARE REFUSED" : "posts are refused", (long long)l->records,
            (long long)k->uncaptured, (long long)(l->reserve >> 20));
    if (k->disk_free < 0)
        fprintf(f, "unknown)\n");
    else if (k->disk_hours < 0)
        fprintf(f, "%.1f GiB)\n", (double)k->disk_free / (1 << 30));
    else
        fprintf(f, "%.1f GiB, full in %lld h at the pace since the start)\n",
                (double)k->disk_free / (1 << 30), (long long)k->disk_hours);
}

/* Nothing can be captured while this lasts. */
static void print_queue(FILE *f, const struct look *k, const struct status_input *in)
{
    char age[CLOCK_TEXT_SIZE];

    if (!in->queue_problem || !in->queue_problem[0])
        return;
    fprintf(f, "queue: %s\n", in->queue_problem);
    if (k->oldest_uncaptured_us) {
        age_text(k, k->oldest_uncaptured_us, age);
        fprintf(f,
                "  at stake: %lld records, the oldest %s old, that only the store's disk holds\n",
                (long long)k->uncaptured, age);
    } else {
        fprintf(f, "  at stake: nothing waits for it yet\n");
    }
    fprintf(f,
            "  the store goes on taking records until its limit, and sends them once the queue is"
            " back. Type: holdfast queue check\n");
}

static void print_parts(FILE *f, const struct look *k, const struct status_input *in)
{
    print_queue(f, k, in);
    if (in->capture_problem && in->capture_problem[0])
        fprintf(f, "capture: %s\n", in->capture_problem);
    if (in->capture_held)
        fprintf(f, "capture is held. Type: holdfast queue resume\n");
    if (in->relay_problem && in->relay_problem[0])
        fprintf(f, "relay to Kafka: %s\n", in->relay_problem);
    print_leader(f, k);
    print_sources(f, k);
    print_epochs(f, k);
    if (k->unproved)
        fprintf(f,
                "not proved: %lld streams come from sources without a store here; whether their "
                "last records arrived can't be told\n",
                (long long)k->unproved);
    print_limit(f, k, in->limit);
    fprintf(f, "safe to restart: yes (what was answered is on disk)\n");
}

static void print_rooms(FILE *f, const struct look *k)
{
    fprintf(f, "\n%10s %10s %10s %10s  %s\n", "stored", "captured", "archived", "deleted", "room");
    for (size_t i = 0; i < k->room_count; i++) {
        const struct seen_room *r = &k->rooms[i];
        fprintf(f, "%10lld %10lld %10lld %10lld  %s\n", (long long)r->stored,
                (long long)r->captured, (long long)r->archived, (long long)r->deleted, r->subject);
    }
}

static void json_time(struct buf *b, const char *key, int64_t us)
{
    char text[CLOCK_TEXT_SIZE];

    if (!us)
        return;
    clock_format(us, text);
    json_put_string(b, key, slice_of(text));
}

static void json_instances(struct buf *b, const struct look *k)
{
    json_key(b, "adapters");
    buf_char(b, '[');
    for (size_t i = 0; i < k->instance_count; i++) {
        const struct ledger_instance *in = &k->instances[i];
        json_comma(b);
        buf_char(b, '{');
        json_put_string(b, "name", slice_of(in->name));
        json_put_string(b, "module", slice_of(in->module));
        json_put_string(b, "state", slice_of(in->state));
        json_put_bool(b, "required", in->required);
        json_put_i64(b, "archived", in->base + in->archived);
        json_put_i64(b, "waiting", waiting_for(k, in));
        json_put_i64(b, "missed", in->missed);
        if (in->reason[0])
            json_put_string(b, "reason", slice_of(in->reason));
        json_put_string(b, "last_error", slice_of(in->last_error));
        buf_char(b, '}');
    }
    buf_char(b, ']');
}

static void json_sources(struct buf *b, const struct look *k)
{
    json_key(b, "sources");
    buf_char(b, '[');
    for (size_t i = 0; i < k->source_count; i++) {
        const struct seen_source *s = &k->sources[i];
        json_comma(b);
        buf_char(b, '{');
        json_put_string(b, "source", slice_of(s->name));
        json_time(b, "complete_to", s->complete_us);
        json_time(b, "totals", s->totals_us);
        json_time(b, "due", s->due_us);
        buf_char(b, '}');
    }
    buf_char(b, ']');
}

static void json_leader(struct buf *b, const struct look *k)
{
    if (!k->leader.holder[0])
        return;
    json_key(b, "archiver");
    buf_char(b, '{');
    json_put_string(b, "holder", slice_of(k->leader.holder));
    json_put_bool(b, "leads", somebody_leads(k));
    json_time(b, "since", k->leader.since_us);
    buf_char(b, '}');
}

static void json_rooms(struct buf *b, const struct look *k)
{
    json_key(b, "rooms");
    buf_char(b, '[');
    for (size_t i = 0; i < k->room_count; i++) {
        const struct seen_room *r = &k->rooms[i];
        json_comma(b);
        buf_char(b, '{');
        json_put_string(b, "room", slice_of(r->subject));
        json_put_i64(b, "stored", r->stored);
        json_put_i64(b, "captured", r->captured);
        json_put_i64(b, "archived", r->archived);
        json_put_i64(b, "deleted", r->deleted);
        buf_char(b, '}');
    }
    buf_char(b, ']');
}

static int print_json(FILE *f, const struct look *k, const struct status_input *in,
                      enum status_verdict v, struct err *e)
{
    OWN(own_buf) struct buf b = {0};

    buf_init(&b, 16 << 20);
    buf_char(&b, '{');
    json_put_string(&b, "verdict", slice_of(verdict_names[v]));
    json_time(&b, "at", k->now_us);
    if (k->unknown[0])
        json_put_string(&b, "why", slice_of(k->unknown));
    json_time(&b, "oldest_not_archived", k->oldest_us);
    json_put_i64(&b, "streams", k->streams);
    json_put_i64(&b, "stored", k->stored);
    json_put_i64(&b, "uncaptured", k->uncaptured);
    json_time(&b, "oldest_uncaptured", k->oldest_uncaptured_us);
    json_put_i64(&b, "captured", k->captured);
    json_put_i64(&b, "deleted", k->deleted);
    json_put_i64(&b, "kept", k->kept);
    json_put_i64(&b, "duplicates", k->duplicates);
    json_put_i64(&b, "exceptions", k->exceptions);
    json_put_i64(&b, "accepted_losses", k->losses);
    json_put_i64(&b, "heads_disagree", k->disagree);
    if (k->disagree)
        json_put_string(&b, "disagreement", slice_of(k->disagreement));
    json_put_i64(&b, "captured_beyond_store", k->beyond);
    json_put_i64(&b, "disk_free_bytes", k->disk_free);
    if (k->disk_hours >= 0)
        json_put_i64(&b, "disk_full_in_hours", k->disk_hours);
    json_put_bool(&b, "chat_refused", chat_refused(k, in->limit));
    json_put_bool(&b, "safe_to_restart", true);
    json_put_i64(&b, "unproved_streams", k->unproved);
    json_put_bool(&b, "capture_held", in->capture_held);
    if (in->capture_problem)
        json_put_string(&b, "capture_problem", slice_of(in->capture_problem));
    if (in->queue_problem)
        json_put_string(&b, "queue_problem", slice_of(in->queue_problem));
    if (in->relay_problem)
        json_put_string(&b, "relay_problem", slice_of(in->relay_problem));
    json_instances(&b, k);
    status_json_incidents(&b, k);
    json_sources(&b, k);
    json_leader(&b, k);
    if (k->rooms)
        json_rooms(&b, k);
    buf_text(&b, "}\n");
    int err = buf_ok(&b, "status", e);
    if (!err)
        fwrite(b.p, 1, b.n, f);
    return err;
}

int status_command(struct app_io *io, const struct status_input *in, int argc, char **argv)
{
    bool rooms = false;
    const struct app_option options[] = {{"rooms", NULL, &rooms}, {"json", NULL, &io->json}, {0}};
    OWN(own_mem) struct look *k = calloc(1, sizeof *k);
    OWN(own_mem) struct seen_room *list = NULL;
    struct err e = {0};
    int operands;

    if (app_options(options, argc, argv, &operands, &e))
        return app_fail(io, &e);
    if (k && rooms)
        k->rooms = list = calloc(STATUS_ROOMS, sizeof *list);
    if (!k || (rooms && !list))
        return err_memory(&e, "status"), (void)app_fail(io, &e), STATUS_UNKNOWN;
    if (status_look(k, in, &e))
        snprintf(k->unknown, sizeof k->unknown, "%.290s", e.text);
    enum status_verdict v = judge(k);
    if (io->json)
        return print_json(io->out, k, in, v, &e) ? (app_fail(io, &e), STATUS_UNKNOWN) : v;
    print_headline(io->out, k, v);
    if (v == STATUS_UNKNOWN && !k->captured)
        return v;
    print_stages(io->out, k);
    print_parts(io->out, k, in);
    status_print_incidents(io->out, k);
    if (rooms)
        print_rooms(io->out, k);
    return v;
}
