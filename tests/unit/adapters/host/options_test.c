/* SPDX-License-Identifier: Apache-2.0 */
/* Setting adapters up: modules that can't be used, options that are wrong, and the commands that
 * add, list and retire instances. */
#include "adapters/host/options.h"
#include "base/clock.h"
#include "base/own.h"
#include "tests/unit/adapters/host/rig.h"

#include <stdlib.h>
#include <string.h>

static int load(struct rig *r, const char *conf, const char *name, struct adapter_options **out)
{
    rig_conf(r, conf);
    return adapter_options_load(out, r->conf, name, HOLDFAST_ABI_MODULES, "/proc/self/exe", &r->e);
}

static void refused(struct rig *r, const char *module, const char *says)
{
    struct adapter_options *o = NULL;
    char conf[200];
    (void)snprintf(conf, sizeof conf, "[adapter x]\nmodule = %s\n", module);
    assert_int_equal(load(r, conf, "x", &o), ERR_CONFIG);
    if (!strstr(r->e.text, says))
        fail_msg("%s: %s", module, r->e.text);
    assert_null(o);
}

static void modules_that_do_not_fit_are_refused(void **state)
{
    struct rig *r = *state;
    refused(r, "noentry", "no symbol mgc_adapter_v0");
    refused(r, "declines", "declines adapter contract");
    refused(r, "major", "made for adapter contract 7");
    refused(r, "short", "bytes");
    refused(r, "bare", "lacks a name, open, deliver or close");
    refused(r, "unread", "full read-back without a verify");
    refused(r, "readback", "an unknown read-back 9");
    refused(r, "type", "option 1 has no name or an unknown type");
    refused(r, "options", "over 64 options");
    refused(r, "missing", "No such file");
    refused(r, "../plain", "no module's name");
}

static void names_that_are_too_long_are_refused(void **state)
{
    struct rig *r = *state;
    struct adapter_options *o = NULL;
    char name[200] = "";
    char folder[PATH_MAX + 10] = "";
    memset(name, 'm', sizeof name - 1);
    memset(folder, 'f', sizeof folder - 1);
    rig_conf(r, "[adapter x]\nmodule = plain\n");
    assert_int_equal(
        adapter_options_describe(&o, name, HOLDFAST_ABI_MODULES, "/proc/self/exe", &r->e),
        ERR_CONFIG);
    assert_non_null(strstr(r->e.text, "no module's name"));
    assert_int_equal(adapter_options_load(&o, r->conf, "x", folder, "/proc/self/exe", &r->e),
                     ERR_CONFIG);
    assert_non_null(strstr(r->e.text, "too long a name"));
    assert_null(o);
}

static void an_older_module_is_accepted(void **state)
{
    struct rig *r = *state;
    OWN(own_adapter_options) struct adapter_options *o = NULL;
    ok(load(r, "[adapter x]\nmodule = older\n", "x", &o), &r->e);
    assert_false(o->module.verifies);
    assert_int_equal(o->module.readback, MGC_READBACK_NONE);
}

static void a_module_that_hangs_is_given_up(void **state)
{
    struct rig *r = *state;
    struct adapter_options *o = NULL;
    int64_t began = clock_mono_ms();
    assert_int_equal(load(r, "[adapter x]\nmodule = stuck\n", "x", &o), ERR_RETRY);
    assert_in_range(clock_mono_ms() - began, 9000, 14000);
    assert_non_null(strstr(r->e.text, "did not answer"));
}

static void kill_its_workers(int times)
{
    for (int i = 1; i <= times; i++) {
        char marker[400];
        (void)snprintf(marker, sizeof marker, "%s/mgc_dies.so.%d", HOLDFAST_ABI_MODULES, i);
        FILE *f = fopen(marker, "w");
        assert_non_null(f);
        (void)fclose(f);
    }
}

/* Somebody's kill says nothing of the module; a module that always kills its worker is unfit. */
static void a_killed_worker_is_asked_again(void **state)
{
    struct rig *r = *state;
    OWN(own_adapter_options) struct adapter_options *o = NULL;
    kill_its_workers(2);
    ok(load(r, "[adapter x]\nmodule = dies\n", "x", &o), &r->e);
    kill_its_workers(3);
    refused(r, "dies", "ended without an answer, 3 times");
}

static void options_are_checked_with_file_and_line(void **state)
{
    struct rig *r = *state;
    struct adapter_options *o = NULL;
    assert_int_equal(load(r, "[adapter x]\nmodule = plain\ndirectoty = %/x\n", "x", &o),
                     ERR_CONFIG);
    assert_non_null(strstr(r->e.text, "holdfast.conf:3"));
    assert_non_null(strstr(r->e.text, "directory"));
    assert_int_equal(load(r, "[adapter x]\nmodule = plain\n", "x", &o), ERR_CONFIG);
    assert_non_null(strstr(r->e.text, "directory"));
    assert_int_equal(
        load(r, "[adapter x]\nmodule = plain\ndirectory = y\ninterval = soon\n", "x", &o),
        ERR_CONFIG);
    assert_non_null(strstr(r->e.text, "holdfast.conf:4"));
    assert_int_equal(load(r, "[adapter x]\nmodule = plain\ndirectory = forbidden\n", "x", &o),
                     ERR_CONFIG);
    assert_non_null(strstr(r->e.text, "directory: forbidden"));
    assert_int_equal(load(r, "[adapter y]\nmodule = plain\n", "x", &o), ERR_CONFIG);
    assert_null(o);
}

static void what_is_written_arrives(void **state)
{
    struct rig *r = *state;
    OWN(own_adapter_options) struct adapter_options *o = NULL;
    ok(load(r,
            "[adapter x]\nmodule = plain\ndirectory = out\nrequired = no\ninterval = 2m\n"
            "records = 7\nbytes = 1MiB\ndeadline = 3s\n",
            "x", &o),
       &r->e);
    assert_false(o->required);
    assert_int_equal(o->due.interval_ms, 120000);
    assert_int_equal(o->due.records, 7);
    assert_int_equal(o->due.bytes, 1 << 20);
    assert_int_equal(o->deadline_ms, 3000);
    assert_int_equal(o->values[0].text.p[0], '/');
    assert_false(o->values[1].set);
}

struct spoken {
    int rc;
    char out[4000], err[1000];
};

static struct spoken command(struct rig *r, const char *which, int argc, char **argv)
{
    struct spoken s = {0};
    OWN(own_file) FILE *out = fmemopen(s.out, sizeof s.out, "w");
    OWN(own_file) FILE *err = fmemopen(s.err, sizeof s.err, "w");
    struct app_io io = {.out = out, .err = err};
    if (strcmp(which, "add") == 0)
        s.rc = adapter_add_command(&io, r->st, r->conf, HOLDFAST_ABI_MODULES, argc, argv);
    else if (strcmp(which, "describe") == 0)
        s.rc = adapter_describe_command(&io, HOLDFAST_ABI_MODULES, argc, argv);
    else if (strcmp(which, "list") == 0)
        s.rc = adapter_list_command(&io, r->st, argc, argv);
    else
        s.rc = adapter_retire_command(&io, r->st, argc, argv);
    (void)fflush(out);
    (void)fflush(err);
    return s;
}

#define SAY(r, which, ...)                                                                         \
    command(r, which, (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)),                     \
            (char *[]){__VA_ARGS__})

static char a[] = "a";
static char json[] = "--json";
static char all[] = "--all";
static char reason[] = "--reason=moved";
static char no_reason[] = "--reason= ";

static void commands_add_list_and_retire(void **state)
{
    struct rig *r = *state;
    struct spoken s;
    rig_conf(r, "[adapter a]\nmodule = plain\ndirectory = %/a\n");
    s = command(r, "list", 0, NULL);
    assert_non_null(strstr(s.out, "no adapter was added"));
    s = SAY(r, "add", a);
    assert_int_equal(s.rc, APP_OK);
    assert_non_null(strstr(s.out, "added a (module plain, required, read-back full)"));
    s = SAY(r, "add", a);
    assert_int_equal(s.rc, APP_FAILED);
    s = SAY(r, "add", json);
    assert_int_equal(s.rc, APP_USAGE);
    s = SAY(r, "list", json);
    assert_string_equal(
        s.out,
        "{\"adapters\":[{\"name\":\"a\",\"module\":\"plain\",\"state\":"
        "\"active\",\"required\":true,\"readback\":\"full\",\"archived\":0,"
        "\"batches\":0,\"failures\":0,\"missed\":0,\"last_error\":\"\",\"reason\":\"\"}]}\n");
    s = SAY(r, "retire", a);
    assert_int_equal(s.rc, APP_USAGE);
    s = SAY(r, "retire", a, no_reason);
    assert_int_equal(s.rc, APP_USAGE);
    s = SAY(r, "retire", a, reason);
    assert_int_equal(s.rc, APP_OK);
    s = SAY(r, "retire", a, reason);
    assert_int_equal(s.rc, APP_FAILED);
    s = SAY(r, "list", json);
    assert_string_equal(s.out, "{\"adapters\":[]}\n");
    s = SAY(r, "list", all);
    assert_non_null(strstr(s.out, "retired"));
    s = SAY(r, "add", a);
    assert_non_null(strstr(s.err, "was added before"));
}

static char plain[] = "plain";
static char plain_file[] = HOLDFAST_ABI_MODULES "/mgc_plain.so";
static char missing[] = "no-such-module";
static char older[] = "older";
static char no_library[] = "/proc/self/status";

static void a_module_is_described(void **state)
{
    struct rig *r = *state;
    struct spoken s = SAY(r, "describe", plain);
    assert_int_equal(s.rc, APP_OK);
    assert_non_null(strstr(s.out, "# plain 1: one text file a batch. Read-back: full.\n"));
    assert_non_null(strstr(s.out, "#[adapter NAME]\n"));
    assert_non_null(strstr(s.out, "#module = plain\n"));
    assert_non_null(strstr(s.out, "# Folder of the files.\n"));
    assert_non_null(strstr(s.out, "; required)\n#directory =\n"));
    assert_non_null(strstr(s.out, "#interval = 15m\n"));
    struct spoken again = SAY(r, "describe", plain_file);
    assert_string_equal(again.out, s.out);
    s = SAY(r, "describe", older);
    assert_non_null(strstr(s.out, "Read-back: none.\n"));
    s = SAY(r, "describe", no_library);
    assert_int_equal(s.rc, APP_USAGE);
    assert_non_null(strstr(s.err, "load module: "));
    s = SAY(r, "describe", missing);
    assert_int_equal(s.rc, APP_USAGE);
    assert_non_null(strstr(s.err, "mgc_no-such-module.so"));
    s = SAY(r, "describe", plain, plain_file);
    assert_int_equal(s.rc, APP_USAGE);
    s = SAY(r, "describe", json);
    assert_int_equal(s.rc, APP_USAGE);
}

static void a_command_adds_to_a_running_archiver(void **state)
{
    struct rig *r = *state;
    rig_conf(r, "[adapter a]\nmodule = plain\ndirectory = %/a\ninterval = 1h\n");
    rig_posts(r, &r->room, 4);
    struct spoken s = SAY(r, "add", a);
    assert_int_equal(s.rc, APP_OK);
    rig_start(r);
    rig_await(r, "SELECT archived FROM instance", 4);
    s = SAY(r, "retire", a, reason);
    assert_int_equal(s.rc, APP_OK);
    rig_posts(r, &r->room, 4);
    rig_sql(r, "UPDATE instance SET state = 'active'");
    rig_await(r, "SELECT archived FROM instance", 8);
    rig_assert_output(r, "a", 8, 0);
}

static void rows_and_sections_must_agree(void **state)
{
    struct rig *r = *state;
    rig_conf(r, "[adapter a]\nmodule = plain\ndirectory = %/a\n");
    rig_start(r);
    rig_stop(r);
    rig_conf(r, "[adapter b]\nmodule = plain\ndirectory = %/b\n");
    struct archiver_options o = rig_options(r);
    assert_int_equal(archiver_start(&r->archiver, &o, &r->e), ERR_CONFIG);
    assert_non_null(strstr(r->e.text, "no section [adapter a]"));
    rig_conf(r, "[adapter a]\nmodule = older\n");
    o = rig_options(r);
    rig_start(r);
    rig_await(r, "SELECT count(*) FROM instance WHERE state = 'failed'", 1);
    assert_non_null(strstr(rig_instance(r, "a").last_error, "was added with plain"));
}

int main(int argc, char **argv)
{
    static struct rig rig;
    int code = rig_begin(argc, argv, NULL);
    if (code >= 0)
        return code;
    const struct CMUnitTest tests[] = {
        RIG(&rig, modules_that_do_not_fit_are_refused),
        RIG(&rig, names_that_are_too_long_are_refused),
        RIG(&rig, an_older_module_is_accepted),
        RIG(&rig, a_module_that_hangs_is_given_up),
        RIG(&rig, a_killed_worker_is_asked_again),
        RIG(&rig, options_are_checked_with_file_and_line),
        RIG(&rig, what_is_written_arrives),
        RIG(&rig, commands_add_list_and_retire),
        RIG(&rig, a_module_is_described),
        RIG(&rig, a_command_adds_to_a_running_archiver),
        RIG(&rig, rows_and_sections_must_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
