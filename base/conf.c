/* SPDX-License-Identifier: Apache-2.0 */
/* Values of options out of a file that was read, or of its absence; paths and secrets. */
#include "base/conf.h"

#include "base/conf_file.h"
#include "base/conf_value.h"
#include "base/file.h"
#include "base/own.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

enum { FILE_MAX_BYTES = 1024 * 1024, SECRET_MAX = 64 * 1024 };

static void secret_done(struct buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    buf_done(b);
}

void conf_free(struct conf *c)
{
    if (!c)
        return;
    while (c->secrets) {
        struct secret *next = c->secrets->next;
        secret_done(&c->secrets->text);
        free(c->secrets);
        c->secrets = next;
    }
    arena_done(&c->arena);
    free(c);
}

/* Appends a path of the file, which is relative to its folder, as an absolute one. */
static int absolute(const struct conf *c, struct slice path, struct buf *out, struct err *e)
{
    if (!path.n || path.p[0] != '/')
        buf_format(out, "%s/", c->folder);
    buf_slice(out, path);
    int rc = buf_ok(out, "path", e);
    return rc == ERR_REJECTED ? err_set(e, ERR_CONFIG, "the path is over %zu bytes", out->max) : rc;
}

static int read_secret(const struct conf *c, struct slice where, struct buf *out, struct err *e)
{
    struct err inner = {0};
    int rc = 0;
    if (slice_starts(where, "env:")) {
        const char *value = getenv(where.p + 4);
        if (!value)
            return err_set(e, ERR_CONFIG, "%s is not in the environment", where.p);
        buf_text(out, value);
        rc = buf_ok(out, "the secret", &inner);
    } else {
        OWN(own_buf) struct buf path;
        buf_init(&path, PATH_MAX);
        rc = absolute(c, (struct slice){where.p + 5, where.n - 5}, &path, &inner);
        if (!rc)
            rc = file_read(path.p, SECRET_MAX, out, &inner);
    }
    if (rc)
        return err_set(e, rc == ERR_RETRY ? rc : ERR_CONFIG, "%s", inner.text);
    if (out->n && out->p[out->n - 1] == '\n')
        out->n--;
    if (out->n && out->p[out->n - 1] == '\r')
        out->n--;
    if (out->p)
        out->p[out->n] = '\0';
    return 0;
}

static int keep_secret(struct conf *c, struct conf_value *v, struct err *e)
{
    struct secret *s = calloc(1, sizeof *s);
    if (!s)
        return err_memory(e, "secret");
    s->next = c->secrets;
    c->secrets = s;
    buf_init(&s->text, SECRET_MAX);
    int rc = read_secret(c, v->text, &s->text, e);
    if (!rc)
        v->text = buf_view(&s->text);
    return rc;
}

static int make_absolute(struct conf *c, struct slice *path, struct err *e)
{
    OWN(own_buf) struct buf whole;
    buf_init(&whole, PATH_MAX);
    int rc = absolute(c, *path, &whole, e);
    if (!rc && !arena_copy(&c->arena, buf_view(&whole), path))
        rc = err_memory(e, "path");
    return rc;
}

/* The value of one option: as written, else its default. */
static int fill_value(struct conf *c, const struct section *s, const struct conf_option *o,
                      struct conf_value *v, struct err *e)
{
    const struct entry *written = s->entries;
    while (written && !slice_is(written->key, o->name))
        written = written->next;
    *v = (struct conf_value){.text = written ? written->value : slice_of(o->fallback)};
    v->set = v->text.p != NULL;
    int rc = 0;
    if (!v->set && o->required && s->line)
        return err_set(e, ERR_CONFIG, "%s:%d: section [%.*s] needs the option '%s'", c->path,
                       s->line, SLICE_ARG(s->name), o->name);
    if (v->set)
        rc = conf_value_read(o, v->text, &v->number, e);
    if (!rc && v->set && o->type == CONF_PATH)
        rc = make_absolute(c, &v->text, e);
    if (rc)
        (void)err_wrap(e, "%s:%d: [%.*s] %s", c->path, written ? written->line : s->line,
                       SLICE_ARG(s->name), o->name);
    return rc;
}

static size_t table_length(const struct conf_option *table)
{
    size_t n = 0;
    while (table && table[n].name)
        n++;
    return n;
}

static int fill_section(struct conf *c, struct section *s, struct err *e)
{
    size_t n = table_length(s->known->options);
    s->values = conf_take(c, (n + 1) * sizeof *s->values);
    if (!s->values)
        return err_memory(e, c->path);
    for (size_t i = 0; i < n; i++) {
        int rc = fill_value(c, s, &s->known->options[i], &s->values[i], e);
        if (rc)
            return rc;
    }
    return 0;
}

static int fill_sections(struct conf *c, struct err *e)
{
    for (const struct conf_section *k = c->known; k->name; k++) {
        bool many = k->name[strlen(k->name) - 1] == '*';
        if (!many && !conf_find(c, slice_of(k->name)) &&
            !conf_add_section(c, slice_of(k->name), k, 0))
            return err_memory(e, c->path);
    }
    for (struct section *s = c->sections; s; s = s->next) {
        int rc = s->known->options ? fill_section(c, s, e) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

static int find_folder(struct conf *c, struct err *e)
{
    char cwd[PATH_MAX];
    OWN(own_buf) struct buf b;
    buf_init(&b, 2 * PATH_MAX);
    const char *slash = strrchr(c->path, '/');
    if (c->path[0] != '/') {
        if (!getcwd(cwd, sizeof cwd))
            return err_errno(e, ERR_CONFIG, "ask for the current folder");
        buf_text(&b, cwd);
        if (slash)
            buf_char(&b, '/');
    }
    if (slash)
        buf_add(&b, c->path, (size_t)(slash - c->path));
    struct slice kept = {NULL, 0};
    int rc = buf_ok(&b, "path of the configuration", e);
    if (!rc && !arena_copy(&c->arena, buf_view(&b), &kept))
        rc = err_memory(e, "configuration");
    if (!rc)
        c->folder = kept.p;
    return rc;
}

static int load_file(struct conf *c, const char *path, struct err *e)
{
    OWN(own_buf) struct buf text;
    buf_init(&text, FILE_MAX_BYTES);
    int rc = file_read(path, FILE_MAX_BYTES, &text, e);
    if (rc == ERR_NOT_FOUND || rc == ERR_REJECTED) {
        if (e)
            e->class = ERR_CONFIG;
        return ERR_CONFIG;
    }
    return rc ? rc : conf_read_text(c, buf_view(&text), e);
}

int conf_load(struct conf **out, const char *path, const struct conf_section *sections,
              struct err *e)
{
    OWN(own_conf) struct conf *c = calloc(1, sizeof *c);
    struct slice kept = {NULL, 0};
    if (!c)
        return err_memory(e, "configuration");
    arena_init(&c->arena, 0);
    if (!arena_copy(&c->arena, slice_of(path ? path : "defaults"), &kept))
        return err_memory(e, "configuration");
    c->path = kept.p;
    c->known = sections;
    int rc = find_folder(c, e);
    if (!rc && path)
        rc = load_file(c, path, e);
    if (!rc)
        rc = fill_sections(c, e);
    if (rc)
        return rc;
    *out = c;
    c = NULL;
    return 0;
}

static const struct conf_value *value_of(const struct conf *c, const char *section,
                                         const char *option)
{
    const struct section *s = conf_find(c, slice_of(section));
    const struct conf_option *o = s ? conf_value_option(s->known->options, slice_of(option)) : NULL;
    assert(o); /* the caller names its own table */
    return &s->values[o - s->known->options];
}

struct slice conf_text(const struct conf *c, const char *section, const char *option)
{
    return value_of(c, section, option)->text;
}

int64_t conf_int(const struct conf *c, const char *section, const char *option)
{
    return value_of(c, section, option)->number;
}

bool conf_bool(const struct conf *c, const char *section, const char *option)
{
    return value_of(c, section, option)->number != 0;
}

struct slice conf_path(const struct conf *c, const char *section, const char *option)
{
    return value_of(c, section, option)->text;
}

int conf_secret(const struct conf *c, const char *section, const char *option, struct buf *out,
                struct err *e)
{
    const struct conf_value *v = value_of(c, section, option);
    if (!v->set)
        return err_set(e, ERR_CONFIG, "[%s] %s is not set", section, option);
    int rc = read_secret(c, v->text, out, e);
    if (rc)
        (void)err_wrap(e, "[%s] %s", section, option);
    return rc;
}

void conf_each_named(const struct conf *c, const char *prefix,
                     void (*visit)(void *arg, struct slice name), void *arg)
{
    size_t n = strlen(prefix);
    for (const struct section *s = c->sections; s; s = s->next)
        if (s->line && slice_starts(s->name, prefix) && s->name.n > n && s->name.p[n] == ' ')
            visit(arg, (struct slice){s->name.p + n + 1, s->name.n - n - 1});
}

struct slice conf_written(const struct conf *c, const char *section, const char *key)
{
    const struct section *s = conf_find(c, slice_of(section));
    for (const struct entry *n = s ? s->entries : NULL; n; n = n->next) {
        if (slice_is(n->key, key))
            return n->value;
    }
    return (struct slice){NULL, 0};
}

static int fill_table(struct conf *c, const struct section *s, const struct conf_option *table,
                      struct conf_value *values, struct err *e)
{
    for (size_t i = 0; table && table[i].name; i++) {
        int rc = fill_value(c, s, &table[i], &values[i], e);
        if (!rc && values[i].set && table[i].type == CONF_SECRET) {
            rc = keep_secret(c, &values[i], e);
            if (rc)
                (void)err_wrap(e, "[%.*s] %s", SLICE_ARG(s->name), table[i].name);
        }
        if (rc)
            return rc;
    }
    return 0;
}

int conf_resolve(struct conf *c, const char *section, const struct conf_option *a,
                 struct conf_value *values_a, const struct conf_option *b,
                 struct conf_value *values_b, struct err *e)
{
    const struct section *s = conf_find(c, slice_of(section));
    if (!s || !s->line)
        return err_set(e, ERR_NOT_FOUND, "%s: no section [%s]", c->path, section);
    for (const struct entry *n = s->entries; n; n = n->next) {
        if (conf_value_option(a, n->key) || conf_value_option(b, n->key))
            continue;
        char text[300];
        conf_say_unknown(a, b, n->key, s->name, text);
        return err_set(e, ERR_CONFIG, "%s:%d: %s", c->path, n->line, text);
    }
    size_t n_a = table_length(a);
    size_t n_b = table_length(b);
    OWN(own_mem) struct conf_value *v = calloc(n_a + n_b + 1, sizeof *v);
    if (!v)
        return err_memory(e, c->path);
    int rc = fill_table(c, s, a, v, e);
    if (!rc)
        rc = fill_table(c, s, b, v + n_a, e);
    if (rc)
        return rc;
    if (n_a)
        memcpy(values_a, v, n_a * sizeof *v);
    if (n_b)
        memcpy(values_b, v + n_a, n_b * sizeof *v);
    return 0;
}
