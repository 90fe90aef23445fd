/* SPDX-License-Identifier: Apache-2.0 */
/* One walk over `"name":"value","name":"value"`. */
#include "chat-server/store/plain.h"

#include <string.h>

enum { TEXT = 1, PARTICIPANT = 2 };

static const struct {
    const char *name;
    size_t n;
    unsigned bit;
} known[] = {
    {"text", 4, TEXT},  {"participant", 11, PARTICIPANT},
    {"name", 4, 4},     {"endpoint", 8, 8},
    {"session", 7, 16}, {"reason", 6, 32},
};

/* What must be there, and no other kind is known here. 0: none. */
static unsigned needed(enum record_kind kind)
{
    switch (kind) {
    case RECORD_POST:
        return TEXT | PARTICIPANT;
    case RECORD_JOIN:
    case RECORD_LEAVE:
    case RECORD_SIGN_IN:
    case RECORD_SIGN_OUT:
        return PARTICIPANT;
    default:
        return 0;
    }
}

/* The string that begins at rest, which is cut behind its end. */
static bool take_string(struct slice *rest, bool escapes, struct slice *out)
{
    if (rest->n == 0 || rest->p[0] != '"')
        return false;
    for (size_t i = 1; i < rest->n; i++) {
        unsigned char c = (unsigned char)rest->p[i];
        if (c == '"') {
            *out = (struct slice){rest->p + 1, i - 1};
            *rest = (struct slice){rest->p + i + 1, rest->n - i - 1};
            return true;
        }
        if (c < 0x20 || c == 0x7f)
            return false;
        if (c == '\\') {
            i++;
            if (!escapes || i >= rest->n || !strchr("\"\\/bfnrt", rest->p[i]) || !rest->p[i])
                return false;
        }
    }
    return false;
}

static unsigned bit_of(struct slice name)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (name.n == known[i].n && memcmp(name.p, known[i].name, name.n) == 0)
            return known[i].bit;
    }
    return 0;
}

static bool take_char(struct slice *rest, char c)
{
    if (rest->n == 0 || rest->p[0] != c)
        return false;
    *rest = (struct slice){rest->p + 1, rest->n - 1};
    return true;
}

bool plain_members(enum record_kind kind, struct slice members)
{
    struct slice rest = members;
    unsigned seen = 0;
    unsigned must = needed(kind);
    if (must == 0 || !utf8_valid(members))
        return false;
    do {
        struct slice name;
        struct slice value;
        if (!take_string(&rest, false, &name) || !take_char(&rest, ':'))
            return false;
        unsigned bit = bit_of(name);
        if (bit == 0 || (seen & bit) || !take_string(&rest, bit == TEXT, &value))
            return false;
        if (bit != TEXT && (value.n == 0 || value.n > RECORD_MAX_PARTICIPANT))
            return false;
        seen |= bit;
    } while (take_char(&rest, ','));
    return rest.n == 0 && (seen & must) == must;
}
