/* SPDX-License-Identifier: Apache-2.0 */
#include "mgccomp/incident_text.h"

#include "base/clock.h"
#include "mgccomp/incident_private.h"
#include "mgccomp/totals.h"

#include <inttypes.h>
#include <string.h>

static bool is(const struct incident *i, const char *kind)
{
    return strcmp(i->kind, kind) == 0;
}

bool incident_ranged(const struct incident *i)
{
    return i->first || i->last || i->part >= 0;
}

static void put_range(struct buf *b, const char *mark, const struct incident *i)
{
    if (!incident_ranged(i))
        return;
    buf_format(b, "%s%" PRId64, mark, i->first);
    if (i->last != i->first)
        buf_format(b, "..%" PRId64, i->last);
}

void incident_put_place(struct buf *b, const struct incident *i)
{
    size_t start = b->n;
    if (i->subject.p) {
        buf_slice(b, i->subject);
        if (i->part < 0)
            put_range(b, "#", i);
    } else if (i->batch.p) {
        buf_format(b, "batch %.*s of adapter %.*s", SLICE_ARG(i->batch), SLICE_ARG(i->instance));
    } else if (i->instance.p) {
        buf_format(b, "adapter %.*s", SLICE_ARG(i->instance));
    } else if (i->source.p) {
        buf_slice(b, i->source);
    } else if (is(i, INCIDENT_BACKLOG)) {
        buf_text(b, "capture");
    }
    if (i->part < 0)
        return;
    buf_format(b, "%spartition %" PRId64, b->n > start ? ", " : "", i->part);
    if (!i->elsewhere) /* of a changed log the detail says it */
        put_range(b, " position ", i);
}

void incident_put_time(struct buf *b, int64_t us)
{
    char at[CLOCK_TEXT_SIZE];
    char age[CLOCK_TEXT_SIZE];
    clock_format(us, at);
    clock_age((clock_wall_us() - us) / 1000, age);
    buf_format(b, "%.19sZ (%s)", at, age);
}

const char *incident_meaning(const struct incident *i)
{
    static const struct {
        const char *kind, *text;
    } texts[] = {
        {INCIDENT_GAP, "These records never came. The store of their source is asked for them; the"
                       " gap closes by itself when they come."},
        {INCIDENT_ALTERED, "A record's content does not match the hash that the record behind it"
                           " carries: one of the two was changed after it was made."},
        {INCIDENT_FORK, "Two different records carry the same number. Both are kept."},
        {INCIDENT_REPEAT, "An old number came again after its hash was forgotten. It is kept."},
        {INCIDENT_FAR_AHEAD, "A number more than a million ahead of its stream. The record is"
                             " kept, the stream stays where it was."},
        {INCIDENT_LOG_CHANGED, "The queue is not the log that was there before, or records are gone"
                               " from it. Where a store stands behind the records, they are sent"
                               " again and this closes by itself; else capture of this partition"
                               " stands still."},
        {INCIDENT_UNREADABLE, "This could not be read as a record. Its bytes are kept and"
                              " archived as they came."},
        {INCIDENT_PARKED, "The adapter can't deliver this batch. Mend the cause, then retry. Later"
                          " batches go on meanwhile, until ten of them are parked."},
        {INCIDENT_SILENT, "The source's signed control totals are overdue. It closes with the next"
                          " ones."},
        {INCIDENT_DAMAGED, "The adapter delivered this batch, and it was not read back as it was"
                           " delivered. Find out why, move away what is damaged there, then retry:"
                           " it is delivered anew."},
        {INCIDENT_BACKLOG,
         "Records wait longer than they should, for this adapter, or in the queue"
         " for capture. It closes by itself once the oldest of them waits for less"
         " than half of that."},
        {INCIDENT_OPTIONS,
         "The adapter's options were changed while this batch was under way: parts"
         " of it may have been delivered as they said before, in another place or"
         " another form."},
        {INCIDENT_RESTORED, "mgccomp was restored from an older copy, and learned from the archives"
                            " what they hold."},
    };
    if (i->elsewhere && is(i, INCIDENT_PARKED))
        return "The queue refused this record, and the relay went on behind it. The store has it.";
    for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
        if (is(i, texts[k].kind))
            return texts[k].text;
    }
    return "A kind this program does not know.";
}

static void put_gap_state(struct buf *b, const struct incident *i, int64_t now_us)
{
    char until[CLOCK_TEXT_SIZE];
    if (i->answer.p) {
        buf_format(b, "stands: asked for them, the source's store answers: %.*s",
                   SLICE_ARG(i->answer));
    } else if (now_us < i->waits_us) {
        clock_format(i->waits_us, until);
        buf_format(b, "asked for: the answer of the source's store is waited for until %.19sZ",
                   until);
    } else {
        buf_text(b, "stands: no store has answered: the source has none, or does not run");
    }
}

void incident_put_state(struct buf *b, const struct incident *i, int64_t now_us)
{
    if (i->closed_us)
        buf_format(b, "closed: %.*s", SLICE_ARG(i->closed_how));
    else if (i->proposed_us)
        buf_format(b, "proposed to be accepted by %.*s; another person must do it",
                   SLICE_ARG(i->proposed_by));
    else if (is(i, INCIDENT_GAP))
        put_gap_state(b, i, now_us);
    else if (is(i, INCIDENT_LOG_CHANGED) && i->elsewhere)
        buf_text(b, "being mended: the store sends again what capture lacks, and then it closes");
    else if (is(i, INCIDENT_LOG_CHANGED))
        buf_text(b, i->answer.p ? "being mended: the log is read from its beginning, and closes"
                                  " when every source's store has sent again what it lacks"
                                : "stands until a store answers, or the right log is back");
    else if (is(i, INCIDENT_PARKED) && i->elsewhere)
        buf_format(b, "stands: the queue refuses it: %.*s. People accept it as the gap it leaves",
                   SLICE_ARG(i->answer));
    else if (is(i, INCIDENT_SILENT))
        buf_text(b, "stands until the source writes its totals");
    else if (is(i, INCIDENT_BACKLOG))
        buf_text(b, "stands until what waits is taken");
    else
        buf_text(b, "stands until a person settles it");
}

static void put_shut(struct buf *b, const struct incident *i)
{
    if (i->elsewhere)
        buf_text(b, "the store keeps every record");
    else if (i->subject.p)
        buf_text(b, "until it closes nothing more of this room is deleted from mgccomp");
    else if (i->source.p)
        buf_text(b, "until it closes nothing more of this source is deleted from mgccomp");
    else if (i->part >= 0)
        buf_text(b, "until it closes nothing more of this partition is deleted from mgccomp");
    else
        buf_text(b, "until it closes its records stay in mgccomp");
}

void incident_put_stake(struct buf *b, const struct incident *i)
{
    int64_t n = i->last - i->first + 1;
    if (is(i, INCIDENT_BACKLOG)) {
        buf_text(b, i->instance.p ? "what waits is in mgccomp only; nothing is held back"
                                  : "what waits is in the queue only; nothing is held back");
        return;
    }
    if (is(i, INCIDENT_GAP))
        buf_format(b, "%" PRId64 " record%s of this room %s not archived and may be lost; ", n,
                   n == 1 ? "" : "s", n == 1 ? "is" : "are");
    else if (is(i, INCIDENT_ALTERED))
        buf_text(b, "what was written can't be told from what was changed; ");
    else if (is(i, INCIDENT_FORK))
        buf_text(b, "two contents claim one place, and both are archived; ");
    else if (is(i, INCIDENT_LOG_CHANGED))
        buf_text(b, "records may have gone from the queue before they were captured; ");
    else if (is(i, INCIDENT_PARKED) && i->elsewhere)
        buf_text(b, "this record is not archived; ");
    else if (is(i, INCIDENT_PARKED))
        buf_text(b, "these records are not in that archive; ");
    else if (is(i, INCIDENT_DAMAGED))
        buf_text(b, "that archive can't be relied on; ");
    else if (is(i, INCIDENT_SILENT))
        buf_text(b, "whether its last records arrived is not known; ");
    else
        buf_text(b, "its bytes are kept and archived; ");
    put_shut(b, i);
}

/* The one that may mend it; NULL: nothing but a person's judgement. */
static const char *mends(const struct incident *i)
{
    if (is(i, INCIDENT_GAP) || i->elsewhere)
        return "holdfast queue heal";
    if (is(i, INCIDENT_PARKED) || is(i, INCIDENT_DAMAGED))
        return "holdfast incident retry";
    if (is(i, INCIDENT_LOG_CHANGED))
        return "holdfast queue check; then holdfast queue heal";
    if (is(i, INCIDENT_BACKLOG))
        return i->instance.p ? "holdfast adapter list" : "holdfast status";
    return is(i, INCIDENT_SILENT) ? "holdfast source list" : NULL;
}

void incident_put_command(struct buf *b, const struct incident *i)
{
    const char *mend = i->closed_us ? "holdfast incident list --all" : mends(i);
    bool acceptable =
        !i->closed_us && !i->elsewhere && incident_acceptable(i->kind, i->first, i->last, NULL);
    if (mend)
        buf_text(b, mend);
    if (mend && i->batch.p && !i->closed_us)
        buf_format(b, " %" PRId64, i->id);
    if (mend && acceptable)
        buf_text(b, is(i, INCIDENT_GAP)
                        ? "; when neither a store nor the source can send it again: "
                        : "; when nothing can mend it: ");
    if (acceptable)
        buf_format(b, "holdfast incident accept %" PRId64 " --reason TEXT, by two people", i->id);
    if (!mend && !acceptable)
        buf_text(b, "holdfast status");
}
