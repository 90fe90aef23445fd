/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irc-records [OPTION...] FILE... > records.ndjson: IRC channel logs as records for `holdfast
 * ingest`, or for a queue's topic. One room a file, one record a line. The date is the file name's,
 * times are taken as UTC; lines without a time take that of the line before. The same file gives
 * the same records.
 */
#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/own.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { RECORD_MAX = 512 * 1024, TEXT_MAX = 1024, MINUTES_JITTER = 30, MINUTES_HALF_DAY = 720 };

struct style {
    const char *source; /* NULL: ingest adds it */
    bool keyed, sequenced;
};

struct log {
    const struct style *style;
    const char *path, *name; /* name: behind the last slash */
    char room[96];
    int64_t day_us;
    int64_t number;  /* of the line, from 1 */
    int64_t minutes; /* since the day's begin, running on behind midnight */
    int64_t clock;   /* minutes as the last stamp said */
    int64_t bad;
    int64_t sequence; /* of the record before */
    uint8_t previous[SHA256_SIZE];
};

/* What a line says. */
struct said {
    const char *type;
    struct slice nick, text, host, reason;
    bool has_text;
};

static void uuid_of(char out[37], const char *name, int64_t number)
{
    OWN(own_buf) struct buf b;
    uint8_t hash[SHA256_SIZE];
    buf_init(&b, 64 * 1024);
    buf_format(&b, "%s:%" PRId64, name, number);
    sha256(b.p ? b.p : "", b.n, hash);
    uuid_from_digest(hash, out);
}

static int log_init(struct log *l, const struct style *style, const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char uuid[37];
    char midnight[24];
    *l = (struct log){.style = style, .path = path, .name = slash ? slash + 1 : path};
    (void)snprintf(midnight, sizeof midnight, "%.10sT00:00:00Z", l->name);
    if (!clock_parse(slice_of(midnight), &l->day_us))
        return err_set(e, ERR_REJECTED, "%s: the name does not begin with a date YYYY-MM-DD", path);
    uuid_of(uuid, l->name, 0);
    (void)snprintf(l->room, sizeof l->room, "ma-chan://example.test/%s", uuid);
    return 0;
}

static int two_digits(const char *p)
{
    return p[0] >= '0' && p[0] <= '9' && p[1] >= '0' && p[1] <= '9'
               ? 10 * (p[0] - '0') + (p[1] - '0')
               : -1;
}

/* Cuts "[HH:MM] " off. A clock that goes back has passed midnight; some logs are kept by a
 * twelve-hour clock, which goes back at noon too. A few minutes back is only a clock put right. */
static bool stamp(struct log *l, struct slice *line)
{
    if (line->n < 7 || line->p[0] != '[' || line->p[3] != ':' || line->p[6] != ']')
        return false;
    int hour = two_digits(line->p + 1);
    int minute = two_digits(line->p + 4);
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59)
        return false;
    int64_t clock = 60 * hour + minute;
    int64_t forward = clock - l->clock;
    if (forward < -(MINUTES_HALF_DAY + MINUTES_JITTER))
        forward += 2 * MINUTES_HALF_DAY;
    else if (forward < -MINUTES_JITTER)
        forward += MINUTES_HALF_DAY;
    l->minutes += forward;
    l->clock = clock;
    line->p += 7;
    line->n -= 7;
    if (line->n > 0 && line->p[0] == ' ') {
        line->p++;
        line->n--;
    }
    return true;
}

static struct slice from(struct slice s, size_t at)
{
    return (struct slice){s.p + at, s.n - at};
}

static bool find(struct slice s, const char *what, size_t *at)
{
    const char *p = s.n ? memmem(s.p, s.n, what, strlen(what)) : NULL;
    if (p)
        *at = (size_t)(p - s.p);
    return p != NULL;
}

static bool post(struct said *out, struct slice nick, struct slice text)
{
    *out = (struct said){.type = "holdfast.post", .nick = nick, .text = text, .has_text = true};
    return nick.n > 0;
}

/* What follows a time: "<nick> text", " * nick does something", "-nick:#channel- text". */
static bool stamped(struct slice line, struct said *out)
{
    size_t at = 0;
    if (slice_starts(line, "<") && find(line, ">", &at)) {
        struct slice text = from(line, at + 1);
        return post(out, (struct slice){line.p + 1, at - 1},
                    slice_starts(text, " ") ? from(text, 1) : text);
    }
    if (slice_starts(line, " * ") || slice_starts(line, "* ")) {
        struct slice rest = from(line, line.p[0] == ' ' ? 3 : 2);
        struct slice nick = slice_cut(&rest, ' ');
        return post(out, nick, line);
    }
    if (slice_starts(line, "-") && find(line, ":#", &at) && at > 1)
        return post(out, (struct slice){line.p + 1, at - 1}, line);
    return false;
}

/* "[~user@host]  has joined #channel", "... has left #channel ["reason"]". */
static bool came_or_went(struct slice nick, struct slice rest, struct said *out)
{
    size_t end = 0;
    if (!slice_starts(rest, "[") || !find(rest, "]", &end))
        return false;
    struct slice host = {rest.p + 1, end - 1};
    struct slice did = slice_trim(from(rest, end + 1));
    bool joined = slice_starts(did, "has joined");
    if (!joined && !slice_starts(did, "has left") && !slice_starts(did, "has quit"))
        return false;
    *out = (struct said){
        .type = joined ? "holdfast.join" : "holdfast.leave", .nick = nick, .host = host};
    if (!joined)
        out->reason = did;
    return nick.n > 0;
}

/* "=== ": who came and went, who does something, and what the channel itself says. */
static bool unstamped(struct slice line, struct said *out)
{
    static const char *const channel[] = {"mode/", "netjoined:", "netsplit", "..[topic", "topic"};
    struct slice rest = line;
    struct slice nick = slice_cut(&rest, ' ');
    for (size_t i = 0; i < sizeof channel / sizeof channel[0]; i++) {
        if (slice_starts(line, channel[i]))
            return false;
    }
    if (came_or_went(nick, rest, out))
        return true;
    if (!rest.p || slice_starts(rest, "is now known as "))
        return false;
    return post(out, nick, line);
}

static struct said understand(struct log *l, struct slice line)
{
    struct said out;
    struct slice rest = line;
    if (stamp(l, &rest) ? stamped(rest, &out)
                        : slice_starts(line, "=== ") && unstamped(from(line, 4), &out))
        return out;
    /* Kept whole under a kind of its own. */
    return (struct said){.type = "irc.line", .text = line, .has_text = true};
}

/* sip:nick@irc.example.test, with what a URI can't carry as %XX. */
static void put_participant(struct buf *b, struct slice nick)
{
    json_key(b, "participant");
    buf_text(b, "\"sip:");
    for (size_t i = 0; i < nick.n && i < TEXT_MAX / 4; i++) {
        unsigned char c = (unsigned char)nick.p[i];
        bool kept = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                    c == '-' || c == '_' || c == '.';
        if (kept)
            buf_char(b, (char)c);
        else
            buf_format(b, "%%%02X", c);
    }
    buf_text(b, "@irc.example.test\"");
}

static void put_lossy(struct buf *b, const char *key, struct slice s)
{
    if (!s.p || s.n > TEXT_MAX / 4 || memchr(s.p, '\0', s.n))
        return;
    json_key(b, key);
    (void)json_write_lossy(b, s);
}

static void put_text(struct buf *b, struct slice text)
{
    json_key(b, "text");
    if (json_write_lossy(b, text))
        return;
    json_key(b, "text_bytes");
    json_write_base64(b, text);
}

static bool plain(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    }
    return true;
}

/* What ingest adds to records that come without. */
static void put_place(struct buf *b, const struct log *l)
{
    char previous[SHA256_HEX];
    if (l->style->source)
        json_put_string(b, "source", slice_of(l->style->source));
    if (!l->style->sequenced)
        return;
    hex_encode(l->previous, sizeof l->previous, previous);
    buf_format(b, ",\"epoch\":1,\"sequence\":\"%020" PRId64 "\",\"previous\":\"%s\"",
               l->sequence + 1, previous);
}

static void put_record(struct buf *b, const struct log *l, const struct said *s)
{
    char id[37];
    char time[CLOCK_TEXT_SIZE];
    uuid_of(id, l->name, l->number);
    clock_format(l->day_us + l->minutes * INT64_C(60000000) + l->number, time);
    buf_format(b, "{\"specversion\":\"1.0\",\"id\":\"%s\",\"type\":\"%s\",\"time\":\"%s\"", id,
               s->type, time);
    buf_format(b, ",\"subject\":\"%s\"", l->room);
    put_place(b, l);
    buf_text(b, ",\"datacontenttype\":\"application/json\",\"data\":{");
    if (s->nick.p) {
        put_participant(b, s->nick);
        put_lossy(b, "name", s->nick);
    }
    if (plain(s->host))
        put_lossy(b, "endpoint", s->host);
    put_lossy(b, "reason", s->reason);
    if (s->has_text)
        put_text(b, s->text);
    buf_text(b, "}}");
}

static int print_record(struct log *l, struct buf *b, struct err *e)
{
    if (l->style->keyed && fprintf(stdout, "%s\t", l->room) < 0)
        return err_errno(e, ERR_RETRY, "write");
    if (fwrite(b->p, 1, b->n, stdout) != b->n || fputc('\n', stdout) == EOF)
        return err_errno(e, ERR_RETRY, "write");
    l->sequence++;
    sha256(b->p, b->n, l->previous);
    return 0;
}

static int write_line(struct log *l, struct slice line, struct buf *b, struct err *e)
{
    if (line.n == 0)
        return 0;
    struct said s = understand(l, line);
    buf_clear(b);
    put_record(b, l, &s);
    if (buf_ok(b, "record", e) < 0) {
        l->bad++;
        (void)fprintf(stderr, "%s:%" PRId64 ": %s\n", l->path, l->number, e->text);
        return 0;
    }
    return print_record(l, b, e);
}

static int convert(const struct style *style, const char *path, int64_t *bad, struct err *e)
{
    struct log l;
    OWN(own_buf) struct buf b;
    OWN(own_mem) char *line = NULL;
    size_t room = 0;
    buf_init(&b, RECORD_MAX - 1024); /* leaves room for what ingest adds */
    int rc = log_init(&l, style, path, e);
    if (rc < 0)
        return rc;
    OWN(own_file) FILE *in = fopen(path, "rb");
    if (!in)
        return err_errno(e, ERR_REJECTED, "open %s", path);
    for (ssize_t n = getline(&line, &room, in); n >= 0; n = getline(&line, &room, in)) {
        l.number++;
        size_t end = (size_t)n;
        if (end > 0 && line[end - 1] == '\n')
            end--;
        rc = write_line(&l, (struct slice){line, end}, &b, e);
        if (rc < 0)
            return rc;
    }
    if (ferror(in))
        return err_errno(e, ERR_REJECTED, "read %s", path);
    *bad += l.bad;
    return 0;
}

static const char usage[] =
    "usage: irc-records [--source NAME] [--sequenced] [--keyed] FILE... > records.ndjson\n"
    "  --source NAME  the records' source, for a topic; ingest adds it otherwise\n"
    "  --sequenced    number and chain them, as a source without a store; needs --source\n"
    "  --keyed        before each record its room and a tab, for: kcat -P -K '\\t'\n";

/* Takes the options; the first file's place, or -1. */
static int options(int argc, char **argv, struct style *style)
{
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--keyed") == 0)
            style->keyed = true;
        else if (strcmp(argv[i], "--sequenced") == 0)
            style->sequenced = true;
        else if (strcmp(argv[i], "--source") == 0 && i + 1 < argc && argv[i + 1][0])
            style->source = argv[++i];
        else
            return -1;
    }
    return i == argc || (style->sequenced && !style->source) ? -1 : i;
}

int main(int argc, char **argv)
{
    struct style style = {0};
    int64_t bad = 0;
    int first = options(argc, argv, &style);
    if (first < 0) {
        (void)fputs(usage, stderr);
        return 2;
    }
    for (int i = first; i < argc; i++) {
        struct err e = {0};
        int rc = convert(&style, argv[i], &bad, &e);
        if (rc < 0) {
            (void)fprintf(stderr, "irc-records: %s\n", e.text);
            bad++;
        }
        if (rc == ERR_RETRY)
            return 1;
    }
    if (fflush(stdout) != 0) {
        (void)fprintf(stderr, "irc-records: write: %s\n", strerror(errno));
        return 1;
    }
    return bad > 0 ? 1 : 0;
}
