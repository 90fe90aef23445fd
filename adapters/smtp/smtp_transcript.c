/* SPDX-License-Identifier: Apache-2.0 */
#include "adapters/smtp/smtp_transcript.h"

#include "adapters/kit/kit.h"
#include "adapters/smtp/smtp_encode.h"
#include "base/clock.h"

static void put_person(struct buf *out, struct mgc_text name, struct mgc_text uri)
{
    if (name.n) {
        smtp_visible(out, kit_slice(name), NULL);
        buf_char(out, ' ');
    }
    buf_char(out, '<');
    smtp_visible(out, kit_slice(uri), NULL);
    buf_char(out, '>');
}

static void put_flags(struct buf *out, uint32_t flags)
{
    if (flags & MGC_RECORD_LATE)
        buf_text(out, " (late)");
    if (flags & MGC_RECORD_UNPROVABLE)
        buf_text(out, " (not provable)");
    if (flags & MGC_RECORD_FORK)
        buf_text(out, " (another record has this number)");
    if (flags & MGC_RECORD_REPEAT)
        buf_text(out, " (delivered once before)");
}

static void put_reason(struct buf *out, const struct mgc_record *r)
{
    if (!r->reason.n)
        return;
    buf_text(out, " (");
    smtp_visible(out, kit_slice(r->reason), NULL);
    buf_char(out, ')');
}

static void put_text(struct buf *out, const struct mgc_record *r)
{
    buf_text(out, ": ");
    smtp_visible(out, kit_slice(r->text), "\n    | ");
    if (r->text_bytes.n)
        buf_text(out, "\n    (the exact bytes of this text are in its record)");
}

static void put_other(struct buf *out, const struct mgc_record *r)
{
    buf_text(out, ": record of type ");
    smtp_visible(out, kit_slice(r->type), NULL);
}

static void put_act(struct buf *out, const struct mgc_record *r)
{
    switch (r->kind) {
    case MGC_KIND_JOIN:
        buf_text(out, " joined");
        break;
    case MGC_KIND_LEAVE:
        buf_text(out, " left");
        break;
    case MGC_KIND_POST:
        put_text(out, r);
        break;
    case MGC_KIND_READ:
        if (r->read_first)
            buf_format(out, " was shown messages %lld to %lld", (long long)r->read_first,
                       (long long)r->read_last);
        else
            buf_text(out, " asked for history and was shown no messages");
        break;
    case MGC_KIND_SIGN_IN:
        buf_text(out, " signed in");
        break;
    case MGC_KIND_SIGN_OUT:
        buf_text(out, " signed out");
        break;
    case MGC_KIND_SESSION_START:
        buf_text(out, " started");
        break;
    case MGC_KIND_SESSION_STOP:
        buf_text(out, " stopped");
        break;
    default:
        put_other(out, r);
    }
    put_reason(out, r);
}

static void put_unreadable(struct buf *out, const struct mgc_record *r)
{
    buf_format(out, "[unreadable] partition %lld, position %lld, %llu bytes",
               (long long)r->partition, (long long)r->position, (unsigned long long)r->raw.n);
    if (r->note.n) {
        buf_text(out, ": ");
        smtp_visible(out, kit_slice(r->note), NULL);
    }
    buf_char(out, '\n');
}

void smtp_entry(struct buf *out, const struct mgc_record *r)
{
    if (r->flags & MGC_RECORD_UNREADABLE) {
        put_unreadable(out, r);
        return;
    }
    char time[CLOCK_TEXT_SIZE];
    clock_format(r->time_us, time);
    buf_format(out, "[%s]", time);
    if (r->sequence)
        buf_format(out, " #%lld", (long long)r->sequence);
    put_flags(out, r->flags);
    buf_char(out, ' ');
    bool session = r->kind == MGC_KIND_SESSION_START || r->kind == MGC_KIND_SESSION_STOP;
    if (session && !r->participant.n)
        buf_text(out, "server session");
    else
        put_person(out, r->name, r->participant);
    put_act(out, r);
    buf_char(out, '\n');
}

void smtp_present(struct buf *out, const struct mgc_participant *who)
{
    char time[CLOCK_TEXT_SIZE];
    clock_format(who->since_us, time);
    buf_text(out, "  ");
    put_person(out, who->name, who->uri);
    buf_format(out, ", since %s\n", time);
}
