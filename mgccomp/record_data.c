/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table of members for each kind. Members that are in no table pass: a record is walked by its
 * own members, so that the cost is that of what is there.
 */
#include "mgccomp/record_data.h"

#include "base/clock.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum shape {
    TEXT,  /* any text, as long as the record */
    LABEL, /* at most 1,024 bytes, no U+0000 */
    LINE,  /* and no control character */
    NAME,  /* and not empty */
    ID,    /* and at most 128 bytes */
    BASE64,
    TIME,
    HASH,
    SEQUENCE,
    BOOL,
    COUNT,  /* from 0 */
    NUMBER, /* from 1 */
    OBJECT,
    LIST, /* of objects */
    RANGES,
    ANY,
};

/* field: where in struct record it is kept; 0: nowhere. */
struct rule {
    const char *name;
    size_t n;
    enum shape shape;
    bool required;
    const struct rule *inside;
    size_t field;
};
#define MUST(name, shape)                                                                          \
    {                                                                                              \
        name, sizeof(name) - 1, shape, true, NULL, 0                                               \
    }
#define MAY(name, shape)                                                                           \
    {                                                                                              \
        name, sizeof(name) - 1, shape, false, NULL, 0                                              \
    }
#define MUST_HOLD(name, shape, t)                                                                  \
    {                                                                                              \
        name, sizeof(name) - 1, shape, true, t, 0                                                  \
    }
#define MAY_HOLD(name, shape, t)                                                                   \
    {                                                                                              \
        name, sizeof(name) - 1, shape, false, t, 0                                                 \
    }
#define KEEP(name, shape, required, member)                                                        \
    {                                                                                              \
        name, sizeof(name) - 1, shape, required, NULL, offsetof(struct record, member)             \
    }
#define END                                                                                        \
    {                                                                                              \
        NULL, 0, ANY, false, NULL, 0                                                               \
    }

static const struct rule target[] = {MUST("id", ID),
                                     MAY("epoch", NUMBER),
                                     MAY("sequence", SEQUENCE),
                                     MAY("hash", HASH),
                                     MAY("time", TIME),
                                     MAY("participant", NAME),
                                     MAY("name", LABEL),
                                     MAY("chatId", NUMBER),
                                     MAY("text", TEXT),
                                     MAY("text_bytes", BASE64),
                                     END};
static const struct rule forwarded[] = {MAY("id", ID),
                                        MAY("subject", NAME),
                                        MAY("room", LINE),
                                        MAY("participant", NAME),
                                        MAY("name", LABEL),
                                        MAY("time", TIME),
                                        END};
static const struct rule person[] = {MUST("participant", NAME), MAY("name", LABEL),
                                     MAY("participant_kind", LINE), MAY("role", LINE), END};
static const struct rule file[] = {MUST("name", LABEL),       MAY("size", COUNT),
                                   MAY("sha256", HASH),       MAY("media_type", LINE),
                                   MAY("external_id", LABEL), END};
static const struct rule change[] = {MUST("member", LINE), MAY("old", ANY), MAY("new", ANY), END};
static const struct rule head[] = {MUST("subject", NAME), MUST("epoch", NUMBER),
                                   MUST("sequence", SEQUENCE), MUST("hash", HASH), END};

/* Of every kind. */
static const struct rule common[] = {
    KEEP("participant", NAME, false, participant),
    KEEP("name", LABEL, false, name),
    KEEP("endpoint", LINE, false, endpoint),
    KEEP("reason", LABEL, false, reason),
    KEEP("room", LINE, false, room),
    MAY("participant_kind", LINE),
    MAY("conversation", LINE),
    MAY("external_id", LABEL),
    MAY_HOLD("thread", OBJECT, target),
    MAY_HOLD("forwarded_from", OBJECT, forwarded),
    MAY("part", NUMBER),
    MAY("parts", NUMBER),
    MAY("list", ID),
    END,
};

static const struct rule presence[] = {MAY("session", LINE), END};
static const struct rule post[] = {
    KEEP("text", TEXT, true, text),         KEEP("text_bytes", BASE64, false, text_bytes),
    KEEP("chatId", NUMBER, false, chat_id), MAY("alert", BOOL),
    MAY_HOLD("files", LIST, file),          END};
static const struct rule reading[] = {MAY("what", LINE), MAY("ranges", RANGES), MAY("count", COUNT),
                                      END};
static const struct rule sign_in[] = {MAY("client", LABEL), END};
static const struct rule session[] = {MAY("server", LABEL), MAY("version", LABEL), END};
static const struct rule edit[] = {MUST_HOLD("target", OBJECT, target),
                                   KEEP("text", TEXT, true, text),
                                   KEEP("text_bytes", BASE64, false, text_bytes), END};
static const struct rule on_target[] = {MUST_HOLD("target", OBJECT, target), MAY("removed", BOOL),
                                        END};
static const struct rule reaction[] = {MUST_HOLD("target", OBJECT, target), MUST("reaction", LABEL),
                                       MAY("removed", BOOL), END};
static const struct rule transfer[] = {MUST_HOLD("file", OBJECT, file),
                                       MAY_HOLD("target", OBJECT, target), END};
static const struct rule invite[] = {MUST_HOLD("invited", LIST, person), END};
static const struct rule members[] = {MUST_HOLD("members", LIST, person), END};
static const struct rule admin[] = {MUST("action", NAME), MAY_HOLD("changes", LIST, change), END};
static const struct rule purge[] = {MUST_HOLD("targets", LIST, target), MAY("before", TIME), END};
static const struct rule totals[] = {MUST("statement", TEXT), MUST("signature", BASE64),
                                     MUST("key", HASH), END};
static const struct rule epoch_start[] = {MUST_HOLD("heads", LIST, head), MAY("note", LABEL), END};

static const struct {
    bool actor; /* `participant` must be there */
    const char *section;
    const struct rule *rules;
} kinds[RECORD_KINDS] = {
    [RECORD_JOIN] = {true, "3.1", presence},
    [RECORD_LEAVE] = {true, "3.1", presence},
    [RECORD_POST] = {true, "3.2", post},
    [RECORD_READ] = {true, "3.4", reading},
    [RECORD_SIGN_IN] = {true, "3.1", sign_in},
    [RECORD_SIGN_OUT] = {true, "3.1", presence},
    [RECORD_SESSION_START] = {false, "3.1", session},
    [RECORD_SESSION_STOP] = {false, "3.1", session},
    [RECORD_EDIT] = {true, "3.3", edit},
    [RECORD_DELETE] = {true, "3.3", on_target},
    [RECORD_REACTION] = {true, "3.3", reaction},
    [RECORD_PIN] = {true, "3.3", on_target},
    [RECORD_UPLOAD] = {true, "3.5", transfer},
    [RECORD_DOWNLOAD] = {true, "3.5", transfer},
    [RECORD_INVITE] = {true, "3.6", invite},
    [RECORD_MEMBERS] = {false, "3.6", members},
    [RECORD_ROOM_ADMIN] = {true, "3.6", admin},
    [RECORD_CATEGORY_ADMIN] = {true, "3.6", admin},
    [RECORD_REPLACE] = {true, "3.3", edit},
    [RECORD_PURGE] = {true, "3.3", purge},
    [RECORD_TOTALS] = {false, "3.8", totals},
    [RECORD_EPOCH_START] = {false, "3.8", epoch_start},
};

/* Has one of the eight bytes a value below 0x20, or 0x7f? Those above 0x7f have not. */
static bool any_control(uint64_t eight)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t highs = ones << 7;
    uint64_t deleted = eight ^ ones * 0x7f;
    return (((eight - ones * 0x20) & ~eight) | ((deleted - ones) & ~deleted)) & highs;
}

bool record_plain(struct slice s)
{
    size_t i = 0;
    uint64_t eight;
    for (; s.n - i >= sizeof eight; i += sizeof eight) {
        memcpy(&eight, s.p + i, sizeof eight);
        if (any_control(eight))
            return false;
    }
    for (; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    }
    return true;
}

int record_parse_sequence(struct slice text, const char *name, int64_t *out, struct err *e)
{
    int64_t value = 0;
    if (text.n != 20)
        return err_set(e, ERR_REJECTED, "%s has %zu digits, not 20", name, text.n);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return err_set(e, ERR_REJECTED, "%s is not 20 digits", name);
        if (i < 2 && text.p[i] != '0')
            return err_set(e, ERR_REJECTED, "%s is above 999999999999999999", name);
        value = value * 10 + (text.p[i] - '0');
    }
    if (value == 0)
        return err_set(e, ERR_REJECTED, "%s is 0; the first record has 1", name);
    *out = value;
    return 0;
}

static bool base64_shape(struct slice s)
{
    size_t pad = 0;

    if (s.n % 4 != 0)
        return false;
    while (pad < 2 && pad < s.n && s.p[s.n - 1 - pad] == '=')
        pad++;
    for (size_t i = 0; i + pad < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              c == '+' || c == '/'))
            return false;
    }
    return true;
}

static int bounded(struct slice s, enum shape shape, const char *path, struct err *e)
{
    size_t max = shape == ID ? RECORD_MAX_ID : RECORD_MAX_PARTICIPANT;
    if (s.n > max)
        return err_set(e, ERR_REJECTED, "%s has %zu bytes, more than %zu", path, s.n, max);
    if (s.n && memchr(s.p, '\0', s.n))
        return err_set(e, ERR_REJECTED, "%s holds U+0000", path);
    if (shape != LABEL && !record_plain(s))
        return err_set(e, ERR_REJECTED, "%s holds a control character", path);
    if ((shape == NAME || shape == ID) && s.n == 0)
        return err_set(e, ERR_REJECTED, "%s is empty", path);
    return 0;
}

static int check_text(const struct json *v, enum shape shape, const char *path, struct err *e)
{
    uint8_t hash[SHA256_SIZE];
    int64_t number = 0;
    if (v->type != JSON_STRING)
        return err_set(e, ERR_REJECTED, "%s is not a string", path);
    switch (shape) {
    case BASE64:
        return base64_shape(v->text) ? 0 : err_set(e, ERR_REJECTED, "%s is not base64", path);
    case TIME:
        return v->text.n <= 64 && clock_parse(v->text, &number)
                   ? 0
                   : err_set(e, ERR_REJECTED, "%s is not RFC 3339", path);
    case HASH:
        return hex_decode(v->text, hash, sizeof hash)
                   ? 0
                   : err_set(e, ERR_REJECTED, "%s is not 64 hexadecimal digits", path);
    case SEQUENCE:
        return record_parse_sequence(v->text, path, &number, e);
    case TEXT:
        return 0;
    default:
        return bounded(v->text, shape, path, e);
    }
}

static int check_number(const struct json *v, int64_t from, const char *path, int64_t *out,
                        struct err *e)
{
    int64_t number = 0;
    if (v->type != JSON_NUMBER || !text_i64(v->text, &number) || number < from ||
        number > RECORD_MAX_SEQUENCE)
        return err_set(e, ERR_REJECTED, "%s is not a whole number from %d on", path, (int)from);
    *out = number;
    return 0;
}

static int check_ranges(const struct json *v, const char *path, struct err *e)
{
    int64_t first = 0;
    int64_t last = 0;
    if (v->type != JSON_ARRAY)
        return err_set(e, ERR_REJECTED, "%s is not an array", path);
    for (const struct json *range = v->child; range; range = range->next) {
        if (range->type != JSON_ARRAY || range->count != 2)
            return err_set(e, ERR_REJECTED, "%s holds what is no [first, last]", path);
        int rc = check_number(range->child, 1, path, &first, e);
        if (rc == 0)
            rc = check_number(range->child->next, 1, path, &last, e);
        if (rc == 0 && last < first)
            rc = err_set(e, ERR_REJECTED, "%s holds a range that ends before it begins", path);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static const struct rule *find(const struct rule *rules, struct slice key, uint32_t *bit)
{
    for (const struct rule *r = rules; r->name; r++) {
        if (r->n == key.n && memcmp(r->name, key.p, key.n) == 0) {
            *bit = 1u << (r - rules);
            return r;
        }
    }
    return NULL;
}

static int check_flat(const struct json *v, const struct rule *rule, const char *path,
                      struct record *r, struct err *e)
{
    int64_t number = 0;
    int rc = 0;
    switch (rule->shape) {
    case ANY:
        return 0;
    case BOOL:
        return v->type == JSON_BOOL ? 0 : err_set(e, ERR_REJECTED, "%s is not true or false", path);
    case RANGES:
        return check_ranges(v, path, e);
    case COUNT:
    case NUMBER:
        rc = check_number(v, rule->shape == NUMBER, path, &number, e);
        if (rc == 0 && r && rule->field)
            memcpy((char *)r + rule->field, &number, sizeof number);
        return rc;
    default:
        rc = check_text(v, rule->shape, path, e);
        if (rc == 0 && r && rule->field)
            memcpy((char *)r + rule->field, &v->text, sizeof v->text);
        return rc;
    }
}

/* An object below `data`: its members hold nothing that nests further. */
static int check_inside(const struct json *v, const struct rule *rules, const char *path,
                        struct err *e)
{
    char member[96];
    uint32_t seen = 0;
    if (v->type != JSON_OBJECT)
        return err_set(e, ERR_REJECTED, "%s is not an object", path);
    for (const struct json *m = v->child; m; m = m->next) {
        uint32_t bit = 0;
        const struct rule *rule = find(rules, m->key, &bit);
        if (!rule)
            continue;
        seen |= bit;
        (void)snprintf(member, sizeof member, "%s.%s", path, rule->name);
        int rc = check_flat(m, rule, member, NULL, e);
        if (rc < 0)
            return rc;
    }
    for (const struct rule *rule = rules; rule->name; rule++) {
        if (rule->required && !(seen & 1u << (rule - rules)))
            return err_set(e, ERR_REJECTED, "no member \"%s.%s\"", path, rule->name);
    }
    return 0;
}

static int check_list(const struct json *v, const struct rule *rule, const char *path,
                      struct err *e)
{
    char entry[80];
    size_t i = 0;
    if (v->type != JSON_ARRAY)
        return err_set(e, ERR_REJECTED, "%s is not an array", path);
    for (const struct json *m = v->child; m; m = m->next) {
        (void)snprintf(entry, sizeof entry, "%s[%zu]", path, i++);
        int rc = check_inside(m, rule->inside, entry, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_member(const struct json *v, const struct rule *rule, struct record *r,
                        struct err *e)
{
    char path[48];
    /* Each record has a few of these: what to call them is made up for a complaint only. */
    bool flat = rule->shape != OBJECT && rule->shape != LIST;
    if (flat && check_flat(v, rule, "", r, NULL) == 0)
        return 0;
    (void)snprintf(path, sizeof path, "data.%s", rule->name);
    if (rule->shape == OBJECT)
        return check_inside(v, rule->inside, path, e);
    if (rule->shape == LIST)
        return check_list(v, rule, path, e);
    return check_flat(v, rule, path, r, e);
}

/* "part i of n": both or none, and what is no first part names the first. */
static int check_parts(const struct json *data, struct err *e)
{
    int64_t part = 0;
    int64_t parts = 0;
    bool has_part = json_i64(data, "part", &part);
    bool has_parts = json_i64(data, "parts", &parts);
    if (has_part != has_parts)
        return err_set(e, ERR_REJECTED, "data.part and data.parts go together");
    if (part > parts)
        return err_set(e, ERR_REJECTED, "data.part is more than data.parts");
    if (part > 1 && !json_get(data, "list"))
        return err_set(e, ERR_REJECTED, "no member \"data.list\", the id of the first part");
    return 0;
}

static int check_required(const struct record *r, const struct rule *rules, uint32_t seen,
                          struct err *e)
{
    if (kinds[r->kind].actor && !r->participant.p)
        return err_set(e, ERR_REJECTED, "no member \"data.participant\"");
    for (const struct rule *rule = rules; rule->name; rule++) {
        if (rule->required && !(seen & 1u << (rule - rules)))
            return err_set(e, ERR_REJECTED, "no member \"data.%s\"", rule->name);
    }
    return 0;
}

static int known(const struct json *data, struct record *r, const char **section, struct err *e)
{
    const struct rule *rules = kinds[r->kind].rules;
    uint32_t seen = 0;
    *section = "3";
    if (!data || data->type != JSON_OBJECT)
        return err_set(e, ERR_REJECTED, "data is not an object");
    for (const struct json *m = data->child; m; m = m->next) {
        uint32_t bit = 0;
        const struct rule *rule = find(rules, m->key, &bit);
        *section = rule ? kinds[r->kind].section : "3.7";
        seen |= bit;
        if (!rule)
            rule = find(common, m->key, &bit);
        int rc = rule ? check_member(m, rule, r, e) : 0;
        if (rc < 0)
            return rc;
    }
    *section = kinds[r->kind].section;
    int rc = check_required(r, rules, seen, e);
    *section = rc < 0 ? *section : "3.7";
    return rc < 0 ? rc : check_parts(data, e);
}

/* Who acted is worth an index in any kind; `room` may mean anything there. */
static void other(const struct json *data, struct record *r)
{
    if (!data || data->type != JSON_OBJECT)
        return;
    for (const struct json *m = data->child; m; m = m->next) {
        uint32_t bit = 0;
        const struct rule *rule = find(common, m->key, &bit);
        if (rule && rule->field && rule->field != offsetof(struct record, room))
            (void)check_flat(m, rule, rule->name, r, NULL);
    }
}

int record_data(const struct json *data, struct record *r, const char **section, struct err *e)
{
    r->data = data;
    if (r->kind != RECORD_OTHER)
        return known(data, r, section, e);
    other(data, r);
    return 0;
}
