/* SPDX-License-Identifier: Apache-2.0 */
#include "base/conf.h"
#include "base/file.h"
#include "base/own.h"

#include "sweep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static const struct conf_option queue_options[] = {
    {.name = "brokers", .type = CONF_TEXT, .required = true, .help = "Where the brokers are."},
    {.name = "password", .type = CONF_SECRET},
    {.name = "folder", .type = CONF_PATH, .fallback = "data"},
    {.name = "tls", .type = CONF_BOOL, .fallback = "no"},
    {.name = "wait", .type = CONF_DURATION, .fallback = "15m", .min = 60000, .max = 86400000},
    {.name = "batch", .type = CONF_SIZE, .fallback = "4MiB", .min = 1024},
    {.name = "count", .type = CONF_INT, .fallback = "10", .min = -5, .max = 100},
    {.name = "mode", .type = CONF_CHOICE, .fallback = "safe", .choices = "fast|safe|both"},
    {0},
};
static const struct conf_section sections[] = {
    {.name = "queue", .summary = "The queue.", .options = queue_options},
    {.name = "adapter *", .summary = "An adapter."},
    {0},
};

static char dir[] = "/tmp/hf-conf.XXXXXX";
static char path[64];

static int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    (void)snprintf(path, sizeof path, "%s/holdfast.conf", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL);
}

static void put(const char *name, struct slice text)
{
    char where[128];
    (void)snprintf(where, sizeof where, "%s/%s", dir, name);
    assert_int_equal(file_replace(where, text, 0600, NULL), 0);
}

static struct conf *load(const char *text)
{
    struct conf *c = NULL;
    struct err e = {0};
    put("holdfast.conf", slice_of(text));
    if (conf_load(&c, path, sections, &e))
        fail_msg("%s", e.text);
    return c;
}

/* Refused with ERR_CONFIG; `why` follows "PATH:LINE: ". */
static void refused_bytes(struct slice text, int line, const char *why)
{
    struct conf *c = NULL;
    struct err e = {0};
    char expected[700];
    put("holdfast.conf", text);
    if (conf_load(&c, path, sections, &e) != ERR_CONFIG)
        fail_msg("taken: %.*s", SLICE_ARG(text));
    assert_null(c);
    if (line)
        (void)snprintf(expected, sizeof expected, "%s:%d: %s", path, line, why);
    else
        (void)snprintf(expected, sizeof expected, "%s: %s", path, why);
    assert_string_equal(e.text, expected);
}

static void refused(const char *text, int line, const char *why)
{
    refused_bytes(slice_of(text), line, why);
}

static void written_values(void **state)
{
    (void)state;
    OWN(own_conf)
    struct conf *c = load("\xEF\xBB\xBF# a comment\r\n[queue]\r\nbrokers = a:1,b:2 ; here\n"
                          "tls=YES\nwait = 1h30m\nbatch=512KiB\ncount = -5\nmode: both\n"
                          "folder=/abs/x");
    assert_true(slice_is(conf_text(c, "queue", "brokers"), "a:1,b:2"));
    assert_true(conf_bool(c, "queue", "tls"));
    assert_int_equal(conf_int(c, "queue", "wait"), 5400000);
    assert_int_equal(conf_int(c, "queue", "batch"), 524288);
    assert_int_equal(conf_int(c, "queue", "count"), -5);
    assert_int_equal(conf_int(c, "queue", "mode"), 2);
    assert_true(slice_is(conf_path(c, "queue", "folder"), "/abs/x"));
}

static void defaults_without_a_file(void **state)
{
    (void)state;
    struct conf *none = NULL;
    assert_int_equal(conf_load(&none, NULL, sections, NULL), 0);
    OWN(own_conf) struct conf *c = none;
    assert_null(conf_text(c, "queue", "brokers").p);
    assert_int_equal(conf_int(c, "queue", "wait"), 900000);
    assert_int_equal(conf_path(c, "queue", "folder").p[0], '/');
    assert_false(conf_bool(c, "queue", "tls"));
}

static void paths_are_relative_to_the_file(void **state)
{
    (void)state;
    OWN(own_conf) struct conf *c = load("[queue]\nbrokers=x\nfolder = sub/dir\n");
    char expected[128];
    (void)snprintf(expected, sizeof expected, "%s/sub/dir", dir);
    assert_true(slice_is(conf_path(c, "queue", "folder"), expected));
}

static void mistakes_are_named_with_their_line(void **state)
{
    (void)state;
    refused("[queue]\nbrokers=x\nbrokesr=y\n", 3,
            "section [queue] has no option 'brokesr'. Did you mean 'brokers'?");
    refused("[queue]\nbrokers=x\nzzzzzzzz=y\n", 3, "section [queue] has no option 'zzzzzzzz'");
    refused("\n[qeue]\n", 2, "no section [qeue]. Did you mean [queue]?");
    refused("[other]\n", 1, "no section [other]");
    refused("brokers=x\n", 1, "option 'brokers' before the first [section]");
    refused("[queue]\nbrokers=x\n\nbrokers=y\n", 4, "option 'brokers' again; it stands in line 2");
    refused("[queue]\nbrokers=x\n[queue]\n", 3, "section [queue] again; it began in line 1");
    refused("[queue]\nbrokers=x\n  more\n", 3,
            "the line begins with a blank. An option is one line, not indented");
    refused("[queue]\nnonsense\nbrokers=x\n", 2,
            "neither [section], option = value, nor a comment");
    refused("[queue\nbrokers=x\n", 1, "neither [section], option = value, nor a comment");
    refused("[queue]\ntls=no\n", 1, "section [queue] needs the option 'brokers'");
    refused("[adapter ]\n", 1, "no section [adapter]. Did you mean [adapter *]?");
    refused("[adapter ../x]\n", 1,
            "section [adapter ../x]: a name is made of letters, digits, '-', '_' and '.'");
    refused_bytes(SLICE("[queue]\nbrokers=\xFF\n"), 0, "not a text in UTF-8");
    refused_bytes(SLICE("[queue]\nbrokers=a\0b\n"), 0, "not a text in UTF-8");
}

static void values_out_of_range(void **state)
{
    (void)state;
    refused("[queue]\nbrokers=x\nwait=1s\n", 3,
            "[queue] wait: '1s' is not allowed here: duration, 1m to 1d");
    refused("[queue]\nbrokers=x\nbatch=1\n", 3,
            "[queue] batch: '1' is not allowed here: size, at least 1KiB");
    refused("[queue]\nbrokers=x\ncount=101\n", 3,
            "[queue] count: '101' is not allowed here: number, -5 to 100");
    refused("[queue]\nbrokers=x\ntls=maybe\n", 3,
            "[queue] tls: 'maybe' is not allowed here: yes or no");
    refused("[queue]\nbrokers=x\nmode=Safe\n", 3,
            "[queue] mode: 'Safe' is not allowed here: one of fast, safe, both");
}

static void a_long_line_is_not_cut_silently(void **state)
{
    (void)state;
    char text[5000] = "[queue]\nbrokers=";
    memset(text + strlen(text), 'x', 4000);
    struct conf *c = NULL;
    struct err e = {0};
    put("holdfast.conf", slice_of(text));
    assert_int_equal(conf_load(&c, path, sections, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, ":2: the line is over"));
}

static void a_file_that_is_not_there(void **state)
{
    (void)state;
    struct conf *c = NULL;
    struct err e = {0};
    assert_int_equal(conf_load(&c, "/nonexistent/x.conf", sections, &e), ERR_CONFIG);
    assert_int_equal(e.class, ERR_CONFIG);
    assert_non_null(strstr(e.text, "/nonexistent/x.conf"));
}

static void secrets_come_from_elsewhere(void **state)
{
    (void)state;
    put("pw", SLICE("s3cret\n"));
    struct err e = {0};
    OWN(own_buf) struct buf b;
    buf_init(&b, 100);
    {
        OWN(own_conf) struct conf *c = load("[queue]\nbrokers=x\npassword=file:pw\n");
        assert_int_equal(conf_secret(c, "queue", "password", &b, &e), 0);
        assert_string_equal(b.p, "s3cret");
    }
    buf_clear(&b);
    assert_int_equal(setenv("HF_TEST_PW", "fromenv", 1), 0);
    {
        OWN(own_conf) struct conf *c = load("[queue]\nbrokers=x\npassword=env:HF_TEST_PW\n");
        assert_int_equal(conf_secret(c, "queue", "password", &b, &e), 0);
        assert_string_equal(b.p, "fromenv");
    }
    {
        OWN(own_conf) struct conf *c = load("[queue]\nbrokers=x\npassword=env:HF_TEST_NONE\n");
        assert_int_equal(conf_secret(c, "queue", "password", &b, &e), ERR_CONFIG);
        assert_non_null(strstr(e.text, "[queue] password: env:HF_TEST_NONE"));
    }
    refused("[queue]\nbrokers=x\npassword=hunter2\n", 3,
            "[queue] password: is not allowed here: secret, as file:PATH or env:NAME");
    OWN(own_conf) struct conf *c = load("[queue]\nbrokers=x\n");
    assert_int_equal(conf_secret(c, "queue", "password", &b, &e), ERR_CONFIG);
}

static void collect(void *arg, struct slice name)
{
    buf_slice(arg, name);
    buf_char(arg, ' ');
}

static const struct conf_option common[] = {
    {.name = "module", .type = CONF_TEXT, .required = true},
    {.name = "records", .type = CONF_INT, .fallback = "100"},
    {0},
};
static const struct conf_option own[] = {
    {.name = "folder", .type = CONF_PATH, .required = true},
    {.name = "key", .type = CONF_SECRET},
    {.name = "level", .type = CONF_INT},
    {0},
};

static void named_sections_are_resolved_later(void **state)
{
    (void)state;
    put("pw", SLICE("s3cret\n"));
    OWN(own_buf) struct buf names;
    buf_init(&names, 100);
    OWN(own_conf)
    struct conf *c = load("[adapter b]\nmodule=tar\nfolder=out\nkey=file:pw\n"
                          "[queue]\nbrokers=x\n[adapter a]\nmodul=tar\n[adapter empty]\n");
    conf_each_named(c, "adapter", collect, &names);
    assert_string_equal(names.p, "b a empty ");
    struct conf_value a[2];
    struct conf_value b[3];
    struct err e = {0};
    assert_int_equal(conf_resolve(c, "adapter b", common, a, own, b, &e), 0);
    assert_true(slice_is(a[0].text, "tar"));
    assert_int_equal(a[1].number, 100);
    assert_int_equal(b[0].text.p[0], '/');
    assert_true(slice_is(b[1].text, "s3cret"));
    assert_false(b[2].set);
    assert_int_equal(conf_resolve(c, "adapter b", common, a, NULL, NULL, &e), ERR_CONFIG);
    assert_int_equal(conf_resolve(c, "adapter a", common, a, own, b, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, ":8: section [adapter a] has no option 'modul'. Did you mean "
                                   "'module'?"));
    assert_int_equal(conf_resolve(c, "adapter empty", common, a, own, b, &e), ERR_CONFIG);
    assert_int_equal(conf_resolve(c, "adapter c", common, a, own, b, &e), ERR_NOT_FOUND);
    assert_true(slice_is(b[1].text, "s3cret"));
}

static void the_description_is_a_file_that_loads(void **state)
{
    (void)state;
    OWN(own_buf) struct buf b;
    buf_init(&b, 100000);
    conf_describe(sections, &b);
    assert_int_equal(buf_ok(&b, "x", NULL), 0);
    assert_non_null(strstr(b.p, "[queue]\n"));
    assert_non_null(strstr(b.p, "# (duration, 1m to 1d)\n#wait = 15m\n"));
    assert_non_null(strstr(b.p, "# Where the brokers are.\n# (text; required)\n#brokers =\n"));
    assert_non_null(strstr(b.p, "#[adapter NAME]\n"));
    buf_text(&b, "\n");
    const char *at = strstr(b.p, "#brokers =");
    assert_non_null(at);
    b.p[at - b.p] = ' ';
    OWN(own_buf) struct buf edited;
    buf_init(&edited, 100000);
    buf_add(&edited, b.p, (size_t)(at - b.p));
    buf_text(&edited, at + 1);
    OWN(own_conf) struct conf *c = load(edited.p);
    assert_int_equal(conf_int(c, "queue", "wait"), 900000);
}

static int one_load(void)
{
    OWN(own_conf) struct conf *c = NULL;
    int rc = conf_load(&c, path, sections, NULL);
    struct conf_value a[2];
    struct conf_value b[3];
    return rc ? rc : conf_resolve(c, "adapter b", common, a, own, b, NULL);
}

static void out_of_memory_is_survived(void **state)
{
    (void)state;
    put("pw", SLICE("s3cret\n"));
    put("holdfast.conf", SLICE("[queue]\nbrokers=x\nfolder=y\n[adapter b]\nmodule=tar\nfolder=out\n"
                               "key=file:pw\n"));
    sweep(one_load);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_values),
        cmocka_unit_test(defaults_without_a_file),
        cmocka_unit_test(paths_are_relative_to_the_file),
        cmocka_unit_test(mistakes_are_named_with_their_line),
        cmocka_unit_test(values_out_of_range),
        cmocka_unit_test(a_long_line_is_not_cut_silently),
        cmocka_unit_test(a_file_that_is_not_there),
        cmocka_unit_test(secrets_come_from_elsewhere),
        cmocka_unit_test(named_sections_are_resolved_later),
        cmocka_unit_test(the_description_is_a_file_that_loads),
        cmocka_unit_test(out_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
