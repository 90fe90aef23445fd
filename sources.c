/* SPDX-License-Identifier: Apache-2.0 */
/* Which keys are believed: our own, and those that somebody wrote into the configuration. */
#include "sources.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/own.h"

#include <string.h>
#include <unistd.h>

enum { SECTION = 64 };

static const char key_name[] = "source.key";

struct loading {
    struct sources *out;
    const struct settings *s;
    struct err *e;
    int rc;
};

static struct totals_source *find(struct sources *all, struct slice name)
{
    for (size_t i = 0; i < all->n; i++) {
        if (slice_eq(all->list[i].name, name))
            return &all->list[i];
    }
    return NULL;
}

/* The section's name is written into section; returns the source's. */
static struct slice name_of(const struct settings *s, struct slice title, char section[SECTION])
{
    (void)snprintf(section, SECTION, "source %.*s", SLICE_ARG(title));
    struct slice uri = conf_text(s->conf, section, "uri");
    return uri.p ? uri : title;
}

/* What the section says of a private key in our data folder. */
static int section_key(const struct settings *s, const char *section, struct sign_key *out,
                       bool *has, struct err *e)
{
    char file[64];
    struct slice name = conf_text(s->conf, section, "key");
    *has = name.p != NULL;
    if (!name.p)
        return 0;
    if (name.n == 0 || name.p[0] == '.' || memchr(name.p, '/', name.n) ||
        !slice_copy(name, file, sizeof file) || strcmp(file, key_name) == 0)
        return err_set(e, ERR_CONFIG,
                       "[%s] key must be the name of a file in the data folder, and not %s",
                       section, key_name);
    int rc = file_make_dirs(s->data, e);
    return rc < 0 ? rc : sign_key_file(out, s->data, file, e);
}

static int take_section(struct loading *l, struct slice title)
{
    char section[SECTION];
    struct sign_key own_key = {{0}, {0}};
    bool has_key = false;
    struct slice name = name_of(l->s, title, section);
    struct totals_source *own = find(l->out, name);
    struct slice key = conf_text(l->s->conf, section, "public-key");
    int rc = section_key(l->s, section, &own_key, &has_key, l->e);
    if (rc < 0)
        return rc;
    if (has_key && (key.p || slice_is(name, l->s->pool)))
        return err_set(l->e, ERR_CONFIG, "[%s] key: %s", section,
                       key.p ? "public-key is given too; leave one out"
                             : "the chat server has its own");
    int64_t cadence = conf_int(l->s->conf, section, "cadence");
    if (slice_is(name, l->s->pool))
        l->out->cadence_ms = cadence;
    if (!own && !key.p && !has_key)
        return slice_is(name, l->s->pool)
                   ? 0
                   : err_set(l->e, ERR_CONFIG, "[%s] has neither public-key nor key", section);
    if (!own && l->out->n == SOURCES_MAX)
        return err_set(l->e, ERR_CONFIG, "more than %d sources are declared", SOURCES_MAX);
    if (!own)
        own = &l->out->list[l->out->n++];
    own->name = name;
    own->cadence_ms = has_key ? 0 : cadence;
    if (key.p && !hex_decode(key, own->public_key, sizeof own->public_key))
        return err_set(l->e, ERR_CONFIG, "[%s] public-key is not 64 hexadecimal digits", section);
    if (has_key)
        memcpy(own->public_key, own_key.public_key, sizeof own->public_key);
    return 0;
}

static void visit_section(void *arg, struct slice name)
{
    struct loading *l = arg;
    if (l->rc == 0)
        l->rc = take_section(l, name);
}

static int load_key(struct sources *out, const struct settings *s, bool make, struct err *e)
{
    char path[SETTINGS_PATH + 16];
    (void)snprintf(path, sizeof path, "%s/%s", s->data, key_name);
    if (!make && access(path, F_OK) != 0)
        return 0;
    int rc = sign_key_file(&out->key, s->data, key_name, e);
    if (rc < 0)
        return rc;
    out->has_key = true;
    struct totals_source *own = &out->list[out->n++];
    *own = (struct totals_source){.name = slice_of(s->pool), .cadence_ms = out->cadence_ms};
    memcpy(own->public_key, out->key.public_key, sizeof own->public_key);
    return 0;
}

int sources_load(struct sources *out, const struct settings *s, bool make_key, struct err *e)
{
    struct loading l = {.out = out, .s = s, .e = e};
    *out = (struct sources){.cadence_ms = 600000};
    int rc = load_key(out, s, make_key, e);
    if (rc < 0)
        return rc;
    conf_each_named(s->conf, "source", visit_section, &l);
    return l.rc;
}

struct key_search {
    const struct settings *s;
    struct slice source;
    struct sign_key *out;
    bool has;
    struct err *e;
    int rc;
};

static void visit_for_key(void *arg, struct slice title)
{
    struct key_search *k = arg;
    char section[SECTION];
    if (k->rc == 0 && !k->has && slice_eq(name_of(k->s, title, section), k->source))
        k->rc = section_key(k->s, section, k->out, &k->has, k->e);
}

int sources_signing_key(const struct settings *s, struct slice source, struct sign_key *out,
                        bool *has, struct err *e)
{
    struct key_search k = {.s = s, .source = source, .out = out, .e = e};
    conf_each_named(s->conf, "source", visit_for_key, &k);
    *has = k.has;
    return k.rc;
}

/* ---- holdfast source list ---- */

struct listing {
    const struct totals_source *source;
    struct totals_known known;
};

static int take_known(void *arg, struct slice source, const struct totals_known *k, struct err *e)
{
    struct listing *l = arg;
    (void)e;
    if (slice_eq(source, l->source->name))
        l->known = *k;
    return 0;
}

static void put_time(struct buf *b, const char *key, int64_t us)
{
    char text[CLOCK_TEXT_SIZE];
    if (us == 0)
        return;
    clock_format(us, text);
    json_put_string(b, key, slice_of(text));
}

/* What ingest signs comes with each input, when somebody gives one. */
static void print_cadence(FILE *f, int64_t ms)
{
    if (ms)
        (void)fprintf(f, "  cadence = %llds\n", (long long)(ms / 1000));
    else
        (void)fprintf(f, "  cadence: with each ingest\n");
}

static void print_text(struct app_io *io, const struct listing *l, const char *key)
{
    char complete[CLOCK_TEXT_SIZE] = "not yet";
    if (l->known.complete_us)
        clock_format(l->known.complete_us, complete);
    (void)fprintf(io->out, "%.*s\n  public-key = %s\n", SLICE_ARG(l->source->name), key);
    print_cadence(io->out, l->source->cadence_ms);
    (void)fprintf(io->out, "  complete to: %s\n", complete);
}

static void print_json(struct app_io *io, const struct listing *l, const char *key)
{
    OWN(own_buf) struct buf b;
    buf_init(&b, 8192);
    buf_char(&b, '{');
    json_put_string(&b, "source", l->source->name);
    json_put_string(&b, "public_key", slice_of(key));
    json_put_i64(&b, "cadence_ms", l->source->cadence_ms);
    put_time(&b, "complete_to", l->known.complete_us);
    put_time(&b, "totals", l->known.totals_us);
    put_time(&b, "due", l->known.due_us);
    buf_text(&b, "}\n");
    (void)fwrite(b.p, 1, b.n, io->out);
}

static int list_sources(struct app_io *io, const struct sources *all, struct db *db, bool json,
                        struct err *e)
{
    char key[2 * SIGN_KEY_SIZE + 1];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < all->n; i++) {
        struct listing l = {.source = &all->list[i]};
        rc = totals_each(db, take_known, &l, e);
        if (rc < 0)
            break;
        hex_encode(l.source->public_key, SIGN_KEY_SIZE, key);
        if (json)
            print_json(io, &l, key);
        else
            print_text(io, &l, key);
    }
    if (rc == 0 && all->n == 0 && !json)
        (void)fprintf(io->out, "no source writes control totals here\n");
    return rc;
}

int source_list_command(struct app_io *io, struct handles *h, int argc, char **argv)
{
    OWN(own_mem) struct sources *all = calloc(1, sizeof *all);
    OWN(own_db) struct db *db = NULL;
    struct staging *st = NULL;
    bool json = io->json;
    const struct app_option known[] = {{"json", NULL, &json}, {0}};
    struct err e = {0};
    int operands = 0;
    int rc = all ? app_options(known, argc, argv, &operands, &e) : err_memory(&e, "sources");
    if (rc == 0)
        rc = sources_load(all, h->settings, false, &e);
    if (rc == 0)
        rc = handles_staging(h, &st, &e);
    if (rc == 0)
        rc = staging_reader(st, &db, &e);
    if (rc == 0)
        rc = list_sources(io, all, db, json, &e);
    return rc < 0 ? app_fail(io, &e) : APP_OK;
}
