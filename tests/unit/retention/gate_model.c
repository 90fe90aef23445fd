/* SPDX-License-Identifier: Apache-2.0 */
#include "gate_model.h"

#include "base/file.h"
#include "base/own.h"
#include "mgccomp/incident.h"
#include "tests/expect.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- the database as a state ---- */

static const char *const tables[] = {"position", "stream",      "swept",      "record",   "kept",
                                     "presence", "deleted",     "incident",   "instance", "cursor",
                                     "batch",    "batch_range", "settlement", "archived", "gate",
                                     "tally",    "verified"};
enum { TABLES = sizeof tables / sizeof tables[0] };

static void script(struct model *m, const char *text)
{
    ok(db_begin(m->db, &m->e), &m->e);
    ok(db_script(m->db, text, &m->e), &m->e);
    ok(db_commit(m->db, &m->e), &m->e);
}

static void columns(struct model *m, const char *table, struct buf *out)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    ok(db_query(m->db, "SELECT group_concat(name) FROM pragma_table_info($1)",
                DB_ARGS(DB_T(slice_of(table))), &r, &m->e),
       &m->e);
    ok(db_rows_next(r, &m->e), &m->e);
    buf_slice(out, db_rows_slice(r, 0));
}

static void make_scripts(struct model *m)
{
    OWN(own_buf) struct buf make;
    buf_init(&make, 1 << 20);
    buf_init(&m->save, 1 << 20);
    buf_init(&m->restore, 1 << 20);
    for (int i = 0; i < TABLES; i++) {
        OWN(own_buf) struct buf list;
        buf_init(&list, 4096);
        columns(m, tables[i], &list);
        buf_format(&make,
                   "CREATE TABLE s_%s AS SELECT 0 AS snap, * FROM %s WHERE 0;"
                   "CREATE INDEX i_%s ON s_%s (snap);",
                   tables[i], tables[i], tables[i], tables[i]);
        buf_format(&m->save, "INSERT INTO s_%s SELECT %%d, * FROM %s;", tables[i], tables[i]);
        buf_format(&m->restore,
                   "DELETE FROM %s; INSERT INTO %s SELECT %.*s FROM s_%s WHERE snap = %%d;",
                   tables[i], tables[i], (int)list.n, list.p, tables[i]);
    }
    buf_char(&m->save, '\0');
    buf_char(&m->restore, '\0');
    script(m, make.p);
}

static void run_script(struct model *m, const struct buf *pattern, int state)
{
    char number[16];
    OWN(own_buf) struct buf text;
    buf_init(&text, 1 << 20);
    (void)snprintf(number, sizeof number, "%d", state);
    for (const char *p = pattern->p; *p; p++) {
        if (p[0] == '%' && p[1] == 'd') {
            buf_text(&text, number);
            p++;
        } else {
            buf_char(&text, *p);
        }
    }
    buf_char(&text, '\0');
    script(m, text.p);
}

void model_save(struct model *m, int state)
{
    run_script(m, &m->save, state);
}

void model_restore(struct model *m, int state)
{
    run_script(m, &m->restore, state);
}

/* What makes two states different: no times, ids and counts of attempts. */
static const char facts[] =
    "SELECT 'p' || pos FROM position UNION ALL SELECT 'r' || pos FROM record"
    " UNION ALL SELECT 'k' || pos FROM kept"
    " UNION ALL SELECT 'v' || instance || ',' || pos || ',' || whole FROM verified"
    " UNION ALL SELECT 'i' || id || state || readback || ',' || missed FROM instance"
    " UNION ALL SELECT 'c' || instance || ',' || pos || ',' || full_from FROM cursor"
    " UNION ALL SELECT 'b' || b.instance || b.state || g.from_pos || ',' || g.to_pos FROM"
    " batch b JOIN batch_range g ON g.batch = b.id WHERE b.state <> 'verified'"
    " UNION ALL SELECT 'o' || kind || coalesce(stream, 0) FROM incident"
    " WHERE closed_us IS NULL ORDER BY 1";

void model_dump(struct model *m)
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    ok(db_query(m->db, facts, DB_NO_ARGS, &r, &m->e), &m->e);
    while (db_rows_next(r, &m->e) == 1)
        print_message("  %.*s\n", SLICE_ARG(db_rows_slice(r, 0)));
}

void model_print(struct model *m, uint8_t out[SHA256_SIZE])
{
    OWN(own_db_rows) struct db_rows *r = NULL;
    struct sha256 *sum = sha256_new();
    assert_non_null(sum);
    ok(db_query(m->db, facts, DB_NO_ARGS, &r, &m->e), &m->e);
    int rc;
    while ((rc = db_rows_next(r, &m->e)) == 1) {
        struct slice s = db_rows_slice(r, 0);
        sha256_add(sum, s.p, s.n);
        sha256_add(sum, "\n", 1);
    }
    ok(rc, &m->e);
    sha256_end(sum, out);
    sha256_free(sum);
}

bool model_is_new(struct model *m, const uint8_t print[SHA256_SIZE])
{
    for (int i = 0; i < m->states; i++) {
        if (memcmp(m->seen[i], print, SHA256_SIZE) == 0)
            return false;
    }
    assert_true(m->states < MAX_STATES);
    memcpy(m->seen[m->states], print, SHA256_SIZE);
    return true;
}

int64_t model_number(struct model *m, const char *sql, int64_t a, int64_t b)
{
    int64_t v = -1;
    ok(db_int(m->db, sql, DB_ARGS(DB_I(a), DB_I(b)), -1, &v, &m->e), &m->e);
    return v;
}

/* ---- steps: true when the step was possible ---- */

struct find {
    const char *name;
    struct ledger_instance found;
};

static int find_one(void *arg, const struct ledger_instance *i, struct err *e)
{
    struct find *f = arg;
    (void)e;
    if (strcmp(i->name, f->name) == 0)
        f->found = *i;
    return 0;
}

static bool instance(struct model *m, const char *name, struct ledger_instance *out)
{
    struct find f = {.name = name};
    ok(ledger_instances(m->db, false, find_one, &f, &m->e), &m->e);
    *out = f.found;
    return f.found.id != 0;
}

/* Not now, or done; anything else is a fault of the program. */
static bool possible(int rc, const struct err *e)
{
    if (rc != ERR_NOT_FOUND && rc != ERR_CONFLICT)
        ok(rc, e);
    return rc == 0;
}

bool step_capture(struct model *m, const char *unused)
{
    (void)unused;
    if (model_number(m, "SELECT pos FROM position WHERE $1 = $2", 0, 0) == RECORDS)
        return false;
    script(m, "INSERT INTO record SELECT m.* FROM master m JOIN position p ON p.pos = m.pos;"
              "UPDATE stream SET captured = captured + 1 WHERE id ="
              " (SELECT m.stream FROM master m JOIN position p ON p.pos = m.pos);"
              "UPDATE position SET pos = pos + 1;"
              "UPDATE tally SET value = value + 1 WHERE name = 'captured'");
    return true;
}

bool step_add_required(struct model *m, const char *name)
{
    return possible(ledger_add(m->st, slice_of(name), SLICE("m"), true, 1, &m->e), &m->e);
}

bool step_add_optional(struct model *m, const char *name)
{
    return possible(ledger_add(m->st, slice_of(name), SLICE("m"), false, 2, &m->e), &m->e);
}

bool step_retire(struct model *m, const char *name)
{
    return possible(ledger_retire(m->st, slice_of(name), SLICE("model"), &m->e), &m->e);
}

bool step_learn(struct model *m, const char *name)
{
    struct ledger_instance i;
    if (!instance(m, name, &i) || i.readback == 2)
        return false;
    ok(ledger_instance_readback(m->st, i.id, 2, &m->e), &m->e);
    return true;
}

bool step_cut(struct model *m, const char *name)
{
    const struct ledger_due due = {.records = m->batch_records, .bytes = 1 << 20, .now = true};
    struct ledger_instance i;
    struct ledger_batch b;
    return instance(m, name, &i) && possible(ledger_cut(m->st, &i, &due, NULL, &b, &m->e), &m->e);
}

static bool open_batch(struct model *m, const char *name, const char *state,
                       struct ledger_instance *i, struct ledger_batch *b)
{
    return instance(m, name, i) && possible(ledger_open_batch(m->st, i->id, b, &m->e), &m->e) &&
           strcmp(b->state, state) == 0;
}

bool step_settle(struct model *m, const char *name)
{
    const struct slice none = {0};
    struct ledger_instance i;
    struct ledger_batch b;
    if (!open_batch(m, name, "frozen", &i, &b))
        return false;
    ok(ledger_attempt(m->st, &b, &m->e), &m->e);
    ok(ledger_settle(m->st, &b, 0, b.records - 1, "done", SLICE("[]"), none, &m->e), &m->e);
    ok(ledger_batch_state(m->st, &b, "settled", none, &m->e), &m->e);
    return true;
}

struct noted {
    int64_t pos[RECORDS];
    int n;
};

static int note_record(void *arg, const struct ledger_record *r, struct err *e)
{
    struct noted *n = arg;
    (void)e;
    assert_true(n->n < RECORDS);
    n->pos[n->n++] = r->pos;
    return 0;
}

/* All that was frozen must still be there to be read back. */
bool step_verify(struct model *m, const char *name)
{
    struct ledger_instance i;
    struct ledger_batch b;
    struct noted n = {0};
    if (!open_batch(m, name, "settled", &i, &b))
        return false;
    ok(ledger_batch_records(m->db, &b, note_record, &n, &m->e), &m->e);
    assert_int_equal(n.n, b.records);
    ok(ledger_batch_state(m->st, &b, "verified", (struct slice){0}, &m->e), &m->e);
    for (int k = 0; k < n.n; k++)
        ok(db_run(m->db, "INSERT INTO verified VALUES ($1, $2, $3)",
                  DB_ARGS(DB_I(i.id), DB_I(n.pos[k]), DB_I(i.readback == 2)), NULL, &m->e),
           &m->e);
    return true;
}

bool step_park(struct model *m, const char *name)
{
    struct ledger_instance i;
    struct ledger_batch b;
    if (!open_batch(m, name, "frozen", &i, &b))
        return false;
    ok(ledger_batch_state(m->st, &b, "parked", SLICE("model"), &m->e), &m->e);
    return true;
}

bool step_retry(struct model *m, const char *name)
{
    char word[24];
    char *argv[] = {word, NULL};
    struct ledger_instance i;
    if (!instance(m, name, &i))
        return false;
    int64_t id =
        model_number(m,
                     "SELECT COALESCE((SELECT n.id FROM batch b JOIN incident n ON n.batch ="
                     " b.id AND n.closed_us IS NULL WHERE b.instance = $1 AND b.state ="
                     " 'parked'), $2)",
                     i.id, 0);
    if (!id)
        return false;
    OWN(own_file) FILE *out = fopen("/dev/null", "w");
    struct app_io io = {.out = out, .err = out};
    (void)snprintf(word, sizeof word, "%lld", (long long)id);
    assert_int_equal(incident_retry_command(&io, m->st, 1, argv), APP_OK);
    return true;
}

/* object: "room", "partition". */
bool step_open_incident(struct model *m, const char *object)
{
    bool room = strcmp(object, "room") == 0;
    const struct incident i = {.kind = INCIDENT_GAP,
                               .object = slice_of(object),
                               .stream = room ? 1 : 0,
                               .source = room ? SLICE("s") : (struct slice){0},
                               .part = room ? -1 : 0,
                               .opened_us = 1};
    OWN(own_staging_txn) struct staging_txn t = {0};
    bool opened = false;
    ok(staging_begin(m->st, &t, &m->e), &m->e);
    ok(incident_open(&t, &i, &opened, &m->e), &m->e);
    ok(staging_commit(&t, &m->e), &m->e);
    return opened;
}

bool step_close_incident(struct model *m, const char *object)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(staging_begin(m->st, &t, &m->e), &m->e);
    ok(incident_close(&t, INCIDENT_GAP, slice_of(object), "model", &m->e), &m->e);
    ok(staging_commit(&t, &m->e), &m->e);
    return true;
}

/* ---- begin and end ---- */

static void fill_master(struct model *m)
{
    script(m, "CREATE TABLE verified (instance BIGINT, pos BIGINT, whole BIGINT);"
              "INSERT INTO position (part, pos, captured_us) VALUES (0, 0, 0);"
              "INSERT INTO stream VALUES (1, 's', 1, 'one', 1, zeroblob(32), NULL, 0, 0, 0),"
              " (2, 's', 1, 'two', 1, zeroblob(32), NULL, 0, 0, 0);"
              "CREATE TABLE master AS SELECT * FROM record WHERE 0;"
              "INSERT INTO master VALUES"
              " (1, 0, 0, 1, 1, 3, 0, 1, 1, 1, zeroblob(32), x'31', NULL),"
              " (1, 0, 1, 2, 1, 3, 0, 1, 1, 1, zeroblob(32), x'32', NULL)");
}

int model_set_up(void **state)
{
    struct model *m = calloc(1, sizeof *m);
    struct stat shm;
    int64_t generation = 0;
    assert_non_null(m);
    /* In memory where that can be had: nothing here is about power cuts. */
    (void)snprintf(m->dir, sizeof m->dir, "%s/hf-gate.XXXXXX",
                   stat("/dev/shm", &shm) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(m->dir));
    (void)snprintf(m->url, sizeof m->url, "sqlite:%s/mgccomp.db", m->dir);
    ok(staging_open(&m->st, m->url, &m->e), &m->e);
    ok(staging_queue(m->st, SLICE("embedded"), SLICE("model"), &generation, &m->e), &m->e);
    ok(db_open(&m->db, m->url, 0, &m->e), &m->e);
    m->step = calloc(1, sizeof *m->step);
    m->room = calloc(SWEEP_ROWS, sizeof *m->room);
    m->seen = calloc(MAX_STATES, sizeof *m->seen);
    assert_true(m->step && m->room && m->seen);
    fill_master(m);
    make_scripts(m);
    ok(ledger_add(m->st, SLICE("a"), SLICE("m"), true, 2, &m->e), &m->e);
    *state = m;
    return 0;
}

int model_tear_down(void **state)
{
    struct model *m = *state;
    db_close(m->db);
    staging_close(m->st);
    ok(file_remove_tree(m->dir, &m->e), &m->e);
    buf_done(&m->save);
    buf_done(&m->restore);
    free(m->step);
    free(m->room);
    free(m->seen);
    free(m);
    return 0;
}
