/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance checker: each problem is named once, with its line and section. */
#include "base/own.h"
#include "base/stop.h"
#include "capture/ingest_check.h"
#include "mgccomp/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct app_io io;
    char *out, *err;
    size_t out_n, err_n;
    struct buf text;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    f.io.out = open_memstream(&f.out, &f.out_n);
    f.io.err = open_memstream(&f.err, &f.err_n);
    buf_init(&f.text, 4 * RECORD_MAX_BYTES);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    (void)fclose(f->io.out);
    (void)fclose(f->io.err);
    free(f->out);
    free(f->err);
    buf_done(&f->text);
    return 0;
}

static int check(struct fixture *f)
{
    char name[] = "-";
    char *argv[] = {name, NULL};
    OWN(own_file) FILE *in = tmpfile();
    assert_non_null(in);
    assert_int_equal(fwrite(f->text.p, 1, f->text.n, in), f->text.n);
    rewind(in);
    rewind(f->io.out);
    f->io.in = in;
    int code = ingest_check_command(&f->io, 1, argv);
    (void)fflush(f->io.out);
    return code;
}

static void line(struct fixture *f, const char *id, const char *more)
{
    buf_format(&f->text,
               "{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"s\",\"type\":\"com.example.a\","
               "\"time\":\"2026-01-01T00:00:00Z\",\"subject\":\"room\"%s}\n",
               id, more);
}

static void said(struct fixture *f, const char *text)
{
    if (!strstr(f->out, text))
        fail_msg("\"%s\" is not in:\n%s", text, f->out);
}

static void what_conforms_passes(void **state)
{
    struct fixture *f = *state;
    line(f, "a", "");
    buf_text(&f->text, " \t\r\n\n");
    line(f, "b", "");
    line(f, "a", "");
    f->text.n--; /* the last line may lack its line feed */
    assert_int_equal(check(f), APP_OK);
    said(f, "3 records: all conform");
    said(f, "1 came again");
}

static void each_problem_has_line_and_section(void **state)
{
    struct fixture *f = *state;
    line(f, "a", "");
    buf_text(&f->text, "{\"specversion\":\"1.0\"}\nno json\n");
    line(f, "a", ",\"data\":7");
    line(f, "", "");
    line(f, "c", ",\"epoch\":1");
    buf_text(&f->text, "{\"specversion\":\"1.0\",\"id\":\"d\",\"type\":\"holdfast.post\",\"time\":"
                       "\"2026-01-01T00:00:00Z\",\"subject\":\"r\",\"data\":{\"text\":\"\"}}\n");
    for (int i = 0; i < RECORD_MAX_BYTES + 100; i++)
        buf_char(&f->text, 'x');
    buf_char(&f->text, '\n');
    assert_int_equal(check(f), APP_FAILED);
    said(f, "-:2: no member \"id\" (1.1)");
    said(f, "-:3: ");
    said(f, "-:4: id \"a\" was there before, with other content (1.1)");
    said(f, "-:5: id is empty (1.1)");
    said(f, "-:6: no member \"sequence\" (1.1)");
    said(f, "-:7: no member \"data.participant\" (3.2)");
    said(f, "-:8: record has 524289 bytes, more than 524288 (1)");
    said(f, "8 records: 7 do not conform");
}

static void chain(struct fixture *f, const char *id, int sequence, const uint8_t *previous)
{
    char place[160];
    char hex[SHA256_HEX];
    hex_encode(previous, SHA256_SIZE, hex);
    (void)snprintf(place, sizeof place, ",\"epoch\":1,\"sequence\":\"%020d\",\"previous\":\"%s\"",
                   sequence, hex);
    line(f, id, place);
}

static void chains_are_followed(void **state)
{
    struct fixture *f = *state;
    static const uint8_t zeros[SHA256_SIZE];
    uint8_t first[SHA256_SIZE];
    chain(f, "a", 1, zeros);
    sha256(f->text.p, f->text.n - 1, first);
    chain(f, "b", 2, first);
    assert_int_equal(check(f), APP_OK);
    chain(f, "c", 3, first);
    chain(f, "d", 5, first);
    chain(f, "e", 2, zeros);
    assert_int_equal(check(f), APP_FAILED);
    said(f, "-:3: previous is not the hash of record 2 (2)");
    said(f, "-:4: sequence is 5 where 4 is due (2)");
    said(f, "-:5: sequence is 2 where 6 is due (2)");
}

static void a_chain_begins_with_zeros(void **state)
{
    struct fixture *f = *state;
    const uint8_t other[SHA256_SIZE] = {1};
    chain(f, "a", 1, other);
    assert_int_equal(check(f), APP_FAILED);
    said(f, "-:1: the first record of a stream has a previous of zeros (2)");
}

/* Many enough that some share a place in the table. */
static void many_ids_are_told_apart(void **state)
{
    struct fixture *f = *state;
    char id[20];
    for (int i = 0; i < 8000; i++) {
        (void)snprintf(id, sizeof id, "id %d", i);
        line(f, id, "");
    }
    line(f, "id 4000", "");
    line(f, "id 5000", ",\"odd\":1");
    assert_int_equal(check(f), APP_FAILED);
    said(f, "-:8002: id \"id 5000\" was there before, with other content");
    said(f, "8002 records: 1 do not conform");
    said(f, "1 came again with the same content");
}

/* The last one: a program that is to stop stays so. */
static void a_stop_ends_it(void **state)
{
    struct fixture *f = *state;
    line(f, "a", "");
    stop_request();
    assert_int_equal(check(f), APP_FAILED);
    assert_string_equal(f->out, "");
}

static void no_room_for_what_ingest_adds(void **state)
{
    struct fixture *f = *state;
    buf_text(&f->text, "{\"specversion\":\"1.0\",\"id\":\"a\",\"type\":\"t\",\"time\":"
                       "\"2026-01-01T00:00:00Z\",\"subject\":\"r\",\"data\":\"");
    while (f->text.n < RECORD_MAX_BYTES - 10)
        buf_char(&f->text, 'x');
    buf_text(&f->text, "\"}\n");
    assert_int_equal(check(f), APP_FAILED);
    said(f, "(4)");
}

static void a_file_must_be_named(void **state)
{
    struct fixture *f = *state;
    char *none[] = {NULL};
    char missing[] = "/nowhere/at/all";
    char *argv[] = {missing, NULL};
    assert_int_equal(ingest_check_command(&f->io, 0, none), APP_USAGE);
    assert_int_equal(ingest_check_command(&f->io, 1, argv), APP_USAGE);
    argv[0][1] = '\0'; /* a folder */
    assert_int_equal(ingest_check_command(&f->io, 1, argv), APP_FAILED);
}

static void a_file_and_the_input_are_counted_together(void **state)
{
    struct fixture *f = *state;
    char name[] = "/tmp/hf-check.XXXXXX";
    char input[] = "-";
    char json[] = "--json";
    char *argv[] = {name, input, json, NULL};
    OWN(own_fd) int fd = mkstemp(name);
    OWN(own_file) FILE *in = tmpfile();
    assert_true(fd >= 0 && in);
    line(f, "a", "");
    assert_int_equal(write(fd, f->text.p, f->text.n), f->text.n);
    buf_text(&f->text, "no record\n");
    assert_int_equal(fwrite(f->text.p, 1, f->text.n, in), f->text.n);
    rewind(in);
    f->io.in = in;
    int code = ingest_check_command(&f->io, 3, argv);
    assert_int_equal(unlink(name), 0);
    (void)fflush(f->io.out);
    assert_int_equal(code, APP_FAILED);
    said(f, "-:2: ");
    said(f, "{\"files\":2,\"lines\":3,\"bad\":1,\"repeated\":1,");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_conforms_passes),
        CASE(each_problem_has_line_and_section),
        CASE(chains_are_followed),
        CASE(no_room_for_what_ingest_adds),
        CASE(a_file_must_be_named),
        CASE(a_file_and_the_input_are_counted_together),
        CASE(a_chain_begins_with_zeros),
        CASE(many_ids_are_told_apart),
        CASE(a_stop_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
