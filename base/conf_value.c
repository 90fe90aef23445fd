/* SPDX-License-Identifier: Apache-2.0 */
/* Values of options: texts into numbers, ranges, and how both are said to a person. */
#include "base/conf_value.h"

#include "base/own.h"

#include <stdio.h>

enum { NUMBER_SIZE = 32 };

const struct conf_option *conf_value_option(const struct conf_option *table, struct slice name)
{
    for (const struct conf_option *o = table; o && o->name; o++)
        if (slice_is(name, o->name))
            return o;
    return NULL;
}

static bool read_bool(struct slice text, int64_t *out)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (slice_eq_nocase(text, slice_of(words[i]))) {
            *out = (int64_t)(i % 2);
            return true;
        }
    return false;
}

static bool read_choice(const char *choices, struct slice text, int64_t *out)
{
    struct slice rest = slice_of(choices);
    for (int64_t i = 0; rest.p; i++)
        if (slice_eq(slice_cut(&rest, '|'), text)) {
            *out = i;
            return true;
        }
    return false;
}

static bool read_number(const struct conf_option *o, struct slice text, int64_t *out)
{
    switch (o->type) {
    case CONF_BOOL:
        return read_bool(text, out);
    case CONF_INT:
        return text_i64(text, out);
    case CONF_SIZE:
        return text_size(text, out);
    case CONF_DURATION:
        return text_duration_ms(text, out);
    case CONF_CHOICE:
        return read_choice(o->choices, text, out);
    default:
        *out = 0;
        return true;
    }
}

/* In the largest unit that divides it. */
static void say_number(enum conf_type type, int64_t v, char out[NUMBER_SIZE])
{
    static const struct unit {
        const char *name;
        int64_t of;
    } sizes[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}},
      durations[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}},
      plain[] = {{"", 1}};
    const struct unit *u = plain;
    if (type == CONF_SIZE)
        u = sizes;
    else if (type == CONF_DURATION)
        u = durations;
    while (u->of != 1 && (v == 0 || v % u->of))
        u++;
    (void)snprintf(out, NUMBER_SIZE, "%lld%s", (long long)(v / u->of), u->name);
}

static const char *noun(enum conf_type type)
{
    switch (type) {
    case CONF_TEXT:
        return "text";
    case CONF_SECRET:
        return "secret, as file:PATH or env:NAME";
    case CONF_PATH:
        return "path";
    case CONF_BOOL:
        return "yes or no";
    case CONF_INT:
        return "number";
    case CONF_SIZE:
        return "size";
    case CONF_DURATION:
        return "duration";
    case CONF_CHOICE:
        return "one of";
    }
    return "value";
}

void conf_value_kind(const struct conf_option *o, struct buf *out)
{
    buf_text(out, noun(o->type));
    if (o->type == CONF_CHOICE) {
        const char *before = " ";
        for (struct slice rest = slice_of(o->choices); rest.p; before = ", ") {
            buf_text(out, before);
            buf_slice(out, slice_cut(&rest, '|'));
        }
    }
    if (o->type != CONF_INT && o->type != CONF_SIZE && o->type != CONF_DURATION)
        return;
    char low[NUMBER_SIZE];
    char high[NUMBER_SIZE];
    say_number(o->type, o->min, low);
    say_number(o->type, o->max, high);
    if (o->max)
        buf_format(out, ", %s to %s", low, high);
    else if (o->min)
        buf_format(out, ", at least %s", low);
}

static int not_allowed(const struct conf_option *o, struct slice text, struct err *e)
{
    OWN(own_buf) struct buf kind;
    buf_init(&kind, 300);
    conf_value_kind(o, &kind);
    bool shown = o->type != CONF_SECRET;
    return err_set(e, ERR_CONFIG, "%s%.*s%s not allowed here: %s", shown ? "'" : "",
                   shown ? (text.n < 60 ? (int)text.n : 60) : 0, shown && text.p ? text.p : "",
                   shown ? "' is" : "is", buf_view(&kind).p);
}

int conf_value_read(const struct conf_option *o, struct slice text, int64_t *number, struct err *e)
{
    int64_t v = 0;
    bool ok = read_number(o, text, &v);
    if (o->type == CONF_SECRET)
        ok = (slice_starts(text, "file:") && text.n > 5) ||
             (slice_starts(text, "env:") && text.n > 4);
    if (o->type == CONF_PATH)
        ok = text.n > 0;
    if (o->type == CONF_INT || o->type == CONF_SIZE || o->type == CONF_DURATION)
        ok = ok && v >= o->min && (!o->max || v <= o->max);
    if (!ok)
        return not_allowed(o, text, e);
    *number = v;
    return 0;
}
