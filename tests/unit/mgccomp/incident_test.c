/* SPDX-License-Identifier: Apache-2.0 */
/* Incidents on SQLite: opened once, closed, shown, a parked batch tried again. */
#include "base/file.h"
#include "base/own.h"
#include "mgccomp/incident.h"
#include "tests/caught.h"

#include <string.h>

struct fixture {
    char dir[64], url[128];
    struct staging *st;
    struct caught said;
    struct err e;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.dir = "/tmp/hf-incident.XXXXXX"};
    assert_non_null(mkdtemp(f.dir));
    (void)snprintf(f.url, sizeof f.url, "sqlite:%s/mgccomp.db", f.dir);
    ok(staging_open(&f.st, f.url, &f.e), &f.e);
    caught_begin(&f.said);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    staging_close(f->st);
    caught_done(&f->said);
    ok(file_remove_tree(f->dir, &f->e), &f->e);
    return 0;
}

static bool open_one(struct fixture *f, const struct incident *i)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    bool opened = false;
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(incident_open(&t, i, &opened, &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
    return opened;
}

static void close_one(struct fixture *f, const char *kind, struct slice object)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(incident_close(&t, kind, object, "it was mended", &f->e), &f->e);
    ok(staging_commit(&t, &f->e), &f->e);
}

typedef int command_fn(struct app_io *io, struct staging *st, int argc, char **argv);

static int list(struct app_io *io, struct staging *st, int argc, char **argv)
{
    static const struct incident_others none = {NULL, NULL};
    return incident_list_command(io, st, &none, argc, argv);
}

static int show(struct app_io *io, struct staging *st, int argc, char **argv)
{
    static const struct incident_others none = {NULL, NULL};
    return incident_show_command(io, st, &none, argc, argv);
}

static int type(struct fixture *f, command_fn *command, const char *a, const char *b)
{
    char words[2][16];
    char *argv[] = {words[0], words[1], NULL};
    int argc = (a != NULL) + (b != NULL);
    (void)snprintf(words[0], sizeof words[0], "%s", a ? a : "");
    (void)snprintf(words[1], sizeof words[1], "%s", b ? b : "");
    argv[argc] = NULL;
    caught_anew(&f->said);
    int code = command(&f->said.io, f->st, argc, argv);
    caught_read(&f->said);
    return code;
}

static int accept(struct fixture *f, uid_t uid, const char *id, const char *why)
{
    char words[3][40] = {"", "--reason", ""};
    char *argv[] = {words[0], words[1], words[2], NULL};
    (void)snprintf(words[0], sizeof words[0], "%s", id);
    (void)snprintf(words[2], sizeof words[2], "%s", why);
    f->said.io.uid = uid;
    caught_anew(&f->said);
    int code = incident_accept_command(&f->said.io, f->st, 3, argv);
    caught_read(&f->said);
    return code;
}

static int64_t losses(struct fixture *f)
{
    OWN(own_staging_txn) struct staging_txn t = {0};
    int64_t n = -1;
    ok(staging_begin(f->st, &t, &f->e), &f->e);
    ok(staging_tally_get(t.db, SLICE("accepted_losses"), &n, &f->e), &f->e);
    return n;
}

static const struct incident gap = {.kind = INCIDENT_GAP,
                                    .object = {"1:12", 4},
                                    .stream = 1,
                                    .source = {"sip:pool@x", 10},
                                    .subject = {"ma-chan://x/room", 16},
                                    .part = -1,
                                    .first = 12,
                                    .last = 15,
                                    .detail = {"seen with record 16", 19}};
static const struct incident parked = {.kind = INCIDENT_PARKED,
                                       .object = {"b-1", 3},
                                       .part = -1,
                                       .batch = {"b-1", 3},
                                       .instance = {"tar", 3},
                                       .detail = {"550 no", 6}};
static const struct incident unreadable = {.kind = INCIDENT_UNREADABLE,
                                           .object = {"0/120", 5},
                                           .part = 0,
                                           .first = 120,
                                           .last = 120,
                                           .detail = {"no JSON", 7}};

static void one_thing_is_one_incident(void **state)
{
    struct fixture *f = *state;
    assert_true(open_one(f, &gap));
    assert_false(open_one(f, &gap));
    close_one(f, INCIDENT_GAP, gap.object);
    close_one(f, INCIDENT_GAP, gap.object); /* nothing to close is no error */
    assert_true(open_one(f, &gap));
}

static void the_list_cites_and_ends_in_a_command(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(type(f, list, NULL, NULL), APP_OK);
    assert_string_equal(f->said.out, "no open incidents\n");
    (void)open_one(f, &gap);
    (void)open_one(f, &parked);
    (void)open_one(f, &unreadable);
    assert_int_equal(type(f, list, NULL, NULL), APP_OK);
    assert_said(f->said.out, "3 open incidents\n");
    assert_said(f->said.out, "gap         ma-chan://x/room#12..15  since ");
    assert_said(f->said.out, "  holdfast incident show 1\n");
    assert_said(f->said.out, "parked      batch b-1 of adapter tar  since ");
    assert_said(f->said.out, "stands until a person settles it  holdfast incident show 2\n");
    assert_said(f->said.out, "unreadable  partition 0 position 120  since ");
}

static void closed_ones_are_shown_on_demand(void **state)
{
    struct fixture *f = *state;
    (void)open_one(f, &gap);
    close_one(f, INCIDENT_GAP, gap.object);
    assert_int_equal(type(f, list, NULL, NULL), APP_OK);
    assert_null(strstr(f->said.out, "gap"));
    assert_int_equal(type(f, list, "--all", NULL), APP_OK);
    assert_said(f->said.out, "closed: it was mended");
    assert_int_equal(type(f, show, "1", NULL), APP_OK);
    assert_said(f->said.out, "incident 1: gap, closed");
}

static void json_has_the_same_facts(void **state)
{
    struct fixture *f = *state;
    OWN(own_json_doc) struct json_doc *d = json_doc_new();
    const struct json_limits limits = {100000, 16, 1000};
    const struct json *root = NULL;
    int64_t last = 0;
    (void)open_one(f, &gap);
    (void)open_one(f, &unreadable);
    assert_int_equal(type(f, list, "--json", NULL), APP_OK);
    ok(json_parse(d, slice_of(f->said.out), &limits, &root, &f->e), &f->e);
    const struct json *list = json_get(root, "incidents");
    assert_int_equal(list->count, 2);
    assert_true(slice_is(json_string(list->child, "subject"), "ma-chan://x/room"));
    assert_true(json_i64(list->child, "last", &last));
    assert_int_equal(last, 15);
    assert_true(slice_is(json_string(list->child, "command"),
                         "holdfast queue heal; when neither a store nor the source can send it"
                         " again: holdfast incident accept 1 --reason TEXT, by two people"));
    assert_true(slice_is(json_string(list->child, "at_stake"),
                         "4 records of this room are not archived and may be lost; until it closes"
                         " nothing more of this room is deleted from mgccomp"));
}

static void wrong_words_are_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(type(f, show, "9", NULL), APP_FAILED);
    assert_said(f->said.err, "there is no incident 9");
    assert_int_equal(type(f, show, "x", NULL), APP_FAILED);
    assert_said(f->said.err, "there is no incident x");
    assert_int_equal(type(f, show, NULL, NULL), APP_USAGE);
    assert_int_equal(type(f, list, "--al", NULL), APP_USAGE);
    assert_int_equal(type(f, incident_retry_command, "9", NULL), APP_FAILED);
    (void)open_one(f, &unreadable);
    assert_int_equal(type(f, incident_retry_command, "1", NULL), APP_FAILED);
    assert_said(f->said.err, "holdfast incident show 1");
}

static void a_gap_is_asked_for_again(void **state)
{
    struct fixture *f = *state;
    OWN(own_db) struct db *db = NULL;
    int64_t n = 0;
    (void)open_one(f, &gap);
    ok(db_open(&db, f->url, 0, &f->e), &f->e);
    ok(db_script(db, "UPDATE incident SET asked_us = 77, answer = 'not held'", &f->e), &f->e);
    assert_int_equal(type(f, show, "1", NULL), APP_OK);
    assert_said(f->said.out, "type     holdfast queue heal; when neither a store");
    assert_int_equal(type(f, incident_retry_command, "1", NULL), APP_OK);
    assert_said(f->said.out, "asked for again");
    ok(db_int(db,
              "SELECT count(*) FROM incident WHERE closed_us IS NULL AND asked_us = 0"
              " AND answer IS NULL",
              DB_NO_ARGS, 0, &n, &f->e),
       &f->e);
    assert_int_equal(n, 1);
}

static void set(struct fixture *f, const char *column)
{
    OWN(own_db) struct db *db = NULL;
    char text[160];
    (void)snprintf(text, sizeof text, "UPDATE incident SET %s", column);
    ok(db_open(&db, f->url, 0, &f->e), &f->e);
    ok(db_script(db, text, &f->e), &f->e);
}

static void a_gap_waits_for_its_store_then_stands(void **state)
{
    struct fixture *f = *state;
    (void)open_one(f, &gap);
    assert_int_equal(type(f, show, "1", NULL), APP_OK);
    assert_said(f->said.out,
                "state    asked for: the answer of the source's store is waited for until 2");
    assert_said(f->said.out, "at stake 4 records of this room are not archived and may be lost");
    set(f, "waits_us = 1");
    assert_int_equal(type(f, show, "1", NULL), APP_OK);
    assert_said(f->said.out, "state    stands: no store has answered");
    set(f, "answer = 'the store does not hold it'");
    assert_int_equal(type(f, list, NULL, NULL), APP_OK);
    assert_said(f->said.out, "the source's store answers: the store does not hold it");
    assert_int_equal(type(f, incident_retry_command, "1", NULL), APP_OK);
    assert_int_equal(type(f, list, NULL, NULL), APP_OK);
    assert_said(f->said.out, "is waited for until 2");
}

static int one_other(void *arg, struct db *staging, bool all, incident_visit_fn *visit,
                     void *visit_arg, struct err *e)
{
    const struct incident i = {.kind = INCIDENT_PARKED,
                               .elsewhere = "P4.17",
                               .subject = SLICE("ma-chan://x/other"),
                               .part = -1,
                               .first = 17,
                               .last = 17,
                               .opened_us = 1,
                               .answer = SLICE("too large"),
                               .detail = SLICE("refused")};
    (void)arg;
    (void)staging;
    (void)all;
    return visit(visit_arg, &i, e);
}

static void those_of_the_relay_are_listed_with_them(void **state)
{
    struct fixture *f = *state;
    const struct incident_others others = {one_other, NULL};
    char name[] = "P4.17";
    char *argv[] = {name, NULL};
    (void)open_one(f, &gap);
    caught_anew(&f->said);
    assert_int_equal(incident_list_command(&f->said.io, f->st, &others, 0, argv + 1), APP_OK);
    caught_read(&f->said);
    assert_said(f->said.out, "2 open incidents\n");
    assert_said(f->said.out, "P4.17  parked      ma-chan://x/other#17  since ");
    assert_said(f->said.out, "the queue refuses it: too large");
    caught_anew(&f->said);
    assert_int_equal(incident_show_command(&f->said.io, f->st, &others, 1, argv), APP_OK);
    caught_read(&f->said);
    assert_said(f->said.out, "incident P4.17: parked, open");
    assert_said(f->said.out, "type     holdfast queue heal\n");
}

static void a_parked_batch_is_tried_again(void **state)
{
    struct fixture *f = *state;
    OWN(own_db) struct db *db = NULL;
    int64_t n = 0;
    (void)open_one(f, &parked);
    ok(db_open(&db, f->url, 0, &f->e), &f->e);
    ok(db_script(db,
                 "INSERT INTO instance (name, module, required, readback, state, base, archived,"
                 " batches, added_us, failures, next_try_us) VALUES ('tar', 'tar', 1, 2, 'active',"
                 " 0, 0, 1, 0, 5, 99);"
                 "INSERT INTO batch VALUES ('b-1', 1, 1, 'archive', 'parked', 's', 0, 1, 1, x'00',"
                 " 1, x'00', 3, NULL, 0, NULL)",
                 &f->e),
       &f->e);
    assert_int_equal(type(f, incident_retry_command, "1", NULL), APP_OK);
    assert_said(f->said.out, "batch b-1 is tried again");
    ok(db_int(db,
              "SELECT count(*) FROM batch b JOIN instance i ON i.id = b.instance WHERE b.state ="
              " 'frozen' AND i.next_try_us = 0 AND i.failures = 0",
              DB_NO_ARGS, 0, &n, &f->e),
       &f->e);
    assert_int_equal(n, 1);
    ok(db_int(db, "SELECT count(*) FROM incident WHERE closed_us IS NULL", DB_NO_ARGS, 0, &n,
              &f->e),
       &f->e);
    assert_int_equal(n, 1); /* until it is delivered */
}

static void a_loss_is_accepted_by_two_people(void **state)
{
    struct fixture *f = *state;
    (void)open_one(f, &gap);
    assert_int_equal(accept(f, 61001, "1", "  "), APP_USAGE);
    assert_int_equal(accept(f, 61001, "1", "the disk is gone"), APP_OK);
    assert_said(f->said.out,
                "records lost: 4). Another person must type: holdfast incident accept 1");
    assert_int_equal(losses(f), 0);
    assert_int_equal(type(f, list, NULL, NULL), APP_OK);
    assert_said(f->said.out, "1 open incident\n");
    assert_said(f->said.out, "proposed to be accepted");
    assert_int_equal(accept(f, 61001, "1", "I am sure"), APP_FAILED);
    assert_said(f->said.err, "user id 61001 proposed to accept it; another person must do it");
    assert_int_equal(losses(f), 0);
    assert_int_equal(accept(f, 0, "1", "seen"), APP_OK);
    assert_said(f->said.out, "records lost: 4; holdfast status");
    assert_int_equal(losses(f), 4);
    assert_int_equal(accept(f, 61001, "1", "again"), APP_FAILED);
    assert_said(f->said.err, "closed already");
    assert_int_equal(type(f, show, "1", NULL), APP_OK);
    assert_said(f->said.out, "accepted by user id 0 (root), proposed by user id 61001");
    assert_said(f->said.out, "user id 61001: the disk is gone");
    assert_said(f->said.out, "accepted by user id 0 (root): seen");
    assert_int_equal(type(f, show, "1", "--json"), APP_OK);
    assert_said(f->said.out, "\"accepted_why\":\"seen\"");
}

static void what_must_be_mended_is_not_accepted(void **state)
{
    struct fixture *f = *state;
    const struct incident changed = {.kind = INCIDENT_LOG_CHANGED,
                                     .object = SLICE("0"),
                                     .part = 0,
                                     .opened_us = 1,
                                     .detail = SLICE("the log is another one")};
    (void)open_one(f, &changed);
    (void)open_one(f, &unreadable);
    assert_int_equal(accept(f, 1, "1", "tired"), APP_FAILED);
    assert_said(f->said.err, "it closes once its cause is mended");
    assert_int_equal(accept(f, 1, "7", "tired"), APP_FAILED);
    assert_said(f->said.err, "there is no incident 7");
    /* Its bytes were kept: nothing is lost. */
    assert_int_equal(accept(f, 1, "2", "known producer"), APP_OK);
    assert_int_equal(accept(f, 2, "2", "known producer"), APP_OK);
    assert_int_equal(losses(f), 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(one_thing_is_one_incident),
        CASE(the_list_cites_and_ends_in_a_command),
        CASE(closed_ones_are_shown_on_demand),
        CASE(json_has_the_same_facts),
        CASE(wrong_words_are_refused),
        CASE(a_gap_waits_for_its_store_then_stands),
        CASE(those_of_the_relay_are_listed_with_them),
        CASE(a_parked_batch_is_tried_again),
        CASE(a_loss_is_accepted_by_two_people),
        CASE(what_must_be_mended_is_not_accepted),
        CASE(a_gap_is_asked_for_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
