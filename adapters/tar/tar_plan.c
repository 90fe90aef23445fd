/* SPDX-License-Identifier: Apache-2.0 */
/* Two passes: the rooms with their lines, then the exceptions, as they will lie in the archive. */
#include "adapters/tar/tar_plan.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/own.h"

#include <errno.h>
#include <string.h>

const char tar_readme[] =
    "This archive holds one batch of chat records, written by Holdfast.\n"
    "\n"
    "manifest.json          what is inside: for every member its SHA-256, its size and what it\n"
    "                       holds; the batch's id and digest; who was present at its start\n"
    "records/*.ndjson       one file a room: every record exactly as first written, one a line,\n"
    "                       in the order of the room\n"
    "exceptions/*.bin       records that could not be read, or would not stay on one line: one\n"
    "                       file each, exactly as they were received\n"
    "\n"
    "To check a member: tar -xOf THIS-FILE MEMBER | sha256sum\n"
    "The batch's digest is the SHA-256 over all its records in the order of `index`, each after\n"
    "its length as 8 bytes, most significant first. A record is a JSON object (CloudEvents 1.0).\n"
    "A record's `previous` is the SHA-256 of the record before it in its room.\n";

enum { ENTRY_MAX = 4 * 1024 * 1024, SAFE_NAME_MAX = 50 };

/* What is known of the room whose lines are being read. */
struct tally {
    bool open;
    uint64_t index;
    uint64_t rooms_seen; /* rooms with an index below it had a member before */
    struct tar_member member;
    struct sha256 *hash;
    struct kit_span span;
    uint64_t late, unprovable, fork, repeat;
};

struct planner {
    struct tar_plan *plan;
    struct kit_source *source;
    struct sha256 *manifest_hash;
    struct buf text;
    struct tally room;
};

static void own_planner(struct planner *p)
{
    sha256_free(p->manifest_hash);
    sha256_free(p->room.hash);
    buf_done(&p->text);
}

bool tar_is_line(const struct mgc_record *r)
{
    if ((r->flags & MGC_RECORD_UNREADABLE) || !r->room || r->raw.n == 0)
        return false;
    return !memchr(r->raw.p, '\n', (size_t)r->raw.n);
}

/* Moves the text gathered so far into the manifest. */
static int flush_text(struct planner *p, struct err *e)
{
    int rc = buf_ok(&p->text, "manifest entry", e);
    if (rc)
        return rc;
    sha256_add(p->manifest_hash, p->text.p, p->text.n);
    if (fwrite(p->text.p, 1, p->text.n, p->plan->manifest) != p->text.n)
        return err_errno(e, ERR_RETRY, "scratch manifest");
    p->plan->manifest_bytes += p->text.n;
    buf_clear(&p->text);
    return 0;
}

static void put_text(struct buf *b, const char *key, struct mgc_text t)
{
    json_key(b, key);
    (void)json_write_lossy(b, kit_slice(t));
}

static void put_time(struct buf *b, const char *key, int64_t us)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format(us, text);
    json_put_string(b, key, slice_of(text));
}

static void put_digest(struct buf *b, const char *key, const uint8_t digest[SHA256_SIZE])
{
    char hex[SHA256_HEX];
    hex_encode(digest, SHA256_SIZE, hex);
    json_put_string(b, key, slice_of(hex));
}

static int add_member(struct planner *p, const struct tar_member *m, struct err *e)
{
    if (fwrite(m, sizeof *m, 1, p->plan->members) != 1)
        return err_errno(e, ERR_RETRY, "scratch member list");
    p->plan->count++;
    return 0;
}

/* "records/<letters of the name>-<32 digits of the stream's digest>.ndjson": the same for the same
 * stream in every batch, and plain ASCII on every file system. With fewer digits somebody who names
 * rooms could find two whose members have one name, and unpacking would lose one of them. */
static int name_room(const struct mgc_room *room, const char *suffix, char *out, size_t size,
                     struct err *e)
{
    char safe[SAFE_NAME_MAX + 1];
    size_t n = 0;
    struct slice name = kit_slice(room->name.n ? room->name : room->uri);
    for (size_t i = 0; i < name.n && n < SAFE_NAME_MAX; i++) {
        char c = name.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (plain || c == '_' || (c == '.' && n > 0))
            safe[n++] = c;
        else if (n > 0 && safe[n - 1] != '-')
            safe[n++] = '-';
    }
    while (n > 0 && safe[n - 1] == '-')
        n--;
    safe[n] = '\0';

    OWN(own_buf) struct buf stream;
    buf_init(&stream, 64 * 1024);
    buf_add(&stream, room->source.p, (size_t)room->source.n);
    buf_format(&stream, "%c%lld%c", 0, (long long)room->epoch, 0);
    buf_add(&stream, room->uri.p, (size_t)room->uri.n);
    int rc = buf_ok(&stream, "room name", e);
    if (rc)
        return rc;
    uint8_t digest[SHA256_SIZE];
    char hex[SHA256_HEX];
    sha256(stream.p, stream.n, digest);
    hex_encode(digest, SHA256_SIZE, hex);
    (void)snprintf(out, size, "records/%s%s%.32s%s.ndjson", safe, n ? "-" : "", hex, suffix);
    return 0;
}

static void put_stream(struct buf *b, const struct mgc_room *room)
{
    put_text(b, "source", room->source);
    json_put_i64(b, "epoch", room->epoch);
    put_text(b, "uri", room->uri);
    put_text(b, "room", room->name);
}

/* The part of a room's entry that is known from its first line on. */
static int open_room(struct planner *p, const struct mgc_record *r, struct err *e)
{
    struct tally *t = &p->room;
    struct sha256 *hash = t->hash;
    uint64_t seen = t->rooms_seen;
    *t = (struct tally){.open = true, .index = r->room->index, .hash = hash, .rooms_seen = seen};
    /* Rooms come one after the other; should one come again, its name is taken. */
    char suffix[32] = "";
    if (t->index < seen)
        (void)snprintf(suffix, sizeof suffix, "-%llu", (unsigned long long)r->index);
    else
        t->rooms_seen = t->index + 1;
    int rc = name_room(r->room, suffix, t->member.name, sizeof t->member.name, e);
    if (rc)
        return rc;

    struct buf *b = &p->text;
    buf_text(b, ",\n{");
    json_put_string(b, "name", slice_of(t->member.name));
    json_put_string(b, "kind", SLICE("records"));
    put_stream(b, r->room);
    json_key(b, "present");
    buf_char(b, '[');
    for (uint32_t i = 0; i < r->room->roster_count; i++) {
        const struct mgc_participant *who = &r->room->roster[i];
        buf_text(b, i ? ",{" : "{");
        put_text(b, "uri", who->uri);
        put_text(b, "name", who->name);
        put_time(b, "since", who->since_us);
        buf_char(b, '}');
        if (b->n > ENTRY_MAX / 2)
            rc = flush_text(p, e);
        if (rc)
            return rc;
    }
    buf_text(b, "],\"flagged\":[");
    return flush_text(p, e);
}

/* Lines that came late, twice or beside another of the same number are named one by one. */
static void put_flagged(struct buf *b, const struct tally *t, const struct mgc_record *r)
{
    bool first = !(t->late + t->fork + t->repeat);
    buf_format(b, "%s{\"line\":%llu", first ? "" : ",", (unsigned long long)t->span.records + 1);
    json_put_i64(b, "sequence", r->sequence);
    if (r->flags & MGC_RECORD_LATE)
        json_put_bool(b, "late", true);
    if (r->flags & MGC_RECORD_FORK)
        json_put_bool(b, "fork", true);
    if (r->flags & MGC_RECORD_REPEAT)
        json_put_bool(b, "repeat", true);
    buf_char(b, '}');
}

static void count_line(struct tally *t, const struct mgc_record *r)
{
    sha256_add(t->hash, r->raw.p, (size_t)r->raw.n);
    sha256_add(t->hash, "\n", 1);
    t->member.bytes += r->raw.n + 1;
    kit_span_add(&t->span, r);
    t->late += (r->flags & MGC_RECORD_LATE) != 0;
    t->unprovable += (r->flags & MGC_RECORD_UNPROVABLE) != 0;
    t->fork += (r->flags & MGC_RECORD_FORK) != 0;
    t->repeat += (r->flags & MGC_RECORD_REPEAT) != 0;
}

static int close_room(struct planner *p, struct err *e)
{
    struct tally *t = &p->room;
    if (!t->open)
        return 0;
    t->open = false;
    sha256_end(t->hash, t->member.sha256);

    struct buf *b = &p->text;
    /* Not json_key: its comma is decided by what the buffer ends with, and that was moved on. */
    buf_format(b, "],\"bytes\":%llu", (unsigned long long)t->member.bytes);
    put_digest(b, "sha256", t->member.sha256);
    json_put_i64(b, "records", (int64_t)t->span.records);
    json_put_i64(b, "first_sequence", t->span.first_sequence);
    json_put_i64(b, "last_sequence", t->span.last_sequence);
    put_time(b, "first_time", t->span.first_us);
    put_time(b, "last_time", t->span.last_us);
    json_put_i64(b, "late", (int64_t)t->late);
    json_put_i64(b, "unprovable", (int64_t)t->unprovable);
    json_put_i64(b, "fork", (int64_t)t->fork);
    json_put_i64(b, "repeat", (int64_t)t->repeat);
    buf_char(b, '}');
    int rc = add_member(p, &t->member, e);
    return rc ? rc : flush_text(p, e);
}

static int plan_rooms(struct planner *p, struct err *e)
{
    for (;;) {
        const struct mgc_record *r;
        int rc = kit_source_next(p->source, &r, e);
        if (rc)
            return rc;
        if (!r)
            return close_room(p, e);
        if (!tar_is_line(r)) {
            p->plan->exceptions++;
            continue;
        }
        if (!p->room.open || p->room.index != r->room->index) {
            rc = close_room(p, e);
            if (!rc)
                rc = open_room(p, r, e);
            if (rc)
                return rc;
        }
        if (r->flags & (MGC_RECORD_LATE | MGC_RECORD_FORK | MGC_RECORD_REPEAT)) {
            put_flagged(&p->text, &p->room, r);
            rc = flush_text(p, e);
            if (rc)
                return rc;
        }
        count_line(&p->room, r);
    }
}

static int plan_exception(struct planner *p, const struct mgc_record *r, struct err *e)
{
    struct tar_member m = {.bytes = r->raw.n};
    (void)snprintf(m.name, sizeof m.name, "exceptions/%lld-%lld-%llu.bin", (long long)r->partition,
                   (long long)r->position, (unsigned long long)r->index);
    sha256(r->raw.p, (size_t)r->raw.n, m.sha256);

    struct buf *b = &p->text;
    buf_text(b, ",\n{");
    json_put_string(b, "name", slice_of(m.name));
    json_put_string(b, "kind", SLICE("exception"));
    if (r->flags & MGC_RECORD_UNREADABLE)
        put_text(b, "why", r->note);
    else
        json_put_string(b, "why", SLICE("holds a line feed"));
    json_put_i64(b, "index", (int64_t)r->index);
    json_put_i64(b, "partition", r->partition);
    json_put_i64(b, "position", r->position);
    if (r->room)
        put_stream(b, r->room);
    if (!(r->flags & MGC_RECORD_UNREADABLE))
        json_put_i64(b, "sequence", r->sequence);
    json_put_i64(b, "bytes", (int64_t)m.bytes);
    put_digest(b, "sha256", m.sha256);
    buf_char(b, '}');
    int rc = add_member(p, &m, e);
    return rc ? rc : flush_text(p, e);
}

static int plan_exceptions(struct planner *p, struct err *e)
{
    int rc = kit_source_rewind(p->source, e);
    while (!rc) {
        const struct mgc_record *r;
        rc = kit_source_next(p->source, &r, e);
        if (rc || !r)
            return rc;
        if (!tar_is_line(r))
            rc = plan_exception(p, r, e);
    }
    return rc;
}

static int begin_manifest(struct planner *p, struct err *e)
{
    const struct mgc_batch *batch = p->source->batch;
    struct buf *b = &p->text;
    buf_char(b, '{');
    json_put_string(b, "format", SLICE("holdfast-tar-1"));
    put_text(b, "batch", batch->id);
    put_text(b, "instance", batch->instance);
    json_put_i64(b, "number", (int64_t)batch->number);
    json_put_i64(b, "records", (int64_t)batch->records);
    json_put_i64(b, "bytes", (int64_t)batch->bytes);
    put_digest(b, "sha256", batch->sha256);
    put_time(b, "cut", batch->cut_us);
    put_time(b, "first_time", batch->first_us);
    put_time(b, "last_time", batch->last_us);
    buf_text(b, ",\n\"members\":[\n{");
    uint8_t digest[SHA256_SIZE];
    sha256(tar_readme, strlen(tar_readme), digest);
    json_put_string(b, "name", SLICE(TAR_README));
    json_put_string(b, "kind", SLICE("text"));
    json_put_i64(b, "bytes", (int64_t)strlen(tar_readme));
    put_digest(b, "sha256", digest);
    buf_char(b, '}');
    return flush_text(p, e);
}

static int end_manifest(struct planner *p, struct err *e)
{
    buf_format(&p->text, "\n],\n\"exceptions\":%llu}\n", (unsigned long long)p->plan->exceptions);
    int rc = flush_text(p, e);
    if (rc)
        return rc;
    sha256_end(p->manifest_hash, p->plan->manifest_sha256);
    if (fflush(p->plan->manifest) || fflush(p->plan->members))
        return err_errno(e, ERR_RETRY, "scratch manifest");
    return tar_plan_rewind(p->plan, e);
}

int tar_plan_make(struct tar_plan *plan, struct kit_source *s, struct err *e)
{
    OWN(own_tar_plan) struct tar_plan made = {0};
    OWN(own_planner) struct planner p = {.plan = &made, .source = s};
    buf_init(&p.text, ENTRY_MAX);
    p.manifest_hash = sha256_new();
    p.room.hash = sha256_new();
    if (!p.manifest_hash || !p.room.hash)
        return err_memory(e, "manifest digest");
    int rc = file_scratch(s->batch->scratch, &made.manifest, e);
    if (!rc)
        rc = file_scratch(s->batch->scratch, &made.members, e);
    if (!rc)
        rc = kit_source_rewind(s, e);
    if (!rc)
        rc = begin_manifest(&p, e);
    if (!rc)
        rc = plan_rooms(&p, e);
    if (!rc && made.exceptions)
        rc = plan_exceptions(&p, e);
    if (!rc)
        rc = end_manifest(&p, e);
    if (rc)
        return rc;
    *plan = made;
    made = (struct tar_plan){0};
    return 0;
}

void tar_plan_done(struct tar_plan *p)
{
    own_file(&p->manifest);
    own_file(&p->members);
    *p = (struct tar_plan){0};
}

int tar_plan_rewind(struct tar_plan *p, struct err *e)
{
    if (fseeko(p->manifest, 0, SEEK_SET) || fseeko(p->members, 0, SEEK_SET))
        return err_errno(e, ERR_RETRY, "scratch manifest");
    return 0;
}

int tar_plan_next(struct tar_plan *p, struct tar_member *m, struct err *e)
{
    if (fread(m, sizeof *m, 1, p->members) != 1)
        return err_set(e, ERR_FAULT, "scratch member list: cut short");
    return 0;
}
