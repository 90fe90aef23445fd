/* SPDX-License-Identifier: Apache-2.0 */
/* What the smtp module makes of a server's replies: which records are settled, and how. */
#include "tests/contract/adapter_sample.h"
#include "tests/contract/smtp_peer.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIXED_MAILS = 5 };

struct fixture {
    struct host host;
    struct sample sample;
    struct peer *peer;
    char root[64];
};

static void start(struct fixture *f, const struct peer_script *script,
                  void (*fill)(struct sample *s))
{
    *f = (struct fixture){.root = "/tmp/smtp-replies.XXXXXX"};
    assert_non_null(mkdtemp(f->root));
    host_init(&f->host, HOLDFAST_MODULES, "smtp", f->root);
    f->peer = peer_start(script);
    host_option(&f->host, "server", peer_address(f->peer));
    host_option(&f->host, "from", "archive@example.test");
    host_option(&f->host, "to", "keep@example.test");
    host_option(&f->host, "timeout", "2s");
    fill(&f->sample);
    host_batch(&f->host, &f->sample);
}

static void again(struct fixture *f, const struct peer_script *script)
{
    peer_free(f->peer);
    f->peer = peer_start(script);
    host_option(&f->host, "server", peer_address(f->peer));
}

static void end(struct fixture *f)
{
    peer_free(f->peer);
    sample_done(&f->sample);
    host_done(&f->host);
    assert_int_equal(file_remove_tree(f->root, NULL), 0);
}

static const char *fact(const struct fixture *f, const char *name)
{
    for (int i = 0; i < f->host.noted->fact_count; i++)
        if (strcmp(f->host.noted->facts[i].name, name) == 0)
            return f->host.noted->facts[i].value;
    return "";
}

static void test_taken(void **state)
{
    (void)state;
    struct fixture f;
    struct mgc_error e;
    start(&f, &(struct peer_script){0}, sample_mixed);
    assert_int_equal(host_deliver(&f.host, &e), MGC_OK);
    assert_true(host_all_settled(&f.host, MGC_OK));
    assert_int_equal(peer_mails(f.peer), MIXED_MAILS);
    assert_string_equal(fact(&f, "reply"), "250 2.0.0 taken");
    assert_string_equal(fact(&f, "message-id"),
                        "<01936d5a-0000-7000-8000-00000000abcd.r0.0@holdfast.invalid>");
    end(&f);
}

/* Nothing gets through: the class tells whether to wait or to ask a person. */
static void test_refused_before_the_mail(void **state)
{
    (void)state;
    static const struct {
        struct peer_script script;
        int32_t rc;
        const char *text;
    } cases[] = {
        {{.greeting = "421 4.3.2 later"}, MGC_RETRY, "421 4.3.2 later"},
        {{.greeting = "554 no service here"}, MGC_CONFIG, "554"},
        {{.greeting = "drop"}, MGC_RETRY, "smtp://"},
        {{.greeting = "SSH-2.0-dropbear"}, MGC_RETRY, "smtp://"},
        {{.greeting = ""}, MGC_RETRY, "smtp://"},
        {{.mail = "530 5.7.0 authentication required"}, MGC_CONFIG, "530 5.7.0"},
        {{.mail = "451 4.3.0 try later"}, MGC_RETRY, "451"},
        {{.rcpt = "550 5.1.1 no such user"}, MGC_CONFIG, "550 5.1.1 no such user"},
        {{.rcpt = "450 4.2.1 grey"}, MGC_RETRY, "450"},
        {{.rcpt = "drop"}, MGC_RETRY, "smtp://"},
        {{.data = "554 5.5.1 no"}, MGC_CONFIG, "554"},
        {{.data = "452 4.3.1 full"}, MGC_RETRY, "452"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        struct mgc_error e;
        start(&f, &cases[i].script, sample_mixed);
        int32_t rc = host_deliver(&f.host, &e);
        if (rc != cases[i].rc || !strstr(e.text, cases[i].text))
            fail_msg("case %zu: %d: %s", i, rc, e.text);
        assert_int_equal(host_settled(&f.host), 0);
        end(&f);
    }
}

static void test_nobody_listens(void **state)
{
    (void)state;
    struct fixture f;
    struct mgc_error e;
    start(&f, &(struct peer_script){0}, sample_mixed);
    peer_stop(f.peer);
    assert_int_equal(host_deliver(&f.host, &e), MGC_RETRY);
    assert_int_equal(host_settled(&f.host), 0);
    end(&f);
}

static void test_size_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct mgc_error e;
    start(&f, &(struct peer_script){.mail = "552 5.3.4 too big"}, sample_mixed);
    assert_int_equal(host_deliver(&f.host, &e), MGC_OK);
    assert_true(host_all_settled(&f.host, MGC_REJECTED));
    assert_non_null(strstr(f.host.noted->text[0], "552 5.3.4 too big"));
    end(&f);
}

static void test_one_mail_put_off(void **state)
{
    (void)state;
    struct fixture f;
    struct mgc_error e;
    start(&f, &(struct peer_script){.end = {"451 4.7.1 later"}}, sample_mixed);
    assert_int_equal(host_deliver(&f.host, &e), MGC_RETRY);
    assert_non_null(strstr(e.text, "451 4.7.1 later"));
    assert_int_equal(f.host.noted->settles, MIXED_MAILS - 1);
    assert_int_equal(f.host.noted->verdict[0], 1);
    assert_int_equal(f.host.noted->verdict[18], MGC_OK);

    size_t n;
    char *first = strdup(peer_mail(f.peer, 0, &n));
    assert_non_null(first);
    again(&f, &(struct peer_script){0});
    assert_int_equal(host_deliver(&f.host, &e), MGC_OK);
    assert_true(host_all_settled(&f.host, MGC_OK));
    assert_int_equal(peer_mails(f.peer), 1);
    assert_string_equal(peer_mail(f.peer, 0, &n), first);
    free(first);
    end(&f);
}

static void test_one_mail_rejected(void **state)
{
    (void)state;
    struct fixture f;
    struct mgc_error e;
    start(&f, &(struct peer_script){.end = {NULL, "550 5.7.1 content \033[2J\xff refused"}},
          sample_mixed);
    assert_int_equal(host_deliver(&f.host, &e), MGC_OK);
    assert_int_equal(f.host.noted->verdict[0], MGC_OK);
    int rejected = 0;
    for (uint64_t i = 0; i < f.sample.batch.records; i++)
        if (f.host.noted->verdict[i] == MGC_REJECTED) {
            rejected++;
            assert_non_null(strstr(f.host.noted->text[i], "550 5.7.1 content ?[2J? refused"));
        }
    assert_int_equal(rejected, 1);
    assert_int_equal(peer_mails(f.peer), MIXED_MAILS);
    end(&f);
}

/* The answer got lost: the mail comes again, with the same bytes. */
static void test_dropped_after_the_end(void **state)
{
    (void)state;
    struct fixture f;
    struct mgc_error e;
    start(&f, &(struct peer_script){.end = {NULL, "drop"}}, sample_mixed);
    assert_int_equal(host_deliver(&f.host, &e), MGC_RETRY);
    assert_int_equal(f.host.noted->settles, 1);
    assert_int_equal(peer_mails(f.peer), 2);
    size_t n;
    char *second = strdup(peer_mail(f.peer, 1, &n));
    assert_non_null(second);
    again(&f, &(struct peer_script){0});
    assert_int_equal(host_deliver(&f.host, &e), MGC_OK);
    assert_true(host_all_settled(&f.host, MGC_OK));
    assert_int_equal(peer_mails(f.peer), MIXED_MAILS - 1);
    assert_string_equal(peer_mail(f.peer, 0, &n), second);
    free(second);
    end(&f);
}

static void test_silent_server(void **state)
{
    (void)state;
    struct fixture f;
    struct mgc_error e;
    start(&f, &(struct peer_script){.end = {""}}, sample_mixed);
    host_option(&f.host, "timeout", "1s");
    int64_t begun = clock_mono_ms();
    assert_int_equal(host_deliver(&f.host, &e), MGC_RETRY);
    assert_true(clock_mono_ms() - begun < 10000);
    assert_int_equal(host_settled(&f.host), 0);
    end(&f);
}

static void test_cancelled_while_waiting(void **state)
{
    (void)state;
    struct fixture f;
    struct mgc_error e;
    start(&f, &(struct peer_script){0}, sample_mixed);
    host_option(&f.host, "timeout", "1m");
    again(&f, &(struct peer_script){.rcpt = "", .bell = f.host.cancel[1]});
    int64_t begun = clock_mono_ms();
    assert_int_equal(host_deliver(&f.host, &e), MGC_CANCELLED);
    assert_true(clock_mono_ms() - begun < 10000);
    assert_int_equal(host_settled(&f.host), 0);
    end(&f);
}

static void test_parts(void **state)
{
    (void)state;
    struct fixture f;
    struct mgc_error e;
    start(&f, &(struct peer_script){0}, sample_large);
    host_option(&f.host, "max-size", "4MiB");
    assert_int_equal(host_deliver(&f.host, &e), MGC_OK);
    assert_int_equal(peer_mails(f.peer), 2);
    size_t n;
    const char *first = peer_mail(f.peer, 0, &n);
    assert_true(n < 4 * 1024 * 1024);
    assert_non_null(strstr(first, "(part 1 of 2)"));
    assert_non_null(strstr(first, ".r0.0@holdfast.invalid"));
    const char *second = peer_mail(f.peer, 1, &n);
    assert_non_null(strstr(second, "(part 2 of 2)"));
    assert_non_null(strstr(second, ".r0.2@holdfast.invalid"));
    end(&f);
}

static void test_bad_options(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value;
    } cases[] = {
        {"from", "a@b.test\r\nRCPT TO:<x@y.test>"},
        {"from", "nobody"},
        {"from", "<a@b.test>"},
        {"from", "-oQ/tmp@b.test"},
        {"from", "a@b@c.test"},
        {"to", " , "},
        {"to", "keep@example.test, x y@example.test"},
        {"server", "127.0.0.1/evil"},
        {"server", "user@host"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        struct mgc_error e;
        start(&f, &(struct peer_script){0}, sample_mixed);
        host_option(&f.host, cases[i].option, cases[i].value);
        if (host_deliver(&f.host, &e) != MGC_CONFIG)
            fail_msg("%s = %s is accepted", cases[i].option, cases[i].value);
        assert_non_null(strstr(e.text, cases[i].option));
        assert_null(strchr(e.text, '\r'));
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_refused_before_the_mail),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_size_refused),
        cmocka_unit_test(test_one_mail_put_off),
        cmocka_unit_test(test_one_mail_rejected),
        cmocka_unit_test(test_dropped_after_the_end),
        cmocka_unit_test(test_silent_server),
        cmocka_unit_test(test_cancelled_while_waiting),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
