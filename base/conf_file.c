/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a configuration file, through inih. What inih would take silently (cut long lines,
 * continuation lines, options twice) is refused before it sees it.
 */
#include "base/conf_file.h"

#include "base/conf_value.h"

#include <ini.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { NAME_MAX_BYTES = 48 };

/* Reading: where the reader is in the text, and the first error. */
struct reading {
    struct conf *conf;
    struct slice rest;
    struct section *current;
    int line;
    int rc;
    struct err *e;
};

void *conf_take(struct conf *c, size_t n)
{
    void *p = arena_alloc(&c->arena, n);
    if (p)
        memset(p, 0, n);
    return p;
}

struct section *conf_find(const struct conf *c, struct slice name)
{
    struct section *s = c->sections;
    while (s && !slice_eq(s->name, name))
        s = s->next;
    return s;
}

struct section *conf_add_section(struct conf *c, struct slice name,
                                 const struct conf_section *known, int line)
{
    struct section *s = conf_take(c, sizeof *s);
    if (!s || !arena_copy(&c->arena, name, &s->name))
        return NULL;
    s->known = known;
    s->line = line;
    if (c->last)
        c->last->next = s;
    else
        c->sections = s;
    c->last = s;
    return s;
}

static void nearest_in(const struct conf_option *table, struct slice key, size_t *best,
                       const char **near)
{
    for (const struct conf_option *o = table; o && o->name; o++)
        if (text_nearer(key, slice_of(o->name), best))
            *near = o->name;
}

void conf_say_unknown(const struct conf_option *a, const struct conf_option *b, struct slice key,
                      struct slice section, char out[300])
{
    size_t best = SIZE_MAX;
    const char *near = NULL;
    nearest_in(a, key, &best, &near);
    nearest_in(b, key, &best, &near);
    (void)snprintf(out, 300, "section [%.*s] has no option '%.*s'%s%s%s", SLICE_ARG(section),
                   key.n < 80 ? (int)key.n : 80, key.p, near ? ". Did you mean '" : "",
                   near ? near : "", near ? "'?" : "");
}

static int __attribute__((format(printf, 2, 3))) refuse(struct reading *r, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->rc = err_set(r->e, ERR_CONFIG, "%s:%d: %s", r->conf->path, r->line, text);
    return r->rc;
}

static int no_memory(struct reading *r)
{
    r->rc = err_memory(r->e, r->conf->path);
    return r->rc;
}

/* The part a pattern "adapter *" leaves open; absent when name does not match it. */
static struct slice open_part(const char *pattern, struct slice name)
{
    size_t n = strlen(pattern);
    if (!n || pattern[n - 1] != '*' || name.n < n || memcmp(name.p, pattern, n - 1) != 0)
        return (struct slice){NULL, 0};
    return (struct slice){name.p + n - 1, name.n - n + 1};
}

/* Instance names go into file names: letters, digits, and inside also - _ and dots. */
static bool good_name(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && (i == 0 || (c != '-' && c != '_' && c != '.')))
            return false;
    }
    return s.n > 0;
}

static int unknown_section(struct reading *r, struct slice name)
{
    size_t best = SIZE_MAX;
    const char *near = NULL;
    for (const struct conf_section *k = r->conf->known; k->name; k++)
        if (text_nearer(name, slice_of(k->name), &best))
            near = k->name;
    if (near)
        return refuse(r, "no section [%.*s]. Did you mean [%s]?", SLICE_ARG(name), near);
    return refuse(r, "no section [%.*s]", SLICE_ARG(name));
}

static void enter_section(struct reading *r, struct slice line)
{
    struct slice rest = {line.p + 1, line.n - 1};
    struct slice name = slice_trim(slice_cut(&rest, ']'));
    if (!rest.p)
        return; /* inih reports it */
    if (name.n > NAME_MAX_BYTES) {
        (void)refuse(r, "a section's name is over %d bytes", NAME_MAX_BYTES);
        return;
    }
    const struct conf_section *known = r->conf->known;
    while (known->name && !slice_is(name, known->name) && !open_part(known->name, name).p)
        known++;
    const struct section *before = conf_find(r->conf, name);
    struct slice open = known->name ? open_part(known->name, name) : (struct slice){NULL, 0};
    if (!known->name)
        (void)unknown_section(r, name);
    else if (before)
        (void)refuse(r, "section [%.*s] again; it began in line %d", SLICE_ARG(name), before->line);
    else if (open.p && !good_name(open))
        (void)refuse(r, "section [%.*s]: a name is made of letters, digits, '-', '_' and '.'",
                     SLICE_ARG(name));
    else {
        r->current = conf_add_section(r->conf, name, known, r->line);
        if (!r->current)
            (void)no_memory(r);
    }
}

/* inih's reader: gives one line as fgets would. */
static char *next_line(char *out, int size, void *stream)
{
    struct reading *r = stream;
    if (r->rc || !r->rest.n)
        return NULL;
    struct slice line = slice_cut(&r->rest, '\n');
    r->line++;
    if (line.n + 2 > (size_t)size) {
        (void)refuse(r, "the line is over %d bytes", size - 2);
        return NULL;
    }
    struct slice inner = slice_trim(line);
    bool comment = inner.n && (inner.p[0] == '#' || inner.p[0] == ';');
    if (inner.n && !comment && inner.p != line.p)
        (void)refuse(r, "the line begins with a blank. An option is one line, not indented");
    else if (inner.n && inner.p[0] == '[')
        enter_section(r, inner);
    if (r->rc)
        return NULL;
    memcpy(out, line.p, line.n);
    out[line.n] = '\n';
    out[line.n + 1] = '\0';
    return out;
}

static int on_option(void *user, const char *section, const char *name, const char *value)
{
    struct reading *r = user;
    (void)section; /* inih cuts long ones: ours is r->current */
    struct slice key = slice_of(name);
    struct section *s = r->current;
    if (r->rc)
        return 1;
    if (!s) {
        (void)refuse(r, "option '%.80s' before the first [section]", name);
        return 1;
    }
    for (const struct entry *other = s->entries; other; other = other->next)
        if (slice_eq(other->key, key)) {
            (void)refuse(r, "option '%.80s' again; it stands in line %d", name, other->line);
            return 1;
        }
    if (s->known->options && !conf_value_option(s->known->options, key)) {
        char text[300];
        conf_say_unknown(s->known->options, NULL, key, s->name, text);
        (void)refuse(r, "%s", text);
        return 1;
    }
    struct entry *n = conf_take(r->conf, sizeof *n);
    if (!n || !arena_copy(&r->conf->arena, key, &n->key) ||
        !arena_copy(&r->conf->arena, slice_of(value), &n->value)) {
        (void)no_memory(r);
        return 1;
    }
    n->line = r->line;
    if (s->last)
        s->last->next = n;
    else
        s->entries = n;
    s->last = n;
    return 1;
}

int conf_read_text(struct conf *c, struct slice text, struct err *e)
{
    struct reading r = {.conf = c, .rest = text, .e = e};
    if (!utf8_valid(text) || (text.n && memchr(text.p, 0, text.n)))
        return err_set(e, ERR_CONFIG, "%s: not a text in UTF-8", c->path);
    if (slice_starts(text, "\xEF\xBB\xBF"))
        r.rest = (struct slice){text.p + 3, text.n - 3};
    int bad_line = ini_parse_stream(next_line, &r, on_option, &r);
    if (bad_line > 0 && (!r.rc || bad_line < r.line)) {
        r.line = bad_line;
        return refuse(&r, "neither [section], option = value, nor a comment");
    }
    if (bad_line < 0)
        return no_memory(&r);
    return r.rc;
}
