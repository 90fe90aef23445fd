/* SPDX-License-Identifier: Apache-2.0 */
/* `holdfast incident list|show`; retry and accept have their own files. Each line ends in what to
 * type next. */
#include "base/clock.h"
#include "base/own.h"
#include "mgccomp/incident_private.h"
#include "mgccomp/incident_text.h"

#include <inttypes.h>
#include <string.h>

enum { PAGE_BYTES = 64 * 1024 };

struct listing {
    struct app_io *io;
    const struct incident_others *others;
    bool json;
    const char *wanted; /* NULL: all of them */
    size_t n;
    size_t open;
};

static int options(struct app_io *io, int argc, char **argv, bool *all, bool *json, int *operands,
                   struct err *e)
{
    const struct app_option known[] = {{"all", NULL, all}, {"json", NULL, json}, {0}};
    *json = io->json;
    return app_options(known, argc, argv, operands, e);
}

static void put_time(struct buf *b, const char *key, int64_t us)
{
    char at[CLOCK_TEXT_SIZE];
    if (!us)
        return;
    clock_format(us, at);
    json_put_string(b, key, slice_of(at));
}

static void put_text(struct buf *b, const char *key, struct slice text)
{
    if (text.p)
        json_put_string(b, key, text);
}

static void put_state_now(struct buf *b, const struct incident *i)
{
    incident_put_state(b, i, clock_wall_us());
}

static void put_said(struct buf *b, const char *key, const struct incident *i,
                     void (*say)(struct buf *b, const struct incident *i))
{
    OWN(own_buf) struct buf text;
    buf_init(&text, PAGE_BYTES);
    say(&text, i);
    json_put_string(b, key, buf_view(&text));
    b->failed |= text.failed;
}

enum { NAME_SIZE = 48 };

static const char *name_of(const struct incident *i, char name[NAME_SIZE])
{
    if (i->elsewhere)
        return i->elsewhere;
    (void)snprintf(name, NAME_SIZE, "%" PRId64, i->id);
    return name;
}

static void as_json(struct buf *b, const struct incident *i)
{
    buf_char(b, '{');
    if (i->elsewhere)
        json_put_string(b, "id", slice_of(i->elsewhere));
    else
        json_put_i64(b, "id", i->id);
    json_put_string(b, "kind", slice_of(i->kind));
    json_put_bool(b, "open", i->closed_us == 0);
    put_text(b, "source", i->source);
    put_text(b, "subject", i->subject);
    if (i->part >= 0)
        json_put_i64(b, "partition", i->part);
    if (incident_ranged(i)) {
        json_put_i64(b, "first", i->first);
        json_put_i64(b, "last", i->last);
    }
    put_text(b, "batch", i->batch);
    put_text(b, "adapter", i->instance);
    put_time(b, "opened", i->opened_us);
    put_time(b, "closed", i->closed_us);
    put_text(b, "closed_how", i->closed_how);
    put_time(b, "proposed", i->proposed_us);
    put_text(b, "proposed_by", i->proposed_by);
    put_text(b, "proposed_why", i->proposed_why);
    put_text(b, "accepted_by", i->accepted_by);
    put_text(b, "accepted_why", i->accepted_why);
    json_put_string(b, "detail", i->detail);
    put_said(b, "state", i, put_state_now);
    if (!i->closed_us)
        put_said(b, "at_stake", i, incident_put_stake);
    put_said(b, "command", i, incident_put_command);
    buf_char(b, '}');
}

static void as_line(struct buf *b, const struct incident *i)
{
    char space[NAME_SIZE];
    const char *name = name_of(i, space);
    buf_format(b, "%5s  %-11s ", name, i->kind);
    incident_put_place(b, i);
    buf_text(b, "  since ");
    incident_put_time(b, i->opened_us);
    buf_text(b, "  ");
    put_state_now(b, i);
    buf_format(b, "  holdfast incident show %s\n", name);
}

static int print(struct app_io *io, struct buf *b, struct err *e)
{
    int rc = buf_ok(b, "incident", e);
    if (rc < 0)
        return rc;
    if (fwrite(b->p, 1, b->n, io->out) != b->n)
        return err_errno(e, ERR_RETRY, "write");
    return 0;
}

static int list_one(void *arg, const struct incident *i, struct err *e)
{
    struct listing *l = arg;
    OWN(own_buf) struct buf b;
    buf_init(&b, PAGE_BYTES);
    if (l->json) {
        buf_text(&b, l->n ? ",\n  " : "\n  ");
        as_json(&b, i);
    } else {
        as_line(&b, i);
    }
    l->n++;
    return print(l->io, &b, e);
}

static int count_one(void *arg, const struct incident *i, struct err *e)
{
    struct listing *l = arg;
    (void)e;
    l->open += i->closed_us == 0;
    return 0;
}

/* mgccomp's own, then those of others. */
static int each(struct listing *l, struct db *db, bool all, incident_visit_fn *visit, struct err *e)
{
    int rc = incident_each(db, all, visit, l, e);
    if (rc == 0 && l->others->each)
        rc = l->others->each(l->others->arg, db, all, visit, l, e);
    return rc;
}

static int verdict(struct listing *l, struct db *db, struct err *e)
{
    int rc = each(l, db, false, count_one, e);
    if (rc < 0)
        return rc;
    if (l->open == 0)
        (void)fputs("no open incidents\n", l->io->out);
    else
        (void)fprintf(l->io->out, "%zu open incident%s\n", l->open, l->open == 1 ? "" : "s");
    return 0;
}

int incident_list_command(struct app_io *io, struct staging *st,
                          const struct incident_others *others, int argc, char **argv)
{
    OWN(own_db) struct db *db = NULL;
    struct listing l = {.io = io, .others = others};
    struct err e = {0};
    bool all = false;
    int operands = 0;
    int rc = options(io, argc, argv, &all, &l.json, &operands, &e);
    if (rc == 0 && operands > 0)
        rc = err_set(&e, ERR_CONFIG, "incident list takes no words");
    if (rc == 0)
        rc = staging_reader(st, &db, &e);
    if (rc == 0 && l.json)
        (void)fputs("{\"incidents\":[", io->out);
    else if (rc == 0)
        rc = verdict(&l, db, &e);
    if (rc == 0)
        rc = each(&l, db, all, list_one, &e);
    if (rc == 0 && l.json)
        (void)fputs(l.n ? "\n]}\n" : "]}\n", io->out);
    return rc < 0 ? app_fail(io, &e) : APP_OK;
}

static void as_acceptance(struct buf *b, const struct incident *i)
{
    if (!i->proposed_us)
        return;
    buf_text(b, "\n  proposed ");
    incident_put_time(b, i->proposed_us);
    buf_format(b, " by %.*s: %.*s", SLICE_ARG(i->proposed_by), SLICE_ARG(i->proposed_why));
    if (i->accepted_by.p)
        buf_format(b, "\n  accepted by %.*s: %.*s", SLICE_ARG(i->accepted_by),
                   SLICE_ARG(i->accepted_why));
}

static void as_page(struct buf *b, const struct incident *i)
{
    char space[NAME_SIZE];
    buf_format(b, "incident %s: %s, %s\n  where    ", name_of(i, space), i->kind,
               i->closed_us ? "closed" : "open");
    incident_put_place(b, i);
    if (i->source.p)
        buf_format(b, "\n  source   %.*s", SLICE_ARG(i->source));
    buf_text(b, "\n  since    ");
    incident_put_time(b, i->opened_us);
    if (i->closed_us) {
        buf_text(b, "\n  closed   ");
        incident_put_time(b, i->closed_us);
    }
    as_acceptance(b, i);
    buf_format(b, "\n  detail   %.*s\n  meaning  %s\n  state    ", SLICE_ARG(i->detail),
               incident_meaning(i));
    put_state_now(b, i);
    if (!i->closed_us) {
        buf_text(b, "\n  at stake ");
        incident_put_stake(b, i);
    }
    buf_text(b, "\n  type     ");
    incident_put_command(b, i);
    buf_char(b, '\n');
}

static int show_one(void *arg, const struct incident *i, struct err *e)
{
    struct listing *l = arg;
    OWN(own_buf) struct buf b = {0};
    char space[NAME_SIZE];
    if (strcmp(name_of(i, space), l->wanted) != 0)
        return 0;
    buf_init(&b, PAGE_BYTES);
    if (l->json)
        as_json(&b, i);
    else
        as_page(&b, i);
    if (l->json)
        buf_char(&b, '\n');
    l->n++;
    return print(l->io, &b, e);
}

int incident_show_command(struct app_io *io, struct staging *st,
                          const struct incident_others *others, int argc, char **argv)
{
    OWN(own_db) struct db *db = NULL;
    struct listing l = {.io = io, .others = others};
    struct err e = {0};
    bool all = false;
    int operands = 0;
    int rc = options(io, argc, argv, &all, &l.json, &operands, &e);
    if (rc == 0 && operands != 1)
        rc = err_set(&e, ERR_CONFIG, "give one incident, as `holdfast incident list` shows it");
    if (rc == 0)
        rc = staging_reader(st, &db, &e);
    if (rc < 0)
        return app_fail(io, &e);
    l.wanted = argv[0];
    rc = each(&l, db, true, show_one, &e);
    if (rc == 0 && l.n == 0)
        rc = err_set(&e, ERR_NOT_FOUND,
                     "there is no incident %.40s. Type: holdfast incident list --all", argv[0]);
    return rc < 0 ? app_fail(io, &e) : APP_OK;
}
