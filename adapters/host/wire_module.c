/* SPDX-License-Identifier: Apache-2.0 */
/* How a module describes itself across the process border: names, read-back, options. */
#include "adapters/host/wire.h"

#include <string.h>

_Static_assert(MGC_OPTION_TEXT == CONF_TEXT + 1 && MGC_OPTION_SECRET == CONF_SECRET + 1 &&
                   MGC_OPTION_PATH == CONF_PATH + 1 && MGC_OPTION_BOOL == CONF_BOOL + 1 &&
                   MGC_OPTION_INT == CONF_INT + 1 && MGC_OPTION_SIZE == CONF_SIZE + 1 &&
                   MGC_OPTION_DURATION == CONF_DURATION + 1 && MGC_OPTION_CHOICE == CONF_CHOICE + 1,
               "option types of the contract and of conf are in the same order");

static void put(struct buf *out, const char *key, const char *text)
{
    if (!text)
        return;
    json_key(out, key);
    (void)json_write_lossy(out, slice_of(text));
}

static void write_option(struct buf *out, const struct mgc_option *o)
{
    json_comma(out);
    buf_char(out, '{');
    put(out, "name", o->name);
    put(out, "fallback", o->fallback);
    put(out, "choices", o->choices);
    put(out, "help", o->help);
    json_put_i64(out, "min", o->min);
    json_put_i64(out, "max", o->max);
    json_put_i64(out, "type", o->type);
    json_put_bool(out, "required", o->required != 0);
    buf_char(out, '}');
}

void wire_description_write(struct buf *out, const struct mgc_adapter *a)
{
    buf_char(out, '{');
    json_put_i64(out, "kind", WIRE_DESCRIPTION);
    json_put_i64(out, "rc", 0);
    json_key(out, "description");
    buf_char(out, '{');
    put(out, "name", a->name);
    put(out, "version", a->version);
    put(out, "summary", a->summary);
    json_put_i64(out, "readback", a->readback);
    json_put_bool(out, "verifies", a->verify != NULL);
    json_key(out, "options");
    buf_char(out, '[');
    for (const struct mgc_option *o = a->options; o && o->name; o++)
        write_option(out, o);
    buf_text(out, "]}}");
}

/* The member as text that ends with NUL; NULL when absent. */
static bool text_of(const struct json *o, const char *key, struct arena *a, const char **out)
{
    struct slice s = json_string(o, key);
    struct slice copy;
    *out = NULL;
    if (!s.p)
        return true;
    if (memchr(s.p, 0, s.n) || !arena_copy(a, s, &copy))
        return false;
    *out = copy.p;
    return true;
}

static int read_option(const struct json *o, struct arena *a, struct conf_option *out,
                       struct err *e)
{
    const struct json *required = json_get(o, "required");
    int64_t type = 0;
    if (!json_i64(o, "type", &type) || type < MGC_OPTION_TEXT || type > MGC_OPTION_CHOICE ||
        !json_i64(o, "min", &out->min) || !json_i64(o, "max", &out->max) || !required ||
        !text_of(o, "name", a, &out->name) || !text_of(o, "fallback", a, &out->fallback) ||
        !text_of(o, "choices", a, &out->choices) || !text_of(o, "help", a, &out->help) ||
        !out->name || !out->name[0] || (type == MGC_OPTION_CHOICE && !out->choices))
        return err_set(e, ERR_CONFIG, "the module's option %.80s is malformed",
                       out->name ? out->name : "?");
    out->type = (enum conf_type)(type - 1);
    out->required = required->boolean;
    if (!out->help)
        out->help = "";
    return 0;
}

static bool slice_text(const struct json *o, const char *key, struct arena *a, struct slice *out)
{
    struct slice s = json_string(o, key);
    return arena_copy(a, s.p ? s : SLICE(""), out);
}

int wire_module_read(const struct json *description, struct arena *a, struct wire_module *out,
                     struct err *e)
{
    struct wire_module m = {0};
    int64_t readback = 0;
    const struct json *options = json_get(description, "options");
    const struct json *verifies = json_get(description, "verifies");
    if (!options || options->type != JSON_ARRAY || options->count > WIRE_MAX_OPTIONS || !verifies ||
        !json_i64(description, "readback", &readback) || readback < MGC_READBACK_NONE ||
        readback > MGC_READBACK_FULL)
        return err_set(e, ERR_CONFIG, "the module's description is malformed");
    if (!slice_text(description, "name", a, &m.name) ||
        !slice_text(description, "version", a, &m.version) ||
        !slice_text(description, "summary", a, &m.summary))
        return err_memory(e, "reading a module's description");
    m.readback = (int32_t)readback;
    m.verifies = verifies->boolean;
    int rc = 0;
    for (const struct json *o = options->child; rc == 0 && o; o = o->next)
        rc = read_option(o, a, &m.options[m.option_count++], e);
    if (rc == 0)
        *out = m;
    return rc;
}
