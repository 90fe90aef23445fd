/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration: typed option tables that print themselves, and the INI file (inih) that fills
 * them. An unknown section or key is an error with file, line and the nearest known name. The same
 * typed options describe an adapter module's table.
 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"

enum conf_type {
    CONF_TEXT,
    CONF_SECRET, /* value is `file:PATH` or `env:NAME`, never the secret itself */
    CONF_PATH,   /* relative to the configuration file's folder */
    CONF_BOOL,   /* yes/no, true/false, on/off */
    CONF_INT,
    CONF_SIZE,     /* bytes: text_size */
    CONF_DURATION, /* milliseconds: text_duration_ms */
    CONF_CHOICE,
};

struct conf_option {
    const char *name; /* NULL ends a table */
    enum conf_type type;
    const char *fallback; /* default as text; NULL = none */
    bool required;
    int64_t min, max;    /* of INT, SIZE, DURATION; max 0 = no limit */
    const char *choices; /* "a|b|c" */
    const char *help;    /* one sentence */
};

struct conf_section {
    const char *name;    /* NULL ends the list; "adapter *" = any section "adapter NAME" */
    const char *summary; /* one sentence */
    const struct conf_option *options; /* NULL with "adapter *": keys are kept for conf_resolve */
};

struct conf; /* a file read against a list of sections */

/* path NULL = no file, defaults only. Memory of `sections` must outlive the result. */
int conf_load(struct conf **out, const char *path, const struct conf_section *sections,
              struct err *e);
void conf_free(struct conf *c);

/* Values of a section with a table; the option must be in it (assert). */
struct slice conf_text(const struct conf *c, const char *section, const char *option);
int64_t conf_int(const struct conf *c, const char *section, const char *option);
bool conf_bool(const struct conf *c, const char *section, const char *option);
/* Path made absolute; absent slice when not set. */
struct slice conf_path(const struct conf *c, const char *section, const char *option);
/* The secret's content (trailing newline cut) into out. ERR_CONFIG names the option, never the
 * value. */
int conf_secret(const struct conf *c, const char *section, const char *option, struct buf *out,
                struct err *e);

/* Names of the sections "adapter NAME" in file order: calls visit(NAME) for each. */
void conf_each_named(const struct conf *c, const char *prefix,
                     void (*visit)(void *arg, struct slice name), void *arg);
/* What the file says for a key, unchecked; absent when it says nothing. Which module an adapter
 * section names must be known before its table is. */
struct slice conf_written(const struct conf *c, const char *section, const char *key);
/* Resolves section "adapter NAME" against two tables at once (the host's common options, then the
 * module's own; either may be NULL). Unknown keys are errors as in conf_load. */
struct conf_value {
    struct slice text; /* as written, or the default; PATH made absolute; SECRET: its content */
    int64_t number;    /* INT, SIZE, DURATION; BOOL 0/1; CHOICE: index */
    bool set;          /* false: neither written nor default */
};
/* values_a and values_b have one entry for each option of their table. Texts live as long as c. */
int conf_resolve(struct conf *c, const char *section, const struct conf_option *a,
                 struct conf_value *values_a, const struct conf_option *b,
                 struct conf_value *values_b, struct err *e);

/* `holdfast config describe`: every section and option with type, default, range, help. */
void conf_describe(const struct conf_section *sections, struct buf *out);

static inline void own_conf(struct conf **c)
{
    conf_free(*c);
}

#endif
