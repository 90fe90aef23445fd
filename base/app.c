/* SPDX-License-Identifier: Apache-2.0 */
/* Command tables: finding, helping, option parsing. What a command does is elsewhere. */
#include "base/app.h"

#include "base/clock.h"

#include <string.h>

/* True when the n words of argv spell the command's name; *used = how many that were. */
static bool spells(const struct app_command *c, int argc, char **argv, int *used)
{
    struct slice rest = slice_of(c->name);
    int n = 0;
    while (rest.n) {
        if (n >= argc || !slice_is(slice_cut(&rest, ' '), argv[n]))
            return false;
        n++;
    }
    *used = n;
    return n > 0;
}

const struct app_command *app_find(const struct app_command *table, int argc, char **argv,
                                   int *used)
{
    const struct app_command *best = NULL;
    int longest = 0;
    for (const struct app_command *c = table; c->name; c++) {
        int n = 0;
        if (spells(c, argc, argv, &n) && n > longest) {
            longest = n;
            best = c;
        }
    }
    if (best)
        *used = longest;
    return best;
}

/* The first visible command of its group. */
static bool opens_group(const struct app_command *table, const struct app_command *c)
{
    for (const struct app_command *before = table; before < c; before++)
        if (!(before->flags & APP_HIDDEN) && strcmp(before->group, c->group) == 0)
            return false;
    return true;
}

void app_help(const struct app_command *table, const char *program, FILE *out)
{
    size_t width = 0;
    for (const struct app_command *c = table; c->name; c++)
        if (!(c->flags & APP_HIDDEN) && strlen(c->name) > width)
            width = strlen(c->name);
    (void)fprintf(out, "usage: %s COMMAND [ARGUMENT...]\n", program);
    for (const struct app_command *first = table; first->name; first++) {
        if (first->flags & APP_HIDDEN || !opens_group(table, first))
            continue;
        (void)fprintf(out, "\n%s\n", first->group);
        for (const struct app_command *c = first; c->name; c++)
            if (!(c->flags & APP_HIDDEN) && strcmp(c->group, first->group) == 0)
                (void)fprintf(out, "  %-*s  %s\n", (int)width, c->name, c->summary);
    }
    (void)fprintf(out, "\n'%s help COMMAND' says more about one of them.\n", program);
}

/* roff reads a line that begins with a point or an apostrophe as a request, and a plain '-' as a
 * hyphen. */
static void put_roff(const char *text, FILE *out)
{
    if (*text == '.' || *text == '\'')
        (void)fputs("\\&", out);
    for (; *text; text++) {
        if (*text == '-')
            (void)fputs("\\-", out);
        else if (*text == '\\')
            (void)fputs("\\e", out);
        else
            (void)fputc(*text, out);
    }
}

static void put_entry(const struct app_command *c, FILE *out)
{
    (void)fputs(".TP\n\\fB", out);
    put_roff(c->name, out);
    (void)fputs("\\fR ", out);
    put_roff(c->usage, out);
    (void)fputc('\n', out);
    put_roff(c->summary, out);
    (void)fputs(".\n", out);
}

void app_manual(const struct app_command *table, FILE *out)
{
    for (const struct app_command *first = table; first->name; first++) {
        if ((first->flags & APP_HIDDEN) || !opens_group(table, first))
            continue;
        (void)fprintf(out, ".SS \"%s\"\n", first->group);
        for (const struct app_command *c = first; c->name; c++)
            if (!(c->flags & APP_HIDDEN) && strcmp(c->group, first->group) == 0)
                put_entry(c, out);
    }
}

void app_help_command(const struct app_command *c, const char *program, FILE *out)
{
    bool operands = c->usage && *c->usage;
    (void)fprintf(out, "usage: %s %s%s%s\n\n%s\n", program, c->name, operands ? " " : "",
                  operands ? c->usage : "", c->summary);
    if (c->help)
        (void)fprintf(out, "\n%s\n", c->help);
}

int app_failure(const struct app_command *c, int code)
{
    return c->flags & APP_VERDICT ? APP_UNKNOWN : code;
}

/* The commands that begin with a word, when it is whole. */
static bool list_begun(const struct app_command *table, const char *word, FILE *err)
{
    int n = 0;
    for (const struct app_command *c = table; c->name; c++) {
        struct slice rest = slice_of(c->name);
        struct slice first = slice_cut(&rest, ' ');
        if (!(c->flags & APP_HIDDEN) && rest.n && slice_is(first, word))
            (void)fprintf(err, n++ ? ", '%s'" : "which command: '%s'", c->name);
    }
    if (n)
        (void)fputs("?\n", err);
    return n > 0;
}

void app_unknown(const struct app_command *table, const char *word, FILE *err)
{
    if (list_begun(table, word, err))
        return;
    size_t best = SIZE_MAX;
    const char *near = NULL;
    for (const struct app_command *c = table; c->name; c++) {
        struct slice rest = slice_of(c->name);
        struct slice first = slice_cut(&rest, ' ');
        bool whole = text_nearer(slice_of(word), slice_of(c->name), &best);
        if (!(c->flags & APP_HIDDEN) && (whole || text_nearer(slice_of(word), first, &best)))
            near = c->name;
    }
    (void)fprintf(err, "no command '%s'.", word);
    if (near)
        (void)fprintf(err, " Did you mean '%s'?", near);
    (void)fputc('\n', err);
}

static int unknown_option(const struct app_option *options, struct slice name, struct err *e)
{
    size_t best = SIZE_MAX;
    const char *near = NULL;
    for (const struct app_option *o = options; o->name; o++)
        if (text_nearer(name, slice_of(o->name), &best))
            near = o->name;
    int shown = name.n < 80 ? (int)name.n : 80;
    if (near)
        return err_set(e, ERR_CONFIG, "no option '--%.*s'. Did you mean '--%s'?", shown, name.p,
                       near);
    return err_set(e, ERR_CONFIG, "no option '--%.*s'", shown, name.p);
}

/* One option; *next is the word after it and moves on when it is taken as the value. */
static int take_option(const struct app_option *options, char *word, int argc, char **argv,
                       int *next, struct err *e)
{
    char *equals = strchr(word, '=');
    struct slice name = {word, equals ? (size_t)(equals - word) : strlen(word)};
    const struct app_option *o = options;
    while (o->name && !slice_is(name, o->name))
        o++;
    if (!o->name)
        return unknown_option(options, name, e);
    if (!o->value) {
        if (equals)
            return err_set(e, ERR_CONFIG, "option '--%s' takes no value", o->name);
        *o->flag = true;
        return 0;
    }
    if (!equals && *next >= argc)
        return err_set(e, ERR_CONFIG, "option '--%s' needs a value", o->name);
    *o->value = equals ? equals + 1 : argv[(*next)++];
    return 0;
}

int app_options(const struct app_option *options, int argc, char **argv, int *operands,
                struct err *e)
{
    int kept = 0;
    int next = 0;
    bool open = true; /* no "--" yet */
    while (next < argc) {
        char *word = argv[next++];
        if (!open || word[0] != '-' || !word[1]) {
            argv[kept++] = word;
        } else if (strcmp(word, "--") == 0) {
            open = false;
        } else if (word[1] != '-') {
            return err_set(e, ERR_CONFIG, "no option '%.80s'. Options begin with two dashes", word);
        } else {
            int rc = take_option(options, word + 2, argc, argv, &next, e);
            if (rc)
                return rc;
        }
    }
    *operands = kept;
    return 0;
}

bool app_take_flag(const char *flag, int *argc, char **argv)
{
    int kept = 0;
    bool found = false;
    bool open = true;
    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], "--") == 0)
            open = false;
        if (open && strcmp(argv[i], flag) == 0)
            found = true;
        else
            argv[kept++] = argv[i];
    }
    *argc = kept;
    return found;
}

int app_fail(struct app_io *io, const struct err *e)
{
    (void)fprintf(io->err, "holdfast: %s\n", e->text);
    return e->class == ERR_CONFIG ? APP_USAGE : APP_FAILED;
}

void app_progress_start(struct app_progress *p, struct app_io *io, const char *what)
{
    int64_t now = clock_mono_ms();
    *p = (struct app_progress){.io = io, .what = what, .started_ms = now, .last_ms = now};
}

static long long per_second(const struct app_progress *p, int64_t done, int64_t now)
{
    int64_t ms = now - p->started_ms;
    return ms > 0 ? (long long)((double)done * 1000 / (double)ms) : 0;
}

void app_progress_step(struct app_progress *p, int64_t done, int64_t total)
{
    int64_t now = clock_mono_ms();
    if (!p->io->tty || now - p->last_ms < 100)
        return;
    p->last_ms = now;
    (void)fprintf(p->io->err, "\r%s: %lld", p->what, (long long)done);
    if (total > 0)
        (void)fprintf(p->io->err, " of %lld (%d %%)", (long long)total,
                      (int)((double)done * 100 / (double)total));
    (void)fprintf(p->io->err, ", %lld a second\033[K", per_second(p, done, now));
    (void)fflush(p->io->err);
}

void app_progress_end(struct app_progress *p, int64_t done)
{
    if (!p->io->tty)
        return;
    int64_t now = clock_mono_ms();
    char age[CLOCK_TEXT_SIZE];
    clock_age(now - p->started_ms, age);
    (void)fprintf(p->io->err, "\r%s: %lld in %s, %lld a second\033[K\n", p->what, (long long)done,
                  age, per_second(p, done, now));
    (void)fflush(p->io->err);
}
