/* SPDX-License-Identifier: Apache-2.0 */
/* The option tables as a configuration file: every option with its default, commented out. */
#include "base/conf_value.h"

static void describe_option(const struct conf_option *o, struct buf *out)
{
    buf_text(out, "\n");
    if (o->help)
        buf_format(out, "# %s\n", o->help);
    buf_text(out, "# (");
    conf_value_kind(o, out);
    buf_text(out, o->required ? "; required)\n" : ")\n");
    buf_format(out, "#%s =%s%s\n", o->name, o->fallback ? " " : "", o->fallback ? o->fallback : "");
}

void conf_describe(const struct conf_section *sections, struct buf *out)
{
    for (const struct conf_section *s = sections; s->name; s++) {
        if (s != sections)
            buf_text(out, "\n");
        if (s->summary)
            buf_format(out, "# %s\n", s->summary);
        struct slice name = slice_of(s->name);
        bool many = name.n && name.p[name.n - 1] == '*';
        if (many)
            buf_format(out, "#[%.*sNAME]\n", (int)(name.n - 1), name.p);
        else
            buf_format(out, "[%s]\n", s->name);
        for (const struct conf_option *o = s->options; o && o->name; o++)
            describe_option(o, out);
    }
}
